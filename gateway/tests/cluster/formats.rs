//! Nodes of two versions side by side: what one writes the others read, or members are told.

use std::sync::Arc;

use gateway_core::bus::{Bus, RedisBus};
use gateway_core::domain::Event;
use gateway_core::formats::Format;
use gateway_core::metrics::Metrics;
use gateway_core::supervisor::Supervisor;
use serde_json::json;
use tokio::sync::mpsc;

use crate::cluster;
use crate::support::client::Client;
use crate::support::redis::Redis;
use crate::support::{config, eventually, metric};

/// The first byte of the record of a client's session.
async fn format_of_record(redis: &Redis) -> Option<u8> {
    let keys = redis.command("KEYS gateway:session:*").await;
    let key = keys.lines().find(|line| line.starts_with("gateway:session:"))?.to_owned();
    let format = redis.command(&format!("EVAL \"return string.byte(redis.call('HGET', KEYS[1], 'r'))\" 1 {key}")).await;
    format.trim().strip_prefix(':')?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_write_what_the_oldest_of_them_reads() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &[]).await;
    let all_write = |format: Format| {
        let nodes = &nodes;
        move || async move { nodes.iter().all(|node| metric(node, "gateway_format") == f64::from(format.number())) }
    };
    eventually("all write the newest", all_write(Format::NEWEST)).await;
    let mut client = Client::connect(nodes[0].address).await;
    client.join("r").await;
    assert_eq!(format_of_record(&redis).await, Some(Format::NEWEST.number()));
    // A node of the version before is known by nothing but that it is one of the nodes.
    let settings = config(&[]).redis;
    let older = RedisBus::connect(&redis.url(), &settings, Arc::new(Metrics::new()), &Supervisor::default()).await;
    let (older, (sink, _silent)) = (older.unwrap(), mpsc::channel(1));
    older.subscribe("gateway:nodes", sink).await.unwrap();
    eventually("all write the oldest", all_write(Format::OLDEST)).await;
    eventually("what is there is written anew", || async {
        format_of_record(&redis).await == Some(Format::OLDEST.number())
    })
    .await;
    // Until it has gone.
    older.unsubscribe("gateway:nodes").await;
    eventually("all write the newest again", all_write(Format::NEWEST)).await;
    client.publish("r", json!("on")).await;
    assert_eq!(client.message().await.0, "on");
    assert_eq!(format_of_record(&redis).await, Some(Format::OLDEST.number()), "it is read as well, and stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_this_version_cannot_read_is_told_and_not_skipped() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &[]).await;
    let (mut one, mut two) = (Client::connect(nodes[0].address).await, Client::connect(nodes[1].address).await);
    for room in ["r", "other"] {
        one.join(room).await;
        two.join(room).await;
    }
    let place = one.publish("r", json!("before")).await.parse::<u64>().unwrap();
    for client in [&mut one, &mut two] {
        assert_eq!(client.message().await.0, "before");
    }
    // As a node would append it that writes events in a form of which nobody here knows.
    let script = "local place = string.match(redis.call('GET', KEYS[2]), '^%x+') \
                  local offset = string.format('%.0f', redis.call('GET', KEYS[1]) + 1) redis.call('SET', KEYS[1], offset) \
                  redis.call('XADD', KEYS[3], offset .. '-0', 'e', '\\200unknown') \
                  redis.call('PUBLISH', KEYS[4], 'E' .. place .. offset .. ':\\200unknown') return 'done'";
    let keys = "gateway:log:offset gateway:log:epoch gateway:log:room:r gateway:room:r";
    let done = redis.command(&format!("EVAL \"{script}\" 4 {keys}")).await;
    assert!(done.contains("done"), "{done}");
    for client in [&mut one, &mut two] {
        let told = client.event().await;
        assert_eq!(
            (&told[0], &told[1]["room"], &told[1]["reason"]),
            (&json!("gateway:gap"), &json!("r"), &json!("unreadable"))
        );
        // Others of the room may come before it.
        let through = told[1]["through"].as_str().unwrap().parse::<u64>().unwrap();
        assert!(through > place, "{told}");
    }
    one.publish("other", json!("unharmed")).await;
    assert_eq!(two.message().await.0, "unharmed");
}

#[test]
fn the_forms_of_this_version_stay_as_they_are() {
    // Whoever changes them adds a format, or nodes of the version before cannot read what this one writes.
    let event = Event { name: "n".into(), args: "[1]".into(), attachments: Vec::new(), except: None, at_ms: 7 };
    assert_eq!(event.encode(), b"\x01\x95\xa1n\xa3[1]\x90\xc0\x07");
}
