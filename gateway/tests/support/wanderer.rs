//! A client that polls, and whose balancer knows nothing: each of its requests goes to the next of several addresses, over a
//! connection of its own.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// What separates packets in a body.
pub const RECORD: char = '\u{1e}';

pub struct Wanderer {
    pub addresses: Vec<SocketAddr>,
    next: Cell<usize>,
    pub id: String,
    packets: VecDeque<String>,
    next_ack: u64,
}

impl Wanderer {
    /// One with a session: its handshake goes to the first of the addresses.
    pub async fn connect(addresses: &[SocketAddr]) -> Self {
        let (packets, next) = (VecDeque::new(), Cell::new(0));
        let mut wanderer = Self { addresses: addresses.to_vec(), next, id: String::new(), packets, next_ack: 0 };
        let (status, body) = wanderer.get().await;
        assert_eq!(status, 200, "{body}");
        let opened: Value = serde_json::from_str(&body[1..]).unwrap();
        opened["sid"].as_str().unwrap().clone_into(&mut wanderer.id);
        wanderer.say("40").await;
        let connected = wanderer.packet().await;
        assert!(connected.starts_with("40{"), "{connected}");
        assert!(wanderer.event().await[0] == "gateway:session");
        wanderer
    }

    /// Where its next request goes.
    pub fn turn(&self) -> SocketAddr {
        let turn = self.next.get();
        self.next.set(turn + 1);
        self.addresses[turn % self.addresses.len()]
    }

    pub fn path(&self) -> String {
        let id = if self.id.is_empty() { String::new() } else { format!("&sid={}", self.id) };
        format!("/socket.io/?EIO=4&transport=polling{id}")
    }

    pub async fn get(&self) -> (u16, String) {
        ask("GET", self.turn(), &self.path(), "").await
    }

    pub async fn post(&self, body: &str) -> (u16, String) {
        ask("POST", self.turn(), &self.path(), body).await
    }

    pub async fn say(&self, packet: &str) {
        assert_eq!(self.post(packet).await, (200, "ok".into()));
    }

    /// The next packet but pings, which are answered.
    pub async fn packet(&mut self) -> String {
        loop {
            if let Some(packet) = self.packets.pop_front() {
                return packet;
            }
            let (status, body) = self.get().await;
            assert_eq!(status, 200, "{body}");
            for packet in body.split(RECORD) {
                match packet {
                    "2" => self.say("3").await,
                    "6" => {}
                    _ => self.packets.push_back(packet.to_owned()),
                }
            }
        }
    }

    /// The next event, name and arguments.
    pub async fn event(&mut self) -> Value {
        loop {
            let packet = self.packet().await;
            if let Some(event) = packet.strip_prefix("42") {
                return serde_json::from_str(event).unwrap();
            }
        }
    }

    /// Emits with an ack and waits for it; what else comes meanwhile is kept.
    pub async fn ask(&mut self, event: &str, argument: Value) -> Value {
        let id = self.next_ack;
        self.next_ack += 1;
        self.say(&format!("42{id}{}", json!([event, argument]))).await;
        let (prefix, mut others) = (format!("43{id}"), Vec::new());
        loop {
            let packet = self.packet().await;
            if let Some(ack) = packet.strip_prefix(&prefix) {
                others.into_iter().rev().for_each(|other| self.packets.push_front(other));
                return serde_json::from_str::<Vec<Value>>(ack).unwrap().remove(0);
            }
            others.push(packet);
        }
    }
}

/// One request, over a connection of its own: status and body.
pub async fn ask(method: &str, address: SocketAddr, path: &str, body: &str) -> (u16, String) {
    try_ask(method, address, path, body).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// The same where there may be no answer.
pub async fn try_ask(method: &str, address: SocketAddr, path: &str, body: &str) -> std::io::Result<(u16, String)> {
    ask_over(TcpStream::connect(address).await?, method, path, body).await
}

/// The same over a connection that is there, which ends with it.
pub async fn ask_over(mut stream: TcpStream, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
    let asking = async {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nCookie: secret=1\r\nConnection: close\r\n");
        stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        Ok((status.ok_or(std::io::ErrorKind::UnexpectedEof)?, body.unwrap_or_default()))
    };
    timeout(PATIENCE, asking).await.expect("no answer")
}
