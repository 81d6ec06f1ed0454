//! What the console and the official Admin UI ask of nodes: seen, done and audited wherever the sessions are.

use std::time::Duration;

use gateway::app::Gateway;
use gateway_core::auth::{Grant, mint};
use gateway_core::domain::UserId;
use serde_json::{Value, json};

use crate::cluster;
use crate::support::client::Client;
use crate::support::operator::{Operator, console};
use crate::support::redis::Redis;
use crate::support::{config, eventually, http, node};

const OPERATOR: &str = "t";
const VIEWER: &str = "v";
const SECRETS: [(&str, &str); 3] =
    [("GATEWAY_AUTH__SECRET", "s"), ("GATEWAY_ADMIN__TOKEN", OPERATOR), ("GATEWAY_ADMIN__VIEWER_TOKEN", VIEWER)];

fn token(user: &str) -> Value {
    let grant = Grant::new(UserId::parse(user).unwrap(), Duration::from_secs(60));
    json!({ "token": mint(&config(&SECRETS).auth, &grant).unwrap() })
}

async fn user(node: &Gateway, name: &str, room: &str) -> Client {
    let mut client = Client::try_connect(node.address, token(name)).await.unwrap();
    client.join(room).await;
    client
}

async fn operator(node: &Gateway, token: &str) -> Operator {
    Operator::connect(node, json!({ "username": "me", "password": token })).await.ok().unwrap()
}

/// The first argument of the next `hello`.
async fn hello(client: &mut Client) -> Value {
    loop {
        let event = client.event().await;
        if event[0] == "hello" {
            return event[1].clone();
        }
    }
}

