//! How connections end.

use std::time::Duration;

use engine::Packet;

use crate::support::{PATIENCE, Poller, Raw, World, eventually, frame};

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
async fn who_leaves_without_ever_having_come_wins_no_time() {
    let world = World::new(|settings| settings.connect_timeout = Duration::from_millis(400)).await;
    let mut client = Raw::websocket(&world, "").await;
    client.text().await.unwrap();
    let began = tokio::time::Instant::now();
    let leaving = async {
        loop {
            client.say("41").await;
            if tokio::time::timeout(Duration::from_millis(100), client.text()).await.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, leaving).await.expect("it holds its place for ever");
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(world.ends(), ["connection Sessionless"]);
}

#[tokio::test]
async fn who_leaves_while_it_waits_for_another_session_has_as_long_as_at_first() {
    let world = World::new(|settings| settings.connect_timeout = Duration::from_millis(200)).await;
    for is_kicked in [false, true] {
        world.seen.ends.lock().clear();
        world.seen.connections.lock().clear();
        let mut client = Raw::connected(&world).await;
        client.say("40/slow,").await;
        eventually("it waits", || world.seen.waiting.lock().len() == 1).await;
        if is_kicked {
            world.connection().leave("/", "kicked");
        } else {
            client.say("41").await;
        }
        eventually("it has left", || world.ends().len() == 1).await;
        world.seen.waiting.lock().pop().unwrap().refuse("no", None);
        assert!(client.ends().await);
        eventually("it is over", || world.ends().last().unwrap() == "connection Sessionless").await;
    }
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
