//! Websockets whose connection another server has: how they take over, and how they end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::Packet;
use socket2::SockRef;

use crate::passing::{misled, two};
use crate::support::{Poller, Raw, World, eventually, websocket_request};

/// A client that polls at one server and whose websocket takes over by the other.
async fn upgraded(has: &World, gets: &World) -> Raw {
    let poller = Poller::connected(has).await;
    let mut raw = Raw::connect(gets).await;
    raw.write(websocket_request(&format!("&sid={}", poller.id))).await;
    let (status, head, _) = raw.answer().await;
    assert_eq!(status, 101, "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    raw.say("2probe").await;
    assert_eq!(raw.text().await.unwrap(), "3probe");
    assert_eq!(poller.poll().await.1, "6");
    raw.say("5").await;
    raw
}

#[tokio::test]
async fn a_websocket_takes_over_by_another_server() {
    let (has, gets) = two().await;
    let mut raw = upgraded(&has, &gets).await;
    for length in [1, 1000, 60_000] {
        let text = format!("42[\"{}\"]", "x".repeat(length));
        raw.say(&text).await;
        assert_eq!(raw.text().await.unwrap(), text);
    }
    assert_eq!((has.seen.upgrades.load(Ordering::SeqCst), gets.server.passed_on()), (1, (1, 0)));
    drop(raw);
    eventually("it is over", || has.ends() == ["/ Cut", "connection Cut"]).await;
    eventually("the tunnel, too", || gets.server.passed_on() == (0, 0)).await;
}

#[tokio::test]
async fn what_is_no_upgrade_is_refused_by_the_server_that_has_the_connection() {
    let (has, gets) = two().await;
    let poller = misled(&has, &gets).await;
    let mut raw = Raw::connect(&gets).await;
    let request = websocket_request(&format!("&sid={}", poller.id));
    raw.write(request.replace("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8")).await;
    assert_eq!(raw.answer().await.0, 400);
    poller.say("42[\"a\"]").await;
    assert_eq!(poller.poll().await.1, "42[\"a\"]", "nothing has changed");
}

#[tokio::test]
async fn a_tunnel_ends_softly() {
    let (has, gets) = two().await;
    let mut raw = upgraded(&has, &gets).await;
    raw.say("42[\"a\"]").await;
    assert_eq!(raw.text().await.unwrap(), "42[\"a\"]");
    has.connection().send(&Packet::event("/", "[\"last\"]", &[])).unwrap();
    gets.server.tunnels().iter().for_each(engine::Tunnel::end_softly);
    assert_eq!(raw.text().await.unwrap(), "42[\"last\"]", "what was said is heard");
    assert!(raw.ends().await);
    eventually("it is parted from it", || has.ends() == ["/ Parted", "connection Parted"]).await;
}

#[tokio::test]
async fn a_tunnel_ends_with_its_connection_and_with_its_server() {
    let (has, gets) = two().await;
    let mut raw = upgraded(&has, &gets).await;
    raw.say("42[\"a\"]").await;
    assert_eq!(raw.text().await.unwrap(), "42[\"a\"]");
    has.connection().send(&Packet::event("/", "[\"last\"]", &[])).unwrap();
    has.connection().end_softly("test");
    assert_eq!(raw.text().await.unwrap(), "42[\"last\"]");
    assert!(raw.ends().await);

    let (has, gets) = two().await;
    let mut raw = upgraded(&has, &gets).await;
    raw.say("42[\"a\"]").await;
    assert_eq!(raw.text().await.unwrap(), "42[\"a\"]");
    gets.stop();
    assert!(raw.ends().await);
    eventually("it is parted from it", || has.ends() == ["/ Parted", "connection Parted"]).await;
}

#[tokio::test]
async fn who_does_not_read_holds_up_the_server_that_has_the_connection() {
    let (has, gets) = two().await;
    let mut raw = upgraded(&has, &gets).await;
    raw.say("42[\"a\"]").await;
    assert_eq!(raw.text().await.unwrap(), "42[\"a\"]");
    let event = format!("[\"{}\"]", "x".repeat(60_000));
    let packet = Packet::event("/", &event, &[]);
    let mut sent = 0;
    // What lies in kernels has an end, and the tunnel holds nothing.
    while has.connection().waiting().packets < 20 {
        has.connection().send(&packet).unwrap();
        sent += 1;
        assert!(sent < 2_000, "somebody holds it all");
        tokio::task::yield_now().await;
    }
    for _ in 0..sent {
        assert_eq!(raw.text().await.unwrap().len(), event.len() + 2);
    }
    eventually("nothing waits", || has.connection().waiting().packets == 0).await;
    assert!(has.ends().is_empty());
}

#[tokio::test]
async fn however_a_client_goes_it_is_no_fault_of_the_server_between() {
    let (has, gets) = two().await;
    let mut raw = upgraded(&has, &gets).await;
    raw.say("42[\"a\"]").await;
    assert_eq!(raw.text().await.unwrap(), "42[\"a\"]");
    // The kernel tells the other side that the connection is reset.
    SockRef::from(&raw.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(raw);
    eventually("it is cut", || has.ends() == ["/ Cut", "connection Cut"]).await;
    eventually("the tunnel is over", || gets.server.passed_on() == (0, 0)).await;
}

#[tokio::test]
async fn who_does_not_read_for_too_long_goes_and_the_server_between_does_not() {
    let (has, gets) =
        (World::new(|_| {}).await, World::new(|settings| settings.write_timeout = Duration::from_millis(300)).await);
    gets.road.leads(has.road.tag, has.road.address);
    let mut raw = upgraded(&has, &gets).await;
    raw.say("42[\"a\"]").await;
    assert_eq!(raw.text().await.unwrap(), "42[\"a\"]");
    let packet = Packet::event("/", &format!("[\"{}\"]", "x".repeat(60_000)), &[]);
    while has.connection().waiting().packets < 20 {
        has.connection().send(&packet).unwrap();
        tokio::task::yield_now().await;
    }
    eventually("it is cut", || has.ends() == ["/ Cut", "connection Cut"]).await;
    eventually("the tunnel is over", || gets.server.passed_on() == (0, 0)).await;
}
