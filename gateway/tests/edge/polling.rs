//! Long-polling on one embedded node: slow clients, uploads, upgrades, and the drain of both transports.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::Client;
use crate::support::{self, eventually, http, metric, node};

/// A long-polling session by hand.
pub(crate) struct Polling {
    address: std::net::SocketAddr,
    path: String,
}

impl Polling {
    pub(crate) async fn open(address: std::net::SocketAddr) -> Self {
        let (status, body) = http("GET", address, "/socket.io/?EIO=4&transport=polling", "").await;
        assert_eq!(status, 200, "{body}");
        let open: Value = serde_json::from_str(&body[1..]).unwrap();
        let path = format!("/socket.io/?EIO=4&transport=polling&sid={}", open["sid"].as_str().unwrap());
        let polling = Self { address, path };
        polling.say("40").await;
        // The first ping may come first.
        while !polling.fetch().await.1.contains("40{") {}
        polling
    }

    async fn fetch(&self) -> (u16, String) {
        http("GET", self.address, &self.path, "").await
    }

    pub(crate) fn sid(&self) -> &str {
        self.path.rsplit('=').next().unwrap()
    }

    pub(crate) async fn post(&self, body: &str) -> (u16, String) {
        let body = format!("Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        http("POST", self.address, &self.path, &body).await
    }

    async fn say(&self, packet: &str) {
        assert_eq!(self.post(packet).await, (200, "ok".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_fetch_its_queue_is_closed_when_it_is_full() {
    let node = node(&[("GATEWAY_LIMITS__BACKLOG_EVENTS", "32")]).await;
    let mut speaker = Client::connect(node.address).await;
    speaker.join("r").await;
    let polling = Polling::open(node.address).await;
    polling.say(&format!("420{}", json!(["join", { "room": "r" }]))).await;
    eventually("it has joined", || async { metric(&node, "gateway_events_received_total{action=\"join\"}") == 2.0 })
        .await;
    for number in 0..100 {
        speaker.publish("r", json!(number)).await;
        speaker.message().await;
    }
    let closed = "gateway_connections_closed_total{transport=\"polling\",reason=\"slow\"}";
    eventually("it is gone", || async { node.sessions() == 1 && metric(&node, closed) == 1.0 }).await;
    assert_eq!(polling.fetch().await.0, 400, "its client sees a broken transport and comes back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_closes_transports_and_never_says_disconnect() {
    let node = node(&[("GATEWAY_DRAIN__TIMEOUT", "10s")]).await;
    let mut clients = Vec::new();
    for _ in 0..30 {
        let mut client = Client::connect(node.address).await;
        client.join("r").await;
        clients.push(client);
    }
    let polling = Polling::open(node.address).await;
    let fetched = tokio::spawn(async move {
        loop {
            let (status, body) = polling.fetch().await;
            assert!(status == 200 && !body.contains("41"), "{status} {body}");
            // The packet that closes a transport. After it the node may be gone at once.
            if body.split('\u{1e}').any(|packet| packet == "1") {
                return;
            }
        }
    });
    let (address, metrics) = (node.address, node.metrics.clone());
    let started = tokio::time::Instant::now();
    let stopping = tokio::spawn(node.stop());
    for client in &mut clients {
        while let Some(text) = client.text().await {
            assert!(!text.starts_with("41"), "a DISCONNECT would keep the client away");
        }
    }
    fetched.await.unwrap();
    assert_eq!(stopping.await.unwrap(), 0, "nobody had to be cut off");
    assert!(started.elapsed() < Duration::from_secs(5));
    let text = metrics.render();
    assert!(text.contains("gateway_draining 1"));
    assert!(
        text.contains("gateway_connections_closed_total{transport=\"websocket\",reason=\"draining\"} 30"),
        "{text}"
    );
    assert!(text.contains("gateway_connections_closed_total{transport=\"polling\",reason=\"draining\"} 1"), "{text}");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_ends_its_request() {
    let node = node(&[("GATEWAY_SOCKET__HEADER_TIMEOUT", "300ms")]).await;
    let polling = Polling::open(node.address).await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", polling.path);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let ended = tokio::time::timeout(support::PATIENCE, stream.read_to_string(&mut answer)).await;
    assert!(ended.is_ok() && answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_upgrade_of_a_session_is_its_stream() {
    let node = node(&[("GATEWAY_DRAIN__TIMEOUT", "10s")]).await;
    let polling = Polling::open(node.address).await;
    let url = format!("ws://{}{}", node.address, polling.path.replace("transport=polling", "transport=websocket"));
    let (mut first, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    for packet in ["2probe", "5"] {
        futures_util::SinkExt::send(&mut first, tokio_tungstenite::tungstenite::Message::text(packet)).await.unwrap();
    }
    let upgraded = || async { metric(&node, "gateway_connections{transport=\"websocket\"}") == 1.0 };
    eventually("it counts as a websocket", upgraded).await;
    if let Ok((mut second, _)) = tokio_tungstenite::connect_async(&url).await {
        while let Some(Ok(_)) = futures_util::StreamExt::next(&mut second).await {}
    }
    let started = tokio::time::Instant::now();
    let stopping = tokio::spawn(node.stop());
    while let Some(Ok(_)) = futures_util::StreamExt::next(&mut first).await {}
    assert_eq!(stopping.await.unwrap(), 0, "the drain ended the real stream");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_handshake_hides_no_request_in_its_body() {
    let node = node(&[("GATEWAY_LIMITS__CONNECTIONS", "1")]).await;
    let _client = Client::connect(node.address).await;
    let hidden = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x";
    let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answers = String::new();
    let reading = stream.read_to_string(&mut answers);
    tokio::time::timeout(support::PATIENCE, reading).await.expect("the connection goes on").unwrap();
    assert!(answers.starts_with("HTTP/1.1 503 ") && answers.contains("connection: close\r\n"), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
}
