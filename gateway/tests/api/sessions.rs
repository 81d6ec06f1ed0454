//! What back ends decide about sessions, on whichever nodes they are.

use std::time::Duration;

use gateway::app::Gateway;
use gateway_core::auth::{Grant, mint};
use gateway_core::domain::UserId;
use serde_json::{Value, json};

use crate::caller::{Caller, config};
use crate::support::client::Client;
use crate::support::redis::Redis;
use crate::support::{self, eventually};

const SECRET: (&str, &str) = ("GATEWAY_AUTH__SECRET", "s");

fn token(user: &str) -> Value {
    let grant = Grant::new(UserId::parse(user).unwrap(), Duration::from_secs(600));
    json!({ "token": mint(&support::config(&[SECRET]).auth, &grant).unwrap() })
}

pub(crate) async fn alice(node: &Gateway) -> Client {
    Client::try_connect(node.address, token("alice")).await.unwrap()
}

pub(crate) async fn cluster(redis: &Redis, size: usize) -> (Vec<Gateway>, Caller) {
    let url = redis.url();
    let (config, key) = config(&[SECRET, ("GATEWAY_REDIS_URL", &url)]);
    let mut nodes = Vec::new();
    for number in 0..size {
        let mut config = config.clone();
        config.node_name = format!("node-{number}");
        nodes.push(Box::pin(Gateway::start(config, 20_000)).await.unwrap());
    }
    let address = nodes[0].address;
    (nodes, Caller { address, key })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_s_sessions_are_put_into_rooms_and_taken_out_on_all_nodes() {
    let redis = Redis::start().await;
    let (nodes, back_end) = Box::pin(cluster(&redis, 2)).await;
    let (mut one, mut two) = (alice(&nodes[0]).await, alice(&nodes[1]).await);
    let mut bob = Client::try_connect(nodes[0].address, token("bob")).await.unwrap();
    let path = "/api/v1/users/alice/rooms/vip";
    let put = back_end.ask("PUT", path, None).await;
    let expected = json!({ "sessions": 2, "nodes": { "node-0": 1, "node-1": 1 }, "failed": 0, "missing": 0 });
    assert_eq!((put.status, &put.body), (200, &expected));
    assert_eq!(back_end.ask("PUT", path, None).await.body, expected, "again is the same");
    let said = back_end.post("/api/v1/rooms/vip/events", &json!({ "event": "hello" })).await.body;
    for client in [&mut one, &mut two] {
        assert_eq!(client.event().await, json!(["hello", said["offset"]]));
    }
    assert!(bob.is_quiet(Duration::from_millis(100)).await);
    let members = back_end.get("/api/v1/rooms/vip/members").await.body;
    assert_eq!((&members["count"], &members["members"][0]["user"]), (&json!(1), &json!("alice")));
    let rooms = back_end.get("/api/v1/rooms").await.body;
    assert_eq!(rooms["rooms"], json!([{ "room": "vip", "members": 1 }]), "{rooms}");
    // Whoever was put in comes back to it, on another node too.
    let (pid, offset) = (one.pid.clone(), one.offset.clone());
    drop(one);
    let mut auth = token("alice");
    (auth["pid"], auth["offset"]) = (json!(pid), json!(offset));
    let mut one = Client::try_connect(nodes[1].address, auth).await.unwrap();
    assert_eq!((one.recovered(), &one.hello[1]["rooms"]), (true, &json!(["vip"])), "{}", one.hello);
    let out = back_end.ask("DELETE", path, None).await;
    assert_eq!((out.status, &out.body["sessions"]), (200, &json!(2)), "{out:?}");
    back_end.post("/api/v1/rooms/vip/events", &json!({ "event": "secret" })).await;
    assert!(one.is_quiet(Duration::from_millis(100)).await && two.is_quiet(Duration::from_millis(100)).await);
    assert_eq!(back_end.get("/api/v1/rooms/vip/members").await.body["count"], 0);
    assert_eq!(back_end.get("/api/v1/rooms").await.body, json!({ "rooms": [] }));
    let nobody = back_end.ask("PUT", "/api/v1/users/nobody/rooms/vip", None).await;
    assert_eq!((nobody.status, &nobody.body["sessions"]), (200, &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_taken_out_while_away_comes_back_without_that_room() {
    let redis = Redis::start().await;
    let (nodes, back_end) = Box::pin(cluster(&redis, 2)).await;
    let mut client = alice(&nodes[0]).await;
    client.join("r").await;
    client.join("s").await;
    let pid = client.pid.clone();
    let offset = client.offset.clone();
    drop(client);
    let sessions = async || back_end.get("/api/v1/users/alice/sessions").await.body["total"] == 0;
    eventually("it is away", sessions).await;
    assert_eq!(back_end.ask("DELETE", "/api/v1/users/alice/rooms/r", None).await.body["sessions"], 0);
    back_end.post("/api/v1/rooms/r/events", &json!({ "event": "secret" })).await;
    let heard = back_end.post("/api/v1/rooms/s/events", &json!({ "event": "news" })).await.body;
    let mut auth = token("alice");
    (auth["pid"], auth["offset"]) = (json!(pid), json!(offset));
    let mut client = Client::try_connect(nodes[1].address, auth).await.unwrap();
    assert_eq!((client.recovered(), &client.hello[1]["rooms"]), (true, &json!(["s"])), "{}", client.hello);
    assert_eq!(client.event().await, json!(["news", heard["offset"]]));
    // It may join again, and is not taken out by what was decided before.
    client.join("r").await;
    let (pid, offset) = (client.pid.clone(), client.offset.clone());
    drop(client);
    let mut auth = token("alice");
    (auth["pid"], auth["offset"]) = (json!(pid), json!(offset));
    let client = Client::try_connect(nodes[0].address, auth).await.unwrap();
    assert!(client.recovered());
    let mut rooms: Vec<_> =
        client.hello[1]["rooms"].as_array().unwrap().iter().map(|room| room.as_str().unwrap()).collect();
    rooms.sort_unstable();
    assert_eq!(rooms, ["r", "s"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_and_tokens_taken_back() {
    let redis = Redis::start().await;
    let (nodes, back_end) = Box::pin(cluster(&redis, 2)).await;
    let (one, mut two, mut three) = (alice(&nodes[0]).await, alice(&nodes[1]).await, alice(&nodes[1]).await);
    let listed = back_end.get("/api/v1/users/alice/sessions").await.body;
    assert_eq!((&listed["user"], &listed["total"], &listed["missing"]), (&json!("alice"), &json!(3), &json!(0)));
    let first = listed["sessions"].as_array().unwrap().iter().find(|session| session["session"] == one.sid).unwrap();
    let expected = json!({
        "session": one.sid, "node": "node-0", "namespace": "/", "transport": "websocket", "address": "127.0.0.1"
    });
    assert_eq!(*first, expected);
    let ended = back_end.ask("DELETE", &format!("/api/v1/sessions/{}", two.sid), None).await;
    assert_eq!((ended.status, &ended.body["nodes"]), (200, &json!({ "node-1": 1 })));
    assert_eq!(two.text().await.as_deref(), Some("41"));
    let again = back_end.ask("DELETE", &format!("/api/v1/sessions/{}", "0".repeat(32)), None).await;
    assert_eq!((again.status, again.code()), (404, "not_found"));
    let bad = back_end.ask("DELETE", "/api/v1/sessions/7", None).await;
    assert_eq!((bad.status, bad.code()), (400, "bad_parameter"));
    assert_eq!(back_end.ask("DELETE", "/api/v1/users/alice/sessions", None).await.body["sessions"], 2);
    assert_eq!(three.text().await.as_deref(), Some("41"));
    let nodes_seen = back_end.get("/api/v1/nodes").await.body;
    let names: Vec<_> = nodes_seen["nodes"].as_array().unwrap().iter().map(|node| node["node"].clone()).collect();
    assert_eq!((names, &nodes_seen["missing"]), (vec![json!("node-0"), json!("node-1")], &json!(0)));
    let revoked = back_end.post("/api/v1/revocations", &json!({ "user": "alice" })).await;
    assert_eq!(revoked.status, 204);
    let kept_out = async || Client::try_connect(nodes[1].address, token("alice")).await.is_err();
    eventually("the token is good for nothing", kept_out).await;
    for (body, pointer) in [
        (json!({}), ""),
        (json!({ "token": "t", "user": "u" }), "/token"),
        (json!({ "user": "a\n" }), "/user"),
        (json!({ "user": "a", "before": 99_999_999_999_999_u64 }), "/before"),
        (json!({ "token": "" }), "/token"),
    ] {
        let refused = back_end.post("/api/v1/revocations", &body).await;
        assert_eq!((refused.code(), &refused.body["errors"][0]["pointer"]), ("bad_body", &json!(pointer)), "{body}");
    }
}
