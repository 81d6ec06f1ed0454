//! Bodies of requests: where none belongs, how much of them is held, and how long they may take.

use std::sync::atomic::Ordering;

use engine::Packet;

use crate::passing::{misled, two};
use crate::support::{Poller, Raw, World, websocket_request};

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
