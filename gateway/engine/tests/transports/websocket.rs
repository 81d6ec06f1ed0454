//! Websockets.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use engine::{Misuse, Packet, SendError};

use crate::support::{PATIENCE, Raw, World, eventually, frame, websocket_request};

#[tokio::test]
async fn events_bytes_and_acks_go_both_ways() {
    let world = World::new(|_| {}).await;
    let mut client = Raw::connected(&world).await;
    client.say("42[\"a\\u00e9\\/\\ud83d\"]").await;
    assert_eq!(client.text().await.unwrap(), "42[\"a\\u00e9\\/\\ud83d\"]", "as it was written");
    client.say("451-7[\"b\",{\"_placeholder\":true,\"num\":0}]").await;
    client.write(frame(0x82, &[1, 2])).await;
    assert_eq!(client.text().await.unwrap(), "461-7[\"b\",{\"_placeholder\":true,\"num\":0}]");
    assert_eq!(client.frame().await.unwrap(), (0x82, vec![1, 2]));
}

#[tokio::test]
async fn clients_are_asked_and_their_answers_reach_the_session_that_asked() {
    let world = World::new(|_| {}).await;
    let mut client = Raw::connected(&world).await;
    client.say("40/n,{}").await;
    client.text().await.unwrap();
    let question = engine::Packet::question("/n", 7, "[\"a\",\"x\"]", &[]);
    world.connection().send(&question).unwrap();
    assert_eq!(client.text().await.unwrap(), "42/n,7[\"a\",\"x\"]");
    client.say("43/n,7[\"b\"]").await;
    client.say("461-8[{\"_placeholder\":true,\"num\":0}]").await;
    client.write(crate::support::frame(0x82, &[1, 2])).await;
    // Of no session, and of no number: they are nobody's, and no reason to end anything.
    client.say("43/other,1[]").await;
    client.say("43[]").await;
    client.say("42[\"last\"]").await;
    assert_eq!(client.text().await.unwrap(), "42[\"last\"]");
    let answers = world.seen.answers.lock().clone();
    let seen: Vec<_> =
        answers.iter().map(|answer| (answer.ack, answer.text.as_str(), answer.attachments.len())).collect();
    assert_eq!(seen, [(Some(7), "[\"b\"]", 0), (Some(8), "[{\"_placeholder\":true,\"num\":0}]", 1)]);
}

