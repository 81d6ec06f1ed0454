//! What the tests share: a private Redis, nodes in this process, a small Socket.IO client, waiting with a deadline.
#![allow(dead_code, reason = "every test binary uses another part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "a test that cannot go on should panic"
)]
#![allow(unreachable_pub, reason = "shared by several binaries")]

pub mod client;
pub mod databases;
pub mod ferretdb;
pub mod haproxy;
pub mod mailer;
pub mod operator;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod receiver;
pub mod redis;
pub mod replica_set;
pub mod tokens;
pub mod topology;
pub mod upgrading;
pub mod wanderer;

use std::future::Future;
use std::time::Duration;

use gateway::app::Gateway;
use gateway_core::config::Config;
use tokio::time::Instant;

/// How long anything may take before a test gives up. Generous: only failures wait for it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until the answer is yes.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !ask().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The defaults with ports chosen by the system, and `changes` over them.
pub fn config(changes: &[(&str, &str)]) -> Config {
    let base = [("GATEWAY_LISTEN", "127.0.0.1:0"), ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"), ("GATEWAY_DATA_DIR", "")];
    let environment = base.iter().chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    gateway_core::config::load(None, environment).unwrap()
}

/// Lets everything through: for tests that are about something else.
pub const NO_LIMITS: [(&str, &str); 12] = [
    // Nothing looks at readiness here before it sends somebody.
    ("GATEWAY_DRAIN__ANNOUNCE", "0s"),
    ("GATEWAY_LIMITS__EVENTS_PER_SECOND", "0"),
    ("GATEWAY_LIMITS__BYTES_PER_SECOND", "0"),
    ("GATEWAY_LIMITS__USER_EVENTS_PER_SECOND", "0"),
    ("GATEWAY_LIMITS__USER_BYTES_PER_SECOND", "0"),
    ("GATEWAY_LIMITS__USER_KEPT_BYTES_PER_SECOND", "0"),
    ("GATEWAY_LIMITS__USER_NEW_ROOMS_PER_SECOND", "0"),
    ("GATEWAY_LIMITS__ADDRESS_KEPT_BYTES_PER_SECOND", "0"),
    ("GATEWAY_LIMITS__ADDRESS_NEW_ROOMS_PER_SECOND", "0"),
    ("GATEWAY_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS", "0"),
    ("GATEWAY_LIMITS__FAILED_CONNECTS_PER_SECOND_PER_ADDRESS", "0"),
    ("GATEWAY_LIMITS__REQUESTS_PER_SECOND_PER_ADDRESS", "0"),
];

/// A node in this process.
pub async fn node(changes: &[(&str, &str)]) -> Gateway {
    let changes: Vec<_> = NO_LIMITS.iter().chain(changes).copied().collect();
    Gateway::start(config(&changes), 20_000).await.unwrap()
}

/// The value of one series, labels included, as the exposition writes it.
pub fn metric(gateway: &Gateway, series: &str) -> f64 {
    let text = gateway.metrics.render();
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("there is no {series}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Fetches a path from an address; returns status and body.
pub async fn http(method: &str, address: std::net::SocketAddr, path: &str, headers: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}
