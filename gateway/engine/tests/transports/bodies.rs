//! Bodies of requests: where none belongs, how much of them is held, and how long they may take.

use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::Packet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::passing::{misled, two};
use crate::support::{PATIENCE, Poller, Raw, World, eventually, websocket_request};

/// What a proxy takes for a body, and a careless server for the next request.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";

/// A request of this head with that in its body, once with a length and once in a chunk.
fn with_hidden(head: &str) -> [String; 2] {
    let head = head.trim_end();
    let length = HIDDEN.len();
    [
        format!("{head}\r\nContent-Length: {length}\r\n\r\n{HIDDEN}"),
        format!("{head}\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n"),
    ]
}

/// Asks with a body where none belongs: the answer's status. It is the only one, and the connection is over.
async fn asked(world: &World, request: &str) -> u16 {
    let mut raw = Raw::connect(world).await;
    raw.write(request).await;
    let (status, head, _) = raw.answer_to(request.starts_with("HEAD")).await;
    assert!(head.contains("connection: close\r\n"), "{request}{head}");
    assert!(raw.ends().await);
    assert_eq!(world.seen.pages.load(Ordering::SeqCst), 0, "a body was taken for a request: {request}");
    status
}

#[tokio::test]
async fn no_body_is_taken_for_the_next_request() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    let (open, path) = ("/socket.io/?EIO=4&transport=polling", poller.path());
    let upgrade = websocket_request(&format!("&sid={}", poller.id));
    for (head, status) in [
        (format!("GET {open} HTTP/1.1\r\nHost: x"), 200),
        (format!("HEAD {open} HTTP/1.1\r\nHost: x"), 400),
        (format!("OPTIONS {open} HTTP/1.1\r\nHost: x"), 200),
        (format!("OPTIONS {path} HTTP/1.1\r\nHost: x"), 200),
        (format!("DELETE {path} HTTP/1.1\r\nHost: x"), 400),
        (format!("GET {path}x HTTP/1.1\r\nHost: x"), 400),
        (format!("GET {path} HTTP/1.1\r\nHost: x"), 200),
        (upgrade.replace("Version: 13", "Version: 8"), 400),
        (upgrade, 400),
        (websocket_request(""), 400),
        (websocket_request("").replace("EIO=4", "EIO=3"), 400),
    ] {
        for request in with_hidden(&head) {
            world.connection().send(&Packet::event("/", "[1]", &[])).unwrap();
            assert_eq!(asked(&world, &request).await, status, "{request}");
        }
    }
    assert!(world.ends().is_empty(), "nobody's session ends for it");
    poller.say("42[1]").await;
}

#[tokio::test]
async fn nor_where_the_request_is_passed_on() {
    let (has, gets) = two().await;
    let poller = misled(&has, &gets).await;
    for (head, status) in [
        (format!("GET {} HTTP/1.1\r\nHost: x", poller.path()), 200),
        (format!("HEAD {} HTTP/1.1\r\nHost: x", poller.path()), 400),
        (websocket_request(&format!("&sid={}", poller.id)).replace("Version: 13", "Version: 8"), 400),
        (websocket_request(&format!("&sid={}", poller.id)), 400),
    ] {
        for request in with_hidden(&head) {
            has.connection().send(&Packet::event("/", "[1]", &[])).unwrap();
            assert_eq!(asked(&gets, &request).await, status, "{request}");
        }
    }
    assert_eq!(has.seen.pages.load(Ordering::SeqCst), 0);
    assert!(has.ends().is_empty());
    poller.say("42[1]").await;
}

#[tokio::test]
async fn a_body_of_no_bytes_is_none() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    let mut raw = Raw::connect(&world).await;
    for _ in 0..2 {
        world.connection().send(&Packet::event("/", "[1]", &[])).unwrap();
        raw.write(format!("GET {} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", poller.path())).await;
        assert_eq!(raw.answer().await.2, "42[1]");
    }
}

