//! Long-polling.

use std::time::Duration;

use engine::Packet;

use crate::support::{Poller, World, eventually};

#[tokio::test]
async fn events_bytes_and_acks_go_both_ways() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    poller.say("42[\"a\"]").await;
    assert_eq!(poller.poll().await.1, "42[\"a\"]");
    let binary = "451-7[\"b\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQI";
    poller.say(binary).await;
    assert_eq!(poller.poll().await.1, "461-7[\"b\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQI=");
    assert_eq!(world.seen.events.lock()[1].attachments[0], [1, 2][..]);
}

#[tokio::test]
async fn one_body_carries_more_than_one_event_may_weigh() {
    let world = World::new(|settings| settings.message_bytes = 1000).await;
    let poller = Poller::connected(&world).await;
    let event = format!("42[\"{}\"]", "x".repeat(900));
    poller.say(&vec![event.as_str(); 100].join("\u{1e}")).await;
    assert_eq!(world.seen.events.lock().len(), 100);
    assert_eq!(poller.post(format!("42[\"{}\"]", "x".repeat(2000))).await.0, 400, "but no event may");
    eventually("it is over", || world.ends().contains(&"connection BadPacket".to_owned())).await;
}

#[tokio::test]
async fn an_answer_has_sixteen_packets_at_the_most_and_nothing_is_lost() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    let connection = world.connection();
    for number in 0..40 {
        connection.send(&Packet::event("/", &format!("[{number}]"), &[])).unwrap();
    }
    let mut heard = Vec::new();
    for expected in [16, 16, 8] {
        let (_, body) = poller.poll().await;
        let packets: Vec<String> = body.split('\u{1e}').map(str::to_owned).collect();
        assert_eq!(packets.len(), expected);
        heard.extend(packets);
    }
    let all: Vec<String> = (0..40).map(|number| format!("42[{number}]")).collect();
    assert_eq!(heard, all);
}

#[tokio::test]
async fn an_aborted_poll_ends_the_connection_at_once() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    let poll = poller.begin().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(poll);
    eventually("it is over", || world.ends() == ["/ Broken", "connection Broken"]).await;
    assert_eq!(poller.poll().await.0, 400);
}

#[tokio::test]
async fn a_second_poll_at_the_same_time_ends_the_connection() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    let mut first = poller.begin().await;
    // Whichever of them comes first, one waits and the other is one too many.
    let second = poller.poll().await;
    let (status, _, body) = first.answer().await;
    let mut answers = [(status, body.chars().next()), (second.0, second.1.chars().next())];
    answers.sort_unstable();
    assert_eq!(answers, [(200, Some('1')), (400, Some('{'))]);
    eventually("it is over", || world.ends() == ["/ BadPacket", "connection BadPacket"]).await;
}

#[tokio::test]
async fn what_is_no_payload_ends_the_connection() {
    for body in ["", "x", "42[1]\u{1e}", "b*", "0{}"] {
        let world = World::new(|_| {}).await;
        let poller = Poller::connected(&world).await;
        assert_eq!(poller.post(body).await.0, 400, "{body:?}");
        eventually("it is over", || world.ends() == ["/ BadPacket", "connection BadPacket"]).await;
    }
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    assert_eq!(poller.post([0xFF, 0xFE]).await.0, 400, "not even text");
}

#[tokio::test]
async fn packets_count_before_they_are_read() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    *world.seen.allowance.lock() = Some(10);
    assert_eq!(poller.post(["42[1]"; 11].join("\u{1e}")).await.0, 400);
    assert_eq!(world.seen.events.lock().len(), 0);
    eventually("it is over", || world.ends() == ["/ Flooding", "connection Flooding"]).await;
}

#[tokio::test]
async fn a_request_waits_while_nothing_of_the_client_is_to_be_read() {
    let world = World::new(|_| {}).await;
    let poller = Poller::connected(&world).await;
    let connection = world.connection();
    connection.pause();
    let mut saying = Box::pin(poller.say("42[1]"));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut saying).await.is_err());
    assert_eq!(world.seen.events.lock().len(), 0);
    connection.resume();
    saying.await;
    assert_eq!(world.seen.events.lock().len(), 1);
}