#[tokio::test]
async fn namespaces_come_and_go_on_one_connection() {
    let world = World::new(|settings| settings.connect_timeout = Duration::from_millis(200)).await;
    let mut client = Raw::connected(&world).await;
    client.say("40/n,{}").await;
    assert_eq!(client.text().await.unwrap(), r#"40/n,{"sid":"s","pid":"p"}"#);
    client.say("40/once,").await;
    assert_eq!(client.text().await.unwrap(), r#"40/once,{"sid":"s"}"#, "it has nothing to come back with");
    client.say("41/once,").await;
    client.say("40/closed,").await;
    assert_eq!(client.text().await.unwrap(), r#"44/closed,{"message":"not \"here\"","data":{"why":1}}"#);
    client.say("42/n,[1]").await;
    assert_eq!(client.text().await.unwrap(), "42/n,[1]");
    client.say("41/n,").await;
    client.say("42/n,[1]").await;
    client.say("41").await;
    // Without a namespace it keeps the transport for a while.
    client.say("40/n,").await;
    assert_eq!(client.text().await.unwrap(), r#"40/n,{"sid":"s","pid":"p"}"#);
    assert_eq!(world.ends(), ["/once Left", "/n Left", "/ Left"]);
    client.say("41/n,").await;
    assert!(client.ends().await);
    eventually("it is over", || world.ends().last().unwrap() == "connection Sessionless").await;
}

#[tokio::test]
async fn whoever_breaks_the_protocol_is_ended() {
    let long = "x".repeat(70_000);
    let binary = format!("42[\"{}\"]", "y".repeat(10));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (frame(0x81, b"40"), "a second session in a namespace"),
        (frame(0x81, b"garbage"), "no packet"),
        (frame(0x81, b"2"), "a ping of the client"),
        (frame(0x81, b"44{}"), "an error of the client"),
        (frame(0x82, &[1]), "bytes of nothing"),
        (frame(0x81, long.as_bytes()), "too large"),
        (frame(0x81, &[0xFF]), "no text"),
        (frame(0xC1, b"2"), "a reserved bit"),
        ([&[0x81, binary.len() as u8], binary.as_bytes()].concat(), "no mask"),
        (frame(0x81, b"459-[]"), "too many attachments"),
    ];
    for (bytes, what) in cases {
        let world = World::new(|_| {}).await;
        let mut client = Raw::connected(&world).await;
        client.write(bytes).await;
        assert!(client.ends().await, "{what}");
        eventually(what, || world.ends() == ["/ BadPacket", "connection BadPacket"]).await;
    }
}

#[tokio::test]
async fn control_frames_are_answered_between_the_pieces_of_a_message() {
    let world = World::new(|_| {}).await;
    let mut client = Raw::connected(&world).await;
    client.write(frame(0x01, b"42[\"a")).await;
    client.write(frame(0x89, b"there?")).await;
    client.write(frame(0x80, b"b\"]")).await;
    assert_eq!(client.frame().await.unwrap(), (0x8A, b"there?".to_vec()));
    assert_eq!(client.text().await.unwrap(), "42[\"ab\"]");
    client.write(frame(0x88, &[3, 232])).await;
    assert_eq!(client.frame().await.unwrap().0, 0x88);
    assert!(client.ends().await);
    eventually("it is over", || world.ends() == ["/ Closed", "connection Closed"]).await;
}

#[tokio::test]
async fn every_frame_counts_before_it_is_read() {
    for packet in [frame(0x81, b"43[]"), frame(0x89, b""), frame(0x8A, b""), frame(0x81, b"41/nowhere,")] {
        let world = World::new(|_| {}).await;
        let mut client = Raw::connected(&world).await;
        *world.seen.allowance.lock() = Some(100);
        client.write(packet.repeat(150)).await;
        client.ends().await;
        eventually("it is over", || world.ends() == ["/ Flooding", "connection Flooding"]).await;
    }
}

#[tokio::test]
async fn a_client_with_the_messagepack_parser_is_known_by_its_first_packet() {
    let world = World::new(|_| {}).await;
    let mut client = Raw::websocket(&world, "").await;
    client.text().await.unwrap();
    client.write(frame(0x82, b"\x82\xa4type\x00\xa3nsp\xa1/")).await;
    let (first, payload) = client.frame().await.unwrap();
    assert_eq!((first, &payload[..12]), (0x82, &b"\x83\xa4type\x00\xa3nsp\xa1"[..]));
    client.write(frame(0x82, b"\x84\xa4type\x02\xa3nsp\xa1/\xa2id\x05\xa4data\x92\xa1e\xc4\x01\x09")).await;
    let (_, payload) = client.frame().await.unwrap();
    assert_eq!(payload, b"\x84\xa4type\x03\xa3nsp\xa1/\xa2id\x05\xa4data\x92\xa1e\xc4\x01\x09");
    // Others hear the same event in their own way.
    let mut other = Raw::connected(&world).await;
    let event = Packet::event("/", r#"["e",{"_placeholder":true,"num":0}]"#, &[Bytes::from_static(b"\x09")]);
    for connection in world.seen.connections.lock().iter() {
        connection.send(&event).unwrap();
    }
    assert_eq!(client.frame().await.unwrap().1, b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1e\xc4\x01\x09");
    assert_eq!(other.text().await.unwrap(), r#"451-["e",{"_placeholder":true,"num":0}]"#);
    assert_eq!(other.frame().await.unwrap(), (0x82, vec![9]));
}

/// A client with a small buffer that stops reading.
async fn staller(world: &World) -> Raw {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(world.address).await.unwrap();
    let mut raw = Raw::over(stream);
    raw.write(crate::support::websocket_request("")).await;
    raw.answer().await;
    raw.text().await.unwrap();
    raw.say("40").await;
    raw.text().await.unwrap();
    raw
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_do_not_read_is_in_memory_once() {
    let world = World::new(|settings| settings.waiting_bytes = 64 * 1024 * 1024).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(staller(&world).await);
    }
    let connections = world.seen.connections.lock().clone();
    let mut published = 0;
    for _ in 0..200 {
        let packet = Packet::event("/", &format!("[\"{}\"]", "x".repeat(50_000)), &[]);
        published += packet.size();
        for connection in &connections {
            connection.send(&packet).unwrap();
        }
    }
    let held = world.server.held_bytes();
    assert!(held <= published + 20 * 32 * 1024, "{held} of {published}");
    // They read again, and nothing is missing.
    for mut client in stalled {
        for _ in 0..200 {
            assert_eq!(client.text().await.unwrap().len(), 50_006);
        }
    }
    eventually("nothing is held any more", || world.server.held_bytes() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_read_in_time_is_ended_and_gets_no_more_than_may_wait() {
    let world = World::new(|settings| {
        settings.write_timeout = Duration::from_millis(200);
        settings.waiting_packets = 100;
    })
    .await;
    let _stalled = staller(&world).await;
    let (connection, packet) = (world.connection(), Packet::event("/", &format!("[\"{}\"]", "x".repeat(60_000)), &[]));
    let full = async { while connection.send(&packet) != Err(SendError::Full) {} };
    tokio::time::timeout(PATIENCE, full).await.unwrap();
    assert_eq!(connection.waiting().packets, 100);
    eventually("it is over", || world.ends() == ["/ Slow", "connection Slow"]).await;
    assert_eq!(connection.send(&packet), Err(SendError::Gone));
    drop(packet);
    eventually("nothing is held any more", || world.server.held_bytes() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_slowly_but_steadily_gets_a_packet_however_large() {
    let world = World::new(|settings| settings.write_timeout = Duration::from_secs(1)).await;
    let mut client = Raw::connected(&world).await;
    let packet = Packet::event("/", &format!("[\"{}\"]", "x".repeat(40_000_000)), &[]);
    world.connection().send(&packet).unwrap();
    let (mut piece, mut read) = (vec![0; 1_000_000], 0);
    while read < packet.size() {
        // Twice as long in all as it may read nothing.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let reading = tokio::io::AsyncReadExt::read_exact(&mut client.stream, &mut piece);
        read += tokio::time::timeout(PATIENCE, reading).await.unwrap().expect("it is cut off");
        piece.truncate(packet.size() - read);
    }
    client.say("42[\"after\"]").await;
    assert_eq!(client.text().await.unwrap(), "42[\"after\"]");
    assert!(world.ends().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pongs_to_a_client_that_does_not_read_do_not_pile_up() {
    let world = World::new(|_| {}).await;
    let mut client = staller(&world).await;
    let connection = world.connection();
    let packet = Packet::event("/", &format!("[\"{}\"]", "x".repeat(60_000)), &[]);
    // More than any buffer of the kernel takes meanwhile.
    while connection.waiting().packets < 100 {
        connection.send(&packet).unwrap();
    }
    for number in 0..1000 {
        client.write(frame(0x89, format!("{number}").as_bytes())).await;
    }
    client.say("42[\"after\"]").await;
    eventually("all was read", || world.seen.events.lock().len() == 1).await;
    assert!((1..=101).contains(&connection.waiting().packets), "{:?}", connection.waiting());
    let mut pongs = Vec::new();
    loop {
        match client.frame().await.unwrap() {
            (0x8A, payload) => pongs.push(payload),
            (_, payload) if payload == b"42[\"after\"]" => break,
            _ => {}
        }
    }
    pongs.extend(client.frame().await.map(|(_, payload)| payload));
    assert_eq!(pongs, [b"999"], "the last one is answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_threads_write_to_one_client_and_no_frame_is_torn() {
    let world = World::new(|_| {}).await;
    let mut client = Raw::connected(&world).await;
    let connection = Arc::new(world.connection());
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let connection = connection.clone();
            std::thread::spawn(move || {
                for number in 0..500 {
                    let text = format!("[{writer},{number},\"{}\"]", "x".repeat(number * 20));
                    while connection.send(&Packet::event("/", &text, &[])) == Err(SendError::Full) {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut next = [0; 4];
    for _ in 0..2000 {
        let text = client.text().await.unwrap();
        let mut parts = text[3..].split(',');
        let (writer, number): (usize, usize) =
            (parts.next().unwrap().parse().unwrap(), parts.next().unwrap().parse().unwrap());
        assert_eq!(number, next[writer]);
        next[writer] += 1;
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

#[tokio::test]
async fn with_a_delay_what_comes_together_is_written_together() {
    let world = World::new(|settings| settings.write_delay = Duration::from_millis(30)).await;
    let mut client = Raw::connected(&world).await;
    let connection = world.connection();
    for number in 0..100 {
        connection.send(&Packet::event("/", &format!("[{number}]"), &[])).unwrap();
    }
    assert_eq!(connection.waiting().packets, 100, "none is written yet");
    for number in 0..100 {
        assert_eq!(client.text().await.unwrap(), format!("42[{number}]"));
    }
    assert_eq!(connection.waiting().packets, 0);
}

#[tokio::test]
async fn nothing_is_read_while_it_is_not_to_be() {
    let world = World::new(|_| {}).await;
    let mut client = Raw::connected(&world).await;
    let connection = world.connection();
    connection.pause();
    client.say("42[1]").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    // What was on its way into a buffer may have come; nothing else does.
    client.say("42[2]").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(world.seen.events.lock().len() <= 1);
    connection.resume();
    eventually("it is read", || world.seen.events.lock().len() == 2).await;
}

#[tokio::test]
async fn an_idle_connection_is_pinged_after_the_interval_and_must_answer() {
    let world = World::new(|settings| {
        settings.ping_interval = Duration::from_millis(200);
        settings.ping_timeout = Duration::from_millis(200);
    })
    .await;
    let started = tokio::time::Instant::now();
    let mut client = Raw::connected(&world).await;
    assert_eq!(client.text().await.unwrap(), "2");
    assert!(started.elapsed() >= Duration::from_millis(180), "not at once");
    client.say("3").await;
    assert_eq!(client.text().await.unwrap(), "2");
    assert!(client.ends().await);
    eventually("it is over", || world.ends() == ["/ Silent", "connection Silent"]).await;
}

#[tokio::test]
async fn clients_of_socket_io_2_are_told_so_and_leave_nothing_behind() {
    let world = World::new(|_| {}).await;
    let mut client = Raw::connect(&world).await;
    client.write(websocket_request("").replace("EIO=4", "EIO=3")).await;
    assert_eq!(client.answer().await.0, 101);
    assert!(client.text().await.unwrap().starts_with("0{\"sid\":"));
    let error = client.text().await.unwrap();
    assert!(error.starts_with("44\"") && error.ends_with('"') && error.contains("upgrade"), "{error}");
    assert_eq!(client.frame().await.unwrap(), (0x88, vec![]));
    assert_eq!(client.frame().await, None, "it is over");
    assert_eq!(*world.seen.misuses.lock(), [Misuse::Handshake]);
    assert_eq!((world.seen.opened.load(Ordering::SeqCst), world.server.connections()), (0, 0));
}
