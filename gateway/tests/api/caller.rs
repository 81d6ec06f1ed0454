//! A back end: asks a node over HTTP, byte by byte as it says.

use std::net::SocketAddr;

use gateway::app::Gateway;
use gateway_core::auth::make_key;
use gateway_core::config::{Config, Key, Scope};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{self, NO_LIMITS};

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
    /// The body as it came.
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// The code of the problem that it has to be.
    pub(crate) fn code(&self) -> &str {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.body["status"], self.status, "{self:?}");
        self.body["code"].as_str().unwrap()
    }
}

/// A back end with a key.
pub(crate) struct Caller {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
}

impl Caller {
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        self.ask_with(method, path, "", body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, Some(&body.to_string())).await
    }

    /// With more header lines, each with its end.
    pub(crate) async fn ask_with(&self, method: &str, path: &str, headers: &str, body: Option<&str>) -> Answer {
        let kind = if body.is_some() { "Content-Type: application/json\r\n" } else { "" };
        let headers = format!("Authorization: Bearer {}\r\n{kind}{headers}", self.key);
        ask(self.address, method, path, &headers, body).await
    }
}

/// Asks with nothing but what is given.
pub(crate) async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str, body: Option<&str>) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.map(|body| format!("Content-Length: {}\r\n", body.len())).unwrap_or_default();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}{length}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // Who was answered already reads no more.
    stream.write_all(body.unwrap_or_default().as_bytes()).await.ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    read(&answer)
}

pub(crate) fn read(answer: &[u8]) -> Answer {
    let answer = String::from_utf8(answer.to_vec()).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let (head, text) = (head.to_owned(), body.to_owned());
    Answer { status, head, body: serde_json::from_str(&text).unwrap_or(Value::Null), text }
}

/// A key that opens everything, or only what matches.
pub(crate) fn key(scopes: &[Scope], rooms: &[&str]) -> (String, Key) {
    let rooms = rooms.iter().map(|room| (*room).to_owned()).collect();
    make_key("tests", scopes.to_vec(), rooms, vec!["*".to_owned()])
}

/// Settings of a node with a key for everything.
pub(crate) fn config(changes: &[(&str, &str)]) -> (Config, String) {
    let changes: Vec<_> = NO_LIMITS.iter().chain(changes).copied().collect();
    let mut config = support::config(&changes);
    let (text, key) = key(&Scope::ALL, &["*"]);
    config.api.key = vec![key];
    (config, text)
}

/// A node, and a back end that may do everything.
pub(crate) async fn node(changes: &[(&str, &str)]) -> (Gateway, Caller) {
    let (config, key) = config(changes);
    let node = Gateway::start(config, 20_000).await.unwrap();
    let caller = Caller { address: node.api_address, key };
    (node, caller)
}
