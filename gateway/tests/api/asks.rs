//! Questions to clients: who is asked, who is listened to, and what becomes of those that say nothing, too much or too often.

use std::sync::Arc;
use std::time::Duration;

use futures_util::SinkExt;
use gateway_core::asks::{Asks, Whom};
use gateway_core::bus::{MemoryBus, MemoryHub};
use gateway_core::domain::{Event, Frame, RoomName};
use gateway_core::metrics::Metrics;
use gateway_core::node::{CloseReason, Entrance, Outlet, Session, Undelivered, Waiting};
use gateway_core::routes::RouteTable;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::caller::{Caller, config};
use crate::sessions::{alice, cluster};
use crate::support::client::Client;
use crate::support::redis::Redis;
use crate::support::{self, eventually, metric};

#[path = "../support/router.rs"]
#[allow(dead_code, unreachable_pub, reason = "benchmarks share it, and use the rest of it")]
mod router;
use router::Bench;

/// What a client is asked: the number to answer under, and the event.
async fn question(client: &mut Client) -> (String, Value) {
    loop {
        let text = client.text().await.expect("closed instead of asked");
        let rest = text.strip_prefix("42").expect(&text);
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            return (rest[..digits].to_owned(), serde_json::from_str(&rest[digits..]).unwrap());
        }
        client.keep(&text);
    }
}

async fn answer(client: &mut Client, with: Value) {
    let (number, _) = question(client).await;
    client.send(&format!("43{number}{with}")).await;
}

/// Asks beside what the test goes on with.
fn ask(back_end: &Caller, path: &str, body: Value) -> tokio::task::JoinHandle<crate::caller::Answer> {
    let (back_end, path) = (Caller { address: back_end.address, key: back_end.key.clone() }, path.to_owned());
    tokio::spawn(async move { back_end.post(&path, &body).await })
}

