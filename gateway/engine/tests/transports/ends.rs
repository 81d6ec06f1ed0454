//! How connections end.

use std::time::Duration;

use engine::Packet;

use crate::support::{Poller, Raw, World, eventually, frame};

#[tokio::test]
async fn a_soft_end_lets_the_last_words_out_and_reads_nothing_more() {
    let world = World::new(|_| {}).await;
    let mut client = Raw::connected(&world).await;
    let connection = world.connection();
    connection.end_softly("because");
    client.say("42[\"late\"]").await;
    connection.send(&Packet::event("/", "[\"last words\"]", &[])).unwrap();
    assert_eq!(client.text().await.unwrap(), "42[\"last words\"]");
    assert!(client.ends().await, "no Close frame, no DISCONNECT");
    eventually("it is over", || world.ends() == ["/ Ended(\"because\")", "connection Ended(\"because\")"]).await;
    assert!(world.seen.events.lock().is_empty());
    assert!(connection.send(&Packet::event("/", "[1]", &[])).is_err());
}

#[tokio::test]
async fn a_soft_end_over_polling_is_said_to_the_poll_that_waits_or_comes() {
    for waits in [true, false] {
        let world = World::new(|_| {}).await;
        let poller = Poller::connected(&world).await;
        let connection = world.connection();
        let poll = if waits { Some(poller.begin().await) } else { None };
        connection.end_softly("because");
        let mut poll = match poll {
            Some(poll) => poll,
            None => poller.begin().await,
        };
        assert_eq!(poll.answer().await.2, "1");
        eventually("it is over", || world.ends().len() == 2).await;
        assert_eq!(poller.poll().await.0, 400);
    }
}

#[tokio::test]
async fn a_client_that_does_not_poll_any_more_is_not_waited_for_long() {
    let world = World::new(|_| {}).await;
    let _poller = Poller::connected(&world).await;
    world.connection().end_softly("because");
    eventually("it is over", || world.ends().len() == 2).await;
}

#[tokio::test]
async fn a_hard_end_is_at_once() {
    let world = World::new(|_| {}).await;
    let mut client = Raw::connected(&world).await;
    world.connection().end_now("because");
    world.connection().end_softly("too late");
    assert!(client.ends().await);
    eventually("it is over", || world.ends() == ["/ Ended(\"because\")", "connection Ended(\"because\")"]).await;
    assert_eq!(world.server.connections(), 0);
}

#[tokio::test]
async fn a_session_that_is_ended_by_the_server_reads_so_and_others_go_on() {
    let world = World::new(|_| {}).await;
    let mut client = Raw::connected(&world).await;
    client.say("40/n,").await;
    client.text().await.unwrap();
    let connection = world.connection();
    connection.leave("/", "kicked");
    assert_eq!(client.text().await.unwrap(), "41");
    client.say("42[\"on its way\"]").await;
    client.say("42/n,[1]").await;
    assert_eq!(client.text().await.unwrap(), "42/n,[1]");
    connection.leave("/n", "kicked");
    assert_eq!(client.text().await.unwrap(), "41/n,");
    assert!(client.ends().await, "a connection without a session has no purpose");
    let reason = |what: &str| format!("{what} Ended(\"kicked\")");
    eventually("it is over", || world.ends() == ["/", "/n", "connection"].map(reason)).await;
}

#[tokio::test]
async fn who_never_asks_for_a_session_is_let_go() {
    let world = World::new(|settings| settings.connect_timeout = Duration::from_millis(200)).await;
    let mut idle = Raw::websocket(&world, "").await;
    let poller = Poller::open(&world).await;
    idle.text().await.unwrap();
    assert!(idle.ends().await);
    eventually("both are over", || world.ends() == ["connection Sessionless"; 2]).await;
    assert_eq!(poller.poll().await.0, 400);
}

#[tokio::test]
async fn half_a_frame_and_a_cut_end_it() {
    let world = World::new(|_| {}).await;
    let mut client = Raw::connected(&world).await;
    let whole = frame(0x81, &[b'x'; 1000]);
    client.write(&whole[..500]).await;
    eventually("it is held", || world.server.held_bytes() >= 500).await;
    drop(client);
    eventually("it is over", || world.ends().len() == 2).await;
    eventually("nothing is held any more", || world.server.held_bytes() == 0).await;
}

#[tokio::test]
async fn all_connections_share_what_the_server_may_hold() {
    let world = World::new(|settings| settings.budget_bytes = 40_000).await;
    let mut halves = Vec::new();
    for _ in 0..6 {
        let mut client = Raw::connected(&world).await;
        client.write(&frame(0x81, &[b'x'; 30_000])[..10_000]).await;
        halves.push(client);
    }
    eventually("some had to go", || world.ends().iter().any(|end| end == "connection BadPacket")).await;
    assert!(world.server.held_bytes() <= 40_000);
    let mut other = Raw::connected(&world).await;
    other.say("42[1]").await;
    assert_eq!(other.text().await.unwrap(), "42[1]");
}