async fn get(node: &Gateway, path: &str) -> Value {
    let (status, body) = console(node, OPERATOR, "GET", path, None).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_sees_who_is_there_and_every_move_and_event_of_all_nodes() {
    let redis = Redis::start().await;
    let payloads = [SECRETS[0], SECRETS[1], SECRETS[2], ("GATEWAY_ADMIN__PAYLOADS", "true")];
    let nodes = cluster(&redis, 2, &payloads).await;
    let mut alice = user(&nodes[1], "alice", "lounge").await;
    let mut admin = operator(&nodes[0], OPERATOR).await;
    let mut viewer = operator(&nodes[0], VIEWER).await;
    let session = admin.heard("session", |_| true).await;
    let config = admin.heard("config", |_| true).await;
    assert_eq!(config[1]["supportedFeatures"].as_array().unwrap().len(), 9, "{config}");
    assert_eq!((&config[1]["role"], &config[1]["node"]), (&json!("operator"), &json!("node-0")));
    let all = admin.heard("all_sockets", |_| true).await;
    assert_eq!(all[2], json!({ "total": 1, "leftOut": 0, "missing": 0 }));
    let (one, sid) = (&all[1][0], alice.sid.clone());
    assert_eq!((&one["id"], &one["nsp"], &one["data"]["node"]), (&json!(sid), &json!("/"), &json!("node-1")));
    assert_eq!((&one["data"]["user"], &one["rooms"]), (&json!("alice"), &json!([sid, "lounge"])));
    let config = viewer.heard("config", |_| true).await;
    assert_eq!(config[1]["supportedFeatures"], json!(["AGGREGATED_EVENTS", "ALL_EVENTS"]));

    admin.figures("node-1").await;
    alice.join("garden").await;
    let joined = admin.heard("room_joined", |event| event[2] == "garden").await;
    assert_eq!((&joined[1], &joined[3]), (&json!("/"), &json!(sid)));
    alice.publish("garden", json!({ "secret": 7 })).await;
    let received = admin.heard("event_received", |event| event[3][0] == "publish").await;
    assert_eq!((&received[2], &received[3][1]["data"]["secret"]), (&json!(sid), &json!(7)));
    let sent = admin.heard("event_sent", |event| event[3][0] == "message").await;
    assert_eq!(sent[3][1]["data"]["secret"], 7, "{sent}");
    let received = viewer.heard("event_received", |event| event[3][0] == "publish").await;
    assert_eq!(received[3], json!(["publish"]), "viewers see no payloads");
    let sent = viewer.heard("event_sent", |event| event[3][0] == "message").await;
    assert_eq!(sent[3], json!(["message"]));
    alice.ask("leave", json!({ "room": "garden" })).await;
    let left = admin.heard("room_left", |event| event[2] == "garden").await;
    assert_eq!(left[3], json!(sid));

    let stats = admin.figures("node-1").await;
    for field in ["version", "cpu", "lagMs", "memoryBytes", "rates", "ack", "rooms", "operators"] {
        assert!(!stats[field].is_null(), "{field} in {stats}");
    }
    assert_eq!((&stats["ready"], &stats["draining"], &stats["hears"]), (&json!(true), &json!(false), &json!(true)));
    // Loaded anew, without a password, and on the other node.
    let again = json!({ "sessionId": session[1] });
    let mut again = Operator::connect(&nodes[1], again).await.unwrap_or_else(|refused| panic!("{refused}"));
    let config = again.heard("config", |_| true).await;
    assert_eq!(config[1]["role"], "operator");
    let refused = Operator::connect(&nodes[1], json!({ "sessionId": "x" })).await.err().unwrap();
    assert_eq!(refused, r#"44/admin,{"message":"invalid credentials"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_put_in_take_out_tell_and_end_whoever_is_meant_on_whichever_node() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 3, &SECRETS).await;
    let mut alice = user(&nodes[1], "alice", "a").await;
    let mut bob = user(&nodes[2], "bob", "a").await;
    let mut carol = user(&nodes[2], "carol", "c").await;
    let mut admin = operator(&nodes[0], OPERATOR).await;
    let done = |sessions: usize| json!({ "ok": true, "sessions": sessions, "failed": 0, "missing": 0 });
    let rooms = |id: &str| {
        let path = format!("/sessions/{id}");
        let node = &nodes[0];
        async move {
            get(node, &path).await["rooms"].as_array().unwrap().iter().map(|it| it["room"].clone()).collect::<Vec<_>>()
        }
    };
    // By room, by id, and all.
    assert_eq!(admin.ask("join", &[json!("/"), json!("b"), json!("a")]).await, done(2));
    assert_eq!(rooms(&alice.sid).await, [json!("a"), json!("b")]);
    assert_eq!(rooms(&carol.sid).await, [json!("c")]);
    assert_eq!(admin.ask("leave", &[json!("/"), json!("b"), json!(alice.sid)]).await, done(1));
    assert_eq!(rooms(&alice.sid).await, [json!("a")]);
    assert_eq!(rooms(&bob.sid).await, [json!("a"), json!("b")]);
    assert_eq!(admin.ask("join", &[json!("/"), json!("all"), json!(null)]).await, done(3));
    assert_eq!(admin.ask("join", &[json!("/other"), json!("x")]).await, done(0));
    // What is said by id, by room and to all comes to those who are meant, in order.
    assert_eq!(admin.ask("emit", &[json!("/"), json!(carol.sid), json!("hello"), json!({ "n": 1 })]).await, done(1));
    assert_eq!(hello(&mut carol).await, json!({ "n": 1 }));
    admin.ask("emit", &[json!("/"), json!("a"), json!("hello"), json!(2), json!("x")]).await;
    for client in [&mut alice, &mut bob] {
        assert_eq!(hello(client).await, json!(2));
    }
    admin.ask("emit", &[json!("/"), json!(""), json!("hello"), json!(3)]).await;
    for client in [&mut alice, &mut bob, &mut carol] {
        assert_eq!(hello(client).await, json!(3));
    }
    assert_eq!(admin.ask("emit", &[json!("/"), json!(null), json!("connect")]).await["error"]["code"], "bad_request");
    // Ends.
    assert_eq!(admin.ask("_disconnect", &[json!("/"), json!(false), json!(bob.sid)]).await, done(1));
    while bob.text().await.is_some() {}
    assert_eq!(admin.ask("_disconnect", &[json!("/"), json!(true), json!("all")]).await, done(2));
    while alice.text().await.is_some() {}
    eventually("nobody is left", || async { nodes.iter().map(Gateway::sessions).sum::<usize>() == 0 }).await;
    assert_eq!(admin.ask("nonsense", &[]).await["error"]["code"], "unknown_event");
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_change_nothing_by_whatever_way() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &SECRETS).await;
    let mut alice = user(&nodes[1], "alice", "a").await;
    let mut viewer = operator(&nodes[0], VIEWER).await;
    for (event, args) in [
        ("join", vec![json!("/"), json!("b"), json!("a")]),
        ("leave", vec![json!("/"), json!("a")]),
        ("emit", vec![json!("/"), json!("a"), json!("hello")]),
        ("_disconnect", vec![json!("/"), json!(true), json!("a")]),
        ("tail", vec![json!({ "room": "a", "payloads": true })]),
    ] {
        assert_eq!(viewer.ask(event, &args).await["error"]["code"], "not_allowed", "{event}");
    }
    let sid = alice.sid.clone();
    for (method, path) in [
        ("DELETE", format!("/sessions/{sid}")),
        ("POST", format!("/sessions/{sid}/move")),
        ("POST", "/nodes/node-1/drain".to_owned()),
        ("POST", "/nodes/node-1/resume".to_owned()),
        ("POST", "/routes/reload?dry=false".to_owned()),
        ("POST", "/v1/rooms/a/events".to_owned()),
        ("GET", "/v1/rooms/a/events".to_owned()),
        ("GET", "/v1/jobs?queue=default".to_owned()),
    ] {
        let (status, body) = console(&nodes[0], VIEWER, method, &path, None).await;
        assert_eq!(status, 403, "{method} {path}: {body}");
        let words = body["error"].as_str().or(body["detail"].as_str()).unwrap();
        assert!(words.contains("needs admin.token"), "{words}");
    }
    let bearer = "Authorization: Bearer v\r\n";
    let admin = nodes[0].admin_address;
    assert_eq!(http("DELETE", admin, "/users/alice/sockets", bearer).await.0, 403);
    assert_eq!(http("POST", admin, "/revocations", bearer).await.0, 403);
    assert_eq!(http("POST", admin, "/admin/queues/pause", bearer).await.0, 403);
    assert_eq!(http("GET", admin, "/users/alice/sockets", bearer).await.0, 200);
    assert_eq!(http("GET", admin, "/admin/queues", bearer).await.0, 200);
    for path in ["/nodes", "/sessions", "/rooms", "/routes", "/health", "/v1/rooms", "/v1/nodes"] {
        assert_eq!(console(&nodes[0], VIEWER, "GET", path, None).await.0, 200, "{path}");
    }
    assert_eq!(console(&nodes[0], "wrong", "GET", "/nodes", None).await.0, 401);
    assert_eq!(alice.ask("publish", json!({ "room": "a", "data": 1 })).await["ok"], true, "nothing happened to her");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_tells_what_a_room_says_on_any_node_so_much_in_a_second_and_is_bounded() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &SECRETS).await;
    let mut alice = user(&nodes[1], "alice", "a").await;
    let mut admin = operator(&nodes[0], OPERATOR).await;
    assert_eq!(admin.ask("tail", &[json!({ "room": "a" })]).await, json!({ "ok": true, "tail": 1 }));
    assert_eq!(admin.ask("tail", &[json!({ "room": "a", "payloads": true })]).await["tail"], 2);
    let members = get(&nodes[0], "/rooms/a").await;
    assert_eq!((&members["members"], &members["nodes"]), (&json!(1), &json!([{ "node": "node-1", "members": 1 }])));
    alice.publish("a", json!({ "secret": 7 })).await;
    for _ in 0..2 {
        let told = admin.heard("tail_event", |_| true).await[1].clone();
        assert_eq!((&told["room"], &told["event"], &told["user"]), (&json!("a"), &json!("message"), &json!("alice")));
        assert!(told["offset"].is_string() && told["bytes"].as_u64().unwrap() > 10, "{told}");
        assert_eq!(told["data"][0]["data"]["secret"], if told["tail"] == 2 { json!(7) } else { Value::Null });
    }
    assert_eq!(admin.ask("untail", &[json!({ "tail": 2 })]).await["ok"], true);
    assert_eq!(admin.ask("untail", &[json!({ "tail": 2 })]).await["ok"], false);
    // Of a flood some are told, and the rest is counted.
    for number in 0..100 {
        alice.publish("a", json!(number)).await;
    }
    let (mut told, mut left_out) = (0, 0);
    while told + left_out < 100 {
        let event = admin.event().await;
        if event[0] == "tail_event" {
            assert_eq!(event[1]["tail"], 1);
            told += 1;
        } else if event[0] == "tail_left_out" {
            left_out += event[1]["count"].as_u64().unwrap();
        }
    }
    assert!(told >= 10 && told + left_out == 100, "{told} told, {left_out} left out");
    for number in 0..7 {
        assert_eq!(admin.ask("tail", &[json!({ "room": format!("r{number}") })]).await["ok"], true);
    }
    assert_eq!(admin.ask("tail", &[json!({ "room": "one more" })]).await["error"]["code"], "rate_limited");
    drop(admin);
    eventually("its tails have ended", || async { nodes[0].metrics.render().contains("gateway_api_streams 0\n") })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_rooms_are_found_page_by_page_and_one_is_shown_moved_and_ended() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &SECRETS).await;
    let mut clients = Vec::new();
    for number in 0..7 {
        clients.push(user(&nodes[number % 2], &format!("user-{number}"), &format!("room-{}", number % 3)).await);
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(&nodes[0], &format!("/sessions?limit=3&after={after}")).await;
        assert_eq!((&page["total"], &page["missing"]), (&json!(7), &json!(0)));
        seen.extend(page["sessions"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    let mut expected: Vec<_> = clients.iter().map(|client| client.sid.clone()).collect();
    expected.sort();
    assert_eq!(seen, expected);
    for (search, found) in
        [("user:user-3", 1), ("user-", 7), ("room:room-0", 3), ("node:node-1", 3), ("address:127.0.0.1", 7), ("zzz", 0)]
    {
        assert_eq!(get(&nodes[1], &format!("/sessions?search={search}")).await["total"], found, "{search}");
    }
    let first = get(&nodes[1], "/rooms?limit=2").await;
    let room = |name: &str, members: usize| json!({ "room": name, "namespace": "/", "members": members, "nodes": 2 });
    assert_eq!(first["rooms"], json!([room("room-0", 3), room("room-1", 2)]));
    let second = get(&nodes[1], &format!("/rooms?limit=2&after={}", first["next"].as_str().unwrap())).await;
    assert_eq!((&second["rooms"], &second["next"]), (&json!([room("room-2", 2)]), &Value::Null));
    assert_eq!(get(&nodes[1], "/rooms?search=m-1").await["rooms"], json!([room("room-1", 2)]));

    let mut last = clients.pop().unwrap();
    let refused = last.ask("publish", json!({ "room": "elsewhere", "data": 1 })).await;
    let path = format!("/sessions/{}", last.sid);
    let shown = get(&nodes[1], &path).await;
    assert_eq!((&shown["node"], &shown["user"], &shown["refused"]), (&json!("node-0"), &json!("user-6"), &json!(1)));
    assert_eq!(shown["refusals"][0]["code"], refused["error"]["code"]);
    assert_eq!(shown["rooms"], json!([{ "room": "room-0", "via": "join" }]));
    assert_eq!(console(&nodes[1], OPERATOR, "GET", "/sessions/x", None).await.0, 400);
    assert_eq!(console(&nodes[1], OPERATOR, "GET", "/sessions?limit=0", None).await.0, 400);

    let (status, moved) = console(&nodes[1], OPERATOR, "POST", &format!("{path}/move"), None).await;
    assert_eq!((status, &moved["sessions"]), (200, &json!(1)));
    while last.text().await.is_some_and(|text| text != "41") {}
    let mut auth = token("user-6");
    auth["pid"] = json!(last.pid);
    auth["offset"] = json!(last.offset);
    let mut back = Client::try_connect(nodes[1].address, auth).await.unwrap();
    assert!(back.recovered(), "its client comes back");
    let (status, ended) =
        console(&nodes[0], OPERATOR, "DELETE", &format!("/sessions/{}?revoke=true", back.sid), None).await;
    assert_eq!((status, ended), (200, json!({ "sessions": 1, "missing": 0, "revoked": "user-6" })));
    while back.text().await.is_some() {}
    assert!(Client::try_connect(nodes[0].address, token("user-5")).await.is_ok());
    let (status, _) = console(&nodes[0], OPERATOR, "DELETE", &format!("/sessions/{}", back.sid), None).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_hands_its_clients_over_stays_and_takes_some_again() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &SECRETS).await;
    let mut alice = user(&nodes[1], "alice", "a").await;
    let drain = |node: &'static str| console(&nodes[0], OPERATOR, "POST", node, None);
    assert_eq!(drain("/nodes/nobody/drain").await.0, 404);
    assert_eq!(drain("/nodes/node-1/drain").await, (202, json!({ "node": "node-1" })));
    while alice.text().await.is_some_and(|text| text != "41") {}
    eventually("it is empty", || async { nodes[1].sessions() == 0 }).await;
    let standing = || async {
        let nodes = get(&nodes[0], "/nodes").await;
        nodes["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (it["ready"] == true, it["draining"] == true))
            .collect::<Vec<_>>()
    };
    assert_eq!(standing().await, [(true, false), (false, true)]);
    assert_eq!(http("GET", nodes[1].admin_address, "/readyz", "").await.0, 503);
    assert!(Client::try_connect(nodes[1].address, token("alice")).await.is_err(), "nobody is let in");
    assert_eq!(drain("/nodes/node-0/drain").await.0, 409, "there would be no other");
    assert_eq!(drain("/nodes/node-1/resume").await.0, 202);
    eventually("it takes clients", || async { http("GET", nodes[1].admin_address, "/readyz", "").await.0 == 200 })
        .await;
    assert!(Client::try_connect(nodes[1].address, token("alice")).await.is_ok());
    assert_eq!(standing().await, [(true, false), (true, false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_listed_tried_and_read_again_on_all_nodes() {
    let redis = Redis::start().await;
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let write = |extra: &str| {
        let text = format!(
            "[[route]]\nevent = \"say\"\naction = \"publish\"\nroom = \"{{arg.room}}\"\nmax_bytes = 60\n{extra}"
        );
        std::fs::write(file.path(), text).unwrap();
    };
    write("");
    let profile = ("GATEWAY_PROFILE", file.path().to_str().unwrap());
    let nodes = cluster(&redis, 2, &[SECRETS[0], SECRETS[1], profile]).await;
    let listed = get(&nodes[0], "/routes").await;
    let route = &listed["routes"][0];
    assert_eq!((&route["event"], &route["action"], &route["maxBytes"]), (&json!("say"), &json!("publish"), &json!(60)));
    assert_eq!((&route["room"], &route["allow"]), (&json!("{arg.room}"), &json!(["member"])));
    let rehearse = |body: Value| console(&nodes[0], OPERATOR, "POST", "/routes/try", Some(body));
    for (body, verdict, code) in [
        (json!({ "event": "say", "data": { "room": "a" }, "rooms": ["a"] }), "runs", Value::Null),
        (json!({ "event": "say", "data": { "room": "a" } }), "refused", json!("not_in_room")),
        (json!({ "event": "say", "data": { "room": "a", "text": "x".repeat(60) } }), "refused", json!("too_large")),
        (json!({ "event": "say", "data": {} }), "refused", json!("bad_request")),
    ] {
        let (status, tried) = rehearse(body.clone()).await;
        assert_eq!((status, &tried["routes"][0]["verdict"]), (200, &json!(verdict)), "{body}: {tried}");
        assert_eq!(tried["answer"].get("code").cloned().unwrap_or_default(), code, "{body}: {tried}");
    }
    assert_eq!(rehearse(json!({ "event": "shout" })).await.1["answer"]["code"], "unknown_event");
    assert_eq!(rehearse(json!({ "evnt": "say" })).await.0, 400);

    let reload = |query: &'static str| console(&nodes[0], OPERATOR, "POST", query, None);
    assert_eq!(reload("/routes/reload").await.1["changed"], false);
    write("[[route]]\nevent = \"shout\"\naction = \"signal\"\nroom = \"all\"\nallow = [\"anyone\"]\n");
    let (_, looked) = reload("/routes/reload?dry=true").await;
    assert_eq!((&looked["changed"], &looked["removed"]), (&json!(true), &json!([])));
    assert!(looked["added"][0].as_str().unwrap().starts_with("/ shout: signal"), "{looked}");
    assert_eq!(looked["nodes"].as_array().unwrap().len(), 2);
    assert_eq!(rehearse(json!({ "event": "shout" })).await.1["answer"]["code"], "unknown_event", "it was a look");
    assert_eq!(reload("/routes/reload?dry=false").await.1["changed"], true);
    for node in &nodes {
        assert_eq!(get(node, "/routes").await["routes"].as_array().unwrap().len(), 2);
    }
    write("nonsense");
    let (_, failed) = reload("/routes/reload?dry=false").await;
    assert!(failed["nodes"][1]["error"].as_str().unwrap().contains("expected `=`"), "{failed}");
    assert_eq!(get(&nodes[0], "/routes").await["routes"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_by_route_and_code_and_the_api_needs_no_key() {
    let node = node(&SECRETS).await;
    let mut alice = user(&node, "alice", "a").await;
    let mut admin = operator(&node, OPERATOR).await;
    admin.heard("server_stats", |_| true).await;
    for _ in 0..3 {
        alice.ask("publish", json!({ "room": "elsewhere", "data": 1 })).await;
    }
    alice.ask("nonsense", json!(1)).await;
    let mut counts = std::collections::BTreeMap::new();
    while counts.values().sum::<u64>() < 4 {
        let told = admin.heard("refusals", |_| true).await;
        for refusal in told[1]["refusals"].as_array().unwrap() {
            let kind = (refusal["event"].to_string(), refusal["code"].as_str().unwrap().to_owned());
            *counts.entry(kind).or_default() += refusal["count"].as_u64().unwrap();
        }
    }
    let kind = |event: &str, code: &str| (event.to_owned(), code.to_owned());
    assert_eq!(counts.get(&kind("\"publish\"", "not_in_room")), Some(&3), "{counts:?}");
    assert_eq!(counts.get(&kind("\"\"", "unknown_event")), Some(&1), "{counts:?}");

    let said = json!({ "event": "news", "data": { "n": 1 } });
    let (status, answer) = console(&node, OPERATOR, "POST", "/v1/rooms/a/events", Some(said)).await;
    assert_eq!(status, 201, "{answer}");
    let history = get(&node, "/v1/rooms/a/events").await;
    assert_eq!(history["events"][0]["event"], "news", "{history}");
    assert_eq!(console(&node, OPERATOR, "GET", "/v1/nothing", None).await.0, 404);
    assert_eq!(
        http("GET", node.address, "/api/v1/rooms", "Authorization: Bearer t\r\n").await.0,
        404,
        "clients have none"
    );
    let health = get(&node, "/health").await;
    assert_eq!((&health["ok"], health["checks"].as_array().unwrap().len() > 8), (&json!(true), true), "{health}");
}
