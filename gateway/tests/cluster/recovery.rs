//! Recovery: clients that come back get their session and what they missed, or are told why not.

use std::time::Duration;

use futures_util::future::join_all;
use gateway::app::Gateway;
use gateway_core::auth::{Grant, mint};
use gateway_core::domain::UserId;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::redis::Redis;
use crate::support::{self, eventually, metric, node};

pub(crate) async fn cluster(redis: &Redis, changes: &[(&str, &str)]) -> Vec<Gateway> {
    let url = redis.url();
    let changes: Vec<_> = changes.iter().copied().chain([("GATEWAY_REDIS_URL", url.as_str())]).collect();
    vec![node(&changes).await, node(&changes).await]
}

/// A node with one route of its own.
async fn node_with_route(route: &str, changes: &[(&str, &str)]) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, format!("[[route]]\n{route}\n")).unwrap();
    let base = [("GATEWAY_LISTEN", "127.0.0.1:0"), ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"), ("GATEWAY_DATA_DIR", "")];
    let environment = base.iter().chain(changes).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let config = gateway_core::config::load(Some(&file), environment).unwrap();
    Gateway::start(config, 20_000).await.unwrap()
}

/// Ends a client's connection without a word; returns what it needs to come back.
pub(crate) fn cut(client: Client) -> (String, Option<String>) {
    let Client { pid, offset, .. } = client;
    (pid, offset)
}

pub(crate) async fn gone(node: &Gateway, left: usize) {
    eventually("the node noticed", || async { node.sessions() == left }).await;
}

fn numbers(events: &[(Value, u64)]) -> Vec<u64> {
    events.iter().map(|(data, _)| data.as_u64().unwrap()).collect()
}

