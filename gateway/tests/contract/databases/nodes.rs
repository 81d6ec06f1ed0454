//! Nodes whose database is away, newer, or not there at all; and `gateway migrate`.

use std::process::{Command, Output};

use serde_json::json;

use crate::support::client::Client;
use crate::support::postgres::Postgres;
use crate::support::redis::free_port;
use crate::support::{eventually, http, metric, node};

pub(super) fn gateway(arguments: &[&str], changes: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(arguments).env("GATEWAY_DATA_DIR", "").envs(changes.iter().copied()).output().unwrap()
}

pub(super) fn said(output: &Output) -> (Option<i32>, String) {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_serves_without_its_database_and_finds_it_later() {
    let mut server = Postgres::start().await;
    let url = server.url();
    server.kill();
    let node = node(&[("GATEWAY_DATABASE__URL", &url), ("GATEWAY_DATABASE__TIMEOUT", "2s")]).await;
    let ready = || async { http("GET", node.admin_address, "/readyz", "").await.0 == 200 };
    eventually("it is ready", ready).await;
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    client.publish("r", json!(1)).await;
    client.message().await;
    assert!(metric(&node, "gateway_database_up") < 0.5);
    server.start_again().await;
    eventually("it has found it", || async { metric(&node, "gateway_database_up") > 0.5 }).await;
    assert_eq!(server.run_in("postgres", &["SELECT version FROM gateway_schema"]).await, ["2"]);
    server.kill();
    eventually("it has noticed", || async { metric(&node, "gateway_database_up") < 0.5 }).await;
    assert!(ready().await, "clients are better off connected");
    client.publish("r", json!(2)).await;
    client.message().await;
    node.stop().await;
}

#[tokio::test]
async fn the_command_makes_tables_and_says_what_it_did() {
    let server = Postgres::start().await;
    let url = server.url().replace("gateway@", "gateway:hunter2@");
    let database = ("GATEWAY_DATABASE__URL", url.as_str());
    for expected in ["postgres: made version 2\n", "postgres: is of version 2 already\n"] {
        assert_eq!(said(&gateway(&["migrate"], &[database])), (Some(0), expected.into()));
    }
    server.run_in("postgres", &["UPDATE gateway_schema SET version = 3"]).await;
    let (code, words) = said(&gateway(&["migrate"], &[database]));
    assert!(code == Some(64) && words.contains("newer version of the gateway"), "{code:?} {words}");
    let listen = [("GATEWAY_LISTEN", "127.0.0.1:0"), ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"), database];
    let (code, words) = said(&gateway(&["serve"], &listen));
    assert!(code == Some(64) && words.contains("newer version of the gateway"), "{code:?} {words}");

    let away = format!("postgres://gateway:hunter2@127.0.0.1:{}/d", free_port());
    let changes = [("GATEWAY_DATABASE__URL", away.as_str()), ("GATEWAY_DATABASE__TIMEOUT", "200ms")];
    let (code, words) = said(&gateway(&["migrate"], &changes));
    assert!(code == Some(69) && words.contains("no connection within") && !words.contains("hunter2"), "{words}");

    let folder = tempfile::tempdir().unwrap();
    let file = ("GATEWAY_DATA_DIR", folder.path().to_str().unwrap());
    for expected in ["sqlite: made version 2\n", "sqlite: is of version 2 already\n"] {
        assert_eq!(said(&gateway(&["migrate"], &[file])), (Some(0), expected.into()));
    }
    let (code, words) = said(&gateway(&["migrate"], &[("GATEWAY_REDIS_URL", "redis://127.0.0.1:1")]));
    assert!(code == Some(64) && words.contains("database.url is not set"), "{code:?} {words}");
}

#[test]
fn what_is_configured_is_checked_and_shown_without_secrets() {
    for (url, expected) in [
        ("postgres://me:hunter2@db.example/d", "url = \"postgres://db.example/d\""),
        ("mongodb://me:hunter2@a.example,b.example/d?replicaSet=hunter2", "url = \"mongodb://a.example,b.example/d\""),
    ] {
        let (code, words) = said(&gateway(&["check"], &[("GATEWAY_DATABASE__URL", url)]));
        assert!(code == Some(0) && words.contains(expected) && !words.contains("hunter2"), "{words}");
    }
    for url in [
        "postgres://me:hun/ter2@db.example/d",
        "postgres://h/d?sslmode=hunter2",
        "mongodb://me:hun/ter2@a/d",
        "mongodb://a/d?hunter2=1=2",
    ] {
        let (code, words) = said(&gateway(&["check"], &[("GATEWAY_DATABASE__URL", url)]));
        assert!(code == Some(64) && words.contains("database.url: "), "{url} {code:?} {words}");
        assert!(!words.contains("hun"), "{words}");
    }
}
