//! The admin listener under attack: half requests, silence, wrong tokens; and what its controls leave behind.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::client::Client;
use crate::support::process::Process;
use crate::support::{PATIENCE, eventually, http, metric, node};

const TOKEN: (&str, &str) = ("GATEWAY_ADMIN__TOKEN", "right");
const HALF: &[u8] = b"GET /metrics HTTP/1.1\r\nX: ";

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

async fn half(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(HALF).await.ok();
    stream
}

async fn is_ended(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn half_requests_make_room_for_whole_ones() {
    let node = node(&[("GATEWAY_ADMIN__CONNECTIONS", "20"), ("GATEWAY_SOCKET__HEADER_TIMEOUT", "60s")]).await;
    let mut halves = Vec::new();
    for _ in 0..100 {
        halves.push(half(node.admin_address).await);
    }
    assert_eq!(http("GET", node.admin_address, "/readyz", "").await.0, 200);
    assert!(metric(&node, "gateway_admin_connections") <= 20.0);
    assert!(metric(&node, "gateway_admin_connections_ended_total{reason=\"crowded\"}") >= 80.0);
    for stream in &mut halves[..80] {
        assert!(is_ended(stream).await, "the oldest go first");
    }
    drop(halves);
    eventually("nobody is left", || async { metric(&node, "gateway_admin_connections") == 0.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_a_request_and_the_next_one_are_not_waited_for_for_ever() {
    let node = node(&[("GATEWAY_SOCKET__HEADER_TIMEOUT", "500ms")]).await;
    let mut slow = half(node.admin_address).await;
    let dripping = async {
        loop {
            slow.write_all(b"x").await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let dripped: Result<std::io::Result<()>, _> = timeout(PATIENCE, dripping).await;
    assert!(dripped.expect("it is ended").is_err());
    let mut idle = TcpStream::connect(node.admin_address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(is_ended(&mut idle).await);
    let ended = || async { metric(&node, "gateway_admin_connections_ended_total{reason=\"slow_head\"}") >= 1.0 };
    eventually("that is counted", ended).await;
    eventually("nobody is left", || async { metric(&node, "gateway_admin_connections") == 0.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_floods_the_admin_listener_takes_no_file_of_clients() {
    let node = Process::start(&[("GATEWAY_SOCKET__HEADER_TIMEOUT", "60s")], None, Some(512));
    let mut halves = Vec::new();
    for _ in 0..600 {
        halves.push(half(node.admin_address).await);
    }
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(Client::connect(node.address).await);
    }
    assert_eq!(http("GET", node.admin_address, "/readyz", "").await.0, 200);
    assert!(!node.log().contains("could not accept"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_wait_and_right_ones_of_others_do_not() {
    let node = node(&[TOKEN]).await;
    let path = "/users/alice/sockets";
    let asked = Instant::now();
    assert_eq!(http("GET", node.admin_address, path, &bearer("right")).await.0, 200);
    assert_eq!(http("GET", node.admin_address, path, "").await.0, 401);
    assert!(asked.elapsed() < Duration::from_secs(1));
    let wrong = (0..20).map(|number| {
        let header = bearer(&format!("wrong{number}"));
        async move { http("GET", node.admin_address, path, &header).await.0 }
    });
    let asked = Instant::now();
    let statuses = futures_util::future::join_all(wrong).await;
    assert!(asked.elapsed() >= Duration::from_secs(1));
    assert!(statuses.contains(&429) && statuses.contains(&401), "{statuses:?}");
    assert!(metric(&node, "gateway_operators_refused_total{reason=\"wrong_token\"}") >= 1.0);
    assert!(metric(&node, "gateway_operators_refused_total{reason=\"too_many\"}") >= 1.0);
    assert_eq!(http("GET", node.admin_address, "/metrics", "").await.0, 200, "who needs no token does not wait");
    assert_eq!(http("GET", node.admin_address, path, &bearer("right")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_control_leaves_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, "").unwrap();
    // Even where hardly anything is logged.
    let node = Process::start(&[TOKEN, ("GATEWAY_TELEMETRY__LOG", "gateway=info,error")], Some(&file), None);
    let send = async |method: &str, path: &str, body: &str| {
        let body =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n\r\n{body}", body.len()) };
        http(method, node.admin_address, path, &format!("{}{body}", bearer("right"))).await.0
    };
    assert_eq!(send("DELETE", "/users/al%22%20ice/sockets", "").await, 204);
    assert_eq!(send("POST", "/revocations", r#"{"token":"t1\nforged"}"#).await, 204);
    assert_eq!(send("POST", "/revocations", r#"{"user":"alice","before":7}"#).await, 204);
    node.signal("-HUP");
    eventually("it reloads", || async { node.audit().len() == 4 }).await;
    std::fs::write(&file, "[[route]]\n").unwrap();
    node.signal("-HUP");
    eventually("or not", || async { node.audit().len() == 5 }).await;
    let audit = node.audit();
    let said = |index: usize| {
        let line = &audit[index];
        [&line["who"], &line["what"], &line["subject"], &line["outcome"]]
            .map(|value| value.as_str().unwrap().to_owned())
    };
    let operator = "admin.token";
    assert_eq!(said(0), [operator, "end", r#""user al\" ice""#, r#""0 sessions, 0 nodes did not answer""#]);
    assert_eq!(said(1), [operator, "revoke", r#""token t1\nforged""#, r#""done""#]);
    assert_eq!(said(2), [operator, "revoke", r#""user alice, tokens from before 7""#, r#""done""#]);
    assert_eq!(said(3), ["SIGHUP", "reload", r#""routes""#, r#""done""#]);
    assert_eq!(said(4), ["SIGHUP", "reload", r#""routes""#, r#""failed: there are mistakes""#]);
    assert!(audit[..3].iter().all(|line| line["from"].as_str().unwrap().starts_with("127.0.0.1:")), "{audit:?}");
    // Reading is no control.
    assert_eq!(send("GET", "/users/alice/sockets", "").await, 200);
    assert_eq!(http("DELETE", node.admin_address, "/users/alice/sockets", &bearer("wrong")).await.0, 401);
    eventually("a wrong token is told", || async { node.log().contains("wrong tokens for the controls") }).await;
    assert_eq!(node.audit().len(), 5);
    assert!(!node.log().contains("right"), "the token is in the log");
}