async fn messages(client: &mut Client, count: usize) -> Vec<(Value, u64)> {
    let mut messages = Vec::new();
    for _ in 0..count {
        messages.push(client.message().await);
    }
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_has_its_rooms_and_gets_what_it_missed_before_what_is_live() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, &[]).await;
    let mut speaker = Client::connect(nodes[0].address).await;
    let mut listener = Client::connect(nodes[0].address).await;
    for room in ["a", "b"] {
        speaker.join(room).await;
        listener.join(room).await;
    }
    let mut number = 0_u64;
    let mut speak = async |speaker: &mut Client, count: u64| {
        for _ in 0..count {
            speaker.publish(if number.is_multiple_of(3) { "a" } else { "b" }, json!(number)).await;
            number += 1;
        }
    };
    speak(&mut speaker, 10).await;
    messages(&mut listener, 10).await;
    for round in 0..6 {
        let (pid, offset) = cut(listener);
        speak(&mut speaker, 7).await;
        // It comes back to the other node, and events go on meanwhile.
        let address = nodes[(round + 1) % 2].address;
        let (came, ()) = tokio::join!(Client::come_back(address, &pid, offset.as_deref()), speak(&mut speaker, 5));
        listener = came;
        assert!(listener.recovered(), "{}", listener.hello);
        assert_eq!(listener.pid, pid);
        speak(&mut speaker, 3).await;
        let got = messages(&mut listener, 15).await;
        let first = 10 + round as u64 * 15;
        assert_eq!(numbers(&got), (first..first + 15).collect::<Vec<_>>());
        assert!(got.is_sorted_by_key(|(_, offset)| *offset), "one order over all rooms");
        assert_eq!(listener.ask("publish", json!({ "room": "a", "data": "mine" })).await["ok"], true, "it is a member");
        assert_eq!(listener.message().await.0, "mine");
    }
    assert_eq!(
        metric(&nodes[0], "gateway_recoveries_total{result=\"recovered\"}")
            + metric(&nodes[1], "gateway_recoveries_total{result=\"recovered\"}"),
        6.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_heard_nothing_yet_comes_back_too() {
    let node = node(&[]).await;
    let mut speaker = Client::connect(node.address).await;
    speaker.join("r").await;
    speaker.publish("r", json!("before it joined")).await;
    let mut listener = Client::connect(node.address).await;
    listener.join("r").await;
    let (pid, offset) = cut(listener);
    speaker.publish("r", json!("missed")).await;
    let mut listener = Client::come_back(node.address, &pid, offset.as_deref()).await;
    assert!(listener.recovered());
    assert_eq!(listener.message().await.0, "missed");
    // And once more, without an offset at all.
    let (pid, _) = cut(listener);
    let mut listener = Client::come_back(node.address, &pid, None).await;
    assert!(listener.recovered());
    assert_eq!(listener.message().await.0, "missed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_left_or_published_for_others_does_not_come_back() {
    let route = r#"event = "publish"
action = "publish"
to = "others"
emit = "message"
args = [{ room = "{room}", data = "{arg.data}" }]"#;
    let node = node_with_route(route, &[]).await;
    let (mut one, mut two) = (Client::connect(node.address).await, Client::connect(node.address).await);
    for client in [&mut one, &mut two] {
        client.join("r").await;
        client.join("left").await;
    }
    assert_eq!(one.ask("leave", json!({ "room": "left" })).await["ok"], true);
    one.publish("r", json!("mine")).await;
    let (pid, offset) = cut(one);
    two.publish("left", json!("not for you")).await;
    two.publish("r", json!("yours")).await;
    let mut one = Client::come_back(node.address, &pid, offset.as_deref()).await;
    assert!(one.recovered());
    assert_eq!(one.hello[1]["rooms"], json!(["r"]));
    assert_eq!(one.message().await.0, "yours");
    assert!(one.is_quiet(Duration::from_millis(100)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_another_user_s_session_and_a_token_is_checked_again() {
    let secrets = [("GATEWAY_AUTH__SECRET", "s")];
    let node = node(&secrets).await;
    let settings = support::config(&secrets).auth;
    let token =
        |user: &str| mint(&settings, &Grant::new(UserId::parse(user).unwrap(), Duration::from_secs(60))).unwrap();
    let mut alice = Client::try_connect(node.address, json!({ "token": token("alice") })).await.unwrap();
    alice.join("r").await;
    alice.publish("r", json!("secret")).await;
    let (pid, _) = cut(alice);
    gone(&node, 0).await;
    let auth = json!({ "token": token("mallory"), "pid": pid, "offset": "0" });
    let mut mallory = Client::try_connect(node.address, auth).await.unwrap();
    assert_eq!((&mallory.hello[1]["recovered"], &mallory.hello[1]["reason"]), (&json!(false), &json!("unknown")));
    assert_ne!(mallory.pid, pid);
    assert!(mallory.is_quiet(Duration::from_millis(100)).await);
    let refused = Client::try_connect(node.address, json!({ "token": "x", "pid": pid, "offset": "0" })).await;
    assert!(refused.is_err_and(|answer| answer.starts_with("44")), "no valid token, no session");
    // Nothing of that took the session away.
    let auth = json!({ "token": token("alice"), "pid": pid, "offset": "0" });
    let mut alice = Client::try_connect(node.address, auth).await.unwrap();
    assert!(alice.recovered());
    assert_eq!(alice.message().await.0, "secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_no_longer_enter_a_room_does_not_come_back_into_it() {
    let secrets = [("GATEWAY_AUTH__SECRET", "s")];
    let node = node_with_route("event = \"join\"\naction = \"join\"\nallow = [\"role:member\"]", &secrets).await;
    let settings = support::config(&secrets).auth;
    let token = |roles: &[&str]| {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let user = UserId::parse("alice").unwrap();
        mint(&settings, &Grant { roles, ..Grant::new(user, Duration::from_secs(60)) }).unwrap()
    };
    let mut alice = Client::try_connect(node.address, json!({ "token": token(&["member"]) })).await.unwrap();
    let start = alice.join("r").await;
    alice.publish("r", json!("for members")).await;
    let (pid, _) = cut(alice);
    for wish in [json!({ "pid": pid, "offset": "0" }), json!({ "offsets": { "r": start } })] {
        let mut auth = wish;
        auth["token"] = json!(token(&["guest"]));
        let mut guest = Client::try_connect(node.address, auth).await.unwrap();
        assert_eq!((&guest.hello[1]["recovered"], &guest.hello[1]["reason"]), (&json!(false), &json!("not_allowed")));
        assert!(guest.is_quiet(Duration::from_millis(50)).await);
        assert_eq!(guest.ask("history", json!({ "room": "r" })).await["error"]["code"], "not_in_room");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_one_connection_and_the_newest_one_wins() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, &[]).await;
    for other in [0, 1] {
        // The first connection is still there, as after a change of networks that nobody noticed yet.
        let mut old = Client::connect(nodes[0].address).await;
        old.join("r").await;
        old.publish("r", json!(1)).await;
        old.message().await;
        let mut new = Client::come_back(nodes[other].address, &old.pid, old.offset.as_deref()).await;
        assert!(new.recovered());
        assert_eq!(old.text().await, None, "closed softly: it may be the rightful one, and would come back");
        new.publish("r", json!(2)).await;
        assert_eq!(new.message().await.0, 2);
        assert!(new.is_quiet(Duration::from_millis(100)).await, "once");
        drop(new);
        gone(&nodes[0], 0).await;
        gone(&nodes[1], 0).await;
    }
    let closed = "gateway_connections_closed_total{transport=\"websocket\",reason=\"replaced\"}";
    assert_eq!(metric(&nodes[0], closed), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_who_come_with_one_pid_one_has_the_session() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, &[("GATEWAY_LIMITS__HANDSHAKES_PER_SECOND", "0")]).await;
    let mut client = Client::connect(nodes[0].address).await;
    client.join("r").await;
    let (pid, _) = cut(client);
    let come = |number: usize| {
        let (pid, address) = (pid.clone(), nodes[number % 2].address);
        // Some are replaced before they are greeted.
        async move { Client::try_connect(address, json!({ "pid": pid, "offset": "0" })).await.ok() }
    };
    let clients: Vec<_> = join_all((0..1000).map(come)).await.into_iter().flatten().collect();
    eventually("all others were told or replaced", || async {
        nodes.iter().map(|node| metric(node, "gateway_rooms")).sum::<f64>() == 1.0
    })
    .await;
    let mut speaker = Client::connect(nodes[0].address).await;
    speaker.join("r").await;
    speaker.publish("r", json!("one")).await;
    let recovered = clients.iter().filter(|client| client.recovered()).count();
    let hears = async |mut client: Client| {
        let mut said = Vec::new();
        while let Ok(Some(text)) = tokio::time::timeout(Duration::from_millis(500), client.text()).await {
            said.push(text);
        }
        said.iter().any(|text| text.starts_with("42[\"message\""))
    };
    let heard = join_all(clients.into_iter().map(hears)).await.into_iter().filter(|hears| *hears).count();
    assert!(recovered >= 1);
    assert_eq!(heard, 1, "{recovered} were recovered for a moment");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_recovery_of_their_own_bring_the_offset_of_each_room() {
    let node = node(&[("GATEWAY_LOG__ROOM_EVENTS", "20"), ("GATEWAY_LIMITS__ROOMS_PER_SESSION", "2")]).await;
    let mut speaker = Client::connect(node.address).await;
    let (a, b) = (speaker.join("a").await, speaker.join("b").await);
    for number in 0..10 {
        speaker.publish(if number % 2 == 0 { "a" } else { "b" }, json!(number)).await;
    }
    let auth = |offsets: Value| json!({ "offsets": offsets });
    let mut back = Client::try_connect(node.address, auth(json!({ "a": a, "b": b }))).await.unwrap();
    assert!(back.recovered(), "{}", back.hello);
    assert_eq!(numbers(&messages(&mut back, 10).await), (0..10).collect::<Vec<_>>());
    speaker.publish("a", json!("live")).await;
    assert_eq!(back.message().await.0, "live");
    // From here on it has everything that official clients have.
    let (pid, offset) = cut(back);
    speaker.publish("b", json!("missed")).await;
    let mut back = Client::come_back(node.address, &pid, offset.as_deref()).await;
    assert!(back.recovered());
    assert_eq!(back.message().await.0, "missed");
    for number in 0..30 {
        speaker.publish("a", json!(number)).await;
    }
    for (offsets, reason) in [
        (json!({ "a": a, "b": b }), "retention"),
        (json!({ "a": "1", "b": b }), "history"),
        (json!({ "a": "18446744073709551615" }), "offset"),
        (json!({ "a": a, "b": b, "c": b }), "too_much"),
        (json!({ "a": -1 }), "offset"),
    ] {
        let mut client = Client::try_connect(node.address, auth(offsets)).await.unwrap();
        assert_eq!((&client.hello[1]["recovered"], &client.hello[1]["reason"]), (&json!(false), &json!(reason)));
        assert!(client.is_quiet(Duration::from_millis(30)).await, "all or nothing");
        assert_eq!(client.ask("publish", json!({ "room": "b", "data": 1 })).await["error"]["code"], "not_in_room");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_on_joining_does_not_move_the_offset_of_the_other_rooms() {
    let node = node(&[]).await;
    let mut speaker = Client::connect(node.address).await;
    let start = speaker.join("old").await;
    speaker.join("new").await;
    for number in 0..5 {
        speaker.publish("old", json!(number)).await;
    }
    let mut client = Client::connect(node.address).await;
    client.join("new").await;
    speaker.publish("new", json!("heard")).await;
    let (_, heard) = client.message().await;
    let ack = client.ask("join", json!({ "room": "old", "after": start })).await;
    assert_eq!(ack["recovered"], true);
    for number in 0..5 {
        let event = client.event().await;
        assert_eq!((&event[1]["data"], &event[3]), (&json!(number), &Value::Null));
        assert!(event[2].is_string());
    }
    let end = client.event().await;
    assert_eq!(end, json!(["gateway:replayed", { "room": "old", "events": 5 }, format!("{heard}.1")]));
    let (pid, offset) = cut(client);
    gone(&node, 1).await;
    speaker.publish("old", json!("missed")).await;
    // One that broke off within the replay does not know what it has.
    let broken = Client::come_back(node.address, &pid, Some(&heard.to_string())).await;
    assert_eq!(broken.hello[1]["reason"], "interrupted");
    // One that has heard its end gets what came after, once.
    let mut client = Client::connect(node.address).await;
    client.join("new").await;
    client.ask("join", json!({ "room": "old", "after": start })).await;
    while client.event().await[0] != "gateway:replayed" {}
    let (pid, end) = cut(client);
    assert_ne!(end, offset);
    speaker.publish("old", json!("missed too")).await;
    let mut client = Client::come_back(node.address, &pid, end.as_deref()).await;
    assert!(client.recovered(), "{}", client.hello);
    assert_eq!(client.message().await.0, "missed too");
    assert!(client.is_quiet(Duration::from_millis(50)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hears_nothing_for_longer_than_the_log_keeps_anything_recovers() {
    let redis = Redis::start().await;
    let changes = [("GATEWAY_LOG__ROOM_RETENTION", "1s"), ("GATEWAY_CANARY__INTERVAL", "100ms")];
    let nodes = cluster(&redis, &changes).await;
    let embedded = node(&changes).await;
    for (here, there) in [(&nodes[0], &nodes[1]), (&embedded, &embedded)] {
        let mut speaker = Client::connect(here.address).await;
        speaker.join("busy").await;
        let mut quiet = Client::connect(here.address).await;
        quiet.join("quiet").await;
        for number in 0..30 {
            speaker.publish("busy", json!(number)).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut late = Client::connect(here.address).await;
        late.join("quiet").await;
        let (pid, offset) = cut(late);
        let back = Client::come_back(there.address, &pid, offset.as_deref()).await;
        assert!(back.recovered(), "who joined a room that has been silent for long: {}", back.hello);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_session_with_the_id_of_an_old_one_comes_after_it_and_before_its_next_holder() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, &[]).await;
    let mut client = Client::connect(nodes[0].address).await;
    client.join("a").await;
    let (pid, _) = cut(client);
    let terms = || async {
        let keys = redis.command("KEYS gateway:session:*").await;
        let keys: Vec<_> = keys.lines().filter(|line| line.starts_with("gateway:")).map(str::to_owned).collect();
        let mut terms = Vec::new();
        for key in keys {
            terms.extend(redis.command(&format!("HGET {key} t")).await.lines().nth(1).map(str::to_owned));
        }
        terms
    };
    eventually("it is stored", || async { terms().await == ["0"] }).await;
    let fresh = Client::come_back(nodes[1].address, &pid, Some("18446744073709551615")).await;
    assert_eq!(fresh.hello[1]["reason"], "offset");
    // Its claim is the second term; what begins instead of it has the one behind that.
    eventually("it is stored anew", || async { terms().await == ["3"] }).await;
    let (pid, offset) = cut(fresh);
    let back = Client::come_back(nodes[0].address, &pid, offset.as_deref()).await;
    assert!(back.recovered(), "{}", back.hello);
    eventually("a claim is stored", || async { terms().await == ["5"] }).await;
    for node in nodes {
        node.stop().await;
    }
}