/// A request to post so much, of which this is sent.
async fn begun(world: &World, path: &str, length: usize, sent: &[u8]) -> Raw {
    let mut raw = Raw::connect(world).await;
    raw.write(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")).await;
    raw.write(sent).await;
    raw
}

#[tokio::test]
async fn a_body_weighs_what_has_come_of_it() {
    let world = World::new(|settings| settings.budget_bytes = 1024 * 1024).await;
    let poller = Poller::connected(&world).await;
    let mut said = Vec::new();
    for _ in 0..20 {
        said.push(begun(&world, "/page", 1_000_000, b"x").await);
        let mut chunked = Raw::connect(&world).await;
        chunked.write("POST /page HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nf4240\r\nx").await;
        said.push(chunked);
    }
    eventually("all are read", || world.server.held_bytes() >= 40).await;
    assert!(world.server.held_bytes() < 1000, "{}", world.server.held_bytes());
    poller.say("42[1]").await;
    poller.poll().await;
    let mut half = begun(&world, "/page", 1_000_000, &vec![b'x'; 600_000]).await;
    eventually("what has come counts", || world.server.held_bytes() > 600_000).await;
    let mut other = begun(&world, "/page", 1_000_000, &vec![b'x'; 600_000]).await;
    assert_eq!(other.answer().await.0, 503);
    half.write(vec![b'x'; 400_000]).await;
    assert_eq!(half.answer().await.0, 200);
    drop((said, half));
    eventually("nothing is held", || world.server.held_bytes() == 0).await;
}

#[tokio::test]
async fn a_body_weighs_until_it_is_done_with() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    world.connection().pause();
    let event = format!("42[\"{}\"]", "x".repeat(50_000));
    let mut first = begun(&world, &poller.path(), event.len(), event.as_bytes()).await;
    eventually("it is held", || world.server.held_bytes() >= 50_000).await;
    // Taken in whole, it is not in the way of the next one.
    let mut second = begun(&world, &poller.path(), event.len(), event.as_bytes()).await;
    eventually("both are held", || world.server.held_bytes() >= 100_000).await;
    world.connection().resume();
    assert_eq!((first.answer().await.2, second.answer().await.2), ("ok".into(), "ok".into()));
    assert!(world.ends().is_empty());
    poller.poll().await;
    eventually("nothing is held", || world.server.held_bytes() == 0).await;
}

#[tokio::test]
async fn a_second_body_at_the_same_time_ends_the_connection() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    let mut first = begun(&world, &poller.path(), 5, b"42").await;
    eventually("it is read", || world.server.held_bytes() > 0).await;
    assert_eq!(poller.post("42[2]").await.0, 400);
    first.write("[1]").await;
    assert_eq!(first.answer().await.0, 400);
    assert!(world.seen.events.lock().is_empty());
    eventually("it is over", || world.ends() == ["/ BadPacket", "connection BadPacket"]).await;
}

#[tokio::test]
async fn a_large_body_arrives_on_a_slow_line_and_a_trickle_does_not() {
    let world = World::new(|settings| settings.header_timeout = Duration::from_secs(1)).await;
    let poller = Poller::connected(&world).await;
    let event = format!("42[\"{}\"]", "x".repeat(60_000));
    let mut slow = begun(&world, &poller.path(), event.len(), b"").await;
    for piece in event.as_bytes().chunks(4_000) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        slow.write(piece).await;
    }
    assert_eq!(slow.answer().await.2, "ok");
    let trickle = begun(&world, "/page", 60_000, b"").await;
    let began = tokio::time::Instant::now();
    while trickle.stream.try_read(&mut [0; 1]).is_err() {
        trickle.stream.try_write(b"x").unwrap();
        assert!(began.elapsed() < PATIENCE, "it goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(world.ends().is_empty());
}

/// Sends on and on until it is cut off.
async fn cut_off(raw: &mut Raw) {
    let sending = async { while raw.stream.write_all(&[b'x'; 16 * 1024]).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, sending).await.expect("it is heard for ever");
}

#[tokio::test]
async fn who_still_sends_when_it_is_refused_hears_why() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    for head in [
        "POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999".to_owned(),
        "POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: x\r\nContent-Length: 999999".to_owned(),
        format!("GET {} HTTP/1.1\r\nHost: x\r\nContent-Length: 999999", poller.path()),
        "GET / HTTP/1.1\r\nHost: x\r\nHost: y".to_owned(),
    ] {
        world.connection().send(&Packet::event("/", "[1]", &[])).unwrap();
        let mut raw = Raw::connect(&world).await;
        raw.write(format!("{head}\r\n\r\n{}", "x".repeat(200_000))).await;
        raw.answer().await;
        // Where it is a reset, the answer would have been lost with it on the way.
        assert_eq!(raw.stream.read(&mut [0; 1]).await.unwrap(), 0, "{head}");
        raw.write("x").await;
        cut_off(&mut raw).await;
    }
    // However many they are.
    let mut many = Vec::new();
    for _ in 0..100 {
        let mut raw = Raw::connect(&world).await;
        raw.write("POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n").await;
        many.push(raw);
    }
    for raw in &mut many {
        assert_eq!(raw.answer().await.0, 413);
        cut_off(raw).await;
    }
}
