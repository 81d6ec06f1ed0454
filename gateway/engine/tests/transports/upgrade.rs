//! The upgrade from polling to a websocket: polling goes on until it is done, whatever becomes of it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::Packet;

use crate::support::{Poller, Raw, World, websocket_request};

fn query(poller: &Poller) -> String {
    format!("&sid={}", poller.id)
}

#[tokio::test]
async fn it_takes_over_with_what_waits_and_the_last_poll_is_answered() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    let mut poll = poller.begin().await;
    let mut websocket = Raw::websocket(&world, &query(&poller)).await;
    websocket.say("2probe").await;
    assert_eq!(websocket.text().await.unwrap(), "3probe");
    assert_eq!(poll.answer().await.2, "6");
    world.connection().send(&Packet::event("/", "[1]", &[])).unwrap();
    websocket.say("5").await;
    assert_eq!(websocket.text().await.unwrap(), "42[1]");
    websocket.say("42[2]").await;
    assert_eq!(websocket.text().await.unwrap(), "42[2]");
    assert_eq!(world.seen.upgrades.load(Ordering::SeqCst), 1);
    assert_eq!(poller.poll().await.0, 400, "there is nothing to poll any more");
    assert!(world.ends().is_empty());
}

#[tokio::test]
async fn some_clients_leave_the_probe_out() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    let mut poll = poller.begin().await;
    let mut websocket = Raw::websocket(&world, &query(&poller)).await;
    // In one piece with what comes after it.
    websocket.write([crate::support::frame(0x81, b"5"), crate::support::frame(0x81, b"42[1]")].concat()).await;
    assert_eq!(poll.answer().await.2, "6");
    assert_eq!(websocket.text().await.unwrap(), "42[1]");
}

#[tokio::test]
async fn one_that_breaks_changes_nothing() {
    for script in [&[][..], &["2probe"], &["x"], &["2probe", "42[1]"], &["3"]] {
        let world = World::new(|_| {}).await;
        let poller = Poller::connected(&world).await;
        let mut websocket = Raw::websocket(&world, &query(&poller)).await;
        for packet in script {
            websocket.say(packet).await;
        }
        if script.len() == 1 && script[0] == "2probe" {
            assert_eq!(websocket.text().await.unwrap(), "3probe");
        }
        drop(websocket);
        poller.say("42[1]").await;
        let mut heard = poller.poll().await;
        while heard.1 == "6" {
            heard = poller.poll().await;
        }
        assert_eq!(heard, (200, "42[1]".into()), "{script:?}");
        assert!(world.ends().is_empty(), "{script:?}");
        // And the next one may try.
        let again = async {
            loop {
                let mut raw = Raw::connect(&world).await;
                raw.write(websocket_request(&query(&poller))).await;
                if raw.answer().await.0 == 101 {
                    return raw;
                }
            }
        };
        let mut again = tokio::time::timeout(crate::support::PATIENCE, again).await.unwrap();
        again.say("5").await;
        again.say("42[2]").await;
        assert_eq!(again.text().await.unwrap(), "42[2]");
    }
}

#[tokio::test]
async fn nor_does_one_that_breaks_the_protocol_at_once() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    for packet in ["x", "42[1]"] {
        let mut websocket = Raw::connect(&world).await;
        // In one piece with the request.
        let said = crate::support::frame(0x81, packet.as_bytes());
        websocket.write([websocket_request(&query(&poller)).as_bytes(), &said].concat()).await;
        assert_eq!(websocket.answer().await.0, 101);
        assert!(websocket.ends().await);
    }
    let mut websocket = Raw::websocket(&world, &query(&poller)).await;
    websocket.say("5").await;
    websocket.say("42[2]").await;
    assert_eq!(websocket.text().await.unwrap(), "42[2]");
}

#[tokio::test]
async fn one_that_hangs_is_given_up_and_polls_are_answered_meanwhile() {
    let world = World::new(|settings| settings.connect_timeout = Duration::from_secs(1)).await;
    let poller = Poller::connected(&world).await;
    let mut silent = Raw::websocket(&world, &query(&poller)).await;
    world.connection().send(&Packet::event("/", "[1]", &[])).unwrap();
    assert_eq!(poller.poll().await.1, "42[1]");
    silent.say("2probe").await;
    assert_eq!(silent.text().await.unwrap(), "3probe");
    for _ in 0..3 {
        assert_eq!(poller.poll().await.1, "6", "so that the client can stop polling");
    }
    assert!(silent.ends().await);
    world.connection().send(&Packet::event("/", "[2]", &[])).unwrap();
    assert_eq!(poller.poll().await.1, "42[2]");
    assert!(world.ends().is_empty());
}

#[tokio::test]
async fn two_at_a_time_are_one_too_many() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    let mut first = Raw::websocket(&world, &query(&poller)).await;
    let mut second = Raw::connect(&world).await;
    second.write(websocket_request(&query(&poller))).await;
    assert_eq!(second.answer().await.0, 400);
    first.say("5").await;
    first.say("42[1]").await;
    assert_eq!(first.text().await.unwrap(), "42[1]");
}

#[tokio::test]
async fn a_request_without_the_headers_of_a_websocket_changes_nothing() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    let request = websocket_request(&query(&poller)).replace("Upgrade: websocket\r\n", "");
    let mut raw = Raw::connect(&world).await;
    raw.write(request).await;
    assert_eq!(raw.answer().await.0, 400);
    poller.say("42[1]").await;
    assert_eq!(poller.poll().await.1, "42[1]");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_reordered_while_both_sides_talk() {
    let world = World::new(|_| {}).await;
    for round in 0..20 {
        let poller = Poller::connected(&world).await;
        let connection = world.seen.connections.lock().pop().unwrap();
        let talking = tokio::spawn(async move {
            for number in 0..200 {
                connection
                    .send(&Packet::event("/", &format!("[{number}]"), &[bytes::Bytes::from_static(b"x")]))
                    .unwrap();
                if number % 10 == round % 10 {
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut heard = Vec::new();
        let mut note = |packet: &str| {
            if let Some(number) = packet.strip_prefix("451-[") {
                heard.push(number.trim_end_matches(']').parse::<u32>().unwrap());
            }
        };
        let mut websocket = Raw::websocket(&world, &query(&poller)).await;
        websocket.say("2probe").await;
        // As official clients do: the last poll is awaited, then the websocket is told to go on.
        let (_, body) = poller.poll().await;
        body.split('\u{1e}').for_each(&mut note);
        assert_eq!(websocket.text().await.unwrap(), "3probe");
        websocket.say("5").await;
        talking.await.unwrap();
        websocket.say("42[\"end\"]").await;
        while let Some((first, payload)) = websocket.frame().await {
            let text = String::from_utf8(payload).unwrap();
            if first == 0x81 {
                if text == "42[\"end\"]" {
                    break;
                }
                note(&text);
            }
        }
        assert_eq!(heard, (0..200).collect::<Vec<_>>());
    }
}