fn counts(answer: &Value) -> Vec<u64> {
    ["asked", "silent", "discarded", "unasked", "missing"].map(|name| answer[name].as_u64().unwrap()).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_room_a_user_or_one_are_asked_on_all_nodes() {
    let redis = Redis::start().await;
    let (nodes, back_end) = Box::pin(cluster(&redis, 2)).await;
    let (mut one, mut two) = (alice(&nodes[0]).await, alice(&nodes[1]).await);
    let mut elsewhere = alice(&nodes[1]).await;
    one.join("r").await;
    two.join("r").await;
    let asked = ask(&back_end, "/api/v1/rooms/r/ask", json!({ "event": "which", "args": [{ "of": "app" }, "x"] }));
    let (number, event) = question(&mut one).await;
    assert_eq!(event, json!(["which", { "of": "app" }, "x"]));
    one.send(&format!("43{number}[\"1.0\",{{\"a\":1}}]")).await;
    let (number, _) = question(&mut two).await;
    two.send(&format!("461-{number}[{{\"_placeholder\":true,\"num\":0}}]")).await;
    two.socket.send(Message::binary(vec![1, 2])).await.unwrap();
    let answered = asked.await.unwrap();
    assert_eq!((answered.status, counts(&answered.body)), (200, vec![2, 0, 0, 0, 0]), "{answered:?}");
    let mut answers = answered.body["answers"].as_array().unwrap().clone();
    answers.sort_by_key(|answer| answer["session"] != one.sid.as_str());
    let expected = [
        json!({ "session": one.sid, "user": "alice", "args": ["1.0", { "a": 1 }] }),
        json!({ "session": two.sid, "user": "alice", "args": [{ "_placeholder": true, "num": 0 }], "attachments": ["AQI="] }),
    ];
    assert_eq!(answers, expected);
    assert!(elsewhere.is_quiet(Duration::from_millis(50)).await);

    let asked = ask(&back_end, "/api/v1/users/alice/ask", json!({ "event": "which" }));
    for client in [&mut one, &mut two, &mut elsewhere] {
        answer(client, json!([])).await;
    }
    assert_eq!(counts(&asked.await.unwrap().body), [3, 0, 0, 0, 0]);

    let path = format!("/api/v1/sessions/{}/ask", elsewhere.sid);
    let asked = ask(&back_end, &path, json!({ "event": "which", "data": null }));
    let (number, event) = question(&mut elsewhere).await;
    assert_eq!(event, json!(["which", null]));
    elsewhere.send(&format!("43{number}[true]")).await;
    assert_eq!(asked.await.unwrap().body["answers"][0]["args"], json!([true]));
    assert_eq!(metric(&nodes[0], "gateway_asks_total{result=\"whole\"}"), 3.0);
    assert_eq!(metric(&nodes[1], "gateway_ask_answers_total{answer=\"taken\"}"), 4.0);
    // Nobody is there: an empty answer, at once.
    let began = Instant::now();
    let nobody = back_end.post("/api/v1/rooms/none/ask", &json!({ "event": "which" })).await;
    assert_eq!((nobody.status, counts(&nobody.body)), (200, vec![0, 0, 0, 0, 0]));
    assert!(began.elapsed() < Duration::from_secs(4));
    let path = format!("/api/v1/sessions/{}/ask", "0".repeat(32));
    let unknown = back_end.post(&path, &json!({ "event": "which" })).await;
    assert_eq!((unknown.status, unknown.code()), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_answer_of_who_was_asked_counts() {
    let (config, key) = config(&[("GATEWAY_ASKS__ANSWER_BYTES", "100"), ("GATEWAY_ASKS__BYTES", "120")]);
    let node = gateway::app::Gateway::start(config, 20_000).await.unwrap();
    let back_end = Caller { address: node.address, key };
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = Client::connect(node.address).await;
        client.join("r").await;
        clients.push(client);
    }
    let mut stranger = Client::connect(node.address).await;
    let asked = ask(&back_end, "/api/v1/rooms/r/ask", json!({ "event": "e", "timeoutMs": 1_500 }));
    let mut numbers = Vec::new();
    for client in &mut clients {
        numbers.push(question(client).await.0);
    }
    let number = &numbers[0];
    assert!(numbers.iter().all(|other| other == number), "it is encoded once");
    // Who was not asked, other numbers, and none at all.
    stranger.send(&format!("43{number}[\"not mine\"]")).await;
    stranger.send("43[1]").await;
    stranger.send("4399999[1]").await;
    clients[0].send(&format!("43{number}[\"first\"]")).await;
    clients[0].send(&format!("43{number}[\"second\"]")).await;
    clients[1].send(&format!("43{number}[\"{}\"]", "x".repeat(200))).await;
    clients[2].send(&format!("43{number}[{}]", "[".repeat(200) + &"]".repeat(200))).await;
    clients[3].send(&format!("43{number}{{\"no\":\"list\"}}")).await;
    // The fifth goes, the sixth says nothing.
    drop(clients.remove(4));
    let answered = asked.await.unwrap();
    assert_eq!(counts(&answered.body), [6, 2, 3, 0, 0], "{answered:?}");
    let first = json!([{ "session": clients[0].sid, "user": null, "args": ["first"] }]);
    assert_eq!(answered.body["answers"], first);
    // What comes late is nobody's any more, and harms nobody.
    clients[4].send(&format!("43{number}[\"late\"]")).await;
    assert_eq!(clients[4].publish("r", json!(1)).await.parse::<u64>().map(|offset| offset > 0), Ok(true));
    assert_eq!(metric(&node, "gateway_asks_total{result=\"partial\"}"), 1.0);
    // It ends before its time if all who could answer have left.
    let (began, mut last) = (Instant::now(), Client::connect(node.address).await);
    last.join("s").await;
    let asked = ask(&back_end, "/api/v1/rooms/s/ask", json!({ "event": "e", "timeoutMs": 15_000 }));
    question(&mut last).await;
    drop(last);
    assert_eq!(counts(&asked.await.unwrap().body), [1, 1, 0, 0, 0]);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_bounded_and_bad_ones_refused() {
    let limits = [("GATEWAY_ASKS__SESSIONS", "2"), ("GATEWAY_ASKS__IN_FLIGHT", "1"), ("GATEWAY_ASKS__TIMEOUT", "2s")];
    let (config, key) = config(&limits);
    let node = gateway::app::Gateway::start(config, 20_000).await.unwrap();
    let back_end = Caller { address: node.address, key };
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(node.address).await;
        client.join("r").await;
        clients.push(client);
    }
    let path = "/api/v1/rooms/r/ask";
    let asked = ask(&back_end, path, json!({ "event": "e" }));
    // Two of three are asked, so one of two is.
    let [one, two, _] = clients.as_mut_slice() else { unreachable!() };
    tokio::select! { _ = question(one) => {}, _ = question(two) => {} }
    assert_eq!(back_end.post(path, &json!({ "event": "e" })).await.code(), "rate_limited", "one at a time");
    assert_eq!(counts(&asked.await.unwrap().body), [2, 2, 0, 1, 0]);
    for (body, code, pointer) in [
        (json!({ "event": "e", "timeoutMs": 0 }), "bad_body", "/timeoutMs"),
        (json!({ "event": "e", "timeoutMs": 2_001 }), "bad_body", "/timeoutMs"),
        (json!({ "event": "e", "timeoutMs": "1" }), "bad_body", "/timeoutMs"),
        (json!({ "event": "e", "args": {} }), "bad_body", "/args"),
        (json!({ "event": "e", "args": [], "data": 1 }), "bad_body", "/data"),
        (json!({ "event": "e", "id": "x" }), "bad_body", "/id"),
    ] {
        let refused = back_end.post(path, &body).await;
        assert_eq!((refused.code(), &refused.body["errors"][0]["pointer"]), (code, &json!(pointer)), "{body}");
    }
    for event in ["connect", "gateway:x", ""] {
        assert_eq!(back_end.post(path, &json!({ "event": event })).await.code(), "bad_request", "{event}");
    }
    let item = json!({ "items": [{ "method": "POST", "path": path, "body": { "event": "e" } }] });
    assert_eq!(back_end.post("/api/v1/batch", &item).await.body["items"][0]["status"], 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_is_missing() {
    let redis = Redis::start().await;
    let (nodes, back_end) = Box::pin(cluster(&redis, 1)).await;
    // It hears questions, and never says anything.
    let mut deaf = tokio::net::TcpStream::connect(("127.0.0.1", redis.port())).await.unwrap();
    deaf.write_all(b"SUBSCRIBE gateway:ask\r\n").await.unwrap();
    eventually("it is counted", || async { redis.command("PUBSUB NUMSUB gateway:ask").await.contains(":2") }).await;
    let mut client = alice(&nodes[0]).await;
    let asked = ask(&back_end, "/api/v1/users/alice/ask", json!({ "event": "e", "timeoutMs": 300 }));
    answer(&mut client, json!([1])).await;
    let answered = asked.await.unwrap();
    assert_eq!((answered.status, counts(&answered.body)), (200, vec![1, 0, 0, 0, 1]), "{answered:?}");
}

/// Answers whatever it is asked, by telling the test.
struct Talker {
    number: usize,
    asked: mpsc::Sender<(usize, u64)>,
}

impl Outlet for Talker {
    fn deliver(&self, frame: &Frame) -> Result<(), Undelivered> {
        if let Some(under) = frame.answered_under() {
            self.asked.try_send((self.number, under)).unwrap();
        }
        Ok(())
    }
    fn waiting(&self) -> Waiting {
        Waiting::default()
    }
    fn close(&self, _: CloseReason) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_sessions_in_a_room_are_asked_at_once() {
    const SESSIONS: usize = 10_000;
    let stage = Bench::new(RouteTable::load("native", None).unwrap()).await;
    let changes = [("GATEWAY_ASKS__SESSIONS", "10000"), ("GATEWAY_LIMITS__ROOMS_PER_SESSION", "0")];
    let config = support::config(&changes);
    let bus = Arc::new(MemoryBus::new(Arc::<MemoryHub>::default()));
    let node = stage.router.node().clone();
    let (asks, heard) = Asks::start(&config, bus, node.clone(), Arc::new(Metrics::new())).await.unwrap();
    tokio::spawn(asks.clone().serve(heard));
    let (sink, mut asked) = mpsc::channel(SESSIONS);
    let sessions: Mutex<Vec<Arc<Session>>> = Mutex::default();
    let room = RoomName::parse("r").unwrap();
    for number in 0..SESSIONS {
        let outlet = Box::new(Talker { number, asked: sink.clone() });
        let session = stage.session_to(Default::default(), outlet).await;
        let entrance = Entrance { via: &"join".into(), after: None, partial: false, seat: None };
        node.join(&session, &room, &entrance).await.unwrap();
        sessions.lock().push(session);
    }
    let event = Event { name: "e".into(), args: "[1]".into(), attachments: vec![], except: None, at_ms: 0 };
    let answering = async {
        for _ in 0..SESSIONS {
            let (number, under) = asked.recv().await.unwrap();
            let session = sessions.lock()[number].clone();
            // Every tenth says nothing.
            if number % 10 > 0 {
                node.answered(&session, under, format!("[{number}]"), Vec::new());
            }
        }
    };
    let time = Duration::from_secs(5);
    let (outcome, ()) = tokio::join!(asks.ask(Whom::Room(room), &event, time), answering);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.asked, outcome.replies.len(), outcome.silent), (SESSIONS, 9_000, 1_000));
    assert_eq!((outcome.discarded, outcome.unasked, outcome.missing), (0, 0, 0));
}
