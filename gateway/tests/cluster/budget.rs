//! Redis that gets full: one user cannot fill it, and when it is full after all, clients are told before Redis says so.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway::app::Gateway;
use gateway_core::auth::{Grant, mint};
use gateway_core::domain::UserId;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cluster;
use crate::support::client::Client;
use crate::support::redis::Redis;
use crate::support::{self, eventually, metric};

const SECRETS: (&str, &str) = ("GATEWAY_AUTH__SECRET", "a secret of at least thirty-two bytes");
const SMALL: [&str; 4] = ["--maxmemory", "32mb", "--maxmemory-policy", "noeviction"];

async fn client(gateway: &Gateway, user: &str) -> Client {
    let grant = Grant::new(UserId::parse(user).unwrap(), Duration::from_secs(600));
    let token = mint(&support::config(&[SECRETS]).auth, &grant).unwrap();
    Client::try_connect(gateway.address, json!({ "token": token })).await.unwrap()
}

/// Joins rooms and publishes to them in turn, until it is told to stop; returns what it was told, and how often.
async fn flood(mut client: Client, name: String, stop: CancellationToken) -> BTreeMap<String, u32> {
    let (mut told, mut number) = (BTreeMap::new(), 0);
    let data = "x".repeat(60_000);
    while !stop.is_cancelled() {
        let room = format!("{name} {}", number % 50);
        if number < 50 {
            client.join(&room).await;
        }
        number += 1;
        let ack = client.ask("publish", json!({ "room": room, "data": data })).await;
        let code = ack["error"]["code"].as_str().unwrap_or("ok").to_owned();
        let refused = code != "ok";
        if refused {
            assert!(ack["error"]["retryAfterMs"].as_u64().unwrap() > 0, "{ack}");
        }
        *told.entry(code).or_default() += 1;
        // A client that is told to wait and does not is closed in the end, which is another test.
        tokio::time::sleep(Duration::from_millis(if refused { 100 } else { 0 })).await;
    }
    told
}

fn log_bytes(gateway: &Gateway) -> (f64, f64) {
    (metric(gateway, "gateway_log_bytes"), metric(gateway, "gateway_log_bytes_limit"))
}

async fn publish(client: &mut Client, room: &str) -> Value {
    client.ask("publish", json!({ "room": room, "data": "hello" })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_floods_is_refused_and_nobody_else_is() {
    let redis = Redis::start_with(&SMALL).await;
    let nodes = cluster(
        &redis,
        2,
        &[
            SECRETS,
            ("GATEWAY_LIMITS__USER_KEPT_BYTES_PER_SECOND", "65536"),
            ("GATEWAY_LIMITS__USER_KEPT_BYTES_BURST", "4194304"),
            ("GATEWAY_LIMITS__USER_NEW_ROOMS_PER_SECOND", "1"),
            ("GATEWAY_LIMITS__USER_NEW_ROOMS_BURST", "30"),
        ],
    )
    .await;
    let stop = CancellationToken::new();
    let mut floods = Vec::new();
    for number in 0..4 {
        let mallory = client(&nodes[number % 2], "mallory").await;
        floods.push(tokio::spawn(flood(mallory, format!("flood {number}"), stop.clone())));
    }
    let mut others = [client(&nodes[0], "alice").await, client(&nodes[1], "bob").await];
    for other in &mut others {
        other.join("talk").await;
    }
    let denied = |limiter: &str| {
        let series = format!("gateway_rate_limit_decisions_total{{limiter=\"{limiter}\",decision=\"deny\"}}");
        nodes.iter().all(|node| metric(node, &series) > 10.0)
    };
    let deadline = tokio::time::Instant::now() + support::PATIENCE;
    while !(denied("user_kept_bytes") && denied("user_new_rooms")) {
        assert!(tokio::time::Instant::now() < deadline, "the flood is not refused");
        for other in &mut others {
            other.publish("talk", json!("hello")).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.cancel();
    for flood in floods {
        let told = flood.await.unwrap();
        assert!(
            told.keys().all(|code| ["ok", "too_much_kept", "too_many_new_rooms"].contains(&code.as_str())),
            "{told:?}"
        );
        assert!(told.len() > 1, "{told:?}");
    }
    let (bytes, limit) = log_bytes(&nodes[0]);
    assert!(bytes > 0.0 && bytes < limit, "{bytes} of {limit}");
    assert!(nodes.iter().all(|node| metric(node, "gateway_log_new_rooms_total") > 10.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_is_told_before_it_says_so_and_time_heals_it() {
    let redis = Redis::start_with(&SMALL).await;
    // Others' data: what is left is filled within the retention on a slow machine, too.
    redis.command("SETRANGE others 16000000 x").await;
    let settings = [
        SECRETS,
        ("GATEWAY_LOG__ROOM_RETENTION", "4s"),
        ("GATEWAY_LOG__DEDUPE_WINDOW", "4s"),
        ("GATEWAY_LIMITS__REFUSALS_PER_SECOND", "0"),
    ];
    let nodes = cluster(&redis, 2, &settings).await;
    let mut alice = client(&nodes[0], "alice").await;
    alice.join("talk").await;
    let stop = CancellationToken::new();
    let mut floods = Vec::new();
    for number in 0..6 {
        let mallory = client(&nodes[number % 2], "mallory").await;
        floods.push(tokio::spawn(flood(mallory, format!("flood {number}"), stop.clone())));
    }
    let mut refused = Value::Null;
    let deadline = tokio::time::Instant::now() + support::PATIENCE;
    while refused.is_null() {
        assert!(tokio::time::Instant::now() < deadline, "it is never full: {:?}", log_bytes(&nodes[0]));
        let ack = publish(&mut alice, "talk").await;
        refused = ack["error"]["code"].clone();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(refused, "log_full");
    // What is not an event of a client goes on: sessions come, join, come back, and signal.
    let mut bob = client(&nodes[1], "bob").await;
    bob.join("talk").await;
    assert_eq!(alice.ask("signal", json!({ "room": "talk", "event": "wave", "data": 1 })).await["ok"], true);
    let mut event = bob.event().await;
    while event[0] != "wave" {
        event = bob.event().await;
    }
    stop.cancel();
    for flood in floods {
        let told = flood.await.unwrap();
        assert!(told.keys().all(|code| code == "ok" || code == "log_full"), "{told:?}");
    }
    eventually("what is too old is gone", || async { redis.command("KEYS gateway:log:room:flood*").await == "*0\r\n" })
        .await;
    let deadline = tokio::time::Instant::now() + support::PATIENCE;
    while publish(&mut alice, "talk").await["ok"] != true {
        assert!(tokio::time::Instant::now() < deadline, "it stays full: {:?}", log_bytes(&nodes[0]));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let errors = redis.command("INFO errorstats").await;
    assert!(!errors.contains("errorstat_OOM"), "Redis itself had to refuse: {errors}");
    for node in &nodes {
        assert!(metric(node, "gateway_refusals_total{code=\"log_full\"}") > 0.0);
        eventually("it is told that there is room", || async {
            let (bytes, limit) = log_bytes(node);
            bytes > 0.0 && bytes < limit
        })
        .await;
    }
}
