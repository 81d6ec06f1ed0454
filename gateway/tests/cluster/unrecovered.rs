//! Recovery that cannot be had, or not whole: clients are told why, whatever was lost and whoever was away.

use std::time::Duration;

use serde_json::{Value, json};

use crate::recovery::{cluster, cut, gone};
use crate::support::client::Client;
use crate::support::redis::Redis;
use crate::support::{eventually, metric, node};

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recovered_is_told_with_the_reason() {
    let node = node(&[("GATEWAY_LOG__ROOM_EVENTS", "10"), ("GATEWAY_RECOVERY__MAX_EVENTS", "8")]).await;
    let mut speaker = Client::connect(node.address).await;
    speaker.join("r").await;
    let unrecovered = async |pid: Value, offset: Value, reason: &str| {
        let mut client = Client::try_connect(node.address, json!({ "pid": pid, "offset": offset })).await.unwrap();
        assert_eq!(client.hello[1]["recovered"], false, "{reason}");
        assert_eq!(client.hello[1]["reason"], reason);
        assert_ne!(json!(client.pid), pid);
        assert!(client.is_quiet(Duration::from_millis(50)).await, "never a part of it");
        assert_eq!(client.ask("publish", json!({ "room": "r", "data": 1 })).await["error"]["code"], "not_in_room");
    };
    let member = async || {
        let mut client = Client::connect(node.address).await;
        client.join("r").await;
        cut(client)
    };
    unrecovered(json!("0".repeat(32)), json!("1"), "unknown").await;
    unrecovered(json!({ "a": 1 }), json!("1"), "unknown").await;
    for offset in [json!("-1"), json!("NaN"), json!(12), json!([]), json!("1".repeat(50_000))] {
        let (pid, _) = member().await;
        unrecovered(json!(pid), offset, "offset").await;
    }
    let (pid, _) = member().await;
    unrecovered(json!(pid), json!("18446744073709551615"), "offset").await;
    let (pid, _) = member().await;
    for number in 0..9 {
        speaker.publish("r", json!(number)).await;
    }
    unrecovered(json!(pid), json!("0"), "too_much").await;
    let (pid, _) = member().await;
    for number in 0..11 {
        speaker.publish("r", json!(number)).await;
    }
    unrecovered(json!(pid), json!("0"), "retention").await;
    unrecovered(json!(pid), json!("0"), "unknown").await;
    for reason in ["unknown", "offset", "too_much", "retention"] {
        assert!(metric(&node, &format!("gateway_recoveries_total{{result=\"{reason}\"}}")) >= 1.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_forgotten_after_the_window_and_after_a_deliberate_end() {
    let node = node(&[("GATEWAY_RECOVERY__WINDOW", "400ms")]).await;
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    // Longer than the window: while it is connected the session is kept.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let (pid, offset) = cut(client);
    let client = Client::come_back(node.address, &pid, offset.as_deref()).await;
    assert!(client.recovered());
    let (pid, offset) = cut(client);
    gone(&node, 0).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(!Client::come_back(node.address, &pid, offset.as_deref()).await.recovered());

    let mut leaver = Client::connect(node.address).await;
    leaver.join("r").await;
    leaver.send("41").await;
    assert_eq!(leaver.text().await, None);
    let back = Client::come_back(node.address, &leaver.pid, leaver.offset.as_deref()).await;
    assert_eq!(back.hello[1]["reason"], "unknown", "who leaves on purpose does not come back to where it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_a_client_keeps_what_it_needs_to_come_back() {
    let mut redis = Redis::start().await;
    let nodes = cluster(&redis, &[("GATEWAY_REDIS__TIMEOUT", "300ms")]).await;
    let mut client = Client::connect(nodes[0].address).await;
    client.join("r").await;
    client.publish("r", json!(1)).await;
    client.message().await;
    redis.stop().await;
    let (pid, offset) = cut(client);
    let auth = json!({ "pid": pid, "offset": offset });
    let closed = Client::try_connect(nodes[1].address, auth.clone()).await;
    assert_eq!(closed.err().as_deref(), Some("closed before it was connected"), "no refusal that would be final");
    redis.start_again().await;
    eventually("it comes back", || async {
        Client::try_connect(nodes[1].address, auth.clone()).await.is_ok_and(|client| client.recovered())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_that_a_join_misses_something_and_breaks_off_before_that_is_not_recovered() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, &[]).await;
    let mut client = Client::connect(nodes[0].address).await;
    // Cut off before the notice and the answer can be read, but not before the session is in the room.
    client.send(r#"420["join",{"room":"r","after":"18446744073709551615"}]"#).await;
    // Its record is stored for the second time then.
    let script = "return redis.call('HGET', redis.call('KEYS', 'gateway:session:*')[1], 'v')";
    let version = async || {
        let answer = redis.command(&format!("EVAL \"{script}\" 0")).await;
        answer.lines().nth(1).and_then(|version| version.parse::<u32>().ok())
    };
    let joined = || async { version().await >= Some(2) };
    eventually("the session is in the room", joined).await;
    let (pid, offset) = cut(client);
    let back = Client::come_back(nodes[1].address, &pid, offset.as_deref()).await;
    assert!(!back.recovered(), "{}", back.hello);
    assert_eq!(back.hello[1]["reason"], "interrupted");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_after_a_power_cut_is_told_that_something_is_gone() {
    let mut redis = Redis::start().await;
    let nodes = cluster(&redis, &[]).await;
    let (mut member, mut speaker) = (Client::connect(nodes[0].address).await, Client::connect(nodes[1].address).await);
    member.join("r").await;
    speaker.join("r").await;
    for number in 0..3 {
        speaker.publish("r", json!(number)).await;
        member.message().await;
    }
    let disk = redis.on_disk();
    let lost = speaker.publish("r", json!("lost")).await;
    member.message().await;
    let (pid, offset) = cut(member);
    redis.kill();
    drop(speaker);
    drop(nodes);
    redis.go_back(&disk);
    redis.start_again().await;
    let nodes = cluster(&redis, &[]).await;
    let mut speaker = Client::connect(nodes[0].address).await;
    speaker.join("r").await;
    let new = speaker.publish("r", json!("new")).await;
    assert!(new.parse::<u64>().unwrap() > lost.parse::<u64>().unwrap(), "no offset is given twice");
    let back = Client::come_back(nodes[1].address, &pid, offset.as_deref()).await;
    assert!(!back.recovered(), "{}", back.hello);
    assert_eq!(back.hello[1]["reason"], "history");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_redis_lost_in_a_power_cut_is_told_or_made_good() {
    let mut redis = Redis::start().await;
    let nodes = cluster(&redis, &[]).await;
    let mut gone_soon = Client::connect(nodes[0].address).await;
    let mut stays = Client::connect(nodes[0].address).await;
    for client in [&mut gone_soon, &mut stays] {
        client.join("kept").await;
    }
    let disk = redis.on_disk();
    for client in [&mut gone_soon, &mut stays] {
        client.join("lost").await;
    }
    redis.kill();
    redis.go_back(&disk);
    redis.start_again().await;
    // Nobody published anything, and the records know one room.
    let (pid, offset) = cut(gone_soon);
    let back = Client::come_back(nodes[1].address, &pid, offset.as_deref()).await;
    assert!(!back.recovered(), "{}", back.hello);
    assert_eq!(back.hello[1]["reason"], "history");
    // Who was connected all the time is told once that something may be missing, and its record is stored again.
    let mut told = Vec::new();
    for _ in 0..3 {
        let event = stays.event().await;
        assert_eq!(event[0], "gateway:gap", "{event}");
        told.push(event[1]["room"].to_string());
    }
    told.sort_unstable();
    assert_eq!(told, ["\"kept\"", "\"lost\"", "null"], "the last is what everybody hears");
    stays.publish("lost", json!("after")).await;
    let (_, heard) = stays.message().await;
    let stored = || async {
        let keys = redis.command("KEYS gateway:session:*").await;
        let mut stored = 0;
        for key in keys.lines().filter(|line| line.starts_with("gateway:")) {
            stored += usize::from(redis.command(&format!("HGET {key} r")).await.contains("lost"));
        }
        stored == 1
    };
    eventually("it is stored again", stored).await;
    let (pid, _) = cut(stays);
    let back = Client::come_back(nodes[1].address, &pid, Some(&heard.to_string())).await;
    assert!(back.recovered(), "{}", back.hello);
    assert_eq!(back.hello[1]["rooms"].as_array().map(Vec::len), Some(2), "{}", back.hello);
}
