//! What was begun and given up: recoveries and joins that fail midway leave nothing in the node, nor in Redis. What Redis lost
//! of who is where comes back.

use gateway::app::Gateway;
use serde_json::json;

use crate::support::client::Client;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::{PATIENCE, eventually, metric, node};

/// Rooms whose channels somebody listens to; not the canary's, nor those of a namespace.
async fn channels(redis: &Redis) -> usize {
    let answer = redis.command("PUBSUB CHANNELS gateway:room:many-*").await;
    answer.lines().filter(|line| line.starts_with("gateway:room:")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_that_fails_midway_leaves_no_room_that_is_listened_to() {
    let redis = Redis::start().await;
    let url = redis.url();
    let node = node(&[("GATEWAY_REDIS_URL", &url), ("GATEWAY_ROOMS__LINGER", "100ms")]).await;
    for round in 0..4 {
        let mut client = Client::connect(node.address).await;
        for number in 0..12 {
            client.join(&format!("many-{round}-{number}")).await;
        }
        client.join(&format!("unreadable-{round}")).await;
        let pid = client.pid.clone();
        drop(client);
        eventually("nobody is left", || async { node.sessions() == 0 && channels(&redis).await == 0 }).await;
        // All logs can be read but one.
        let all_but_one = "~gateway:[^l]* ~gateway:log:[^r]* ~gateway:log:room:[^u]*";
        assert_eq!(redis.command(&format!("ACL SETUSER default resetkeys {all_but_one}")).await, "+OK\r\n");
        let back = Client::try_connect(node.address, json!({ "pid": pid, "offset": "0" })).await;
        assert!(back.is_err(), "it is put off");
        assert_eq!(redis.command("ACL SETUSER default allkeys").await, "+OK\r\n");
        // It lost nothing by that.
        let back = Client::come_back(node.address, &pid, Some("0")).await;
        assert!(back.recovered());
        assert_eq!(back.hello[1]["rooms"].as_array().unwrap().len(), 13);
        drop(back);
    }
    let clean = || async { channels(&redis).await == 0 && metric(&node, "gateway_subscriptions") == 0.0 };
    eventually("nothing is listened to", clean).await;
    assert_eq!(metric(&node, "gateway_rooms"), 0.0);
    node.stop().await;
}

const ROUTES: &str = r#"
[[route]]
event = "sit"
action = "join"
room = "{arg.room}"
presence = true
capacity = 1

[[route]]
event = "play"
action = "join"
room = "game:{number}"
auto = true
presence = true
capacity = 1
"#;

/// A node with rooms for one.
async fn for_one(url: &str, more: &[(&str, &str)]) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, ROUTES).unwrap();
    let short = [("GATEWAY_PRESENCE__LEASE", "3s"), ("GATEWAY_REDIS__TIMEOUT", "500ms")];
    let base = [("GATEWAY_LISTEN", "127.0.0.1:0"), ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"), ("GATEWAY_DATA_DIR", "")];
    let own = [("GATEWAY_REDIS_URL", url)];
    let environment =
        base.iter().chain(&short).chain(&own).chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let config = gateway_core::config::load(Some(&file), environment).unwrap();
    Gateway::start(config, 20_000).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_that_was_taken_without_an_answer_is_given_up() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    let node = for_one(&proxy.url(), &[]).await;
    let members = |place: &str| {
        let command = format!("ZCARD gateway:presence:members:{place}");
        let redis = &redis;
        async move { redis.command(&command).await }
    };
    let mut client = Client::connect(node.address).await;
    for (event, argument, place) in [("sit", json!({ "room": "bench" }), "bench"), ("play", json!({}), "game:1")] {
        // Which script loses its answer is not certain; the seat's is the first of a join's.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            proxy.lose_an_answer();
            let answer = client.ask(event, argument.clone()).await;
            if answer["ok"] == false {
                assert_eq!(answer["error"]["code"], "unavailable", "{answer}");
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "no answer was lost");
            let left = client.ask("leave", json!({ "room": answer["room"] })).await;
            assert_eq!(left["ok"], true, "{left}");
        }
        // Its client goes on living, and so does the node.
        eventually("the seat is free again", || async { members(place).await == ":0\r\n" }).await;
        let mut other = Client::connect(node.address).await;
        assert_eq!(other.ask(event, argument).await["room"], place);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_that_redis_lost_is_taken_again() {
    let redis = Redis::start().await;
    let node = for_one(&redis.url(), &[]).await;
    let mut client = Client::connect(node.address).await;
    assert_eq!(client.ask("sit", json!({ "room": "bench" })).await["ok"], true);
    // As after a failover to a replica that was a little behind.
    assert_eq!(redis.command("DEL gateway:presence:members:bench gateway:presence:place:bench").await, ":2\r\n");
    redis.command("CLIENT KILL TYPE normal SKIPME yes").await;
    let is_there = || async { redis.command("ZCARD gateway:presence:members:bench").await == ":1\r\n" };
    // Sooner than by looking without a reason.
    eventually("it is there again", is_there).await;
    assert_eq!(metric(&node, "gateway_presence_mended_total{what=\"entered\"}"), 1.0);
    eventually("and counted", || async { metric(&node, "gateway_presence_entries") >= 1.0 }).await;
    assert_eq!(client.ask("leave", json!({ "room": "bench" })).await["ok"], true);
    assert_eq!(redis.command("ZCARD gateway:presence:members:bench").await, ":0\r\n");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_that_redis_lost_with_its_session_is_taken_again_when_that_is_stored_again() {
    let redis = Redis::start().await;
    // Sessions are renewed four times within it. By then it was long looked for what is missing.
    let node = for_one(&redis.url(), &[("GATEWAY_RECOVERY__WINDOW", "30s")]).await;
    let mut client = Client::connect(node.address).await;
    assert_eq!(client.ask("sit", json!({ "room": "bench" })).await["ok"], true);
    let lost = "return redis.call('DEL', unpack(redis.call('KEYS', ARGV[1])))";
    for keys in ["gateway:presence:*:bench", "gateway:session:*"] {
        let answer = redis.command(&format!("EVAL \"{lost}\" 0 {keys}")).await;
        assert!(answer.starts_with(':') && answer != ":0\r\n", "{keys}: {answer}");
    }
    redis.command("CLIENT KILL TYPE normal SKIPME yes").await;
    let began = tokio::time::Instant::now();
    let is_there = || async { redis.command("ZCARD gateway:presence:members:bench").await == ":1\r\n" };
    eventually("it is there again", is_there).await;
    let took = began.elapsed();
    assert!(took < std::time::Duration::from_secs(16), "found by looking without a reason: {took:?}");
    node.stop().await;
}
