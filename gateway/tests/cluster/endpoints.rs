//! Redis as people have it: over TLS, at a unix socket, with an ACL user; and what a node needs of memory for it.

use std::process::{Command, Stdio};

use gateway::app::{Gateway, StartError};
use serde_json::json;

use crate::cluster_at;
use crate::support::client::Client;
use crate::support::redis::{Redis, free_port};
use crate::support::topology::Certificates;
use crate::support::{config, eventually, http, metric};

/// What touches every part: two nodes, a join, a publish that crosses, presence, history, and coming back elsewhere.
async fn everything_works(url: &str, changes: &[(&str, &str)]) {
    let nodes = cluster_at(url, 2, changes).await;
    let mut one = Client::connect(nodes[0].address).await;
    let mut two = Client::connect(nodes[1].address).await;
    one.join("r").await;
    two.join("r").await;
    let first = one.publish("r", json!("first")).await;
    assert_eq!(two.message().await, (json!("first"), first.parse().unwrap()));
    let present = one.ask("presence", json!({ "room": "r" })).await;
    assert_eq!(present["count"], 2, "{present}");
    let history = one.ask("history", json!({ "room": "r" })).await;
    assert_eq!(history["events"].as_array().unwrap().len(), 1, "{history}");
    let (pid, offset) = (two.pid.clone(), two.offset.clone());
    drop(two);
    let second = one.publish("r", json!("second")).await;
    let mut two = Client::come_back(nodes[0].address, &pid, offset.as_deref()).await;
    assert!(two.recovered(), "{}", two.hello);
    assert_eq!(two.message().await, (json!("second"), second.parse().unwrap()));
    let authorized = "Authorization: Bearer operator\r\n";
    assert_eq!(http("GET", nodes[1].admin_address, "/users/alice/sockets", authorized).await.0, 200);
    eventually("the nodes count each other", || async { metric(&nodes[0], "gateway_cluster_nodes") == 2.0 }).await;
}

const OPERATOR: (&str, &str) = ("GATEWAY_ADMIN__TOKEN", "operator");

async fn refused(changes: &[(&str, &str)]) -> String {
    match Gateway::start(config(changes), 20_000).await {
        Err(StartError::Configuration(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_an_authority_of_its_own_and_client_certificates() {
    let (certificates, strangers, port) = (Certificates::new(), Certificates::new(), free_port().to_string());
    let [authority, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(|name| certificates.file(name));
    let _redis = Redis::start_with(&[
        "--tls-port",
        &port,
        "--tls-ca-cert-file",
        &authority,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "yes",
    ])
    .await;
    let [certificate, key] = ["client.pem", "client.key"].map(|name| certificates.file(name));
    let ca = ("GATEWAY_REDIS__TLS_CA", authority.as_str());
    // Without optimisation it takes a second to read the certificates of the system, which redis-rs does each time.
    let patience = ("GATEWAY_REDIS__TIMEOUT", "20s");
    let client = [("GATEWAY_REDIS__TLS_CERTIFICATE", certificate.as_str()), ("GATEWAY_REDIS__TLS_KEY", key.as_str())];
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("rediss://{host}:{port}");
        // Members of the first round are present until their nodes are taken for dead.
        let prefix = ("GATEWAY_REDIS__PREFIX", host);
        everything_works(&url, &[ca, client[0], client[1], patience, OPERATOR, prefix]).await;
    }
    let url = format!("rediss://localhost:{port}");
    let url = ("GATEWAY_REDIS_URL", url.as_str());
    let other = strangers.file("ca.pem");
    let words = refused(&[url, ("GATEWAY_REDIS__TLS_CA", &other), client[0], client[1], patience]).await;
    assert!(words.starts_with("redis_url: ") && words.contains("certificate"), "{words}");
    let words = refused(&[url, ca, client[0]]).await;
    assert!(words.starts_with("redis.tls_key: is needed"), "{words}");
    let words = refused(&[url, ca, client[0], ("GATEWAY_REDIS__TLS_KEY", &authority)]).await;
    assert!(words.starts_with("redis.tls_key: has no private key"), "{words}");
    let words = refused(&[url, ("GATEWAY_REDIS__TLS_CA", "/nowhere")]).await;
    assert!(words.starts_with("redis.tls_ca: cannot read /nowhere"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redis.sock").display().to_string();
    let _redis = Redis::start_with(&["--unixsocket", &path]).await;
    everything_works(&format!("unix://{path}?db=3"), &[OPERATOR]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_are_documented_are_enough() {
    let documented = include_str!("../../../docs/operations.md");
    for rights in [
        "+@all -@dangerous +info +config|get",
        "+@read +@write +@pubsub +@scripting +@connection +@transaction -@dangerous +time +info +config|get",
    ] {
        assert!(documented.contains(&format!("`{rights}`")), "{rights} is not documented");
        let redis = Redis::start().await;
        let answer = redis
            .command(&format!("ACL SETUSER gate:way on >p@ss ~gateway:* ~gateway-jobs:* &gateway:* {rights}"))
            .await;
        assert!(answer.starts_with("+OK"), "{answer}");
        everything_works(&redis.url().replace("redis://", "redis://gate%3Away:p%40ss@"), &[OPERATOR]).await;
        assert_eq!(redis.command("ACL LOG").await, "*0\r\n", "with {rights}");
    }
}

/// Memory that is the process's own, in bytes: without the program itself and other files.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

/// What an idle node with this buffer has.
async fn idle(redis: &Redis, feed_buffer: &str) -> u64 {
    let admin = format!("127.0.0.1:{}", free_port());
    let mut process = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .env_clear()
        .env("GATEWAY_REDIS_URL", redis.url())
        .env("GATEWAY_REDIS__FEED_BUFFER", feed_buffer)
        .env("GATEWAY_LISTEN", "127.0.0.1:0")
        .env("GATEWAY_ADMIN_LISTEN", &admin)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let address = admin.parse().unwrap();
    eventually("it is ready", || async {
        tokio::net::TcpStream::connect(&admin).await.is_ok() && http("GET", address, "/readyz", "").await.0 == 200
    })
    .await;
    let bytes = resident(process.id());
    process.kill().unwrap();
    process.wait().unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn room_for_bursts_takes_little_memory_while_there_are_none() {
    let redis = Redis::start().await;
    let (none, default) = (idle(&redis, "1").await, idle(&redis, "65536").await);
    assert!(default.saturating_sub(none) <= 6 << 20, "{} KiB without, {} KiB with", none >> 10, default >> 10);
}
