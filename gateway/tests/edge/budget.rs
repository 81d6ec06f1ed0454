//! What is kept and for whom: whose account it is, what goes on without one, and what happened when the log is full.

use std::time::Duration;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::Client;
use crate::support::{eventually, metric, node};

const DATA: usize = 10_000;

async fn publish(client: &mut Client, room: &str, bytes: usize) -> Value {
    client.ask("publish", json!({ "room": room, "data": "x".repeat(bytes) })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_without_a_user_share_their_addresss_account_and_signals_need_none() {
    let node = node(&[
        ("GATEWAY_LIMITS__ADDRESS_KEPT_BYTES_PER_SECOND", "10000"),
        ("GATEWAY_LIMITS__ADDRESS_KEPT_BYTES_BURST", "30000"),
        ("GATEWAY_LIMITS__ADDRESS_NEW_ROOMS_PER_SECOND", "1"),
        ("GATEWAY_LIMITS__ADDRESS_NEW_ROOMS_BURST", "1"),
        ("GATEWAY_LIMITS__REFUSALS_PER_SECOND", "1"),
        ("GATEWAY_LIMITS__REFUSALS_BURST", "5"),
    ])
    .await;
    let (mut one, mut other) = (Client::connect(node.address).await, Client::connect(node.address).await);
    for client in [&mut one, &mut other] {
        client.join("r").await;
        client.join("s").await;
    }
    assert_eq!(publish(&mut one, "r", DATA).await["ok"], true);
    let refused = publish(&mut other, "s", DATA).await;
    assert_eq!(refused["error"]["code"], "too_many_new_rooms", "{refused}");
    let refused = publish(&mut other, "r", DATA).await;
    assert_eq!(refused["error"]["code"], "too_much_kept", "{refused}");
    let wait = refused["error"]["retryAfterMs"].as_u64().unwrap();
    assert!((1..2_000).contains(&wait), "{refused}");
    assert_eq!(other.ask("signal", json!({ "room": "r", "event": "wave", "data": 1 })).await["ok"], true);
    tokio::time::sleep(Duration::from_millis(wait)).await;
    assert_eq!(publish(&mut other, "r", DATA).await["ok"], true, "after the wait it is welcome");
    // Whoever does not wait is not listening.
    let ask = json!(["publish", { "room": "r", "data": "x".repeat(DATA) }]);
    for number in 0..40 {
        if one.socket.send(Message::text(format!("42{}{ask}", 100 + number))).await.is_err() {
            break;
        }
    }
    while one.text().await.is_some() {}
    let closed = "gateway_connections_closed_total{transport=\"websocket\",reason=\"flooding\"}";
    eventually("it was closed", || async { metric(&node, closed) == 1.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_kept_when_what_is_said_is_not_and_who_made_it_happen_pays() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("routes.toml");
    let routes = [
        ("join", "action = \"join\"\nroom = \"{arg.room}\"\nallow = [\"anyone\"]"),
        ("publish", "action = \"publish\"\nroom = \"{arg.room}\"\nemit = \"message\""),
        ("history", "action = \"history\"\nroom = \"{arg.room}\""),
        ("$join", "action = \"publish\"\nroom = \"{room}\"\nemit = \"came\"\nargs = [1]"),
    ];
    let text: String = routes.iter().map(|(event, rest)| format!("[[route]]\nevent = \"{event}\"\n{rest}\n")).collect();
    std::fs::write(&table, text).unwrap();
    let profile = table.to_str().unwrap();
    let came = async |client: &mut Client| {
        client.join("r").await;
        let history = client.ask("history", json!({ "room": "r", "limit": 100 })).await;
        let events = history["events"].as_array().unwrap().clone();
        events.iter().filter(|event| event["event"] == "came").count()
    };

    let full = node(&[("GATEWAY_PROFILE", profile), ("GATEWAY_LOG__MAX_BYTES", "30000")]).await;
    let mut first = Client::connect(full.address).await;
    assert_eq!(came(&mut first).await, 1);
    let mut answer = Value::Null;
    while answer.is_null() {
        answer = publish(&mut first, "r", 1_000).await["error"]["code"].clone();
    }
    assert_eq!(answer, "log_full");
    let mut second = Client::connect(full.address).await;
    assert_eq!(came(&mut second).await, 2, "what happened is kept");

    let paid = node(&[
        ("GATEWAY_PROFILE", profile),
        ("GATEWAY_LIMITS__ADDRESS_KEPT_BYTES_PER_SECOND", "1"),
        ("GATEWAY_LIMITS__ADDRESS_KEPT_BYTES_BURST", "5000"),
    ])
    .await;
    let mut comer = Client::connect(paid.address).await;
    let mut kept = 0;
    for _ in 0..10 {
        kept = came(&mut comer).await;
        comer.ask("leave", json!({ "room": "r" })).await;
        comer = Client::connect(paid.address).await;
    }
    assert!((1..5).contains(&kept), "{kept} are kept of one who comes again and again");
}
