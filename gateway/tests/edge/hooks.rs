//! Hooks: back ends that take what happens, are away, hang, redirect, talk nonsense, refuse and want to be left alone.

use std::collections::HashSet;
use std::time::Duration;

use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::response::IntoResponse;
use gateway::app::Gateway;
use gateway_core::config::Secret;
use gateway_work::hooks::sign;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::support::client::Client;
use crate::support::receiver::{Receiver, Reply};
use crate::support::{NO_LIMITS, eventually, http, metric};

const SECRET: &str = "0123456789abcdef";
const OLD_SECRET: &str = "fedcba9876543210";
const TOKEN: (&str, &str) = ("GATEWAY_ADMIN__TOKEN", "right");
/// As in life, but faster.
const FAST: [(&str, &str); 5] = [
    ("GATEWAY_HOOKS__INTERVAL", "10ms"),
    ("GATEWAY_HOOKS__BACKOFF", "20ms"),
    ("GATEWAY_HOOKS__BACKOFF_MAX", "100ms"),
    ("GATEWAY_PRESENCE__LINGER", "50ms"),
    ("GATEWAY_PRESENCE__LEASE", "150ms"),
];

/// A hook as a configuration has it.
fn hook(name: &str, url: &str, events: &[&str], more: &str) -> String {
    format!("[[hook]]\nname = {name:?}\nurl = {url:?}\nevents = {events:?}\nsecrets = [{SECRET:?}]\n{more}\n")
}

/// A node with a configuration file, which is returned so that it can be changed.
async fn node(hooks: &str, changes: &[(&str, &str)]) -> (Gateway, NamedTempFile) {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), hooks).unwrap();
    let base = [("GATEWAY_LISTEN", "127.0.0.1:0"), ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"), ("GATEWAY_DATA_DIR", "")];
    let all = base.iter().chain(&NO_LIMITS).chain(&FAST).chain([&TOKEN]).chain(changes);
    let all = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = gateway_core::config::load(Some(file.path()), all).unwrap();
    (Gateway::start(config, 20_000).await.unwrap(), file)
}

