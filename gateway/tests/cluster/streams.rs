//! Emitters that write into a stream: each entry is kept once, whichever nodes die, and what is none is passed by.

use std::time::Duration;

use serde_json::json;

use crate::cluster;
use crate::emitters::{
    DURABLE, LEASE, QUIET, REDIS, STREAMS, add, all_are_quiet, broadcast, clients, emit, hear, hearing, refused, takes,
};
use crate::support::client::Client;
use crate::support::process::Process;
use crate::support::redis::Redis;
use crate::support::{eventually, metric};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_in_its_turn_is_followed_by_another() {
    let redis = Redis::start().await;
    let url = redis.url();
    let settings = |name| [("GATEWAY_REDIS_URL", &*url), ("GATEWAY_NODE_NAME", name), REDIS, DURABLE, STREAMS, LEASE];
    let victim = Process::start(&settings("victim"), None, None);
    let taken = "this node takes what emitters say into the log";
    eventually("it takes", || async { victim.log().contains(taken) }).await;
    let nodes = cluster(&redis, 2, &[REDIS, DURABLE, STREAMS, LEASE]).await;
    let mut client = Client::connect(nodes[0].address).await;
    client.join("r").await;
    // A producer that does not know of any of this.
    let producer = tokio::spawn({
        let port = redis.port();
        async move { produce(port, 1500).await }
    });
    assert_eq!(client.event().await[1], json!(0));
    tokio::time::sleep(Duration::from_millis(300)).await;
    victim.signal("-KILL");
    producer.await.unwrap();
    for number in 1..1500 {
        assert_eq!(client.event().await[1], json!(number), "each entry of the stream is kept once, in order");
    }
    assert!(client.is_quiet(QUIET).await);
    eventually("all is acknowledged, by one node", || async {
        redis.command("XPENDING socket.io gateway").await.starts_with("*4\r\n:0\r\n")
    })
    .await;
    eventually("who died is forgotten", || async {
        !redis.command("XINFO CONSUMERS socket.io gateway").await.contains("victim")
    })
    .await;
    assert_eq!((takes(&nodes, "channels").len(), takes(&nodes, "stream").len()), (1, 1));
    emit(&redis, json!(["after", 1]), json!({ "rooms": ["r"] })).await;
    assert_eq!(client.event().await[0], "after");
}

