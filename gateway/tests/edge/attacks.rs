//! Attacks on one embedded node: whoever sends what no client sends is closed for it, what waits is bounded, and a
//! bystander does not notice.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use gateway::app::Gateway;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::polling::Polling;
use crate::support::client::Client;
use crate::support::{self, PATIENCE, eventually, http, metric, node};

/// The limits that events have by default, which those of connections follow.
const LIMITED: (&str, &str) = ("GATEWAY_LIMITS__EVENTS_PER_SECOND", "50");
const ATTACKERS: usize = 4;
/// More than any limit of a connection lets through, in bytes.
const FLOOD: usize = 32 * 1024 * 1024;
/// How long a publish may take to be heard by a bystander, in the middle. Without a limit it is seconds.
const SHORT: Duration = Duration::from_millis(100);

/// A frame with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let head = if payload.len() < 126 { vec![0x80 | length[1]] } else { [&[0xfe][..], &length].concat() };
    [&[first][..], &head, &[0; 4], payload].concat()
}

/// Sends the same again and again until it is cut off; false if it never is.
async fn flood(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) -> bool {
    let block = bytes.repeat(1 + 64 * 1024 / bytes.len());
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = async {
        for _ in 0..FLOOD / block.len() {
            if write.write_all(&block).await.is_err() {
                return true;
            }
        }
        false
    };
    let reading = async {
        let mut piece = [0; 4096];
        while let Ok(1..) = read.read(&mut piece).await {}
    };
    tokio::select! {
        is_cut_off = writing => is_cut_off,
        () = reading => true,
    }
}

/// Has a client publish and hear itself until an attack is over; what came of the attack.
async fn withstands<T: Send + 'static>(node: &Gateway, mut attack: JoinSet<T>) -> Vec<T> {
    let mut bystander = Client::connect(node.address).await;
    bystander.join("bystanders").await;
    let (mut came, mut times) = (Vec::new(), Vec::new());
    while !attack.is_empty() || times.len() < 20 {
        let asked = Instant::now();
        bystander.publish("bystanders", json!(1)).await;
        bystander.message().await;
        times.push(asked.elapsed());
        while let Some(done) = attack.try_join_next() {
            came.push(done.unwrap());
        }
        // Its own limit.
        sleep(Duration::from_millis(25)).await;
    }
    times.sort_unstable();
    assert!(times[times.len() / 2] < SHORT, "a bystander waited for {times:?}");
    came
}

fn closed(node: &Gateway, transport: &str, reason: &str) -> f64 {
    metric(node, &format!("gateway_connections_closed_total{{transport=\"{transport}\",reason=\"{reason}\"}}"))
}