async fn operator(node: &Gateway, method: &str, path: &str, body: &str) -> Value {
    // What comes behind the body is not read.
    let headers = format!("Authorization: Bearer right\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (status, body) = http(method, node.admin_address, path, &headers).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// What is listed of one hook.
async fn listed(node: &Gateway, name: &str) -> Value {
    let all = operator(node, "GET", "/hooks", "").await;
    let found = all["hooks"].as_array().unwrap().iter().find(|hook| hook["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {all}")).clone()
}

async fn publish(client: &mut Client, room: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(format!("publish:{}", client.publish(room, json!(number)).await));
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_is_told_what_happens_in_its_order_and_signed() {
    let receiver = Receiver::start().await;
    let all = ["session.connected", "session.ended", "room.joined", "room.left", "room.emptied", "publish"];
    let text = hook("all", &receiver.url(), &all, "")
        .replace(&format!("[{SECRET:?}]"), &format!("[{SECRET:?}, {OLD_SECRET:?}]"));
    let (node, _file) = node(&text, &[]).await;
    let mut client = Client::connect(node.address).await;
    client.join("orders-1").await;
    let published = publish(&mut client, "orders-1", 3).await;
    client.ask("leave", json!({ "room": "orders-1" })).await;
    let session = client.hello[1]["pid"].as_str().map(str::to_owned);
    drop(client);
    receiver.takes(8).await;
    let events = receiver.taken();
    let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        [
            "session.connected",
            "room.joined",
            "publish",
            "publish",
            "publish",
            "room.left",
            "room.emptied",
            "session.ended"
        ]
    );
    assert_eq!(receiver.ids()[2..5], published);
    let told = &events[2];
    assert_eq!(
        (&told["room"], &told["event"], &told["args"][0]["data"], &told["namespace"]),
        (&json!("orders-1"), &json!("message"), &json!(0), &json!("/"))
    );
    assert_eq!(told["id"], format!("publish:{}", told["offset"].as_str().unwrap()));
    let sessions: HashSet<_> = events.iter().map(|event| event["session"].as_str().unwrap()).collect();
    assert_eq!(sessions.len(), 1);
    assert!(session.is_none_or(|pid| !sessions.contains(&*pid)), "what a client comes back with is nobody else's");
    assert_eq!((&events[5]["cause"], &events[7]["cause"]), (&json!("left"), &json!("lingered")));
    for request in receiver.requests() {
        assert_eq!(request.header("x-gateway-hook"), "all");
        assert_eq!(request.header("content-type"), "application/json");
        let signature = request.header("x-gateway-signature");
        let seconds = signature.split(',').next().unwrap().strip_prefix("t=").unwrap().parse().unwrap();
        let secrets = [SECRET, OLD_SECRET].map(|secret| Secret::from(secret.to_owned()));
        assert_eq!(signature, sign(&secrets, seconds, &request.body));
    }
    assert_eq!(metric(&node, "gateway_hook_events_delivered_total"), 8.0);
    assert_eq!(metric(&node, "gateway_hook_events_waiting"), 0.0);
    assert!(metric(&node, "gateway_hook_attempts_total{result=\"taken\"}") >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_that_was_away_gets_everything_once_and_in_order() {
    let before = Receiver::start().await;
    let (address, url) = (before.address, before.url());
    let (node, _file) = node(&hook("said", &url, &["publish"], ""), &[]).await;
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    let mut expected = publish(&mut client, "r", 10).await;
    before.takes(10).await;
    drop(before);
    expected.extend(publish(&mut client, "r", 250).await);
    eventually("it is tried again and again", || async {
        metric(&node, "gateway_hook_attempts_total{result=\"failed\"}") >= 3.0
    })
    .await;
    assert_eq!(listed(&node, "said").await["waiting"], 250);
    let open = || metric(&node, "gateway_call_breakers_open{of=\"hooks\"}");
    eventually("it is left alone", || async { open() == 1.0 }).await;
    assert!(metric(&node, "gateway_hook_oldest_seconds") > 0.0);
    // First it is there and not well.
    let after = Receiver::at(address, |number, _| Reply::status(if number < 3 { 503 } else { 200 })).await;
    expected.extend(publish(&mut client, "r", 10).await);
    after.takes(260).await;
    assert_eq!(after.ids(), expected[10..]);
    assert_eq!(after.taken().len(), 260, "each once");
    assert!(after.requests().iter().all(|request| request.events().len() <= 100));
    assert!(metric(&node, "gateway_call_breaker_openings_total{by=\"one\"}") >= 1.0, "it was left alone for a while");
    eventually("it is said to work", || async { open() == 0.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_is_given_up_and_holds_up_nobody_else() {
    let hangs = Receiver::answering(|number, _| if number == 0 { Reply::Hang } else { Reply::status(200) }).await;
    let dead = Receiver::answering(|_, _| Reply::Hang).await;
    let well = Receiver::start().await;
    let hooks = [
        hook("hangs", &hangs.url(), &["publish"], "timeout = \"300ms\""),
        hook("dead", &dead.url().replace("/hook", "/other"), &["publish"], "timeout = \"60s\""),
        hook("well", &well.url(), &["publish"], ""),
    ];
    let (node, _file) = node(&hooks.concat(), &[]).await;
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    let expected = publish(&mut client, "r", 5).await;
    well.takes(5).await;
    assert!(well.requests().iter().all(|request| request.at.elapsed() < Duration::from_secs(20)));
    assert_eq!(dead.taken(), [] as [Value; 0]);
    hangs.takes(5).await;
    assert_eq!((hangs.ids(), well.ids()), (expected.clone(), expected));
    assert_eq!(metric(&node, "gateway_hook_attempts_total{result=\"timeout\"}"), 1.0);
    assert_eq!(listed(&node, "dead").await["waiting"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed_and_rubbish_is_a_yes() {
    let elsewhere = Receiver::start().await;
    let target = elsewhere.url();
    let moved = Receiver::answering(move |number, _| match number {
        0 => Reply::Is((axum::http::StatusCode::TEMPORARY_REDIRECT, [(LOCATION, target.clone())]).into_response()),
        _ => Reply::status(200),
    })
    .await;
    let rubbish = Receiver::answering(|_, _| Reply::Is("<html>\u{0}".repeat(200_000).into_response())).await;
    let hooks =
        [hook("moved", &moved.url(), &["publish"], ""), hook("rubbish", &rubbish.url(), &["publish"], "")].concat();
    let (node, _file) = node(&hooks, &[]).await;
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    let mut expected = publish(&mut client, "r", 2).await;
    rubbish.takes(2).await;
    expected.extend(publish(&mut client, "r", 2).await);
    rubbish.takes(4).await;
    moved.takes(4).await;
    assert_eq!((rubbish.ids(), moved.ids()), (expected.clone(), expected));
    assert!(elsewhere.requests().is_empty());
    assert_eq!(metric(&node, "gateway_hook_attempts_total{result=\"redirected\"}"), 1.0);
    assert_eq!(metric(&node, "gateway_hook_events_given_up_total{reason=\"refused\"}"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_that_is_refused_is_found_given_up_listed_and_tried_again() {
    let is_forgiven = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let forgiven = is_forgiven.clone();
    let receiver = Receiver::answering(move |_, request| {
        let is_bad = |event: &Value| event["args"][0]["data"] == 7;
        let refuses = !forgiven.load(std::sync::atomic::Ordering::Acquire) && request.events().iter().any(is_bad);
        Reply::status(if refuses { 422 } else { 200 })
    })
    .await;
    // Nothing is looked at before all are there, so that they come in one request.
    let slow = [("GATEWAY_HOOKS__INTERVAL", "500ms")];
    let (node, _file) = node(&hook("picky", &receiver.url(), &["publish"], ""), &slow).await;
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    let mut expected = publish(&mut client, "r", 20).await;
    let bad = expected.remove(7);
    receiver.takes(19).await;
    assert_eq!(receiver.ids(), expected);
    assert_eq!(receiver.taken().len(), 19, "each once");
    eventually("it is given up", || async { listed(&node, "picky").await["givenUp"] == 1 }).await;
    let refused = listed(&node, "picky").await["refused"][0].clone();
    assert_eq!((&refused["id"], &refused["type"], &refused["room"]), (&json!(bad), &json!("publish"), &json!("r")));
    assert_eq!(refused["why"], "it answers 422 Unprocessable Entity");
    assert_eq!(metric(&node, "gateway_hook_events_given_up_total{reason=\"refused\"}"), 1.0);
    let other = operator(&node, "POST", "/hooks/picky/retry", r#"{"ids":["publish:1"]}"#).await;
    assert_eq!(other, json!({ "events": 0 }));
    is_forgiven.store(true, std::sync::atomic::Ordering::Release);
    let again = operator(&node, "POST", "/hooks/picky/retry", &json!({ "ids": [bad] }).to_string()).await;
    assert_eq!(again, json!({ "events": 1 }));
    receiver.takes(20).await;
    assert_eq!(receiver.ids().last(), Some(&bad), "by the same id");
    // And what is not wanted any more is dropped.
    is_forgiven.store(false, std::sync::atomic::Ordering::Release);
    client.publish("r", json!(7)).await;
    eventually("it is given up", || async { listed(&node, "picky").await["givenUp"] == 1 }).await;
    assert_eq!(operator(&node, "POST", "/hooks/picky/drop", "").await, json!({ "events": 1 }));
    assert_eq!(listed(&node, "picky").await["givenUp"], 0);
    let headers = "Authorization: Bearer right\r\nContent-Length: 0\r\n";
    assert_eq!(http("POST", node.admin_address, "/hooks/nobody/drop", headers).await.0, 404);
    assert_eq!(http("GET", node.admin_address, "/hooks", "").await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_everything_is_refused_the_queue_is_not_burnt_at_once() {
    let receiver = Receiver::answering(|_, _| Reply::status(401)).await;
    let slow = [("GATEWAY_HOOKS__BACKOFF", "30s"), ("GATEWAY_HOOKS__BACKOFF_MAX", "60s")];
    let (node, _file) = node(&hook("wrong", &receiver.url(), &["publish"], ""), &slow).await;
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    publish(&mut client, "r", 30).await;
    eventually("some are given up", || async { listed(&node, "wrong").await["givenUp"] == 4 }).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let listed = listed(&node, "wrong").await;
    assert_eq!((&listed["givenUp"], &listed["waiting"]), (&json!(4), &json!(26)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_that_needs_long_for_each_event_gets_on_with_many_that_wait() {
    let slow = |events: usize| Duration::from_millis(events as u64 * 100);
    let receiver = Receiver::answering(move |number, request| match number {
        0..2 => Reply::status(503),
        _ => Reply::Late(slow(request.events().len()), 200),
    })
    .await;
    let (node, _file) = node(&hook("slow", &receiver.url(), &["publish"], "timeout = \"1s\""), &[]).await;
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    let expected = publish(&mut client, "r", 40).await;
    // 40 at once would take four seconds, for which nobody waits.
    receiver.takes(40).await;
    let mut taken = receiver.ids();
    taken.dedup();
    assert_eq!(taken, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_says_when_it_wants_to_be_asked_again() {
    let receiver = Receiver::answering(|number, _| match number {
        0 => Reply::Is((axum::http::StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")]).into_response()),
        _ => Reply::status(200),
    })
    .await;
    let (node, _file) = node(&hook("busy", &receiver.url(), &["publish"], ""), &[]).await;
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    let expected = publish(&mut client, "r", 3).await;
    receiver.takes(3).await;
    assert_eq!(receiver.ids(), expected);
    let at: Vec<_> = receiver.requests().iter().map(|request| request.at).collect();
    assert!(at[1] - at[0] >= Duration::from_secs(1), "{:?}", at[1] - at[0]);
    assert_eq!(metric(&node, "gateway_hook_attempts_total{result=\"postponed\"}"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_is_given_up_and_what_is_too_much_is_dropped() {
    let receiver = Receiver::answering(|_, _| Reply::status(500)).await;
    let changes =
        [("GATEWAY_HOOKS__KEEP", "1s"), ("GATEWAY_HOOKS__QUEUE_EVENTS", "10"), ("GATEWAY_HOOKS__GIVEN_UP", "5")];
    let (node, _file) = node(&hook("away", &receiver.url(), &["publish"], ""), &changes).await;
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    let all = publish(&mut client, "r", 15).await;
    eventually("what does not fit is counted", || async { metric(&node, "gateway_hook_events_dropped_total") == 5.0 })
        .await;
    eventually("what is too old is given up", || async {
        metric(&node, "gateway_hook_events_given_up_total{reason=\"late\"}") == 10.0
    })
    .await;
    let listed = listed(&node, "away").await;
    assert_eq!((&listed["waiting"], &listed["dropped"], &listed["givenUp"]), (&json!(0), &json!(5), &json!(5)));
    let newest: Vec<_> = listed["refused"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(newest, all[5..10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_brings_hooks_and_takes_them_away() {
    let (one, two) = (Receiver::start().await, Receiver::start().await);
    let first = hook("one", &one.url(), &["publish"], "");
    let (node, file) = node(&first, &[]).await;
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    publish(&mut client, "r", 1).await;
    one.takes(1).await;
    // The same hook elsewhere, and one that has sessions counted that were not before.
    let second = [
        hook("one", &two.url().replace("/hook", "/one"), &["publish"], ""),
        hook("who", &two.url(), &["session.connected", "room.joined"], ""),
    ];
    std::fs::write(file.path(), second.concat()).unwrap();
    node.reload().await.unwrap();
    publish(&mut client, "r", 1).await;
    let mut other = Client::connect(node.address).await;
    other.join("r").await;
    eventually("both are told", || async {
        let types: Vec<_> = two.taken().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
        ["publish", "session.connected", "room.joined"].iter().all(|wanted| types.iter().any(|it| it == wanted))
    })
    .await;
    assert_eq!(one.taken().len(), 1);
    // A mistake changes nothing, whatever else is right.
    let schedule = |queue: &str| {
        format!(
            "[[schedule]]\nname = \"s\"\ncron = \"@yearly\"\nkind = \"publish\"\nqueue = {queue:?}\n\
             data = {{ room = \"r\", event = \"e\" }}\n"
        )
    };
    let rooms: Vec<_> = (0..101).map(|number| format!("r{number}")).collect();
    let key = format!(
        "[[api.key]]\nname = \"k\"\nid = \"0123456789abcdef\"\nhash = \"{}\"\nscopes = [\"read\"]\nrooms = {rooms:?}\n",
        "0".repeat(64)
    );
    let queue = "[[jobs.queue]]\nname = \"later\"\n";
    for (text, word) in [
        ("[[hook]]\nname = \"one\"\n".to_owned(), "url: is missing"),
        (format!("{}{key}", schedule("default")), "api.key"),
        // Queues are those with which the node began.
        (format!("{}{queue}", schedule("later")), "there is no queue \"later\""),
    ] {
        std::fs::write(file.path(), text).unwrap();
        let error = node.reload().await.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        let schedules = operator(&node, "GET", "/console/api/v1/schedules", "").await;
        assert_eq!(schedules["schedules"], json!([]), "{schedules}");
    }
    std::fs::write(file.path(), "").unwrap();
    node.reload().await.unwrap();
    let taken = two.ids().len();
    publish(&mut client, "r", 3).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(two.ids().len(), taken, "nobody wants it");
    let gone = listed(&node, "one").await;
    assert_eq!((&gone["url"], &gone["waiting"]), (&Value::Null, &json!(0)));
}
