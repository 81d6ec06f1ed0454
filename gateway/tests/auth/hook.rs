//! A back end that decides who comes in: what it is told, what its answers mean, and what happens without them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gateway::app::Gateway;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::back_end::{BackEnd, Reply};
use crate::support::client::Client;
use crate::support::tokens::{SECRET, Signer, claims};
use crate::support::wanderer::ask;
use crate::support::{eventually, metric, node};

/// What a client reads that is not let in.
async fn turned_away(node: &Gateway, auth: Value) -> String {
    Client::try_connect(node.address, auth).await.err().expect("it was let in")
}

fn is_put_off(answer: &str) -> bool {
    answer.starts_with("closed before")
}

fn answers(node: &Gateway, kind: &str) -> f64 {
    metric(node, &format!("gateway_auth_hook_answers_total{{answer=\"{kind}\"}}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_what_is_listed_and_says_who_a_client_is() {
    let answer = json!({
        "allow": true, "user": "alice", "roles": ["member"], "rooms": ["team-7", "news"], "expiresInMs": 60_000,
        "data": { "greeting": "hello" },
    });
    let back_end = BackEnd::start(answer).await;
    let node = back_end
        .node(&[
            ("GATEWAY_AUTH__HOOK__TOKEN", "the-gateway"),
            ("GATEWAY_AUTH__HOOK__HEADERS", "X-Tenant"),
            ("GATEWAY_AUTH__HOOK__COOKIES", "session"),
            ("GATEWAY_AUTH__HOOK__QUERY", "team"),
            ("GATEWAY_SOCKET__ORIGINS", "https://app.example"),
        ])
        .await;
    let headers =
        [("x-tenant", "acme"), ("x-other", "o"), ("cookie", "a=1; session=s"), ("origin", "https://app.example")];
    let auth = json!({ "token": "opaque", "device": "phone", "pid": "p", "offset": "1" });
    let mut alice =
        Client::try_connect_with(node.address, "&team=7%208&other=o", &headers, auth.clone()).await.unwrap();
    let (request, question) = back_end.asked.lock().last().cloned().unwrap();
    let expected = json!({
        "event": "connect", "namespace": "/", "token": "opaque", "user": null, "roles": [], "auth": { "device": "phone" },
        "address": "127.0.0.1", "headers": { "X-Tenant": "acme" }, "cookies": { "session": "s" }, "query": { "team": "7 8" },
    });
    assert_eq!(question, expected);
    assert_eq!((&request["authorization"], request.get("cookie")), (&"Bearer the-gateway".parse().unwrap(), None));
    assert_eq!(alice.hello[1]["data"], json!({ "greeting": "hello" }), "{}", alice.hello);
    // It is in its rooms without having asked for it, and speaks there as who it is.
    let mut other = Client::try_connect_with(node.address, "", &headers, auth).await.unwrap();
    other.publish("team-7", json!("hi")).await;
    let heard = alice.event().await;
    assert_eq!((&heard[1]["room"], &heard[1]["user"]), (&json!("team-7"), &json!("alice")), "{heard}");
    assert_eq!(answers(&node, "yes"), 2.0, "the query differed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_is_final_and_says_why() {
    let back_end = BackEnd::start(json!({ "allow": false, "message": "pay first", "data": { "plan": "free" } })).await;
    let node = back_end.node(&[]).await;
    let error = |text: &str| serde_json::from_str::<Value>(text.strip_prefix("44").expect(text)).unwrap();
    let expected = json!({ "message": "pay first", "data": { "plan": "free" } });
    assert_eq!(error(&turned_away(&node, json!({})).await), expected);
    for status in [401, 403] {
        back_end.says(status, expected.clone());
        assert_eq!(error(&turned_away(&node, json!({})).await), expected);
        back_end.says(status, json!("no"));
        assert_eq!(error(&turned_away(&node, json!({})).await), json!({ "message": "the back end refused" }));
    }
    assert_eq!((answers(&node, "no"), metric(&node, "gateway_connects_total{result=\"auth\"}")), (5.0, 5.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_puts_off_and_never_turns_away() {
    let back_end = BackEnd::start(json!({})).await;
    let node = back_end.node(&[("GATEWAY_AUTH__HOOK__TIMEOUT", "300ms")]).await;
    let allow = |field: &str, value: Value| json!({ "allow": true, field: value }).to_string();
    let rubbish = [
        String::new(),
        "null".into(),
        "{}".into(),
        "<html>welcome</html>".into(),
        r#"{"allow":true"#.into(),
        r#"{"allow":1}"#.into(),
        allow("user", json!("a\nb")),
        allow("user", json!(["alice"])),
        allow("rooms", json!([""])),
        allow("rooms", json!("news")),
        allow("rooms", json!(vec!["r"; 101])),
        allow("expiresIn", json!(60)),
        allow("data", json!("x".repeat(70_000))),
        format!(r#"{{"allow":true,"data":{}1{}}}"#, "[".repeat(100), "]".repeat(100)),
        allow("data", json!({ "_placeholder": true, "num": 0 })),
        "x".repeat(10_000_000),
    ];
    let count = rubbish.len();
    for text in rubbish {
        back_end.does(Reply::Text(text.clone()));
        let answer = turned_away(&node, json!({})).await;
        assert!(is_put_off(&answer), "{answer} after {}", &text[..text.len().min(80)]);
    }
    for status in [400, 404, 422, 429, 500, 503] {
        back_end.says(status, json!({ "message": "no" }));
        let answer = turned_away(&node, json!({})).await;
        assert!(is_put_off(&answer), "{answer} after {status}");
    }
    back_end.does(Reply::Redirect);
    assert!(is_put_off(&turned_away(&node, json!({})).await));
    back_end.does(Reply::Held(Arc::new(Semaphore::new(0)), json!({ "allow": true })));
    let began = Instant::now();
    assert!(is_put_off(&turned_away(&node, json!({})).await));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let undecided = answers(&node, "unusable") + answers(&node, "unavailable");
    assert_eq!(undecided, (count + 8) as f64);
    assert_eq!(metric(&node, "gateway_connects_total{result=\"unavailable\"}"), (count + 8) as f64);
    assert_eq!(metric(&node, "gateway_connects_total{result=\"auth\"}"), 0.0);
    back_end.says(200, json!({ "allow": true }));
    Client::connect(node.address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_that_is_gone_is_left_alone_and_asked_again() {
    let back_end = BackEnd::start(json!({ "allow": true })).await;
    let breaker = [("GATEWAY_AUTH__HOOK__FAILURES", "2"), ("GATEWAY_AUTH__HOOK__PAUSE", "100ms")];
    let node = back_end.node(&breaker).await;
    back_end.says(500, json!({}));
    // All come from one address: it takes as long as a pause until that is taken for everybody.
    eventually("it is left alone", || async {
        let before = back_end.asked();
        is_put_off(&turned_away(&node, json!({})).await) && back_end.asked() == before
    })
    .await;
    assert!(metric(&node, "gateway_call_breaker_openings_total{by=\"all\"}") >= 1.0);
    assert_eq!(metric(&node, "gateway_call_breakers_open{of=\"auth\"}"), 1.0);
    back_end.says(200, json!({ "allow": true }));
    eventually("it is asked again", || async { Client::try_connect(node.address, json!({})).await.is_ok() }).await;
    assert_eq!(metric(&node, "gateway_call_breakers_open{of=\"auth\"}"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_for_its_token_and_asked_for_once() {
    let answer = json!({ "allow": true, "user": "alice", "expiresInMs": 60_000 });
    let back_end = BackEnd::start(answer.clone()).await;
    let node = back_end.node(&[("GATEWAY_AUTH__HOOK__QUERY", "team")]).await;
    let gate = Arc::new(Semaphore::new(0));
    back_end.does(Reply::Held(gate.clone(), answer.clone()));
    let many = (0..20).map(|_| Client::try_connect(node.address, json!({ "token": "t" })));
    let many = tokio::spawn(join_all(many));
    eventually("it is asked", || async { back_end.asked() == 1 }).await;
    gate.add_permits(1);
    assert!(many.await.unwrap().into_iter().all(|client| client.is_ok()));
    assert_eq!((back_end.asked(), answers(&node, "yes"), answers(&node, "kept")), (1, 1.0, 19.0));
    back_end.says(200, answer.clone());
    let connect = async |query: &str, auth: Value| {
        Client::try_connect_with(node.address, query, &[], auth).await.unwrap();
        back_end.asked()
    };
    assert_eq!(connect("", json!({ "token": "t" })).await, 1);
    assert_eq!(connect("", json!({ "token": "u" })).await, 2, "another token");
    assert_eq!(connect("&team=1", json!({ "token": "t" })).await, 3, "the same one, but another question");
    assert_eq!(connect("", json!({})).await, 4);
    assert_eq!(connect("", json!({})).await, 5, "without a token nothing tells two clients apart");
    back_end.says(200, json!({ "allow": true, "user": "alice" }));
    assert_eq!(connect("", json!({ "token": "v" })).await, 6);
    assert_eq!(connect("", json!({ "token": "v" })).await, 7, "for how long it is good nobody said");
    back_end.says(200, json!({ "allow": true, "user": "alice", "expiresInMs": 1 }));
    assert_eq!(connect("", json!({ "token": "w" })).await, 8);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    back_end.says(403, json!({}));
    assert!(turned_away(&node, json!({ "token": "w" })).await.starts_with("44"), "its time was over");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_before_the_answer_is_not_counted_as_connected() {
    let back_end = BackEnd::start(json!({ "allow": true })).await;
    let node = back_end.node(&[("GATEWAY_LIMITS__CONNECTIONS", "1")]).await;
    let gate = Arc::new(Semaphore::new(0));
    back_end.does(Reply::Held(gate.clone(), json!({ "allow": true })));
    let address = node.address;
    let leaves = tokio::spawn(async move { Client::try_connect(address, json!({})).await.is_ok() });
    eventually("it is asked", || async { back_end.asked() == 1 }).await;
    leaves.abort();
    // Its place is free: the node knows that it is over.
    let polling = "/socket.io/?EIO=4&transport=polling";
    eventually("another one has its place", || async { ask("GET", node.address, polling, "").await.0 == 200 }).await;
    gate.add_permits(1);
    eventually("it has a session", || async { metric(&node, "gateway_connects_total{result=\"ok\"}") == 1.0 }).await;
    eventually("which is over", || async { node.sessions() == 0 }).await;
    for transport in ["websocket", "polling"] {
        assert_eq!(metric(&node, &format!("gateway_connections{{transport={transport:?}}}")), 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_before_a_revocation_is_asked_anew() {
    let answer = json!({ "allow": true, "user": "alice", "expiresInMs": 60_000 });
    let back_end = BackEnd::start(answer).await;
    let node = back_end.node(&[("GATEWAY_ADMIN__TOKEN", "operator")]).await;
    let auth = json!({ "token": "t" });
    let mut client = Client::try_connect(node.address, auth.clone()).await.unwrap();
    // Whole seconds tell what was before.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let body = json!({ "user": "alice" }).to_string();
    let headers = format!(
        "Authorization: Bearer operator\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, said) = crate::support::http("POST", node.admin_address, "/revocations", &headers).await;
    assert!(status < 300, "{status} {said}");
    assert_eq!(client.event().await[1]["error"]["code"], "token_revoked");
    assert_eq!(client.text().await, None);
    eventually("it says so again, and that counts from the next second on", || async {
        match Client::try_connect(node.address, auth.clone()).await {
            Ok(_) => true,
            Err(answer) => {
                assert!(is_put_off(&answer), "{answer}");
                false
            }
        }
    })
    .await;
    let asked = back_end.asked();
    assert!(asked >= 2, "{asked}");
    Client::try_connect(node.address, auth).await.unwrap();
    assert_eq!(back_end.asked(), asked, "and is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_is_asked_about_again_and_its_rooms_follow() {
    let with_rooms = |rooms: &[&str]| json!({ "allow": true, "user": "alice", "rooms": rooms });
    let back_end = BackEnd::start(with_rooms(&["a", "b"])).await;
    let node = back_end.node(&[]).await;
    let auth = |pid: &str, offset: &Option<String>| json!({ "token": "t", "pid": pid, "offset": offset });
    let mut alice = Client::try_connect(node.address, json!({ "token": "t" })).await.unwrap();
    alice.join("own").await;
    let mut other = Client::try_connect(node.address, json!({ "token": "o" })).await.unwrap();
    other.join("own").await;
    other.publish("b", json!(1)).await;
    alice.message().await;
    let (pid, offset) = (alice.pid.clone(), alice.offset.clone());
    drop(alice);
    for room in ["a", "b", "own"] {
        other.publish(room, json!(room)).await;
    }
    back_end.says(503, json!({}));
    assert!(is_put_off(&turned_away(&node, auth(&pid, &offset)).await), "it keeps what it needs");
    back_end.says(200, with_rooms(&["b", "c"]));
    let mut alice = Client::try_connect(node.address, auth(&pid, &offset)).await.unwrap();
    let mut rooms: Vec<_> = alice.hello[1]["rooms"].as_array().unwrap().clone();
    rooms.sort_by_key(ToString::to_string);
    assert_eq!((alice.recovered(), rooms), (true, vec![json!("b"), json!("own")]), "{}", alice.hello);
    assert_eq!((alice.message().await.0, alice.message().await.0), (json!("b"), json!("own")));
    let mut third = Client::try_connect(node.address, json!({ "token": "x" })).await.unwrap();
    third.publish("c", json!("c")).await;
    other.publish("a", json!("a")).await;
    other.publish("b", json!("end")).await;
    assert_eq!((alice.message().await.0, alice.message().await.0), (json!("c"), json!("end")), "not a any more");
    // Somebody else with her pid gets nothing of hers.
    let (pid, offset) = (alice.pid.clone(), alice.offset.clone());
    drop(alice);
    back_end.says(200, json!({ "allow": true, "user": "mallory" }));
    let mallory = Client::try_connect(node.address, auth(&pid, &offset)).await.unwrap();
    assert!(!mallory.recovered());
    back_end.says(403, json!({ "message": "not any more" }));
    assert_eq!(turned_away(&node, auth(&pid, &offset)).await, r#"44{"message":"not any more"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_keep_offsets_themselves_come_back_to_given_rooms() {
    let back_end = BackEnd::start(json!({ "allow": true, "user": "alice", "rooms": ["news"] })).await;
    let node = back_end.node(&[("GATEWAY_PROFILE", "none")]).await;
    let client = Client::connect(node.address).await;
    drop(client);
    let offset = "1";
    let back = Client::try_connect(node.address, json!({ "offsets": { "news": offset } })).await.unwrap();
    assert_eq!(back.hello[1]["reason"], "history", "{}: it may be there, but that is too long ago", back.hello);
    let other = Client::try_connect(node.address, json!({ "offsets": { "other": offset } })).await.unwrap();
    assert_eq!(other.hello[1]["reason"], "not_allowed", "{}", other.hello);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_is_asked_about_too() {
    let back_end =
        BackEnd::start(json!({ "allow": true, "user": "alice", "rooms": ["a"], "expiresInMs": 60_000 })).await;
    let node = back_end.node(&[]).await;
    let mut alice = Client::try_connect(node.address, json!({ "token": "t", "more": 1 })).await.unwrap();
    back_end.says(403, json!({ "message": "not this one" }));
    let refused = alice.ask("auth:refresh", json!({ "token": "bad" })).await;
    assert_eq!(refused["error"], json!({ "code": "rejected", "message": "not this one" }));
    let question = back_end.last();
    assert_eq!(
        (&question["event"], &question["token"], &question["auth"]),
        (&json!("refresh"), &json!("bad"), &Value::Null)
    );
    back_end.says(200, json!({ "allow": true, "user": "bob" }));
    assert_eq!(alice.ask("auth:refresh", json!({ "token": "b" })).await["error"]["code"], "not_allowed");
    back_end.says(200, json!({ "allow": true, "user": "alice", "rooms": ["b"], "expiresInMs": 90_000 }));
    let renewed = alice.ask("auth:refresh", json!({ "token": "u" })).await;
    assert_eq!((&renewed["ok"], &renewed["left"]), (&json!(true), &json!(["a"])), "{renewed}");
    assert!(renewed["expiresInMs"].as_u64().unwrap() > 80_000, "{renewed}");
    alice.publish("b", json!("here")).await;
    assert_eq!(alice.message().await.0, json!("here"));
    assert_eq!(alice.ask("publish", json!({ "room": "a", "data": 1 })).await["error"]["code"], "not_in_room");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_what_was_said_about_it_and_its_members_are_counted() {
    let back_end =
        BackEnd::start(json!({ "allow": true, "user": "alice", "rooms": ["r"], "expiresInMs": 1_000 })).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routes.toml");
    let routes = "[[route]]\nevent = \"who\"\naction = \"presence\"\nroom = \"{arg.room}\"\n";
    std::fs::write(&file, routes).unwrap();
    let node = back_end.node(&[("GATEWAY_PROFILE", file.to_str().unwrap())]).await;
    let mut alice = Client::connect(node.address).await;
    let who = alice.ask("who", json!({ "room": "r" })).await;
    assert_eq!(who["members"][0]["user"], "alice", "{who}");
    assert_eq!(alice.event().await[1]["error"]["code"], "token_expired");
    assert_eq!(alice.text().await, None, "it comes back by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_first_and_their_users_are_not_renamed() {
    let back_end = BackEnd::start(json!({ "allow": true, "roles": ["admin"] })).await;
    let node = back_end.node(&[("GATEWAY_AUTH__SECRET", SECRET), ("GATEWAY_AUTH__ANONYMOUS", "true")]).await;
    let token = Signer::secret(SECRET).sign(&claims());
    for bad in [json!({ "token": "opaque" }), json!({ "token": 7 })] {
        assert!(turned_away(&node, bad).await.starts_with("44"));
    }
    assert_eq!(back_end.asked(), 0, "nobody is asked about a token that is not valid");
    Client::try_connect(node.address, json!({ "token": token })).await.unwrap();
    assert_eq!(back_end.last()["user"], "alice");
    back_end.says(200, json!({ "allow": true, "user": "bob" }));
    let other = json!({ "token": token, "another": "question" });
    assert!(is_put_off(&turned_away(&node, other).await), "one of them is wrong");
    back_end.says(200, json!({ "allow": true, "user": "guest-7" }));
    Client::connect(node.address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_come_in_cookies_and_queries_where_that_is_wanted() {
    let token = Signer::secret(SECRET).sign(&claims());
    let plain = node(&[("GATEWAY_AUTH__SECRET", SECRET)]).await;
    let ways = [
        ("GATEWAY_AUTH__SECRET", SECRET),
        ("GATEWAY_AUTH__COOKIE", "jwt"),
        ("GATEWAY_AUTH__QUERY", "token"),
        ("GATEWAY_SOCKET__ORIGINS", "https://app.example"),
    ];
    let open = node(&ways).await;
    let (cookie, query) = (format!("a=b; jwt={token}"), format!("&token={token}"));
    let origin = ("origin", "https://app.example");
    for (query, headers) in [("", vec![("cookie", cookie.as_str()), origin]), (query.as_str(), vec![origin])] {
        Client::try_connect_with(open.address, query, &headers, json!({})).await.unwrap();
        let refused = Client::try_connect_with(plain.address, query, &headers, json!({})).await.err().unwrap();
        assert!(refused.starts_with("44") && refused.contains("a token is required"), "{refused}");
    }
    let stranger = [("cookie", cookie.as_str()), ("origin", "https://evil.example")];
    let refused = Client::try_connect_with(open.address, "", &stranger, json!({})).await.err().unwrap();
    assert!(refused.contains("403"), "{refused}");
    let bad = Client::try_connect_with(open.address, "&token=no", &[origin], json!({})).await.err().unwrap();
    assert!(bad.contains("not valid here"), "{bad}");
}
