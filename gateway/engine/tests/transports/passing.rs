//! Requests that come to another server than the one that has their connection.

use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::{Packet, Passed, Tag};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Poller, Raw, World, eventually};

/// Two servers that know each other.
pub(crate) async fn two() -> (World, World) {
    let (one, two) = (World::new(|_| {}).await, World::new(|_| {}).await);
    one.road.leads(two.road.tag, two.road.address);
    two.road.leads(one.road.tag, one.road.address);
    (one, two)
}

/// A client with a session on one server, whose requests come to the other one from now on.
pub(crate) async fn misled(has: &World, gets: &World) -> Poller {
    let mut poller = Poller::connected(has).await;
    poller.address = gets.address;
    poller
}

/// An id as a server of this tag could have made it.
fn forged(tag: Tag) -> String {
    let tag = URL_SAFE_NO_PAD.decode(tag.to_string()).unwrap();
    URL_SAFE_NO_PAD.encode([tag, vec![7; 16]].concat())
}

async fn poll_of(world: &World, id: &str) -> (u16, String) {
    Poller { address: world.address, id: id.to_owned() }.poll().await
}

#[tokio::test]
async fn polls_and_posts_find_their_connection_and_use_one_way() {
    let (has, gets) = two().await;
    let poller = misled(&has, &gets).await;
    for _ in 0..10 {
        poller.say("42[\"a\"]").await;
        assert_eq!(poller.poll().await, (200, "42[\"a\"]".into()));
    }
    let binary = "451-7[\"b\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQI";
    poller.say(binary).await;
    assert_eq!(poller.poll().await.1, "461-7[\"b\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQI=");
    let long = format!("42[\"{}\"]", "ä".repeat(30_000));
    poller.say(&long).await;
    assert_eq!(poller.poll().await.1, long);
    assert_eq!(gets.road.dialled.load(Ordering::SeqCst), 1, "what was used is used again");
    assert!(gets.road.passed.lock().iter().all(|passed| *passed == Passed::Answered));
    assert_eq!((gets.server.connections(), has.server.connections()), (0, 1));
    assert!(has.ends().is_empty());
}

#[tokio::test]
async fn a_poll_waits_and_others_go_on_meanwhile() {
    let (has, gets) = two().await;
    let poller = misled(&has, &gets).await;
    let mut poll = poller.begin().await;
    eventually("it waits", || gets.server.passed_on() == (0, 1)).await;
    poller.say("42[\"a\"]").await;
    assert_eq!(poll.answer().await.2, "42[\"a\"]");
    eventually("and no longer", || gets.server.passed_on() == (0, 0)).await;
}

#[tokio::test]
async fn requests_and_polls_may_come_by_different_servers() {
    let (has, gets) = two().await;
    let other = World::new(|_| {}).await;
    other.road.leads(has.road.tag, has.road.address);
    let mut poller = misled(&has, &gets).await;
    for number in 0..10 {
        poller.address = gets.address;
        let mut poll = poller.begin().await;
        poller.address = if number % 2 == 0 { other.address } else { has.address };
        let said = format!("42[{number}]");
        // An event has a name.
        let said = said.replace("42[", "42[\"n\",");
        poller.say(&said).await;
        assert_eq!(poll.answer().await.2, said);
    }
}

#[tokio::test]
async fn a_page_of_another_origin_may_read_it_and_a_bad_origin_goes_nowhere() {
    let (has, gets) = two().await;
    let poller = misled(&has, &gets).await;
    has.connection().send(&Packet::event("/", "[\"a\"]", &[])).unwrap();
    let ask = |origin: &str| format!("GET {} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n\r\n", poller.path());
    let mut raw = Raw::connect(&gets).await;
    raw.write(ask("https://evil.example")).await;
    assert_eq!(raw.answer().await.2, "no");
    assert_eq!(gets.road.asked.load(Ordering::SeqCst), 0);
    let mut raw = Raw::connect(&gets).await;
    raw.write(ask("https://app.example")).await;
    let (status, head, body) = raw.answer().await;
    assert_eq!((status, &*body), (200, "42[\"a\"]"));
    for line in ["access-control-allow-origin: https://app.example", "content-type: text/plain", "vary: origin"] {
        assert_eq!(head.matches(line).count(), 1, "{head}");
    }
    assert_eq!(head.matches("\r\ndate: ").count(), 1, "{head}");
    raw.write(ask("https://app.example")).await;
    has.connection().send(&Packet::event("/", "[\"b\"]", &[])).unwrap();
    assert_eq!(raw.answer().await.2, "42[\"b\"]", "on the same connection");
}

#[tokio::test]
async fn an_aborted_poll_ends_the_connection_there() {
    let (has, gets) = two().await;
    let poller = misled(&has, &gets).await;
    let poll = poller.begin().await;
    eventually("it waits", || gets.server.passed_on() == (0, 1)).await;
    drop(poll);
    eventually("it is over", || has.ends() == ["/ Broken", "connection Broken"]).await;
    assert_eq!(poller.poll().await.0, 400);
    assert_eq!(*gets.road.passed.lock(), [Passed::Aborted, Passed::Gone]);
}

