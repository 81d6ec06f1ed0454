//! What waits, and how much of it may.

use super::*;

fn settings() -> Settings {
    let time = std::time::Duration::from_secs(1);
    Settings {
        body_bytes: 0,
        ping_interval: time,
        ping_timeout: time,
        connect_timeout: time,
        header_timeout: time,
        keep_alive: time,
        write_timeout: time,
        write_delay: std::time::Duration::ZERO,
        message_bytes: 1000,
        payload_bytes: 1000,
        attachments: 20,
        waiting_packets: 3,
        waiting_bytes: 100,
        budget_bytes: 0,
        idle_connections: 0,
    }
}

fn polling() -> Outbox {
    Outbox::new(Way::Polling(Poll::default()))
}

#[test]
fn what_waits_is_bounded_in_packets_and_in_bytes_but_one_may_always_wait() {
    let (settings, budget) = (settings(), Budget::new(0));
    let mut out = polling();
    let large = Packet::engine(&"x".repeat(500));
    assert_eq!(out.send(&large, &settings, &budget), Ok(Sent::Queued));
    assert_eq!(out.send(&Packet::engine("2"), &settings, &budget), Err(SendError::Full));
    out.take_payload();
    for _ in 0..3 {
        assert_eq!(out.send(&Packet::engine("2"), &settings, &budget), Ok(Sent::Queued));
    }
    assert_eq!(out.send(&Packet::engine("2"), &settings, &budget), Err(SendError::Full));
    assert_eq!(out.waiting(), Waiting { packets: 3, bytes: 9 });
    assert_eq!(out.take_payload().into_body(), b"2\x1e2\x1e2");
    drop(large);
    assert_eq!((out.waiting(), budget.used()), (Waiting::default(), 0));
}

#[test]
fn a_packet_with_many_attachments_spreads_over_polls() {
    let (settings, budget) = (Settings { waiting_bytes: 10_000, ..settings() }, Budget::new(0));
    let mut out = polling();
    let attachments = vec![bytes::Bytes::from_static(b"x"); 20];
    out.send(&Packet::event("/", "[1]", &attachments), &settings, &budget).unwrap();
    out.send(&Packet::engine("2"), &settings, &budget).unwrap();
    let count = |out: &mut Outbox| crate::payload::count(&out.take_payload().into_body());
    assert_eq!((count(&mut out), count(&mut out)), (16, 6));
    assert!(out.take_payload().into_body().is_empty());
}

#[test]
fn a_ping_waits_whatever_others_hold_and_is_nobodys_burden() {
    let (settings, budget) = (settings(), Budget::new(1));
    let ping = Packet::engine("2");
    let mut out = polling();
    assert_eq!(out.send(&Packet::event("/", "[1]", &[]), &settings, &budget), Err(SendError::Full));
    assert_eq!(out.send(&ping, &settings, &budget), Ok(Sent::Queued));
    assert_eq!(out.take_payload().into_body(), b"2");
    assert_eq!(budget.used(), 0, "it is kept for the next one, and not charged for ever");
}

#[tokio::test]
async fn what_is_partly_written_is_written_whole_whatever_others_hold() {
    let (settings, budget) = (settings(), Budget::new(1));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (_, write) = listener.accept().await.unwrap().0.into_split();
    let mut out = Outbox::new(Way::Websocket(write));
    // More than any buffer of the kernel takes.
    let large = Packet::event("/", &"x".repeat(32 * 1024 * 1024), &[]);
    assert_eq!(out.send(&large, &settings, &budget), Ok(Sent::Waits));
    assert_eq!(out.send(&Packet::event("/", "[1]", &[]), &settings, &budget), Err(SendError::Full));
    let size = large.size();
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut client, &mut all).await.unwrap();
        all
    });
    while !out.flush().unwrap() {
        tokio::task::yield_now().await;
    }
    drop(out);
    let all = reading.await.unwrap();
    assert!(all.len() == size && all == large.frames(Parser::Json));
}

#[test]
fn all_connections_share_one_budget() {
    let settings = Settings { waiting_bytes: 100_000, ..settings() };
    let budget = Budget::new(2000);
    let (mut one, mut other) = (polling(), polling());
    let large = Packet::event("/", &"x".repeat(1500), &[]);
    assert!(one.send(&large, &settings, &budget).is_ok() && other.send(&large, &settings, &budget).is_ok());
    let second = Packet::event("/", &"y".repeat(500), &[]);
    assert_eq!(one.send(&second, &settings, &budget), Err(SendError::Full));
    drop(second);
    one.close();
    other.close();
    drop(large);
    assert_eq!(budget.used(), 0);
    assert_eq!(one.send(&Packet::engine("2"), &settings, &budget), Err(SendError::Gone));
}
