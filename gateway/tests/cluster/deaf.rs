//! A node that hears nothing while others do is not ready, and where nobody does all stay so.

use std::time::Duration;

use gateway::app::Gateway;
use serde_json::json;
use tokio::time::Instant;

use crate::cluster;
use crate::support::client::Client;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::{self, eventually, http, metric};

/// Nodes that notice within a second that they hear nothing, unless something else is asked for; the last one reaches Redis at
/// another URL.
async fn nodes_with_one_apart(redis: &Redis, apart: &str, changes: &[(&str, &str)]) -> Vec<Gateway> {
    let quick = [
        ("GATEWAY_CANARY__INTERVAL", "100ms"),
        ("GATEWAY_CANARY__DEAF_AFTER", "1s"),
        ("GATEWAY_REDIS__TIMEOUT", "300ms"),
    ];
    let quick: Vec<_> = quick.into_iter().chain(changes.iter().copied()).collect();
    let mut nodes = cluster(redis, 2, &quick).await;
    let changes: Vec<_> = quick.into_iter().chain([("GATEWAY_REDIS_URL", apart)]).collect();
    nodes.push(support::node(&changes).await);
    nodes
}

async fn readiness(nodes: &[Gateway]) -> Vec<u16> {
    let mut answers = Vec::new();
    for node in nodes {
        answers.push(http("GET", node.admin_address, "/readyz", "").await.0);
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_from_redis_is_not_ready_unless_all_are() {
    let mut redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    let nodes = nodes_with_one_apart(&redis, &proxy.url(), &[]).await;
    eventually("it knows the others", || async { metric(&nodes[2], "gateway_hearing_peers") == 2.0 }).await;
    proxy.shut(true);
    eventually("the deaf one says so", || async { readiness(&nodes).await == [200, 200, 503] }).await;
    assert_eq!(metric(&nodes[2], "gateway_deaf"), 1.0);
    proxy.shut(false);
    eventually("it hears again", || async { readiness(&nodes).await == [200, 200, 200] }).await;
    redis.stop().await;
    // Long enough for each of them to ask the others several times: also the first that hears nothing finds nobody who does.
    eventually("nobody hears", || async {
        assert_eq!(readiness(&nodes).await, [200, 200, 200], "not even for a moment");
        nodes.iter().all(|node| metric(node, "gateway_canary_silence_seconds") > 3.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_redis_hangs_for_longer_than_what_proves_it_deaf_is_not_ready() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    let nodes = nodes_with_one_apart(&redis, &proxy.url(), &[("GATEWAY_REDIS__TIMEOUT", "2s")]).await;
    eventually("it knows the others", || async { metric(&nodes[2], "gateway_hearing_peers") == 2.0 }).await;
    proxy.shut(true);
    proxy.freeze();
    eventually("the deaf one says so", || async { readiness(&nodes).await == [200, 200, 503] }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_can_command_redis_but_hears_nothing_is_not_ready() {
    let redis = Redis::start().await;
    redis.command("ACL SETUSER half on >secret ~* &* +@all").await;
    let apart = redis.url().replace("redis://", "redis://half:secret@");
    let nodes = nodes_with_one_apart(&redis, &apart, &[]).await;
    assert_eq!(readiness(&nodes).await, [200, 200, 200]);
    redis.command("ACL SETUSER half resetchannels").await;
    eventually("the deaf one says so", || async { readiness(&nodes).await == [200, 200, 503] }).await;
    redis.command("ACL SETUSER half allchannels").await;
    eventually("it hears again", || async { readiness(&nodes).await == [200, 200, 200] }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hears_again_first_makes_no_other_node_deaf() {
    // After a restart one of them may command Redis and hears nothing, until it is allowed to.
    let mut redis = Redis::start_with(&["--user", "half", "on", ">secret", "~*", "+@all", "resetchannels"]).await;
    redis.command("ACL SETUSER half allchannels").await;
    let apart = redis.url().replace("redis://", "redis://half:secret@");
    let nodes = nodes_with_one_apart(&redis, &apart, &[("GATEWAY_CANARY__DEAF_AFTER", "12s")]).await;
    eventually("it knows the others", || async { metric(&nodes[2], "gateway_hearing_peers") == 2.0 }).await;
    let silence = |node: &Gateway| metric(node, "gateway_canary_silence_seconds");
    let ready = || async { assert_eq!(readiness(&nodes).await, [200, 200, 200], "not even for a moment") };
    redis.stop().await;
    eventually("nobody has heard for long", || async {
        ready().await;
        nodes.iter().all(|node| silence(node) > 12.5)
    })
    .await;
    redis.start_again().await;
    eventually("the others hear", || async {
        ready().await;
        nodes[..2].iter().all(|node| silence(node) < 1.0)
    })
    .await;
    // In this it sees that they do: it looks every second.
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        ready().await;
        assert!(silence(&nodes[2]) > 12.0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    redis.command("ACL SETUSER half allchannels").await;
    eventually("it hears, too", || async {
        ready().await;
        silence(&nodes[2]) < 1.0
    })
    .await;
    redis.command("ACL SETUSER half resetchannels").await;
    eventually("and if it does not, it says so", || async { readiness(&nodes).await == [200, 200, 503] }).await;
}

#[tokio::test]
async fn a_node_that_is_deaf_for_too_long_hands_its_clients_over_until_it_hears() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    let nodes = nodes_with_one_apart(&redis, &proxy.url(), &[("GATEWAY_CANARY__DRAIN_AFTER", "500ms")]).await;
    eventually("it knows the others", || async { metric(&nodes[2], "gateway_hearing_peers") == 2.0 }).await;
    let (mut stays, mut moves) = (Client::connect(nodes[0].address).await, Client::connect(nodes[2].address).await);
    stays.join("r").await;
    moves.join("r").await;
    proxy.shut(true);
    stays.publish("r", json!("missed")).await;
    assert_eq!(moves.text().await, None, "its transport is closed, and no word said");
    assert!(Client::try_connect(nodes[2].address, json!({})).await.is_err_and(|error| error.contains("503")));
    assert_eq!(metric(&nodes[2], "gateway_deaf_drains_total"), 1.0);
    let closed = "gateway_connections_closed_total{transport=\"websocket\",reason=\"draining\"}";
    assert_eq!(metric(&nodes[2], closed), 1.0);
    let mut moves = Client::come_back(nodes[1].address, &moves.pid, moves.offset.as_deref()).await;
    assert!(moves.recovered(), "{}", moves.hello);
    assert_eq!(moves.message().await.0, "missed");
    proxy.shut(false);
    eventually("it lets clients in again", || async { Client::try_connect(nodes[2].address, json!({})).await.is_ok() })
        .await;
    assert_eq!(metric(&nodes[2], "gateway_deaf_drains_total"), 1.0);
    assert_eq!(stays.message().await.0, "missed", "nobody else noticed");
}