#[tokio::test]
async fn an_answer_that_does_not_arrive_ends_the_connection_there() {
    let (has, gets) = two().await;
    let poller = misled(&has, &gets).await;
    let poll = poller.begin().await;
    SockRef::from(&poll.stream).set_recv_buffer_size(4096).unwrap();
    eventually("it waits", || gets.server.passed_on() == (0, 1)).await;
    let large = format!("[\"{}\"]", "x".repeat(8_000_000));
    has.connection().send(&Packet::event("/", &large, &[])).unwrap();
    eventually("it is on its way", || has.connection().waiting().packets == 0).await;
    assert!(has.ends().is_empty(), "as long as it may arrive");
    drop(poll);
    eventually("it is over", || has.ends() == ["/ Broken", "connection Broken"]).await;
    eventually("it was aborted", || *gets.road.passed.lock() == [Passed::Aborted]).await;
}

#[tokio::test]
async fn half_a_body_or_too_much_of_it_ends_the_connection_there() {
    let (has, gets) = two().await;
    let poller = misled(&has, &gets).await;
    let mut raw = Raw::connect(&gets).await;
    raw.write(format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n42[", poller.path())).await;
    drop(raw);
    eventually("it is over", || has.ends() == ["/ Broken", "connection Broken"]).await;

    let (has, gets) = two().await;
    let poller = misled(&has, &gets).await;
    assert_eq!(poller.post("x".repeat(2_000_000)).await.0, 413);
    eventually("it is over", || has.ends() == ["/ BadPacket", "connection BadPacket"]).await;
}

#[tokio::test]
async fn forged_ids_are_unknown_and_count_against_who_sends_them() {
    let (has, gets) = two().await;
    let dead = Tag::random();
    gets.road.leads(dead, "127.0.0.1:1".parse().unwrap());
    let unknown = (400, r#"{"code":1,"message":"Session ID unknown"}"#.to_owned());
    for (id, asked, at_other) in [
        (forged(has.road.tag), 1, 1),
        (forged(gets.road.tag), 0, 0),
        (forged(Tag::random()), 1, 0),
        (forged(dead), 1, 0),
        ("x".repeat(20), 0, 0),
        ("../../etc".to_owned(), 0, 0),
    ] {
        gets.road.asked.store(0, Ordering::SeqCst);
        has.seen.peers.lock().clear();
        gets.seen.peers.lock().clear();
        assert_eq!(poll_of(&gets, &id).await, unknown, "{id}");
        assert_eq!(gets.road.asked.load(Ordering::SeqCst), asked, "{id}");
        assert_eq!(has.seen.peers.lock().len(), at_other, "{id}");
        // Whoever judges it, it is the client that is judged.
        let judged = [has.seen.peers.lock().clone(), gets.seen.peers.lock().clone()].concat();
        assert_eq!(judged.len(), 1);
        assert_ne!(judged[0], gets.address);
    }
    *has.seen.strangers.lock() = Some(0);
    assert_eq!(poll_of(&gets, &forged(has.road.tag)).await.0, 429);
    let mut poller = Poller { address: gets.address, id: forged(has.road.tag) };
    assert_eq!(poller.post("x".repeat(100_000)).await.0, 429);
    poller.id = Poller::connected(&has).await.id;
    poller.say("42[\"a\"]").await;
}

#[tokio::test]
async fn nothing_is_passed_on_twice() {
    let (one, two) = two().await;
    let lost = Tag::random();
    one.road.leads(lost, two.road.address);
    two.road.leads(lost, one.road.address);
    assert_eq!(poll_of(&one, &forged(lost)).await.0, 400);
    assert_eq!((one.road.asked.load(Ordering::SeqCst), two.road.asked.load(Ordering::SeqCst)), (1, 0));
    // Nor is a connection opened, or anything else served.
    for path in ["/socket.io/?EIO=4&transport=polling", "/", "/api/v1"] {
        let mut raw = Raw::over(TcpStream::connect(one.road.address).await.unwrap());
        raw.write(format!("GET {path} HTTP/1.1\r\nHost: x\r\nPassed-For: 10.0.0.1:1\r\n\r\n")).await;
        assert_eq!(raw.answer().await.0, 400, "{path}");
    }
    assert_eq!((one.seen.opened.load(Ordering::SeqCst), one.seen.pages.load(Ordering::SeqCst)), (0, 0));
    // Who does not say for whom it asks is nobody's server.
    let mut raw = Raw::over(TcpStream::connect(one.road.address).await.unwrap());
    raw.write("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(raw.ends().await);
}

#[tokio::test]
async fn what_a_client_says_about_passing_is_not_passed_on() {
    let (has, gets) = two().await;
    let poller = misled(&has, &gets).await;
    let mut raw = Raw::connect(&gets).await;
    let path = poller.path();
    let lies = "Passed-For: 10.9.9.9:9\r\nPassed-Fault: half";
    raw.write(format!("POST {path} HTTP/1.1\r\nHost: x\r\n{lies}\r\nContent-Length: 7\r\n\r\n42[\"a\"]")).await;
    assert_eq!(raw.answer().await.2, "ok");
    assert!(has.ends().is_empty());
    let mut raw = Raw::connect(&gets).await;
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={}", forged(has.road.tag));
    raw.write(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{lies}\r\n\r\n")).await;
    assert_eq!(raw.answer().await.0, 400);
    assert!(has.seen.peers.lock().iter().all(|peer| peer.ip().is_loopback()));
}

/// A server that is none: says something to whoever asks, and closes.
async fn liar(says: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 16_384]).await.unwrap() > 0);
            stream.write_all(says).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_breaks_off_or_talks_nonsense_costs_its_client_a_reconnect() {
    let gets = World::new(|_| {}).await;
    for says in [&b""[..], b"HTTP/1.1 200 OK\r\nconte", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\n\r\n"] {
        let tag = Tag::random();
        gets.road.leads(tag, liar(says).await);
        assert_eq!(poll_of(&gets, &forged(tag)).await.0, 400);
        assert_eq!(gets.road.passed.lock().pop(), Some(Passed::Failed));
    }
    let tag = Tag::random();
    gets.road.leads(tag, liar(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await);
    let mut raw = Poller { address: gets.address, id: forged(tag) }.begin().await;
    assert!(raw.ends().await, "what was begun cannot be taken back");
    eventually("it failed", || *gets.road.passed.lock() == [Passed::Failed]).await;
}

#[tokio::test]
async fn there_may_be_too_many() {
    let (has, gets) = two().await;
    let poller = misled(&has, &gets).await;
    *gets.road.is_full.lock() = true;
    assert_eq!(poller.poll().await, (503, "full".into()));
    *gets.road.is_full.lock() = false;
    poller.say("42[\"a\"]").await;
    assert_eq!(*gets.road.passed.lock(), [Passed::Refused, Passed::Answered]);
}

#[tokio::test]
async fn who_is_in_a_hurry_has_polls_answered_and_nothing_is_lost() {
    let (has, gets) = two().await;
    let mut poller = misled(&has, &gets).await;
    for _ in 0..20 {
        let mut poll = poller.begin().await;
        eventually("it waits", || gets.server.passed_on() == (0, 1)).await;
        gets.server.hurry_polls();
        assert_eq!(poll.answer().await.2, "6");
    }
    // When both happen at once, the event comes with this answer or with the next one.
    for number in 0..50 {
        let mut poll = poller.begin().await;
        eventually("it waits", || gets.server.passed_on() == (0, 1)).await;
        gets.server.hurry_polls();
        let event = format!("42[\"{number}\"]");
        has.connection().send(&Packet::event("/", &event[2..], &[])).unwrap();
        let heard = poll.answer().await.2;
        if heard == "6" {
            assert_eq!(poller.poll().await.1, event);
        } else {
            assert_eq!(heard, event);
        }
    }
    poller.address = has.address;
    poller.say("42[\"a\"]").await;
    assert!(has.ends().is_empty());
}

/// A stream to a server, as another one has it that passes requests on.
async fn passed_to(world: &World) -> Raw {
    Raw::over(TcpStream::connect(world.road.address).await.unwrap())
}

#[tokio::test]
async fn a_hurry_is_heard_that_comes_in_one_piece_with_its_poll() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    let mut raw = passed_to(&world).await;
    let poll = format!("GET {} HTTP/1.1\r\nHost: x\r\nPassed-For: 10.0.0.1:1\r\n\r\n", poller.path());
    for _ in 0..2 {
        raw.write(format!("{poll}h")).await;
        assert_eq!(raw.answer().await.2, "6");
        raw.write("+").await;
    }
    // Nor is it in the way where there was no poll to answer.
    raw.write(format!("{}h", poll.replace("sid=", "sid=x"))).await;
    assert_eq!(raw.answer().await.0, 400);
    raw.write(format!("{poll}h")).await;
    assert_eq!(raw.answer().await.2, "6");
    assert!(world.ends().is_empty());
}

#[tokio::test]
async fn a_head_that_may_come_may_be_passed_on() {
    let (has, gets) = two().await;
    let poller = misled(&has, &gets).await;
    let head = format!("GET {} HTTP/1.1\r\nHost: x\r\n", poller.path());
    let long = format!("{head}A: {}\r\n\r\n", "x".repeat(16_384 - head.len() - 7));
    let many = format!("{head}{}\r\n", "A:b\r\n".repeat(99));
    for request in [long, many] {
        for world in [&has, &gets] {
            has.connection().send(&Packet::event("/", "[1]", &[])).unwrap();
            let mut raw = Raw::connect(world).await;
            raw.write(&request).await;
            assert_eq!(raw.answer().await.2, "42[1]");
        }
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    let short = |settings: &mut engine::Settings| {
        settings.ping_interval = Duration::from_millis(10);
        settings.ping_timeout = Duration::from_millis(10);
    };
    let gets = World::new(short).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tag = Tag::random();
    gets.road.leads(tag, listener.local_addr().unwrap());
    assert_eq!(poll_of(&gets, &forged(tag)).await.0, 400);
    assert_eq!(*gets.road.passed.lock(), [Passed::Failed]);
}
