//! What a client sent before its connection was over: it is done as if it were still there, but not for ever.

use std::time::Duration;

use futures_util::SinkExt;
use gateway::app::Gateway;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::Client;
use crate::support::{NO_LIMITS, eventually, metric, node};

/// Fewer than make a client wait.
const EVENTS: u64 = 30;

/// Publishes, and goes with the same write.
async fn say_and(client: &mut Client, end: Option<Message>) {
    for number in 0..EVENTS {
        let packet = format!("42{}", json!(["publish", { "room": "r", "data": number }]));
        client.socket.feed(Message::text(packet)).await.unwrap();
    }
    if let Some(end) = end {
        client.socket.feed(end).await.unwrap();
    }
    client.socket.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_an_end_is_said_and_only_who_left_does_not_come_back() {
    let node = node(&[]).await;
    let mut hears = Client::connect(node.address).await;
    hears.join("r").await;
    let ends = [
        ("it leaves", Some(Message::text("41")), false),
        ("it closes", Some(Message::Close(None)), true),
        ("it breaks off", None, true),
    ];
    for (what, end, comes_back) in ends {
        for _ in 0..5 {
            let mut client = Client::connect(node.address).await;
            client.join("r").await;
            let (pid, offset) = (client.pid.clone(), client.publish("r", json!("first")).await);
            assert_eq!(hears.message().await.0, json!("first"));
            say_and(&mut client, end.clone()).await;
            let left = end.is_some().then_some(client);
            for number in 0..EVENTS {
                assert_eq!(hears.message().await.0, json!(number), "{what}");
            }
            eventually("it is gone", || async { node.sessions() == 1 }).await;
            let mut back = Client::come_back(node.address, &pid, Some(&offset)).await;
            assert_eq!(back.recovered(), comes_back, "{what}: {}", back.hello);
            if comes_back {
                for number in 0..EVENTS {
                    assert_eq!(back.message().await.0, json!(number), "{what}: once, and in order");
                }
            }
            back.send("41").await;
            drop((left, back));
            eventually("both are gone", || async { node.sessions() == 1 }).await;
        }
    }
    assert_eq!(metric(&node, "gateway_refusals_total{code=\"not_in_room\"}"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_left_hears_nothing_more_although_its_events_are_still_handled() {
    let (node, _back_end) = node_that_waits().await;
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    client.socket.feed(Message::text(r#"42["wait"]"#)).await.unwrap();
    client.socket.feed(Message::text("41")).await.unwrap();
    client.socket.flush().await.unwrap();
    eventually("it is not connected", || async { node.sessions() == 0 }).await;
    // The same connection, to which the session before would be handed what its room says.
    client.send("40").await;
    while client.text().await.unwrap().strip_prefix("42[\"gateway:session\"").is_none() {}
    let mut other = Client::connect(node.address).await;
    other.join("r").await;
    other.publish("r", json!("not for who left")).await;
    assert!(client.is_quiet(Duration::from_millis(500)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_left_is_out_of_its_rooms_however_long_its_events_take() {
    let (node, _back_end) = node_that_waits().await;
    let listened = || metric(&node, "gateway_subscriptions");
    let before = listened();
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    assert!(listened() > before);
    client.socket.feed(Message::text(r#"42["wait"]"#)).await.unwrap();
    client.socket.feed(Message::text("41")).await.unwrap();
    client.socket.flush().await.unwrap();
    let left = Instant::now();
    eventually("it is not connected", || async { node.sessions() == 0 }).await;
    assert!(left.elapsed() < Duration::from_secs(3), "that does not wait");
    eventually("nobody is in the room", || async { listened() == before }).await;
}

/// A node with an event of which nothing comes for a minute.
async fn node_that_waits() -> (Gateway, TcpListener) {
    // It takes connections, and answers nobody.
    let back_end = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", back_end.local_addr().unwrap());
    let text =
        format!("[[route]]\nevent = \"wait\"\naction = \"call\"\nurl = {}\ntimeout = \"60s\"\n", Value::from(url));
    let file = NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), text).unwrap();
    let changes = [
        ("GATEWAY_LISTEN", "127.0.0.1:0"),
        ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"),
        ("GATEWAY_DATA_DIR", ""),
        ("GATEWAY_ROOMS__LINGER", "100ms"),
    ];
    let all = NO_LIMITS.iter().chain(&changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let node = Gateway::start(gateway_core::config::load(Some(file.path()), all).unwrap(), 20_000).await.unwrap();
    (node, back_end)
}