/// Adds entries, each with its number, some of them in transactions of ten.
async fn produce(port: u16, count: usize) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut answer = vec![0; 4096];
    for number in 0..count {
        let data = broadcast(json!(["n", number]), json!(["r"])).to_string();
        let parts = ["XADD", "socket.io", "*", "uid", "emitter", "nsp", "/", "type", "3", "data", &data];
        let mut command = format!("*{}\r\n", parts.len());
        for part in parts {
            command.push_str(&format!("${}\r\n{part}\r\n", part.len()));
        }
        stream.write_all(command.as_bytes()).await.unwrap();
        assert!(stream.read(&mut answer).await.unwrap() > 0);
        if number % 3 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_node_took_and_did_not_acknowledge_is_kept_once_and_first() {
    let redis = Redis::start().await;
    redis.command("XGROUP CREATE socket.io gateway $ MKSTREAM").await;
    for number in 0..3 {
        add(&redis, "3", &broadcast(json!(["n", number]), json!(["r"]))).await;
    }
    // Somebody took two of them and died: of one it is not known whether it is kept, and it is.
    redis.command("XREADGROUP GROUP gateway dead COUNT 2 STREAMS socket.io >").await;
    let nodes = cluster(&redis, 1, &[]).await;
    let mut client = Client::connect(nodes[0].address).await;
    client.join("r").await;
    let listens = cluster(&redis, 2, &[STREAMS, LEASE]).await;
    for number in 0..3 {
        assert_eq!(client.event().await[1], json!(number));
    }
    // As if the acknowledgement of the last had been lost.
    let id = add(&redis, "3", &broadcast(json!(["n", 3]), json!(["r"]))).await;
    assert_eq!(client.event().await[1], json!(3));
    redis.command(&format!("XCLAIM socket.io gateway dead 0 {id} FORCE JUSTID")).await;
    let taking = takes(&listens, "stream")[0];
    let mut listens = listens;
    listens.remove(taking).stop().await;
    eventually("another node took over", || async { takes(&listens, "stream").len() == 1 }).await;
    eventually("all is acknowledged", || async {
        redis.command("XPENDING socket.io gateway").await.starts_with("*4\r\n:0\r\n")
    })
    .await;
    assert!(client.is_quiet(QUIET).await, "it is in the log once");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_the_stream_need_not_hear_channels_that_are_not_kept() {
    let redis = Redis::start().await;
    let nodes = hearing(&redis, 2, &[REDIS, STREAMS, LEASE]).await;
    eventually("one node takes the stream", || async { takes(&nodes, "stream").len() == 1 }).await;
    let before = takes(&nodes, "stream");
    let mut clients = clients(&nodes, &[&["r"], &["r"]]).await;
    redis.command("CLIENT KILL TYPE pubsub").await;
    eventually("all listen again", || async {
        redis.command("CLIENT LIST TYPE pubsub").await.matches(" psub=2 ").count() == 2
    })
    .await;
    add(&redis, "3", &broadcast(json!(["entry", 1]), json!(["r"]))).await;
    hear(&mut clients, &[0, 1], &json!(["entry", 1])).await;
    emit(&redis, json!(["said", 1]), json!({ "rooms": ["r"] })).await;
    hear(&mut clients, &[0, 1], &json!(["said", 1])).await;
    assert_eq!(takes(&nodes, "stream"), before, "it is the same turn");
    assert_eq!(takes(&nodes, "channels"), [0_usize; 0], "nobody takes what is not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_none_is_counted_and_passed_by() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &[STREAMS, LEASE]).await;
    let mut clients = clients(&nodes, &[&["r"], &["r"]]).await;
    redis.command("XADD socket.io * foo bar").await;
    for _ in 0..3 {
        redis.send(&[b"XADD", b"socket.io", b"*", b"data", &vec![b'x'; 3 * 1024 * 1024]]).await;
    }
    add(&redis, "3", &json!({ "packet": 7 })).await;
    add(&redis, "3", &broadcast(json!(["disconnect"]), json!(["r"]))).await;
    add(&redis, "9", &json!({ "packet": ["x"] })).await;
    // A server with the adapter of that name tells the others of itself.
    add(&redis, "2", &json!({})).await;
    add(&redis, "4", &json!({ "opts": { "rooms": ["r"], "except": [], "flags": {} }, "rooms": ["moved"] })).await;
    eventually("it is passed on to every node", || async {
        redis.command("PUBSUB NUMSUB gateway:room:moved").await.contains(":2")
    })
    .await;
    let sid = clients[1].sid.clone();
    add(&redis, "3", &broadcast(json!(["good", 1]), json!(["moved"]))).await;
    hear(&mut clients, &[0, 1], &json!(["good", 1])).await;
    add(&redis, "3", &broadcast(json!(["alone", 1]), json!([sid]))).await;
    hear(&mut clients, &[1], &json!(["alone", 1])).await;
    all_are_quiet(&mut clients).await;
    for (reason, count) in [("malformed", 2.0), ("too_large", 3.0), ("bad_event", 1.0), ("unsupported", 1.0)] {
        assert_eq!(refused(&nodes, "streams", reason).await, count, "{reason}");
    }
    let ignored = "gateway_emitters_heard_total{dialect=\"streams\",what=\"ignored\"}";
    assert_eq!(nodes.iter().map(|node| metric(node, ignored)).sum::<f64>(), 1.0);
    eventually("all is acknowledged", || async {
        redis.command("XPENDING socket.io gateway").await.starts_with("*4\r\n:0\r\n")
    })
    .await;
    // The stream is deleted, and there is a new one: nobody missed anything.
    redis.command("DEL socket.io").await;
    add(&redis, "3", &broadcast(json!(["anew", 1]), json!(["r"]))).await;
    hear(&mut clients, &[0, 1], &json!(["anew", 1])).await;
}
