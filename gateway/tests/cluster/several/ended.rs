//! Who is ended while one of several Redis is away: all that are connected, and the rest when it is asked again.

use gateway::app::Gateway;
use serde_json::json;

use super::{CHAT, World};
use crate::support::client::Client;
use crate::support::redis::Redis;
use crate::support::{eventually, http};

const TOKEN: &str = "Authorization: Bearer right\r\n";

async fn alice_at(node: &Gateway, namespace: &str) -> Client {
    let mut client = Client::connect_to(node.address, namespace).await;
    let ack = client.ask("identify", json!({ "user": "alice" })).await;
    assert_eq!(ack["ok"], true, "{ack}");
    client.join("r").await;
    client
}

/// Waits until it has been told that its session is over.
async fn ends(mut client: Client) {
    while let Some(text) = client.text().await {
        if text.starts_with("41") {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_connected_is_ended_while_one_redis_is_away() {
    let (main, mut chat) = (Redis::start().await, Redis::start().await);
    let world = World::new(&main.url(), &chat.url());
    let nodes = world.nodes(&[("GATEWAY_ADMIN__TOKEN", "right"), ("GATEWAY_REDIS__TIMEOUT", "500ms")]).await;
    let connected = [alice_at(&nodes[0], "/").await, alice_at(&nodes[1], CHAT).await];
    let away = [alice_at(&nodes[0], "/").await, alice_at(&nodes[1], CHAT).await];
    let pids = away.each_ref().map(|client| client.pid.clone());
    drop(away);
    let end = async || http("DELETE", nodes[0].admin_address, "/users/alice/sockets", TOKEN).await;
    chat.stop().await;
    let (status, words) = end().await;
    assert_eq!(status, 503, "{words}");
    assert!(words.contains("ask again") && words.contains("who was connected has ended"), "{words}");
    for client in connected {
        ends(client).await;
    }
    let back = async |namespace: &str, pid: &str| {
        let asked = json!({ "pid": pid, "offset": "0" });
        Client::try_connect_to(nodes[1].address, namespace, asked).await.unwrap().recovered()
    };
    assert!(!back("/", &pids[0]).await, "who was away there is ended, too");
    chat.start_again().await;
    eventually("all are ended", || async { end().await.0 == 204 }).await;
    assert!(!back(CHAT, &pids[1]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_is_ended_whichever_other_redis_is_away() {
    let (main, mut chat) = (Redis::start().await, Redis::start().await);
    let world = World::new(&main.url(), &chat.url());
    let node = world.node("node", &[("GATEWAY_ADMIN__TOKEN", "right"), ("GATEWAY_REDIS__TIMEOUT", "500ms")]).await;
    let client = alice_at(&node, "/").await;
    chat.stop().await;
    let path = format!("/sessions/{}", client.sid);
    let (status, words) = http("DELETE", node.admin_address, &path, TOKEN).await;
    assert_eq!(status, 204, "{words}");
    ends(client).await;
}
