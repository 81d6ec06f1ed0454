//! What operators see of sessions and do to them, on whichever nodes these are.

use std::sync::Arc;
use std::time::Duration;

use gateway::app::Gateway;
use gateway_core::auth::{Grant, mint};
use gateway_core::bus::{Bus, RedisBus};
use gateway_core::domain::UserId;
use gateway_core::metrics::Metrics;
use gateway_core::supervisor::Supervisor;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::cluster;
use crate::support::client::Client;
use crate::support::operator::Operator;
use crate::support::redis::Redis;
use crate::support::{config, eventually, http, metric, node};

const SECRETS: [(&str, &str); 2] = [("GATEWAY_AUTH__SECRET", "s"), ("GATEWAY_ADMIN__TOKEN", "t")];
const BEARER: &str = "Authorization: Bearer t\r\n";

fn token(user: &str) -> Value {
    let grant = Grant::new(UserId::parse(user).unwrap(), Duration::from_secs(60));
    json!({ "token": mint(&config(&SECRETS).auth, &grant).unwrap() })
}

/// What a node says of a user's sessions everywhere.
async fn sessions(node: &Gateway, user: &str) -> Value {
    let (status, body) = http("GET", node.admin_address, &format!("/users/{user}/sockets"), BEARER).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

async fn end(node: &Gateway, user: &str) -> (u16, String) {
    http("DELETE", node.admin_address, &format!("/users/{user}/sockets"), BEARER).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_s_sessions_are_counted_and_ended_wherever_they_are_and_nobody_gets_them_back() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 3, &SECRETS).await;
    let mut alice = Vec::new();
    // Two of them on one node.
    for at in [0, 1, 2, 2] {
        alice.push(Client::try_connect(nodes[at].address, token("alice")).await.unwrap());
    }
    let mut bob = Client::try_connect(nodes[0].address, token("bob")).await.unwrap();
    let seen = json!({
        "user": "alice", "sockets": 4, "nodes": { "node-0": 1, "node-1": 1, "node-2": 2 }, "missing": 0
    });
    for node in &nodes {
        assert_eq!(sessions(node, "alice").await, seen);
    }
    assert_eq!(end(&nodes[1], "alice").await.0, 204);
    for mut client in alice {
        assert_eq!(client.text().await.as_deref(), Some("41"), "told to stay away");
        assert_eq!(client.text().await, None, "and the transport ends");
        let mut auth = token("alice");
        auth["pid"] = json!(client.pid);
        let again = Client::try_connect(nodes[0].address, auth).await.unwrap();
        assert_eq!(again.hello[1]["reason"], "unknown", "what was ended does not come back");
    }
    assert_eq!(bob.ask("join", json!({ "room": "r" })).await["ok"], true, "others stay");
}

