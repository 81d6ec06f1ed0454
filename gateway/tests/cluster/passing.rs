//! Clients whose balancer knows nothing: what comes to a node that has not got their connection is passed on to the one that has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::cluster;
use crate::support::client::Client;
use crate::support::process::Process;
use crate::support::redis::{Redis, free_port};
use crate::support::wanderer::{Wanderer, ask, try_ask};
use crate::support::{eventually, metric, node};

const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const ANSWERED: &str = "gateway_passed_on_total{result=\"answered\"}";
const GONE: &str = "gateway_passed_on_total{result=\"gone\"}";
const FAILED: &str = "gateway_passed_on_total{result=\"failed\"}";

/// An id as the node of this tag could have made it.
fn forged(tag: [u8; 5]) -> String {
    URL_SAFE_NO_PAD.encode([&tag[..], &[7; 16]].concat())
}

/// The tag of the node that has this connection.
fn tag_of(id: &str) -> [u8; 5] {
    URL_SAFE_NO_PAD.decode(id).unwrap()[..5].try_into().unwrap()
}

async fn poll_of(address: SocketAddr, id: &str) -> (u16, String) {
    ask("GET", address, &format!("/socket.io/?EIO=4&transport=polling&sid={id}"), "").await
}

/// Says that the node of this tag is at an address.
async fn claim(redis: &Redis, tag: [u8; 5], address: &str) {
    let name = format!("n:{}", URL_SAFE_NO_PAD.encode(tag));
    let value = format!("99999999999999 {address}");
    redis.send(&[b"HSET", b"gateway:whereabouts", name.as_bytes(), value.as_bytes()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_polls_at_all_nodes_in_turn_hears_everything_once_and_in_order() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 3, &[]).await;
    let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
    let mut wanderer = Wanderer::connect(&addresses).await;
    assert_eq!(wanderer.ask("join", json!({ "room": "r" })).await["ok"], true);
    let mut speaker = Client::connect(nodes[2].address).await;
    speaker.join("r").await;
    for number in 0..100 {
        speaker.publish("r", json!(number)).await;
    }
    assert_eq!(wanderer.ask("publish", json!({ "room": "r", "data": 100 })).await["ok"], true);
    for number in 0..=100 {
        let event = wanderer.event().await;
        assert_eq!((&event[0], &event[1]["data"]), (&json!("message"), &json!(number)));
    }
    let passed: f64 = nodes.iter().map(|node| metric(node, ANSWERED)).sum();
    assert!(passed > 4.0, "{passed}");
    assert_eq!(metric(&nodes[0], "gateway_connections{transport=\"polling\"}"), 1.0);
    assert!(metric(&nodes[1], "gateway_passing_connections") >= 1.0);
    assert!(metric(&nodes[0], "gateway_passing_taken_connections") >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_balancers_that_disagree_posts_and_polls_find_each_other() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 3, &[]).await;
    // Polls wait at one, and what the client says goes to another, and neither has the connection.
    let mut wanderer = Wanderer::connect(&[nodes[0].address]).await;
    wanderer.addresses = vec![nodes[1].address];
    for number in 0..20 {
        let (address, path) = (nodes[2].address, wanderer.path());
        let said = format!("42{number}{}", json!(["join", { "room": format!("r{number}") }]));
        let (heard, posted) = tokio::join!(wanderer.packet(), ask("POST", address, &path, &said));
        assert_eq!(posted, (200, "ok".into()));
        assert!(heard.starts_with(&format!("43{number}[")), "{heard}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_takes_over_at_another_node_and_moves_when_that_one_drains() {
    let redis = Redis::start().await;
    let mut nodes = cluster(&redis, 2, &[]).await;
    let wanderer = Wanderer::connect(&[nodes[0].address]).await;
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket&sid={}", nodes[1].address, wanderer.id);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    socket.send(Message::text("2probe")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("3probe"));
    assert_eq!(wanderer.get().await.1, "6");
    socket.send(Message::text("5")).await.unwrap();
    socket.send(Message::text("420[\"join\",{\"room\":\"r\"}]")).await.unwrap();
    assert!(socket.next().await.unwrap().unwrap().to_text().unwrap().starts_with("430["));
    let tunnels = || async { metric(&nodes[1], "gateway_passing{transport=\"websocket\"}") == 1.0 };
    eventually("it counts", tunnels).await;
    assert_eq!(metric(&nodes[0], "gateway_connections{transport=\"websocket\"}"), 1.0);
    let leaving = tokio::spawn(nodes.remove(1).stop());
    while let Some(Ok(message)) = socket.next().await {
        assert!(!message.is_close(), "official clients take that for a wish");
    }
    assert_eq!(leaving.await.unwrap(), 0);
    eventually("its node has seen it", || async { nodes[0].sessions() == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_drains_sends_the_polls_elsewhere_that_wait_at_it() {
    let redis = Redis::start().await;
    let mut nodes = cluster(&redis, 3, &[]).await;
    let mut wanderer = Wanderer::connect(&[nodes[0].address]).await;
    wanderer.addresses = vec![nodes[1].address];
    let waiting = tokio::spawn({
        let (address, id) = (nodes[1].address, wanderer.id.clone());
        async move { poll_of(address, &id).await }
    });
    eventually("it waits", || async { metric(&nodes[1], "gateway_passing{transport=\"polling\"}") == 1.0 }).await;
    assert_eq!(nodes.remove(1).stop().await, 0);
    assert_eq!(waiting.await.unwrap(), (200, "6".into()), "it is told to poll again");
    wanderer.addresses = vec![nodes[1].address];
    assert_eq!(wanderer.ask("join", json!({ "room": "r" })).await["ok"], true, "and nothing was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_or_that_its_successor_replaced_has_no_connections() {
    let redis = Redis::start().await;
    let here = cluster(&redis, 1, &[]).await.remove(0);
    let url = redis.url();
    let admin = format!("127.0.0.1:{}", free_port());
    let changes = [("GATEWAY_REDIS_URL", url.as_str()), ("GATEWAY_ADMIN_LISTEN", admin.as_str())];
    let there = Process::start(&changes, None, None);
    let mut wanderer = Wanderer::connect(&[there.address]).await;
    wanderer.addresses = vec![here.address];
    assert_eq!(wanderer.ask("join", json!({ "room": "r" })).await["ok"], true);
    drop(there);
    let asked = Instant::now();
    assert_eq!(wanderer.get().await, (400, UNKNOWN.into()));
    assert!(asked.elapsed() < Duration::from_secs(10), "at once: {:?}", asked.elapsed());
    // Where it was another node is: what was for the one is nothing for the other.
    let successor = Process::start(&changes, None, None);
    eventually("the successor is known", || async {
        let mut newcomer = Wanderer::connect(&[successor.address]).await;
        newcomer.addresses = vec![here.address];
        newcomer.post("42[\"x\"]").await.0 == 200
    })
    .await;
    assert_eq!(wanderer.get().await, (400, UNKNOWN.into()));
    assert!(metric(&here, GONE) >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_holds_up_its_own_clients_alone() {
    let redis = Redis::start().await;
    let times = [("GATEWAY_SOCKET__PING_TIMEOUT", "1s"), ("GATEWAY_PASSING__TIMEOUT", "500ms")];
    let here = cluster(&redis, 2, &times).await;
    let url = redis.url();
    let there = Process::start(&[("GATEWAY_REDIS_URL", &url), times[0], times[1]], None, None);
    let mut hung = Wanderer::connect(&[there.address]).await;
    hung.addresses = vec![here[0].address];
    hung.say("42[\"x\"]").await;
    let mut well = Wanderer::connect(&[here[1].address]).await;
    well.addresses = vec![here[0].address];
    there.signal("-STOP");
    let (answer, ()) = tokio::join!(hung.post("42[\"x\"]"), async {
        for number in 0..20 {
            let ack = well.ask("join", json!({ "room": format!("r{number}") })).await;
            assert_eq!(ack["ok"], true);
        }
    });
    assert_eq!(answer, (400, UNKNOWN.into()));
    // A connection that was there is waited for longer than one that is made.
    let asking = Instant::now();
    assert_eq!(hung.post("42[\"x\"]").await, (400, UNKNOWN.into()));
    assert!(asking.elapsed() < Duration::from_secs(5), "{:?}", asking.elapsed());
    assert!(metric(&here[0], FAILED) >= 2.0);
    there.signal("-CONT");
    eventually("it is reached again", || async { Wanderer::connect(&[there.address]).await.post("3").await.0 == 200 })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_ids_cost_redis_a_few_questions_and_their_senders_an_unknown_session() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &[]).await;
    let mut wanderer = Wanderer::connect(&[nodes[0].address]).await;
    wanderer.addresses = vec![nodes[1].address];
    let own = tag_of(&Wanderer::connect(&[nodes[1].address]).await.id);
    redis.command("CONFIG RESETSTAT").await;
    let (at, began) = (nodes[1].address, Instant::now());
    let floods = (0..300).map(|number| {
        let tag = match number % 3 {
            0 => rand::random(),
            1 => tag_of(&wanderer.id),
            _ => own,
        };
        async move { poll_of(at, &forged(tag)).await }
    });
    let floods = floods.collect::<Vec<_>>();
    for answer in join_all(floods).await {
        assert_eq!(answer, (400, UNKNOWN.into()));
    }
    let stats = redis.command("INFO commandstats").await;
    let asked = stats.split("cmdstat_hgetall:calls=").nth(1).map_or("0", |rest| rest.split(',').next().unwrap());
    let asked: f64 = asked.parse().unwrap();
    // Four in a second, and the beats of two nodes.
    let most = began.elapsed().as_secs_f64() * 5.0 + 4.0;
    assert!(asked <= most, "{asked} questions, at most {most}");
    assert_eq!(wanderer.ask("join", json!({ "room": "r" })).await["ok"], true, "others are not in its way");
    assert_eq!(metric(&nodes[0], GONE), 0.0, "nothing was passed on twice");
}

/// Somebody who says something, or nothing, to whoever comes, and keeps what they said.
async fn liar(says: &'static [u8]) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, heard) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let ears = heard.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let ears = ears.clone();
            tokio::spawn(async move {
                let mut piece = vec![0; 16_384];
                let length = stream.read(&mut piece).await.unwrap_or(0);
                ears.lock().extend_from_slice(&piece[..length]);
                stream.write_all(says).await.ok();
                while let Ok(length @ 1..) = stream.read(&mut piece).await {
                    ears.lock().extend_from_slice(&piece[..length]);
                }
            });
        }
    });
    (address, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_lies_learns_nothing_of_clients_and_costs_a_moment() {
    let redis = Redis::start().await;
    let here = cluster(&redis, 1, &[("GATEWAY_PASSING__TIMEOUT", "500ms")]).await.remove(0);
    let url = redis.url();
    let other = node(&[("GATEWAY_REDIS_URL", &url), ("GATEWAY_REDIS__PREFIX", "other")]).await;
    let accepts = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: passing-1\r\n\
        passing-nonce: AAAAAAAAAAAAAAAAAAAAAA\r\npassing-proof: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n\r\n";
    let (silent, heard_by_silent) = liar(b"").await;
    let (believes, heard_by_believer) = liar(accepts).await;
    let (answers, heard_by_other) = liar(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let lies = [
        redis.url().trim_start_matches("redis://").trim_end_matches("/0").to_owned(),
        other.admin_address.to_string(),
        other.address.to_string(),
        here.admin_address.to_string(),
        here.address.to_string(),
        silent.to_string(),
        believes.to_string(),
        answers.to_string(),
        "127.0.0.1:1".to_owned(),
        "no-such-host.invalid:9100".to_owned(),
        "rubbish".to_owned(),
        String::new(),
    ];
    for lie in lies {
        let tag = rand::random();
        claim(&redis, tag, &lie).await;
        let asked = Instant::now();
        let path = format!("/socket.io/?EIO=4&transport=polling&sid={}", forged(tag));
        assert_eq!(ask("POST", here.address, &path, "the-body").await, (400, UNKNOWN.into()), "{lie:?}");
        assert!(asked.elapsed() < Duration::from_secs(10), "{lie:?}: {:?}", asked.elapsed());
        let asked = Instant::now();
        assert_eq!(ask("POST", here.address, &path, "the-body").await.0, 400);
        assert!(asked.elapsed() < Duration::from_secs(10), "{lie:?}: {:?}", asked.elapsed());
    }
    for heard in [heard_by_silent, heard_by_believer, heard_by_other] {
        let heard = String::from_utf8_lossy(&heard.lock()).into_owned();
        assert!(heard.starts_with("GET /passing "), "{heard}");
        for secret in ["the-body", "secret=1", "sid="] {
            assert!(!heard.contains(secret), "{heard}");
        }
    }
}

/// Asks a node's door in the words of another node; what it answers, and the stream.
async fn knock(admin: SocketAddr, to: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let words = format!(
        "GET /passing HTTP/1.1\r\nhost: {admin}\r\nconnection: upgrade\r\nupgrade: passing-1\r\npassing-to: {to}\r\n\
         passing-nonce: AAAAAAAAAAAAAAAAAAAAAA\r\n\r\n"
    );
    stream.write_all(words.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
    }
    (String::from_utf8(answer).unwrap(), stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_the_secret_passes_nothing_on() {
    let redis = Redis::start().await;
    let here = cluster(&redis, 1, &[]).await.remove(0);
    let wanderer = Wanderer::connect(&[here.address]).await;
    let tag = URL_SAFE_NO_PAD.encode(tag_of(&wanderer.id));
    let unproven = || metric(&here, "gateway_passing_doors_total{result=\"unproven\"}");
    let post =
        format!("POST {} HTTP/1.1\r\nhost: x\r\npassed-for: 10.0.0.1:1\r\ncontent-length: 1\r\n\r\n1", wanderer.path());
    for (number, proof) in ["A".repeat(43), "!".repeat(43), "\r\n".repeat(21) + "x"].iter().enumerate() {
        let (answer, mut stream) = knock(here.admin_address, &tag).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        stream.write_all(format!("{proof}\n{post}").as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
        assert!(rest.is_empty());
        eventually("it counts", || async { unproven() == (number + 1) as f64 }).await;
    }
    // Nor does the door answer as if it were the listener of clients.
    let (answer, _) = knock(here.admin_address, "AAAAAAA").await;
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    assert_eq!(metric(&here, "gateway_passing_doors_total{result=\"other_node\"}"), 1.0);
    assert_eq!(try_ask("GET", here.admin_address, "/passing", "").await.unwrap().0, 426);
    assert_eq!(wanderer.post("42[\"x\"]").await.0, 200, "the connection is as it was");
    assert_eq!(metric(&here, "gateway_passing_taken_connections"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_overheard_between_nodes_is_good_for_nothing() {
    let redis = Redis::start().await;
    let here = cluster(&redis, 1, &[]).await.remove(0);
    // Somebody carries the bytes between the nodes and keeps them.
    let ear = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = redis.url();
    let (at, admin) = (ear.local_addr().unwrap().to_string(), format!("127.0.0.1:{}", free_port()));
    let there = [
        ("GATEWAY_REDIS_URL", url.as_str()),
        ("GATEWAY_ADMIN__ADVERTISE", at.as_str()),
        ("GATEWAY_ADMIN_LISTEN", admin.as_str()),
    ];
    let there = node(&there).await;
    let (target, heard) = (there.admin_address, Arc::new(Mutex::new(Vec::new())));
    let ears = heard.clone();
    tokio::spawn(async move {
        loop {
            let (near, _) = ear.accept().await.unwrap();
            let (mut from, mut to) = near.into_split();
            let (mut back, mut far) = TcpStream::connect(target).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut back, &mut to).await });
            let ears = ears.clone();
            tokio::spawn(async move {
                let mut piece = vec![0; 16_384];
                while let Ok(length @ 1..) = from.read(&mut piece).await {
                    ears.lock().extend_from_slice(&piece[..length]);
                    far.write_all(&piece[..length]).await.unwrap();
                }
            });
        }
    });
    let mut wanderer = Wanderer::connect(&[there.address]).await;
    wanderer.addresses = vec![here.address];
    wanderer.say("42[\"x\"]").await;
    let heard = heard.lock().clone();
    assert!(String::from_utf8_lossy(&heard).contains("POST /socket.io/"), "there is something to overhear");
    let mut stream = TcpStream::connect(target).await.unwrap();
    stream.write_all(&heard).await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.ok();
    let answers = String::from_utf8_lossy(&rest).matches("HTTP/1.1").count();
    assert_eq!(answers, 1, "it was challenged, and then nothing");
    eventually("it counts", || async { metric(&there, "gateway_passing_doors_total{result=\"unproven\"}") == 1.0 })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_nodes_that_know_each_other_go_on_and_after_a_loss_they_find_each_other_again() {
    let mut redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &[]).await;
    let mut wanderer = Wanderer::connect(&[nodes[0].address]).await;
    wanderer.addresses = vec![nodes[1].address];
    wanderer.say("42[\"x\"]").await;
    redis.stop().await;
    for _ in 0..5 {
        let ack = wanderer.ask("publish", json!({ "room": "r", "data": 1 })).await;
        assert_eq!(ack["ok"], false, "it is answered, whatever the answer is");
    }
    redis.lose_everything();
    redis.start_again().await;
    eventually("they are noted again", || async { redis.command("HLEN gateway:whereabouts").await.trim() == ":3" })
        .await;
    // Another secret, and new connections: until both nodes have it, a moment passes.
    eventually("a new client is passed on", || async {
        let mut newcomer = Wanderer::connect(&[nodes[0].address]).await;
        newcomer.addresses = vec![nodes[1].address];
        newcomer.post("42[\"x\"]").await.0 == 200
    })
    .await;
    let third = cluster(&redis, 1, &[]).await.remove(0);
    wanderer.addresses = vec![third.address];
    eventually("who comes later knows them", || async { wanderer.post("42[\"x\"]").await.0 == 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_takes_no_more_from_others_says_so_and_keeps_those_that_it_has() {
    let redis = Redis::start().await;
    let limits = [("GATEWAY_PASSING__CONNECTIONS", "1"), ("GATEWAY_PASSING__IDLE", "1s")];
    let nodes = cluster(&redis, 3, &limits).await;
    let mut wanderers = Vec::new();
    for by in 1..3 {
        let mut wanderer = Wanderer::connect(&[nodes[0].address]).await;
        wanderer.addresses = vec![nodes[by].address];
        wanderers.push(wanderer);
    }
    let waiting = tokio::spawn({
        let (address, id) = (nodes[1].address, wanderers[0].id.clone());
        async move { poll_of(address, &id).await }
    });
    eventually("it waits", || async { metric(&nodes[1], "gateway_passing{transport=\"polling\"}") == 1.0 }).await;
    for _ in 0..2 {
        let (status, body) = wanderers[1].post("42[\"x\"]").await;
        assert_eq!((status, body.contains("\"capacity\"")), (503, true), "{body}");
    }
    let counted = |result: &str| metric(&nodes[2], &format!("gateway_passed_on_total{{result=\"{result}\"}}"));
    assert_eq!((counted("refused"), counted("failed")), (2.0, 0.0));
    wanderers[0].addresses = vec![nodes[0].address];
    wanderers[0].say("420[\"join\",{\"room\":\"r\"}]").await;
    assert_eq!(waiting.await.unwrap().0, 200);
    eventually("and then there is room", || async { wanderers[1].post("42[\"x\"]").await.0 == 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_may_be_so_many_and_no_more_and_passing_on_may_be_off() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &[("GATEWAY_PASSING__CONNECTIONS", "1")]).await;
    let mut wanderers = Vec::new();
    for _ in 0..2 {
        let mut wanderer = Wanderer::connect(&[nodes[0].address]).await;
        wanderer.addresses = vec![nodes[1].address];
        wanderers.push(wanderer);
    }
    let waiting = tokio::spawn({
        let (address, id) = (nodes[1].address, wanderers[0].id.clone());
        async move { poll_of(address, &id).await }
    });
    eventually("it waits", || async { metric(&nodes[1], "gateway_passing{transport=\"polling\"}") == 1.0 }).await;
    let (status, body) = wanderers[1].post("42[\"x\"]").await;
    assert_eq!((status, body.contains("\"capacity\"")), (503, true), "{body}");
    assert_eq!(metric(&nodes[1], "gateway_passed_on_total{result=\"refused\"}"), 1.0);
    let mut direct = wanderers.remove(0);
    direct.addresses = vec![nodes[0].address];
    direct.say("420[\"join\",{\"room\":\"r\"}]").await;
    assert_eq!(waiting.await.unwrap().0, 200);
    eventually("and then there is room", || async { wanderers[0].post("42[\"x\"]").await.0 == 200 }).await;

    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &[("GATEWAY_PASSING__ENABLED", "false")]).await;
    let mut wanderer = Wanderer::connect(&[nodes[0].address]).await;
    wanderer.addresses = vec![nodes[1].address];
    assert_eq!(wanderer.get().await, (400, UNKNOWN.into()));
    assert_eq!(redis.command("EXISTS gateway:whereabouts").await.trim(), ":0");
    assert_eq!(try_ask("GET", nodes[0].admin_address, "/passing", "").await.unwrap().0, 404);
}
