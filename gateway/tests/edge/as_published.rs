//! Events as they were published: for clients that want them so, and for all where the table says it.

use std::fs;
use std::time::Duration;

use gateway::app::Gateway;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{NO_LIMITS, node};

/// A node whose configuration file is this.
pub(super) async fn node_with(toml: &str) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    fs::write(&file, toml).unwrap();
    let base = [("GATEWAY_LISTEN", "127.0.0.1:0"), ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"), ("GATEWAY_DATA_DIR", "")];
    let environment = base.iter().chain(&NO_LIMITS).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = gateway_core::config::load(Some(&file), environment).unwrap();
    Gateway::start(config, 20_000).await.unwrap()
}

async fn without_offsets(node: &Gateway, more: Value) -> Client {
    let mut auth = json!({ "offset": false });
    auth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Client::try_connect(node.address, auth).await.unwrap()
}

/// Checks that an event is a message with nothing behind it; returns its data and offset.
fn bare(event: &Value) -> (Value, String) {
    assert_eq!((&event[0], event.as_array().unwrap().len()), (&json!("message"), 2), "{event}");
    (event[1]["data"].clone(), event[1]["offset"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_session_hears_events_in_the_form_that_it_asked_for() {
    let said = "[[route]]\nevent = \"say\"\naction = \"signal\"\nargs = [\"{arg.text}\"]";
    let node = node_with(said).await;
    let mut plain = without_offsets(&node, json!({})).await;
    assert_eq!(plain.hello, json!(["gateway:session", { "recovered": false }]));
    assert_eq!(plain.pid, "", "it could not say what it heard");
    let mut other = Client::connect(node.address).await;
    other.join("r").await;
    let start = plain.join("r").await;
    let offset = plain.publish("r", json!(1)).await;
    plain.ask("say", json!({ "room": "r", "text": "hi" })).await;
    assert_eq!(bare(&plain.event().await), (json!(1), offset.clone()));
    assert_eq!(plain.event().await, json!(["say", "hi"]));
    let event = other.event().await;
    assert_eq!((&event[1]["offset"], &event[2]), (&json!(offset), &json!(offset)));
    assert_eq!(other.event().await, json!(["say", "hi", null]));
    let history = plain.ask("history", json!({ "room": "r" })).await;
    assert_eq!(history["events"][0]["args"][0]["offset"], json!(offset));

    let mut late = without_offsets(&node, json!({})).await;
    let joined = late.ask("join", json!({ "room": "r", "after": start })).await;
    assert_eq!(joined["recovered"], true, "{joined}");
    assert_eq!(bare(&late.event().await).1, offset);
    assert_eq!(late.event().await, json!(["gateway:replayed", { "room": "r", "events": 1 }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_counts_itself_comes_back_to_its_rooms_and_all_that_it_missed_once() {
    let node = node(&[]).await;
    let mut speaker = Client::connect(node.address).await;
    let mut plain = without_offsets(&node, json!({})).await;
    let mut offsets = serde_json::Map::new();
    for room in ["a", "b", "quiet"] {
        speaker.join(room).await;
        offsets.insert(room.into(), plain.join(room).await.into());
    }
    for number in 0..10 {
        speaker.publish(["a", "b"][number % 2], json!(number)).await;
    }
    // It heard a part of that when its connection broke.
    for _ in 0..5 {
        let event = plain.event().await;
        offsets.insert(event[1]["room"].as_str().unwrap().into(), event[1]["offset"].clone());
    }
    drop(plain);
    speaker.publish("quiet", json!(10)).await;
    let mut plain = without_offsets(&node, json!({ "offsets": offsets })).await;
    assert_eq!((&plain.hello[1]["recovered"], plain.hello.get(2)), (&json!(true), None), "{}", plain.hello);
    speaker.publish("a", json!(11)).await;
    for number in 5..12 {
        assert_eq!(bare(&plain.event().await).0, number);
    }
    assert!(plain.is_quiet(Duration::from_millis(100)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_session_and_wants_no_offsets_is_told_that_it_does_not_come_back() {
    let node = node(&[]).await;
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    let pid = std::mem::take(&mut client.pid);
    drop(client);
    let plain = without_offsets(&node, json!({ "pid": pid })).await;
    assert_eq!(plain.hello, json!(["gateway:session", { "recovered": false, "reason": "offset" }]));
    assert_eq!(plain.pid, "");
    assert!(Client::come_back(node.address, &pid, Some("0")).await.recovered(), "nothing was taken from it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_may_say_it_for_all() {
    let node = node_with("offset = false").await;
    let mut client = Client::connect(node.address).await;
    assert_eq!((client.pid.as_str(), &client.hello), ("", &json!(["gateway:session", { "recovered": false }])));
    let joined = client.join("r").await;
    let offset = client.publish("r", json!(1)).await;
    assert_eq!(bare(&client.event().await), (json!(1), offset));
    assert_eq!(client.offset, None, "no event was taken for an offset");
    drop(client);
    let mut client = Client::try_connect(node.address, json!({ "offsets": { "r": joined } })).await.unwrap();
    assert!(client.recovered());
    assert_eq!(bare(&client.event().await).0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replayed_has_its_offset_in_both_places() {
    let node = node(&[]).await;
    let mut client = Client::connect(node.address).await;
    let mut speaker = Client::connect(node.address).await;
    for client in [&mut client, &mut speaker] {
        client.join("r").await;
    }
    let (pid, offset) = (client.pid.clone(), client.offset.clone());
    drop(client);
    let published = speaker.publish("r", json!(1)).await;
    let mut client = Client::come_back(node.address, &pid, offset.as_deref()).await;
    let event = client.event().await;
    assert_eq!((&event[1]["offset"], &event[2]), (&json!(published), &json!(published)));
}