/// Comes back as alice to a session; what the client is told first.
async fn come_back(node: &Gateway, pid: &str) -> Value {
    let mut auth = token("alice");
    auth["pid"] = json!(pid);
    auth["offset"] = json!("0");
    Client::try_connect(node.address, auth).await.unwrap().hello[1].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_away_are_ended_too() {
    let redis = Redis::start().await;
    let mut nodes = cluster(&redis, 3, &SECRETS).await;
    let (mut broken, mut stranded) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        broken.push(Client::try_connect(nodes[0].address, token("alice")).await.unwrap());
        stranded.push(Client::try_connect(nodes[2].address, token("alice")).await.unwrap());
    }
    let mut bob = Client::try_connect(nodes[2].address, token("bob")).await.unwrap();
    for client in broken.iter_mut().chain(&mut stranded).chain([&mut bob]) {
        client.join("r").await;
    }
    let pid = |client: Client| client.pid;
    let pids: Vec<_> = broken.into_iter().map(pid).collect();
    eventually("their connections are gone", || async { nodes[0].sessions() == 0 }).await;
    // A node that ends leaves its clients to the others.
    nodes.pop().unwrap().stop().await;
    let pids: Vec<_> = pids.into_iter().chain(stranded.into_iter().map(pid)).collect();
    assert_eq!(sessions(&nodes[0], "alice").await["sockets"], 0);
    // One comes back first: that they are away is not why they do not.
    assert_eq!(come_back(&nodes[1], &pids[0]).await["recovered"], true);
    // The node that has ended may still count as one that is to answer.
    let (status, body) = end(&nodes[0], "alice").await;
    assert!(status == 204 || (status, body.as_str()) == (202, r#"{"missing":1}"#), "{status} {body}");
    for pid in &pids {
        let hello = come_back(&nodes[1], pid).await;
        assert_eq!((&hello["recovered"], &hello["reason"]), (&json!(false), &json!("unknown")));
    }
    let mut auth = token("bob");
    auth["pid"] = json!(bob.pid);
    assert!(Client::try_connect(nodes[0].address, auth).await.unwrap().recovered(), "others stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_is_ended_by_its_id_connected_or_away_and_no_other() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &SECRETS).await;
    let mut alice = Vec::new();
    for at in [0, 1, 1] {
        alice.push(Client::try_connect(nodes[at].address, token("alice")).await.unwrap());
    }
    let end = |id: &str| {
        let path = format!("/sessions/{id}");
        let node = &nodes[0];
        async move { http("DELETE", node.admin_address, &path, BEARER).await.0 }
    };
    assert_eq!(end("nonsense").await, 400);
    assert_eq!(end("0123456789abcdef0123456789abcdef").await, 404);
    // Connected, to another node.
    let mut connected = alice.pop().unwrap();
    assert_eq!(end(&connected.sid).await, 204);
    assert_eq!(connected.text().await.as_deref(), Some("41"), "told to stay away");
    // Away.
    let Client { pid, sid, socket, .. } = alice.pop().unwrap();
    drop(socket);
    eventually("its connection is gone", || async { nodes[1].sessions() == 0 }).await;
    assert_eq!(end(&sid).await, 204);
    assert_eq!(end(&sid).await, 404, "it is gone");
    for pid in [&connected.pid, &pid] {
        assert_eq!(come_back(&nodes[1], pid).await["recovered"], false);
    }
    let mut other = alice.pop().unwrap();
    assert_eq!(other.ask("join", json!({ "room": "r" })).await["ok"], true, "the others stay");
    assert_eq!(sessions(&nodes[0], "alice").await["nodes"]["node-0"], 1);
}

/// What ended while it was being given back: its record is claimed, and nobody has it on a roster that answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_just_coming_back_when_its_user_is_ended_begins_afresh() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &SECRETS).await;
    for round in 0..20 {
        let mut alice = Client::try_connect(nodes[0].address, token("alice")).await.unwrap();
        for room in 0..8 {
            alice.join(&format!("r{room}")).await;
        }
        let Client { pid, socket, .. } = alice;
        drop(socket);
        eventually("its connection is gone", || async { nodes[0].sessions() == 0 }).await;
        let (node, other) = (&nodes[0], &nodes[1]);
        let ending = async {
            // Sooner and later in its way back, from round to round.
            tokio::time::sleep(Duration::from_micros(300 * round)).await;
            end(other, "alice").await
        };
        let mut auth = token("alice");
        auth["pid"] = json!(pid);
        // Nobody is left waiting for an answer, as by a connection that ends for want of a session.
        let coming = tokio::time::timeout(Duration::from_secs(5), Client::try_connect(node.address, auth));
        let (back, ended) = tokio::join!(coming, ending);
        let back = back.unwrap_or_else(|_| panic!("no answer in round {round}"));
        assert_eq!(ended.0, 204);
        // It was back before and is told to stay away, or it begins afresh: nobody has the session.
        if let Ok(mut back) = back
            && back.recovered()
        {
            assert_eq!(back.text().await.as_deref(), Some("41"), "in round {round}");
            assert_eq!(back.pid, pid);
        }
        assert_eq!(come_back(other, &pid).await["recovered"], false, "in round {round}");
        assert_eq!(end(other, "alice").await.0, 204);
        eventually("nobody is left", || async { node.sessions() == 0 && other.sessions() == 0 }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_says_who_it_is_is_found_by_what_it_said_last() {
    let redis = Redis::start().await;
    let changes = [("GATEWAY_ADMIN__TOKEN", "t"), ("GATEWAY_PROFILE", "notifier")];
    let nodes = cluster(&redis, 2, &changes).await;
    let mut client = Client::connect(nodes[1].address).await;
    for (name, before) in [("carol", "nobody"), ("dave", "carol")] {
        assert_eq!(client.ask("registerUser", json!(name)).await["ok"], true);
        assert_eq!(sessions(&nodes[0], name).await["nodes"], json!({ "node-1": 1 }));
        assert_eq!(sessions(&nodes[0], before).await["nodes"], json!({}));
    }
    assert_eq!(end(&nodes[0], "carol").await.0, 204);
    assert_eq!(sessions(&nodes[0], "dave").await["sockets"], 1, "whoever it was before is not who it is");
    assert_eq!(end(&nodes[0], "dave").await.0, 204);
    while client.text().await.is_some() {}
    eventually("it is gone", || async { nodes[1].sessions() == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_is_missing_and_nothing_fails() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &SECRETS).await;
    let mut alice = Client::try_connect(nodes[1].address, token("alice")).await.unwrap();
    // One that hears the questions, as far as Redis knows, and does nothing.
    let stuck = RedisBus::connect(&redis.url(), &config(&[]).redis, Arc::new(Metrics::new()), &Supervisor::default())
        .await
        .unwrap();
    let (sink, mut heard) = mpsc::channel(10);
    stuck.subscribe("gateway:control", sink).await.unwrap();
    let seen = json!({ "user": "alice", "sockets": 1, "nodes": { "node-1": 1 }, "missing": 1 });
    assert_eq!(sessions(&nodes[0], "alice").await, seen);
    let (status, body) = end(&nodes[0], "alice").await;
    assert_eq!((status, body.as_str()), (202, r#"{"missing":1}"#));
    assert_eq!(alice.text().await.as_deref(), Some("41"));
    assert!(heard.try_recv().is_ok() && heard.try_recv().is_ok(), "it was asked both times");
    stuck.unsubscribe("gateway:control").await;
    eventually("nobody is missing any more", || async { sessions(&nodes[0], "alice").await["missing"] == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_without_redis_ends_sessions_too() {
    let node = node(&[("GATEWAY_NODE_NAME", "alone")].iter().chain(&SECRETS).copied().collect::<Vec<_>>()).await;
    let mut alice = Client::try_connect(node.address, token("alice")).await.unwrap();
    assert_eq!(sessions(&node, "alice").await["nodes"], json!({ "alone": 1 }));
    assert_eq!(end(&node, "alice").await.0, 204);
    assert_eq!(alice.text().await.as_deref(), Some("41"));
    eventually("it is gone", || async { node.sessions() == 0 }).await;
    let kicked = "gateway_connections_closed_total{transport=\"websocket\",reason=\"kicked\"}";
    eventually("so is its connection", || async { metric(&node, kicked) == 1.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_reach_redis_says_so() {
    let mut redis = Redis::start().await;
    let quick = [SECRETS[0], SECRETS[1], ("GATEWAY_REDIS__TIMEOUT", "300ms")];
    let nodes = cluster(&redis, 1, &quick).await;
    redis.stop().await;
    assert_eq!(end(&nodes[0], "alice").await.0, 503);
    assert_eq!(http("GET", nodes[0].admin_address, "/users/alice/sockets", BEARER).await.0, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_admin_token_there_is_no_namespace_for_operators() {
    let node = node(&[]).await;
    let refused = Operator::connect(&node, json!({ "token": "" })).await.err().unwrap();
    assert!(refused.contains("404"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_are_counted_and_are_not_more_than_a_few() {
    let node = node(&SECRETS).await;
    let mut operators = Vec::new();
    let refused = loop {
        match Operator::connect(&node, json!({ "username": "x", "password": "t" })).await {
            Ok(operator) => operators.push(operator),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, r#"44/admin,{"message":"too many operators"}"#);
    assert_eq!((operators.len(), metric(&node, "gateway_operators")), (64, 64.0));
    drop(operators);
    eventually("they are gone", || async { metric(&node, "gateway_operators") == 0.0 }).await;
    assert!(Operator::connect(&node, json!({ "token": "t" })).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_storm_on_another_node_some_are_told_and_the_others_are_counted() {
    const SESSIONS: usize = 500;
    let redis = Redis::start().await;
    let changes = [("GATEWAY_ADMIN__TOKEN", "t")];
    let nodes = cluster(&redis, 2, &changes).await;
    let mut operator = Operator::connect(&nodes[0], json!({ "token": "t" })).await.ok().unwrap();
    operator.figures("node-1").await;
    let storm = futures_util::future::join_all((0..SESSIONS).map(|_| Client::connect(nodes[1].address)));
    let counting = async {
        let (mut told, mut left_out) = (0, 0);
        while told + left_out < SESSIONS {
            let event = operator.event().await;
            if event[0] == "socket_connected" {
                told += 1;
            } else if event[0] == "server_stats" {
                left_out += usize::try_from(event[1]["leftOut"].as_u64().unwrap()).unwrap();
            }
        }
        (told, left_out)
    };
    let (clients, (told, left_out)) = tokio::join!(storm, counting);
    assert!(told >= 100 && left_out > 0, "{told} of {}", clients.len());
    assert_eq!(told + left_out, SESSIONS);
    assert_eq!(metric(&nodes[1], "gateway_operators_left_out_total"), left_out as f64);
    while operator.figures("node-1").await["namespaces"] != json!([{ "name": "/", "socketsCount": SESSIONS }]) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_an_operator_hears_its_own_node_and_then_all_again() {
    let mut redis = Redis::start().await;
    let quick = [SECRETS[1], ("GATEWAY_REDIS__TIMEOUT", "300ms")];
    let nodes = cluster(&redis, 2, &quick).await;
    let mut operator = Operator::connect(&nodes[0], json!({ "token": "t" })).await.ok().unwrap();
    operator.figures("node-1").await;
    redis.stop().await;
    for _ in 0..2 {
        operator.figures("node-0").await;
    }
    redis.start_again().await;
    operator.figures("node-1").await;
}