fn packets(node: &Gateway, decision: &str) -> f64 {
    let series = "gateway_rate_limit_decisions_total{limiter=\"connection_packets\"";
    metric(node, &format!("{series},decision=\"{decision}\"}}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_floods_is_closed() {
    let unfinished = frame(0x01, b"42[");
    for (what, first, again, reason) in [
        ("CONNECTs", Vec::new(), frame(0x81, b"40"), "bad_packet"),
        ("wishes for namespaces that are not there", Vec::new(), frame(0x81, b"40/nope,"), "bad_packet"),
        ("events of such", Vec::new(), frame(0x81, b"42/nope,[\"x\"]"), "flooding"),
        ("farewells to such", Vec::new(), frame(0x81, b"41/nope,"), "flooding"),
        ("acks that nobody asked for", Vec::new(), frame(0x81, b"43999[]"), "flooding"),
        ("pongs", Vec::new(), frame(0x81, b"3"), "flooding"),
        ("websocket pings", Vec::new(), frame(0x89, &[b'p'; 125]), "flooding"),
        ("websocket pongs", Vec::new(), frame(0x8a, b"p"), "flooding"),
        ("frames with nothing in them", unfinished, frame(0x00, b""), "flooding"),
    ] {
        let node = node(&[LIMITED]).await;
        let mut attack = JoinSet::new();
        for _ in 0..ATTACKERS {
            let (address, first, again) = (node.address, first.clone(), again.clone());
            attack.spawn(async move {
                let mut client = Client::connect(address).await;
                let stream = client.socket.get_mut();
                stream.write_all(&first).await.unwrap();
                flood(stream, &again).await
            });
        }
        assert_eq!(withstands(&node, attack).await, [true; ATTACKERS], "{what}");
        let are_closed = || async { closed(&node, "websocket", reason) == ATTACKERS as f64 };
        eventually(&format!("{what} are closed"), are_closed).await;
        assert!(packets(&node, "allow") > 0.0, "{what}");
        assert_eq!(packets(&node, "deny"), if reason == "flooding" { ATTACKERS as f64 } else { 0.0 }, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_in_one_body_count_each() {
    let node = node(&[LIMITED]).await;
    let mut attack = JoinSet::new();
    for _ in 0..ATTACKERS {
        let polling = Polling::open(node.address).await;
        attack.spawn(async move { polling.post(&["3"; 3000].join("\u{1e}")).await.0 });
    }
    assert_eq!(withstands(&node, attack).await, [400; ATTACKERS]);
    let are_closed = || async { closed(&node, "polling", "flooding") == ATTACKERS as f64 };
    eventually("they are closed", are_closed).await;
    assert_eq!(packets(&node, "deny"), ATTACKERS as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_frames_share_one_budget() {
    const BUDGET: f64 = 1024.0 * 1024.0;
    let changes = [
        ("GATEWAY_LIMITS__BUFFERED_BYTES", "1048576"),
        ("GATEWAY_SOCKET__PING_INTERVAL", "6s"),
        ("GATEWAY_SOCKET__PING_TIMEOUT", "2s"),
    ];
    let node = node(&changes).await;
    let half = &frame(0x81, &[b'x'; 60_000])[..50_000];
    let mut attackers = Vec::new();
    for _ in 0..50 {
        let mut client = Client::connect(node.address).await;
        client.socket.get_mut().write_all(half).await.ok();
        attackers.push(client);
    }
    let over_budget = || async { closed(&node, "websocket", "bad_packet") >= 25.0 };
    eventually("who would need more than there is is closed", over_budget).await;
    let held = || metric(&node, "gateway_buffered_bytes");
    eventually("what they hold is counted", || async { held() > BUDGET / 2.0 }).await;
    assert!(held() <= BUDGET, "{}", held());
    withstands(&node, JoinSet::<()>::new()).await;
    let all =
        || async { closed(&node, "websocket", "bad_packet") + closed(&node, "websocket", "ping_timeout") >= 50.0 };
    eventually("the others go without a pong", all).await;
    eventually("nothing is held", || async { held() == 0.0 }).await;
}

async fn websocket(address: SocketAddr, query: &str) -> Result<WebSocketStream<TcpStream>, String> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket{query}");
    client_async(url, stream).await.map(|(socket, _)| socket).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_session_have_their_place_for_a_while() {
    let changes = [("GATEWAY_LIMITS__CONNECTIONS", "20"), ("GATEWAY_SOCKET__CONNECT_TIMEOUT", "1s")];
    let node = node(&changes).await;
    let mut attackers = Vec::new();
    while let Ok(attacker) = websocket(node.address, "").await {
        attackers.push(attacker);
        assert!(attackers.len() <= 20);
    }
    assert_eq!(metric(&node, "gateway_handshakes_total{result=\"capacity\"}"), 1.0);
    let lets_in = || async { Client::try_connect(node.address, json!({})).await.is_ok() };
    eventually("an honest client gets in", lets_in).await;
    for attacker in &mut attackers {
        let ended = async { while let Some(Ok(_)) = attacker.next().await {} };
        tokio::time::timeout(PATIENCE, ended).await.expect("it is ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_make_room_for_new_ones() {
    let node = node(&[("GATEWAY_LIMITS__IDLE_CONNECTIONS", "10"), ("GATEWAY_SOCKET__HEADER_TIMEOUT", "60s")]).await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(TcpStream::connect(node.address).await.unwrap());
    }
    withstands(&node, JoinSet::<()>::new()).await;
    for stream in &mut idle[..39] {
        let ended = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 1])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "the oldest go first");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_has_one_websocket() {
    let node = node(&[("GATEWAY_LIMITS__CONNECTIONS_PER_ADDRESS", "2")]).await;
    let polling = Polling::open(node.address).await;
    let mut sockets = Vec::new();
    let mut refused = 0;
    for _ in 0..200 {
        match websocket(node.address, &format!("&sid={}", polling.sid())).await {
            Ok(socket) => sockets.push(socket),
            Err(_) => refused += 1,
        }
    }
    assert_eq!((sockets.len(), refused), (1, 199));
    assert_eq!(metric(&node, "gateway_bad_requests_total{kind=\"request\"}"), 199.0);
    sockets[0].send(Message::text("5")).await.unwrap();
    eventually("it is the one", || async { metric(&node, "gateway_connections{transport=\"websocket\"}") == 1.0 })
        .await;
    withstands(&node, JoinSet::<()>::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_given_back_with_its_connection() {
    let changes = [("GATEWAY_LIMITS__CONNECTIONS", "1"), ("GATEWAY_SOCKET__CONNECT_TIMEOUT", "60s")];
    let node = node(&[&changes[..], &[("GATEWAY_AUTH__SECRET", "s")]].concat()).await;
    let again = || async { websocket(node.address, "").await.is_ok() };
    for _ in 0..20 {
        eventually("a websocket that is dropped", again).await;
    }
    let refused = || async {
        let Ok(mut socket) = websocket(node.address, "").await else { return false };
        socket.send(Message::text("40{\"token\":\"bad\"}")).await.unwrap();
        socket.next().await.is_some()
    };
    for _ in 0..20 {
        eventually("one that was refused its session", refused).await;
    }
    let polling = || async {
        let (status, body) = http("GET", node.address, "/socket.io/?EIO=4&transport=polling", "").await;
        let Some((_, sid)) = body.split_once("\"sid\":\"").filter(|_| status == 200) else { return false };
        let path = format!("/socket.io/?EIO=4&transport=polling&sid={}", sid.split('"').next().unwrap());
        http("POST", node.address, &path, "Content-Length: 1\r\n\r\n1").await.0 == 200
    };
    for _ in 0..20 {
        eventually("a polling connection that is closed", polling).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_clients_that_do_not_read_is_held_once() {
    const READERS: usize = 20;
    const PUBLISHED: usize = 10 * 1024 * 1024;
    let node = node(&[("GATEWAY_SOCKET__WRITE_TIMEOUT", "6s")]).await;
    let mut stopped = Vec::new();
    for _ in 0..READERS {
        let mut reader = websocket(node.address, "").await.unwrap();
        for packet in ["40".to_owned(), format!("420{}", json!(["join", { "room": "r" }]))] {
            reader.send(Message::text(packet)).await.unwrap();
        }
        while !reader.next().await.unwrap().unwrap().to_text().unwrap().starts_with("430[") {}
        stopped.push(reader);
    }
    let mut speaker = Client::connect(node.address).await;
    speaker.join("r").await;
    let data = "x".repeat(60_000);
    for _ in 0..PUBLISHED / data.len() {
        speaker.publish("r", json!(data)).await;
        speaker.message().await;
    }
    let held = || metric(&node, "gateway_buffered_bytes");
    eventually("what waits is counted", || async { held() > 1_000_000.0 }).await;
    assert!(held() < 1.2 * PUBLISHED as f64, "{} for {READERS} readers", held());
    withstands(&node, JoinSet::<()>::new()).await;
    eventually("they are closed", || async { closed(&node, "websocket", "slow") == READERS as f64 }).await;
    eventually("nothing waits", || async { held() == 0.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_that_nobody_reads_keep_nobody_from_coming_back() {
    // With the one before them no more than a room keeps.
    const EVENTS: usize = 999;
    const SIZE: usize = 3900;
    const ATTACKERS: usize = 80;
    // What waits for one client is less than its replay: whoever hands it over would wait with it.
    let changes = [("GATEWAY_SOCKET__WRITE_TIMEOUT", "8s"), ("GATEWAY_LIMITS__BACKLOG_BYTES", "1048576")];
    let node = node(&changes).await;
    let mut speaker = Client::connect(node.address).await;
    speaker.join("bomb").await;
    let first = speaker.publish("bomb", json!(0)).await;
    let data = "x".repeat(SIZE);
    for _ in 0..EVENTS {
        speaker.publish("bomb", json!(data)).await;
        speaker.message().await;
    }
    let mut victim = Client::connect(node.address).await;
    victim.join("quiet").await;
    let mut attackers = Vec::new();
    for _ in 0..ATTACKERS {
        let mut attacker = websocket(node.address, "").await.unwrap();
        let wish = json!({ "offsets": { "bomb": first } });
        attacker.send(Message::text(format!("40{wish}"))).await.unwrap();
        attackers.push(attacker);
    }
    let waiting = || async { metric(&node, "gateway_replays_waiting{size=\"large\"}") > ATTACKERS as f64 / 2.0 };
    eventually("large replays wait for each other", waiting).await;
    for _ in 0..10 {
        let (pid, offset) = (victim.pid.clone(), victim.offset.clone());
        drop(victim);
        let asked = Instant::now();
        victim = Client::come_back(node.address, &pid, offset.as_deref()).await;
        assert!(victim.recovered(), "{}", victim.hello);
        let ack = victim.ask("join", json!({ "room": "quiet too", "after": first })).await;
        assert_eq!(ack["recovered"], true, "{ack}");
        assert!(asked.elapsed() < Duration::from_secs(1), "it waited for {:?}", asked.elapsed());
        victim.ask("leave", json!({ "room": "quiet too" })).await;
    }
    let held = metric(&node, "gateway_buffered_bytes");
    assert!(held < 8.0 * 1024.0 * 1024.0, "{held} wait for {ATTACKERS} clients that do not read");
    eventually("who waits too long is told to come back", || async {
        metric(&node, "gateway_replays_put_off_total") > 0.0
    })
    .await;
    withstands(&node, JoinSet::<()>::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_replay_reaches_who_reads_it() {
    // With the one before them no more than a room keeps.
    const EVENTS: u64 = 999;
    let node = node(&[("GATEWAY_SOCKET__WRITE_TIMEOUT", "2s")]).await;
    let mut speaker = Client::connect(node.address).await;
    speaker.join("r").await;
    let first = speaker.publish("r", json!(0)).await;
    let data = "x".repeat(3900);
    for number in 0..EVENTS {
        speaker.publish("r", json!([number, data])).await;
        speaker.message().await;
    }
    for auth in [json!({ "offsets": { "r": first } }), json!({})] {
        let mut reader = Client::try_connect(node.address, auth.clone()).await.unwrap();
        if auth["offsets"].is_null() {
            let ack = reader.ask("join", json!({ "room": "r", "after": first })).await;
            assert_eq!(ack["recovered"], true, "{ack}");
        }
        for number in 0..EVENTS {
            let event = reader.event().await;
            assert_eq!((&event[0], &event[1]["data"][0]), (&json!("message"), &json!(number)));
        }
    }
    eventually("nothing is held", || async { metric(&node, "gateway_buffered_bytes") == 0.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pid_that_is_brought_to_another_namespace_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, "[[route]]\nnamespace = \"/other\"\nevent = \"x\"\naction = \"log\"\nmessage = \"x\"\n")
        .unwrap();
    let mut config = support::config(&support::NO_LIMITS);
    config.file = Some(file);
    let node = Gateway::start(config, 20_000).await.unwrap();
    let mut victim = Client::connect(node.address).await;
    victim.join("r").await;
    let mut thief = Client::connect(node.address).await;
    thief.send(&format!("40/other,{}", json!({ "pid": victim.pid, "offset": victim.offset }))).await;
    let mut said = Vec::new();
    while said.len() < 2 {
        said.push(thief.text().await.unwrap());
    }
    assert!(said[0].starts_with("40/other,{") && !said[0].contains(&victim.pid), "{said:?}");
    assert!(said[1].contains("\"recovered\":false") && said[1].contains("\"reason\":\"unknown\""), "{said:?}");
    victim.publish("r", json!("still here")).await;
    assert_eq!(victim.message().await.0, "still here");
    let (pid, offset) = (victim.pid.clone(), victim.offset.clone());
    drop(victim);
    assert!(Client::come_back(node.address, &pid, offset.as_deref()).await.recovered());
}

#[tokio::test(flavor = "multi_thread")]
async fn something_else_than_a_token_is_none_only_where_nobody_looks() {
    let secret = [("GATEWAY_AUTH__SECRET", "s"), ("GATEWAY_AUTH__ANONYMOUS", "true")];
    let (optional, none) = (node(&secret).await, node(&[]).await);
    for odd in [json!(5), json!({ "jwt": "x" }), json!(["x"]), json!(false), json!("bad"), json!("a.b.c"), json!(" ")] {
        let refused = Client::try_connect(optional.address, json!({ "token": odd })).await.err();
        assert!(refused.is_some_and(|refused| refused.contains("unauthorized")), "{odd}");
        assert!(Client::try_connect(none.address, json!({ "token": odd })).await.is_ok(), "{odd}");
    }
    for no_token in [json!({}), json!({ "token": null }), json!({ "token": "" })] {
        assert!(Client::try_connect(optional.address, no_token).await.is_ok());
    }
}
