//! How a node starts without Redis, and what it says of a Redis that is not as it should be.

use gateway::app::{Gateway, StartError};
use serde_json::json;

use crate::support::client::Client;
use crate::support::redis::{Redis, free_port};
use crate::support::{config, eventually, http, metric, node};

async fn start(changes: &[(&str, &str)]) -> Result<Gateway, StartError> {
    Gateway::start(config(changes), 20_000).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_waits_for_redis_and_is_ready_when_it_is_there() {
    let mut redis = Redis::start().await;
    redis.stop().await;
    let changes = [("GATEWAY_REDIS_URL", redis.url()), ("GATEWAY_ADMIN__TOKEN", "secret".into())];
    let changes: Vec<_> = changes.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let gateway = node(&changes).await;
    let admin = async |path: &str| http("GET", gateway.admin_address, path, "").await;
    assert_eq!(admin("/livez").await.0, 200);
    assert_eq!(admin("/readyz").await.0, 503);
    assert!(admin("/metrics").await.1.contains("gateway_bus_connected 0"));
    let (status, body) = http("GET", gateway.address, "/socket.io/?EIO=4&transport=polling", "").await;
    assert_eq!(status, 503, "clients try again: {body}");
    assert!(body.contains("unavailable"), "{body}");
    redis.start_again().await;
    eventually("it is ready", || async { admin("/readyz").await.0 == 200 }).await;
    let mut client = Client::connect(gateway.address).await;
    client.join("r").await;
    client.publish("r", json!(1)).await;
    assert_eq!(client.message().await.0, 1);
    let authorized = "Authorization: Bearer secret\r\n";
    assert_eq!(http("GET", gateway.admin_address, "/users/alice/sockets", authorized).await.0, 200);
    assert_eq!(gateway.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_can_be_stopped() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    let gateway = node(&[("GATEWAY_REDIS_URL", &url)]).await;
    let admin = gateway.admin_address;
    assert_eq!(gateway.stop().await, 0);
    assert!(tokio::net::TcpStream::connect(admin).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_can_be_required_at_the_start() {
    let (port, listen) = (free_port(), free_port());
    let (url, listen) = (format!("redis://127.0.0.1:{port}"), format!("127.0.0.1:{listen}"));
    let required = ("GATEWAY_REDIS__REQUIRED_AT_START", "true");
    let failed = start(&[("GATEWAY_REDIS_URL", &url), required, ("GATEWAY_LISTEN", &listen)]).await.unwrap_err();
    assert!(matches!(failed, StartError::Unavailable(_)), "{failed:?}");
    let words = failed.to_string();
    assert_eq!(words.matches("127.0.0.1").count(), 1, "{words}");
    assert!(words.starts_with("redis_url: ") && words.contains("refused"), "{words}");
    assert!(tokio::net::TcpStream::connect(&listen).await.is_err(), "nothing is left of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_will_never_do_is_a_mistake_in_the_configuration() {
    let redis = Redis::start_with(&["--requirepass", "right"]).await;
    let at = |login: &str, rest: &str| redis.url().replace("redis://", &format!("redis://{login}")) + rest;
    let cases = [
        (at(":wrong@", ""), "WRONGPASS"),
        (at("", ""), "NOAUTH"),
        (at(":right@", "/16"), "out of range"),
        (at(":right@", "").replace("redis://", "rediss://"), "speaks no TLS"),
        (at(":right@", "").replace("redis://", "redis-cluster://"), "cluster support disabled"),
    ];
    for (url, why) in cases {
        let failed = start(&[("GATEWAY_REDIS_URL", &url)]).await.unwrap_err();
        let words = failed.to_string();
        assert!(matches!(failed, StartError::Configuration(_)), "{words}");
        assert!(words.starts_with("redis_url: ") && words.contains(why), "{words}");
        assert_eq!(words.matches("127.0.0.1").count(), 1, "{words}");
        assert!(!words.contains("right") && !words.contains("wrong"), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_are_not_safe_are_told() {
    let risk = |gateway: &Gateway, word: &str| metric(gateway, &format!("gateway_redis_unsafe{{setting=\"{word}\"}}"));
    let risks = |gateway: &Gateway| ["eviction", "persistence", "unbounded", "unknown"].map(|word| risk(gateway, word));
    let redis = Redis::start_with(&["--maxmemory", "100mb"]).await;
    let gateway = node(&[("GATEWAY_REDIS_URL", &redis.url())]).await;
    let unsafe_one = Redis::start_with(&["--appendonly", "no", "--maxmemory-policy", "allkeys-lru"]).await;
    let told = node(&[("GATEWAY_REDIS_URL", &unsafe_one.url())]).await;
    unsafe_one.command("ACL SETUSER narrow on >secret ~* &* +@all -@dangerous").await;
    let narrow = unsafe_one.url().replace("redis://", "redis://narrow:secret@");
    let blind = node(&[("GATEWAY_REDIS_URL", &narrow)]).await;
    eventually("an evicting policy, no file and no end are told", || async { risks(&told) == [1.0, 1.0, 1.0, 0.0] })
        .await;
    eventually("what may not be read is told", || async { risks(&blind) == [0.0, 0.0, 0.0, 1.0] }).await;
    assert_eq!(risks(&gateway), [0.0; 4]);
    unsafe_one.command("CONFIG SET maxmemory-policy noeviction").await;
    let url = unsafe_one.url();
    let bounded = node(&[("GATEWAY_REDIS_URL", &url), ("GATEWAY_LOG__MAX_BYTES", "1000000000")]).await;
    eventually("a limit of its own is one", || async { risks(&bounded) == [0.0, 1.0, 0.0, 0.0] }).await;
}
