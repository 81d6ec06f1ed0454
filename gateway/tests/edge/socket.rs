//! The Socket.IO edge of one embedded node: order, boundaries, limits, slow clients, drain.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::Client;
use crate::support::{self, config, eventually, http, metric, node};

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_session_are_handled_in_order_however_fast_they_come() {
    let node = node(&[]).await;
    assert!(numbered_events(&node, 5_000).await.into_iter().eq(0..5_000));
}

/// What a session hears that publishes numbered events without waiting for anything, while it reads.
async fn numbered_events(node: &gateway::app::Gateway, count: u64) -> Vec<u64> {
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    let (mut sink, mut stream) = futures_util::StreamExt::split(client.socket);
    let writing = async {
        for number in 0..count {
            let packet = format!("42{}", json!(["publish", { "room": "r", "data": number }]));
            futures_util::SinkExt::send(&mut sink, tokio_tungstenite::tungstenite::Message::text(packet))
                .await
                .unwrap();
        }
    };
    let reading = async {
        let mut heard = Vec::new();
        while (heard.len() as u64) < count {
            let message = futures_util::StreamExt::next(&mut stream).await.unwrap().unwrap();
            if let Some(event) = message.to_text().unwrap().strip_prefix("42") {
                let event: Value = serde_json::from_str(event).unwrap();
                assert_eq!(event[0], "message", "nothing is refused: {event}");
                heard.push(event[1]["data"].as_u64().unwrap());
            }
        }
        heard
    };
    let both = async { tokio::join!(writing, reading).1 };
    tokio::time::timeout(support::PATIENCE * 3, both).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_joins_as_soon_as_it_is_connected_is_in() {
    let node = node(&[]).await;
    let join_at_once = |number: usize| {
        let address = node.address;
        async move {
            let mut client = Client::connect(address).await;
            client.join(&format!("room {}", number % 10)).await;
            client
        }
    };
    let clients = join_all((0..500).map(join_at_once)).await;
    assert_eq!(clients.len(), 500);
    assert_eq!(metric(&node, "gateway_rooms"), 10.0);
    assert_eq!(metric(&node, "gateway_connections{transport=\"websocket\"}"), 500.0);
    drop(clients);
    let left = || ["gateway_rooms", "gateway_connections{transport=\"websocket\"}"].map(|name| metric(&node, name));
    eventually("all are gone", || async { node.sessions() == 0 && left() == [0.0, 0.0] }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_with_an_offset_gets_what_it_missed_and_then_what_is_new() {
    let node = node(&[("GATEWAY_LOG__ROOM_EVENTS", "50")]).await;
    let mut speaker = Client::connect(node.address).await;
    let start = speaker.join("r").await;
    for number in 0..30 {
        speaker.publish("r", json!(number)).await;
    }
    let mut returning = Client::connect(node.address).await;
    // Others speak on while it joins: the boundary must be exact.
    let speaking = async {
        for number in 30..50 {
            speaker.publish("r", json!(number)).await;
        }
    };
    let joining = async {
        let ack = returning.ask("join", json!({ "room": "r", "after": start })).await;
        assert_eq!((&ack["ok"], &ack["recovered"]), (&json!(true), &json!(true)), "{ack}");
        for number in 0..50 {
            assert_eq!(returning.message().await.0, json!(number));
        }
    };
    tokio::join!(speaking, joining);
    // One more than the room keeps: all or nothing, and never silently.
    speaker.publish("r", json!(50)).await;
    let mut late = Client::connect(node.address).await;
    let ack = late.ask("join", json!({ "room": "r", "after": start })).await;
    assert_eq!((&ack["ok"], &ack["recovered"]), (&json!(true), &json!(false)), "{ack}");
    let told = late.event().await;
    assert_eq!((&told[0], &told[1]), (&json!("gateway:gap"), &json!({ "room": "r", "reason": "retention" })), "{told}");
    assert!(late.is_quiet(Duration::from_millis(100)).await);
    // The answer may have been lost: asking again must not make it sound better.
    let ack = late.ask("join", json!({ "room": "r", "after": start })).await;
    assert_eq!((&ack["ok"], &ack["recovered"]), (&json!(true), &json!(false)), "{ack}");
    let ack = returning.ask("join", json!({ "room": "r", "after": start })).await;
    assert_eq!(ack["recovered"], true, "{ack}");
    for after in ["-1", "x", "99999999999999999999999"] {
        let ack = Client::connect(node.address).await.ask("join", json!({ "room": "r", "after": after })).await;
        assert_eq!(ack["error"]["code"], "bad_request", "{after}");
    }
    let ack =
        Client::connect(node.address).await.ask("join", json!({ "room": "r", "after": "18446744073709551615" })).await;
    assert_eq!(ack["recovered"], false, "an offset from the future: {ack}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_publishes_once_for_one_author() {
    let node = node(&[]).await;
    let (mut one, mut two) = (Client::connect(node.address).await, Client::connect(node.address).await);
    one.join("r").await;
    two.join("r").await;
    let publish = json!({ "room": "r", "data": 1, "id": "a" });
    let first = one.ask("publish", publish.clone()).await;
    let again = one.ask("publish", publish.clone()).await;
    assert_eq!(first["offset"], again["offset"]);
    let other = two.ask("publish", publish).await;
    let offset = |ack: &serde_json::Value| ack["offset"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(offset(&other) > offset(&first), "another session is another author");
    assert_eq!(two.message().await.1, offset(&first));
    assert_eq!(two.message().await.1, offset(&other));
    assert!(two.is_quiet(Duration::from_millis(50)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_may_not_do_is_refused_with_a_code() {
    let node = node(&[("GATEWAY_LIMITS__ROOMS_PER_SESSION", "2"), ("GATEWAY_LIMITS__MESSAGE_BYTES", "4096")]).await;
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    client.join("s").await;
    client.join("s").await;
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let cases: Vec<(&str, Value, &str)> = vec![
        ("join", json!({ "room": "t" }), "too_many_rooms"),
        ("join", json!({ "room": "" }), "bad_room"),
        ("join", json!({ "room": "x".repeat(256) }), "bad_room"),
        ("join", json!({ "room": "\u{1}canary:x" }), "bad_room"),
        ("join", json!({ "room": {} }), "bad_request"),
        ("join", json!("r"), "bad_request"),
        ("join", Value::Null, "bad_request"),
        ("leave", json!({}), "bad_request"),
        ("publish", json!({ "room": "t", "data": 1 }), "not_in_room"),
        ("publish", json!({ "room": "r", "event": "connect", "data": 1 }), "bad_request"),
        ("publish", json!({ "room": "r", "event": "", "data": 1 }), "bad_request"),
        ("publish", json!({ "room": "r", "id": "", "data": 1 }), "bad_request"),
        ("publish", json!({ "room": "r", "data": { "_placeholder": true, "num": 0 } }), "bad_request"),
        ("publish", json!({ "room": "r", "data": serde_json::from_str::<Value>(&deep).unwrap() }), "bad_request"),
        ("signal", json!({ "room": "r", "data": 1 }), "bad_request"),
        ("signal", json!({ "room": "t", "event": "e", "data": 1 }), "not_in_room"),
        ("history", json!({ "room": "t" }), "not_in_room"),
        ("history", json!({ "room": "r", "after": "1", "before": "2" }), "bad_request"),
        ("fly", json!({}), "unknown_event"),
    ];
    for (event, argument, code) in cases {
        let before = metric(&node, &format!("gateway_refusals_total{{code=\"{code}\"}}"));
        let ack = client.ask(event, argument.clone()).await;
        assert_eq!((&ack["ok"], &ack["error"]["code"]), (&json!(false), &json!(code)), "{event} {argument}");
        assert_eq!(metric(&node, &format!("gateway_refusals_total{{code=\"{code}\"}}")), before + 1.0);
    }
    client.send("42[\"fly\"]").await;
    assert_eq!(client.event().await[0], "refused", "without an ack the refusal is an event");
    client.publish("r", json!("still here")).await;
    assert_eq!(client.message().await.0, "still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_several_frames_or_one_too_large_ends_only_its_sender() {
    let node = node(&[("GATEWAY_LIMITS__MESSAGE_BYTES", "1024")]).await;
    let (mut sender, mut other) = (Client::connect(node.address).await, Client::connect(node.address).await);
    other.join("r").await;
    sender.send(&format!("42{}", json!(["publish", { "room": "r", "data": "x".repeat(2000) }]))).await;
    assert_eq!(sender.text().await, None, "closed");
    other.publish("r", json!("unharmed")).await;
    eventually("it is gone", || async { node.sessions() == 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_make_no_sense_close_or_change_nothing() {
    let node = node(&[("GATEWAY_LIMITS__CONNECTS_PER_CONNECTION", "3")]).await;
    let mut other = Client::connect(node.address).await;
    other.join("r").await;
    for packet in [
        "garbage",
        "4",
        "42[",
        "42{}",
        "42[1]",
        "5",
        "459999-[\"publish\",{}]",
        "451-[\"publish\",{\"_placeholder\":true,\"num\":7}]",
    ] {
        let mut client = Client::connect(node.address).await;
        client.send(packet).await;
        client.socket.close(None).await.ok();
        while client.text().await.is_some() {}
        other.publish("r", json!(packet)).await;
        assert_eq!(other.message().await.0, json!(packet));
    }
    // Answers to questions that nobody asked.
    for packet in ["43999[]", "3", "40/nope,", "41/nope,"] {
        other.send(packet).await;
    }
    other.publish("r", json!("still here")).await;
    // A second session in the same namespace is none.
    let mut twice = Client::connect(node.address).await;
    twice.send("40").await;
    while twice.text().await.is_some() {}
    // Leaving and asking again is cheap for the client and not for the node.
    let mut restless = Client::connect(node.address).await;
    for _ in 0..1_000 {
        let sent =
            futures_util::SinkExt::send(&mut restless.socket, tokio_tungstenite::tungstenite::Message::text("40"))
                .await;
        if sent.is_err() {
            break;
        }
    }
    drop(restless);
    let closed = "gateway_connections_closed_total{transport=\"websocket\",reason=\"bad_packet\"}";
    eventually("only one is left", || async { node.sessions() == 1 && metric(&node, closed) >= 4.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_handshakes_of_an_address_are_refused_and_told_when_to_come_back() {
    let node =
        gateway::app::Gateway::start(config(&[("GATEWAY_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS", "5")]), 20_000)
            .await
            .unwrap();
    let poll = || http("GET", node.address, "/socket.io/?EIO=4&transport=polling", "");
    let mut refused = None;
    for _ in 0..6 {
        let (status, body) = poll().await;
        if status == 429 {
            refused = Some(body);
        }
    }
    let body: Value = serde_json::from_str(&refused.expect("the sixth is too many")).unwrap();
    assert_eq!(body["error"]["code"], "rate_limited");
    let wait = body["error"]["retryAfterMs"].as_u64().unwrap();
    tokio::time::sleep(Duration::from_millis(wait)).await;
    assert_eq!(poll().await.0, 200);
    assert_eq!(metric(&node, "gateway_handshakes_total{result=\"rate_limited\"}"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_says_so_and_lets_in_again_when_there_is_room() {
    let node = node(&[("GATEWAY_LIMITS__CONNECTIONS", "2")]).await;
    let first = Client::connect(node.address).await;
    let _second = Client::connect(node.address).await;
    let refused = Client::try_connect(node.address, json!({})).await;
    assert!(refused.is_err_and(|error| error.contains("503")));
    drop(first);
    eventually("there is room", || async { Client::try_connect(node.address, json!({})).await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dawdles_over_its_headers_or_its_connect_is_let_go() {
    let node = node(&[("GATEWAY_SOCKET__HEADER_TIMEOUT", "300ms"), ("GATEWAY_SOCKET__CONNECT_TIMEOUT", "300ms")]).await;
    let mut slow = TcpStream::connect(node.address).await.unwrap();
    slow.write_all(b"GET /socket.io/?EIO=4 HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let ended = tokio::time::timeout(support::PATIENCE, slow.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "closed");
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", node.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let ended = tokio::time::timeout(support::PATIENCE, async {
        while let Some(Ok(_)) = futures_util::StreamExt::next(&mut socket).await {}
    });
    assert!(ended.await.is_ok(), "closed");
}

/// A websocket client that never reads after it has joined.
async fn staller(address: std::net::SocketAddr, room: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let request = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    futures_util::SinkExt::send(&mut socket, tokio_tungstenite::tungstenite::Message::text("40")).await.unwrap();
    loop {
        let message = futures_util::StreamExt::next(&mut socket).await.unwrap().unwrap();
        let text = message.to_text().unwrap();
        if text.starts_with("430") {
            return socket.into_inner();
        }
        // What is said before the session is there ends the connection.
        if text.starts_with("40") {
            let join = format!("420{}", json!(["join", { "room": room }]));
            futures_util::SinkExt::send(&mut socket, tokio_tungstenite::tungstenite::Message::text(join))
                .await
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_is_closed_and_the_others_hear_everything() {
    let node = node(&[("GATEWAY_SOCKET__WRITE_TIMEOUT", "500ms")]).await;
    let mut speaker = Client::connect(node.address).await;
    speaker.join("r").await;
    let _stalled = staller(node.address, "r").await;
    assert_eq!(node.sessions(), 2);
    let slow = || metric(&node, "gateway_connections_closed_total{transport=\"websocket\",reason=\"slow\"}");
    let text = "x".repeat(8_000);
    let mut said = 0;
    while slow() == 0.0 {
        let offset = speaker.publish("r", json!(text)).await;
        assert_eq!(speaker.message().await.1.to_string(), offset, "the others hear everything meanwhile");
        said += 1;
        assert!(said < 100_000, "it is never closed");
    }
    eventually("it is gone from the node and its room", || async { node.sessions() == 1 }).await;
    let delivered = metric(&node, "gateway_events_delivered_total");
    speaker.publish("r", json!("to me alone")).await;
    speaker.message().await;
    assert_eq!(metric(&node, "gateway_events_delivered_total"), delivered + 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_session_is_read_no_faster_than_it_is_handled_and_nothing_is_refused() {
    let node = node(&[("GATEWAY_LIMITS__MAILBOX_PAUSE_EVENTS", "4"), ("GATEWAY_LIMITS__MAILBOX_EVENTS", "512")]).await;
    assert!(numbered_events(&node, 2_000).await.into_iter().eq(0..2_000));
    assert_eq!(metric(&node, "gateway_refusals_total{code=\"overloaded\"}"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_larger_than_the_queue_of_a_client_is_no_reason_to_close_it() {
    let node = node(&[("GATEWAY_LIMITS__BACKLOG_EVENTS", "32")]).await;
    let mut speaker = Client::connect(node.address).await;
    let start = speaker.join("r").await;
    for number in 0..500 {
        speaker.publish("r", json!([number, "x".repeat(500)])).await;
        speaker.message().await;
    }
    let mut returning = Client::connect(node.address).await;
    let ack = returning.ask("join", json!({ "room": "r", "after": start })).await;
    assert_eq!(ack["recovered"], true, "{ack}");
    for number in 0..500 {
        assert_eq!(returning.message().await.0[0], number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_old_enough_is_asked_to_come_back_and_recovers() {
    let node = node(&[("GATEWAY_SOCKET__MAX_AGE", "300ms")]).await;
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    assert_eq!(client.text().await, None, "a transport close and no DISCONNECT: official clients come back");
    let client = Client::come_back(node.address, &client.pid, client.offset.as_deref()).await;
    assert!(client.recovered());
    let closed = "gateway_connections_closed_total{transport=\"websocket\",reason=\"aged\"}";
    // Ends are told by a task of the engine, and this one may be told after the client is back.
    eventually("it is counted", || async { metric(&node, closed) == 1.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stampede_is_admitted_at_the_configured_rate_and_told_to_wait() {
    let node = node(&[("GATEWAY_LIMITS__HANDSHAKES_PER_SECOND", "20")]).await;
    let handshake = || http("GET", node.address, "/socket.io/?EIO=4&transport=polling", "");
    let answers = join_all((0..200).map(|_| handshake())).await;
    let admitted = answers.iter().filter(|(status, _)| *status == 200).count();
    assert!((20..60).contains(&admitted), "{admitted}");
    let (status, body) = answers.iter().find(|(status, _)| *status != 200).unwrap();
    assert_eq!(*status, 503);
    assert!(body.contains("\"busy\"") && body.contains("retryAfterMs"), "{body}");
    assert!(metric(&node, "gateway_handshakes_total{result=\"busy\"}") >= 100.0);
    eventually("there is room again", || async { handshake().await.0 == 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_that_does_not_fit_the_socket_reaches_a_client_that_reads() {
    let node = node(&[]).await;
    let mut speaker = Client::connect(node.address).await;
    let mut reader = Client::connect(node.address).await;
    reader.join("r").await;
    speaker.join("r").await;
    let (mut send, mut receive) = speaker.socket.split();
    let listening = tokio::spawn(async move { while receive.next().await.is_some() {} });
    let speaking = tokio::spawn(async move {
        for number in 0..3000 {
            let publish = json!(["publish", { "room": "r", "data": [number, "x".repeat(500)] }]);
            send.send(Message::text(format!("42{publish}"))).await.unwrap();
        }
        send
    });
    for number in 0..3000 {
        assert_eq!(reader.message().await.0[0], number);
    }
    let closed = "gateway_connections_closed_total{transport=\"websocket\",reason=\"slow\"}";
    assert_eq!(metric(&node, closed), 0.0);
    drop(speaking.await.unwrap());
    listening.abort();
}
