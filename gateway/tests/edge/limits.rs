//! Limits of one embedded node as clients meet them: what sessions, users and addresses may send, how many they may
//! be, which pages may connect, and whose connection it is behind proxies.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::Client;
use crate::support::haproxy::HaProxy;
use crate::support::{PATIENCE, eventually, metric, node};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// A token that the secret `s` proves.
fn token(user: &str) -> Value {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
    let key = jsonwebtoken::EncodingKey::from_secret(b"s");
    let claims = json!({ "sub": user, "exp": expires });
    json!({ "token": jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap() })
}

fn code(ack: &Value) -> &str {
    ack["error"]["code"].as_str().unwrap_or("ok")
}

/// An answer, with its headers in small letters.
struct Answer {
    status: u16,
    headers: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Asks over a new connection that comes from `from`, and begins with `first`.
async fn ask(from: [u8; 4], to: SocketAddr, first: &[u8], method: &str, path: &str, headers: &str) -> Answer {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n{headers}\r\n");
    // In two pieces, cut anywhere: the header's end is nobody's segment.
    let bytes = [first, request.as_bytes()].concat();
    let cut = first.len() / 2;
    stream.write_all(&bytes[..cut]).await.unwrap();
    tokio::task::yield_now().await;
    stream.write_all(&bytes[cut..]).await.unwrap();
    let mut text = Vec::new();
    // A node that does not read all that came resets the connection after its answer.
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await.unwrap().ok();
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
    Answer { status, headers: head.to_lowercase(), body: body.to_owned() }
}

const LOCAL: [u8; 4] = [127, 0, 0, 1];

async fn get(to: SocketAddr, headers: &str) -> Answer {
    ask(LOCAL, to, b"", "GET", POLLING, headers).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_may_send_so_many_bytes() {
    let changes = [("GATEWAY_LIMITS__BYTES_PER_SECOND", "1000"), ("GATEWAY_LIMITS__BYTES_BURST", "70000")];
    let node = node(&changes).await;
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    client.publish("r", json!("x".repeat(60_000))).await;
    let ack = client.ask("publish", json!({ "room": "r", "data": "x".repeat(60_000) })).await;
    assert_eq!(code(&ack), "rate_limited", "{ack}");
    assert!(ack["error"]["retryAfterMs"].as_u64().unwrap() > 10_000, "{ack}");
    client.publish("r", json!("small")).await;
    assert_eq!(metric(&node, "gateway_rate_limit_decisions_total{limiter=\"session_bytes\",decision=\"deny\"}"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_user_share_and_others_do_not_pay() {
    let changes = [
        ("GATEWAY_AUTH__SECRET", "s"),
        ("GATEWAY_LIMITS__USER_EVENTS_PER_SECOND", "1"),
        ("GATEWAY_LIMITS__USER_EVENTS_BURST", "10"),
    ];
    let node = node(&changes).await;
    let mut first = Client::try_connect(node.address, token("ann")).await.unwrap();
    let mut second = Client::try_connect(node.address, token("ann")).await.unwrap();
    let mut other = Client::try_connect(node.address, token("bob")).await.unwrap();
    other.join("r").await;
    let mut refused = 0;
    for turn in 0..20 {
        let client = if turn % 2 == 0 { &mut first } else { &mut second };
        refused += u32::from(code(&client.ask("join", json!({ "room": "r" })).await) == "rate_limited");
    }
    assert!((1..=10).contains(&refused), "{refused}");
    other.publish("r", json!(1)).await;
    let series = "gateway_rate_limit_decisions_total{limiter=\"user_events\",decision=\"deny\"}";
    assert_eq!(metric(&node, series), f64::from(refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_an_address_share() {
    let changes = [("GATEWAY_LIMITS__ADDRESS_EVENTS_PER_SECOND", "1"), ("GATEWAY_LIMITS__ADDRESS_EVENTS_BURST", "4")];
    let node = node(&changes).await;
    let (mut first, mut second) = (Client::connect(node.address).await, Client::connect(node.address).await);
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(code(&first.ask("join", json!({ "room": "r" })).await).to_owned());
        codes.push(code(&second.ask("join", json!({ "room": "r" })).await).to_owned());
    }
    assert_eq!(codes[..4], ["ok"; 4]);
    assert!(codes[4..].contains(&"rate_limited".to_owned()), "{codes:?}");
    eventually("the address is counted", || async {
        metric(&node, "gateway_rate_limit_keys{limiter=\"address\"}") == 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_refused_then_cut_off_and_others_do_not_notice() {
    let node = node(&[("GATEWAY_LIMITS__EVENTS_PER_SECOND", "50")]).await;
    let mut quiet = Client::connect(node.address).await;
    quiet.join("r").await;
    let mut flood = Client::connect(node.address).await;
    let flooding = tokio::spawn(async move {
        let mut sent = 0;
        while sent < 100_000 && flood.socket.feed(Message::text(r#"42["join",{"room":"r"}]"#)).await.is_ok() {
            sent += 1;
        }
        sent
    });
    let mut slowest = Duration::ZERO;
    while !flooding.is_finished() {
        let asked = tokio::time::Instant::now();
        quiet.publish("r", json!(1)).await;
        quiet.message().await;
        slowest = slowest.max(asked.elapsed());
        // Its own limit.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(flooding.await.unwrap() < 100_000, "it was cut off");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let closed = "gateway_connections_closed_total{transport=\"websocket\",reason=\"flooding\"}";
    eventually("it is gone", || async { metric(&node, closed) == 1.0 }).await;
    let refused = metric(&node, "gateway_refusals_total{code=\"rate_limited\"}");
    assert!((250.0..500.0).contains(&refused), "{refused} were answered");
    assert_eq!(node.sessions(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_over_polling_is_cut_off_too() {
    let node = node(&[("GATEWAY_LIMITS__EVENTS_PER_SECOND", "50"), ("GATEWAY_LIMITS__REFUSALS_BURST", "100")]).await;
    let open = get(node.address, "").await;
    let sid: Value = serde_json::from_str(&open.body[1..]).unwrap();
    let path = format!("{POLLING}&sid={}", sid["sid"].as_str().unwrap());
    let say = |body: String| {
        let headers = format!("Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let (address, path) = (node.address, path.clone());
        async move { ask(LOCAL, address, b"", "POST", &path, headers.trim_end_matches("\r\n")).await.status }
    };
    assert_eq!(say("40".into()).await, 200);
    eventually("it has its session", || async { node.sessions() == 1 }).await;
    say(vec![r#"42["join",{"room":"r"}]"#; 1000].join("\u{1e}")).await;
    let closed = "gateway_connections_closed_total{transport=\"polling\",reason=\"flooding\"}";
    eventually("it is gone", || async { metric(&node, closed) == 1.0 && node.sessions() == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_may_have_so_many_connections() {
    let changes = [("GATEWAY_LIMITS__CONNECTIONS_PER_ADDRESS", "2"), ("GATEWAY_TRUSTED_PROXIES", "127.0.0.0/8")];
    let node = node(&changes).await;
    let first = Client::connect(node.address).await;
    let _second = Client::connect(node.address).await;
    let refused = get(node.address, "").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_eq!(code(&serde_json::from_str(&refused.body).unwrap()), "too_many_connections");
    assert_eq!(metric(&node, "gateway_handshakes_total{result=\"too_many_connections\"}"), 1.0);
    assert_eq!(get(node.address, "X-Forwarded-For: 203.0.113.1\r\n").await.status, 200, "another address");
    drop(first);
    eventually("there is room", || async { get(node.address, "").await.status == 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_may_have_so_many_sessions_and_comes_back_to_them() {
    let changes = [("GATEWAY_AUTH__SECRET", "s"), ("GATEWAY_LIMITS__SESSIONS_PER_USER", "2")];
    let node = node(&changes).await;
    let mut first = Client::try_connect(node.address, token("ann")).await.unwrap();
    first.join("r").await;
    let second = Client::try_connect(node.address, token("ann")).await.unwrap();
    let third = || Client::try_connect(node.address, token("ann"));
    let refusal = third().await.err().unwrap();
    assert!(refusal.contains("a user may have 2 sessions"), "{refusal}");
    assert!(Client::try_connect(node.address, token("bob")).await.is_ok());
    // Its old connection is half open, as far as the node knows: it counts, and must not keep its client out.
    let mut auth = token("ann");
    auth["pid"] = json!(first.pid);
    auth["offset"] = json!(first.offset);
    let mut back = Client::try_connect(node.address, auth).await.unwrap();
    assert!(back.recovered(), "{}", back.hello);
    back.publish("r", json!("back")).await;
    // A made-up session is none.
    let mut auth = token("ann");
    auth["pid"] = json!("00000000000000000000000000000000");
    assert!(Client::try_connect(node.address, auth).await.is_err());
    assert!(metric(&node, "gateway_connects_total{result=\"too_many\"}") == 2.0);
    assert_eq!(metric(&node, "gateway_refusals_total{code=\"too_many_sessions\"}"), 2.0);
    drop(second);
    eventually("there is room", || async { third().await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_to_rooms_needs_a_place_whatever_session_it_knows() {
    let changes = [("GATEWAY_AUTH__SECRET", "s"), ("GATEWAY_LIMITS__SESSIONS_PER_USER", "1")];
    let node = node(&changes).await;
    let mut only = Client::try_connect(node.address, token("ann")).await.unwrap();
    for offsets in [json!({}), json!({ "r": "0" })] {
        let mut auth = token("ann");
        (auth["pid"], auth["offset"], auth["offsets"]) = (json!(only.pid), json!(false), offsets);
        let refusal = Client::try_connect(node.address, auth).await.err();
        let refusal = refusal.expect("it takes over nobody's place");
        assert!(refusal.contains("a user may have 1 sessions"), "{refusal}");
    }
    assert_eq!(node.sessions(), 1);
    only.join("r").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_needs_a_place_like_everybody() {
    let changes = [("GATEWAY_AUTH__SECRET", "s"), ("GATEWAY_LIMITS__SESSIONS_PER_USER", "2")];
    let node = node(&changes).await;
    let mut away = Vec::new();
    for _ in 0..3 {
        let mut client = Client::try_connect(node.address, token("ann")).await.unwrap();
        client.join("r").await;
        away.push((client.pid.clone(), client.offset.clone()));
        drop(client);
        eventually("it is away", || async { node.sessions() == 0 }).await;
    }
    let back = async |(pid, offset): &(String, Option<String>)| {
        let mut auth = token("ann");
        (auth["pid"], auth["offset"]) = (json!(pid), json!(offset));
        Client::try_connect(node.address, auth).await
    };
    let first = back(&away[0]).await.unwrap();
    let second = back(&away[1]).await.unwrap();
    assert!(first.recovered() && second.recovered());
    let refusal = back(&away[2]).await.err().unwrap();
    assert!(refusal.contains("a user may have 2 sessions"), "{refusal}");
    assert_eq!(node.sessions(), 2);
    drop(first);
    eventually("there is room", || async { node.sessions() == 1 }).await;
    let recovers = || async { back(&away[2]).await.is_ok_and(|third| third.recovered()) };
    eventually("nothing was taken from who had to wait", recovers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_too_often_is_not_asked_for_a_while() {
    let changes = [
        ("GATEWAY_AUTH__SECRET", "s"),
        ("GATEWAY_LIMITS__FAILED_CONNECTS_PER_SECOND_PER_ADDRESS", "1"),
        ("GATEWAY_LIMITS__FAILED_CONNECTS_BURST_PER_ADDRESS", "20"),
    ];
    let node = node(&changes).await;
    let mut said = Vec::new();
    for _ in 0..40 {
        said.push(Client::try_connect(node.address, json!({ "token": "bad" })).await.err().unwrap());
    }
    let asked = said.iter().filter(|said| said.contains("unauthorized")).count();
    assert!((20..30).contains(&asked), "{said:?}");
    assert!(said.iter().any(|said| said.starts_with("closed")), "which official clients try again: {said:?}");
    let denied = "gateway_rate_limit_decisions_total{limiter=\"address_failures\",decision=\"deny\"}";
    assert!(metric(&node, denied) >= 2.0);
    eventually("a good token gets in again", || async {
        Client::try_connect(node.address, token("ann")).await.is_ok()
    })
    .await;
    let counted = || async { metric(&node, "gateway_rate_limit_keys{limiter=\"address_failures\"}") == 1.0 };
    eventually("the address is counted", counted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_origins_may_connect() {
    let node = node(&[("GATEWAY_SOCKET__ORIGINS", "https://app.example,https://*.b.example")]).await;
    let open = get(node.address, "Origin: https://app.example\r\n").await;
    assert_eq!(open.status, 200);
    assert_eq!(open.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(open.header("access-control-allow-credentials"), Some("true"));
    assert!(open.header("vary").unwrap().contains("origin"), "{}", open.headers);
    let sid: Value = serde_json::from_str(&open.body[1..]).unwrap();
    let session = format!("{POLLING}&sid={}", sid["sid"].as_str().unwrap());
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let websocket = "/socket.io/?EIO=4&transport=websocket";
    let evil = "Origin: https://evil.example\r\n";
    let of_session = session.replace("polling", "websocket");
    let cases = [
        ("GET", POLLING, evil.to_owned()),
        ("GET", session.as_str(), evil.to_owned()),
        ("POST", session.as_str(), format!("{evil}Content-Length: 0\r\n")),
        ("OPTIONS", POLLING, format!("{evil}Access-Control-Request-Method: POST\r\n")),
        ("GET", websocket, format!("{evil}{upgrade}")),
        ("GET", of_session.as_str(), format!("{evil}{upgrade}")),
        ("GET", websocket, format!("Origin: null\r\n{upgrade}")),
    ];
    for (method, path, headers) in &cases {
        let refused = ask(LOCAL, node.address, b"", method, path, headers).await;
        assert_eq!(refused.status, 403, "{method} {path} {headers}");
        assert_eq!(code(&serde_json::from_str(&refused.body).unwrap()), "forbidden_origin");
        assert_eq!(refused.header("access-control-allow-origin"), None);
    }
    assert_eq!(metric(&node, "gateway_refusals_total{code=\"forbidden_origin\"}"), cases.len() as f64);
    assert_eq!(metric(&node, "gateway_handshakes_total{result=\"forbidden_origin\"}"), 3.0);
    assert_eq!(get(node.address, "Origin: https://x.b.example\r\n").await.status, 200);
    Client::connect(node.address).await.join("no browser, no origin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_can_poll_and_read_refusals() {
    let node = node(&[("GATEWAY_LIMITS__CONNECTIONS", "1")]).await;
    let asks = "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n\
                Access-Control-Request-Headers: authorization, content-type\r\n";
    let preflight = ask(LOCAL, node.address, b"", "OPTIONS", POLLING, asks).await;
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("get,post"));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("authorization, content-type"));
    assert_eq!(preflight.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(metric(&node, "gateway_handshakes_total{result=\"ok\"}"), 0.0, "a question is no handshake");
    assert_eq!(get(node.address, "Origin: https://app.example\r\n").await.status, 200);
    let full = get(node.address, "Origin: https://app.example\r\n").await;
    assert_eq!(full.status, 503);
    assert_eq!(full.header("access-control-allow-origin"), Some("https://app.example"));
    let unknown = ask(LOCAL, node.address, b"", "GET", &format!("{POLLING}&sid=x"), "Origin: https://a.b\r\n").await;
    assert!(unknown.status >= 400 && unknown.header("access-control-allow-origin") == Some("https://a.b"));
    assert_eq!(get(node.address, "").await.header("access-control-allow-origin"), None, "nobody asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_forwarded_addresses_are_no_way_in() {
    let changes = [("GATEWAY_LIMITS__CONNECTIONS_PER_ADDRESS", "1"), ("GATEWAY_TRUSTED_PROXIES", "127.0.0.1/32")];
    let node = node(&changes).await;
    let line = |count: usize| format!("X-Forwarded-For: {}\r\n", vec!["1.1.1.1"; count].join(","));
    assert_eq!(get(node.address, &line(10_000)).await.status, 431);
    assert_eq!(get(node.address, &line(1_000)).await.status, 200);
    assert_eq!(get(node.address, "X-Forwarded-For: 9.9.9.9, 1.1.1.1\r\n").await.status, 429);
}

/// A node that trusts 127.0.0.1 and takes one connection of each address.
async fn behind_a_proxy() -> gateway::app::Gateway {
    node(&[
        ("GATEWAY_SOCKET__PROXY_PROTOCOL", "true"),
        ("GATEWAY_TRUSTED_PROXIES", "127.0.0.1/32"),
        ("GATEWAY_LIMITS__CONNECTIONS_PER_ADDRESS", "1"),
        ("GATEWAY_SOCKET__CONNECT_TIMEOUT", "60s"),
        ("GATEWAY_SOCKET__HEADER_TIMEOUT", "500ms"),
    ])
    .await
}

/// A version 2 header for an IPv4 client.
fn binary(command: u8, client: [u8; 4], length: u16, more: &[u8]) -> Vec<u8> {
    let prefix = b"\r\n\r\n\0\r\nQUIT\n";
    [prefix, &[0x20 | command, 0x11][..], &length.to_be_bytes(), &client, &[10, 0, 0, 1, 0, 9, 0, 80], more].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_proxy_header_is_the_client_s() {
    let node = behind_a_proxy().await;
    let open = |first: Vec<u8>, headers: &'static str| async move {
        ask(LOCAL, node.address, &first, "GET", POLLING, headers).await.status
    };
    let text = |client: &str| format!("PROXY TCP4 {client} 10.0.0.1 9 80\r\n").into_bytes();
    assert_eq!(open(text("203.0.113.1"), "").await, 200);
    assert_eq!(open(binary(1, [203, 0, 113, 1], 12, &[]), "").await, 429, "the same client");
    assert_eq!(open(binary(1, [203, 0, 113, 2], 19, &[4, 0, 4, 1, 2, 3, 4]), "").await, 200);
    assert_eq!(open(text("203.0.113.3"), "X-Forwarded-For: 203.0.113.1\r\n").await, 200, "a client's own claim");
    assert_eq!(open(text("127.0.0.1"), "X-Forwarded-For: 203.0.113.1\r\n").await, 429, "a trusted proxy's claim");
    assert_eq!(open(b"PROXY TCP6 2001:db8::1 ::1 9 80\r\n".to_vec(), "").await, 200);
    assert_eq!(open(b"PROXY TCP6 2001:db8::2 ::1 9 80\r\n".to_vec(), "").await, 429, "the same network");
    // Who speaks for itself has its own address.
    assert_eq!(open(binary(0, [203, 0, 113, 1], 12, &[]), "").await, 200);
    assert_eq!(open(b"PROXY UNKNOWN\r\n".to_vec(), "").await, 429);
    let headers = |result: &str| metric(&node, &format!("gateway_proxy_headers_total{{result=\"{result}\"}}"));
    assert_eq!((headers("ok"), headers("local"), headers("bad")), (7.0, 2.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_work_behind_a_proxy_header() {
    let node = behind_a_proxy().await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(&binary(1, [203, 0, 113, 1], 12, &[])).await.unwrap();
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", node.address);
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    socket.send(Message::text("40")).await.unwrap();
    eventually("it has a session", || async { node.sessions() == 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_must_introduce_and_nobody_else_may() {
    let node = behind_a_proxy().await;
    let proxy = |first: Vec<u8>| async move { ask(LOCAL, node.address, &first, "GET", POLLING, "").await.status };
    let headers = |result: &str| metric(&node, &format!("gateway_proxy_headers_total{{result=\"{result}\"}}"));
    assert_eq!(proxy(Vec::new()).await, 0, "closed without a word");
    assert_eq!(proxy(b"PROXY TCP4 nonsense\r\n".to_vec()).await, 0);
    assert_eq!(proxy(binary(1, [1; 4], u16::MAX, &[])).await, 0, "it claims 64 KiB");
    assert_eq!(headers("bad"), 3.0);
    // It claims more than it sends, and takes the request for it.
    assert_eq!(proxy(binary(1, [1; 4], 2000, &[])).await, 0);
    let mut silent = TcpStream::connect(node.address).await.unwrap();
    silent.write_all(b"PROXY TCP4 ").await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, silent.read(&mut [0; 1])).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "it waits for ever");
    assert_eq!(headers("timeout"), 2.0);
    drop(TcpStream::connect(node.address).await.unwrap());
    eventually("a bare check is seen", || async { headers("none") == 1.0 }).await;

    let stranger =
        |first: Vec<u8>| async move { ask([127, 0, 0, 2], node.address, &first, "GET", POLLING, "").await.status };
    assert_eq!(stranger(b"PROXY TCP4 203.0.113.1 10.0.0.1 9 80\r\n".to_vec()).await, 400);
    assert_eq!(stranger(binary(1, [203, 0, 113, 1], 12, &[])).await, 400);
    assert_eq!(stranger(Vec::new()).await, 200, "it speaks for itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_a_proxy_header_is_a_bad_request() {
    let node = node(&[("GATEWAY_TRUSTED_PROXIES", "127.0.0.1/32")]).await;
    let text = b"PROXY TCP4 203.0.113.1 10.0.0.1 9 80\r\n";
    assert_eq!(ask(LOCAL, node.address, text, "GET", POLLING, "").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_introduces_its_clients() {
    let node = behind_a_proxy().await;
    let options = ["send-proxy check-send-proxy", "send-proxy-v2 check-send-proxy"];
    let proxy = HaProxy::before(node.address, &options).await;
    let (text, binary) = (proxy.addresses[0], proxy.addresses[1]);
    let local = "gateway_proxy_headers_total{result=\"local\"}";
    eventually("it checks", || async { metric(&node, local) >= 4.0 }).await;
    let open = |client: u8, through: SocketAddr| ask([127, 0, 0, client], through, b"", "GET", POLLING, "");
    assert_eq!(open(2, text).await.status, 200);
    assert_eq!(open(2, binary).await.status, 429, "the same client by the other way");
    assert_eq!(open(3, binary).await.status, 200);
    assert_eq!(open(3, text).await.status, 429);
    assert_eq!(metric(&node, "gateway_proxy_headers_total{result=\"bad\"}"), 0.0);
}

/// What comes of requests of an address that are no client's, one after the other.
async fn statuses(node: &gateway::app::Gateway, from: u8, method: &str, path: &str, headers: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    for _ in 0..40 {
        answers.push(ask([127, 0, 0, from], node.address, b"", method, path, headers).await);
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_no_client_s_are_limited_by_address() {
    let changes =
        [("GATEWAY_LIMITS__REQUESTS_PER_SECOND_PER_ADDRESS", "5"), ("GATEWAY_SOCKET__ORIGINS", "https://a.b")];
    let node = node(&changes).await;
    let unknown = format!("{POLLING}&sid=AAAAAAAAAAAAAAAAAAAA");
    let kinds = [
        ("GET", "/", "", 200),
        ("GET", "/nothing", "", 404),
        ("GET", "/socket.io/socket.io.js", "", 0),
        ("POST", "/nothing", "Content-Length: 0\r\n", 404),
        ("GET", unknown.as_str(), "", 400),
        ("GET", "/socket.io/?EIO=4&transport=pigeon", "", 400),
        ("GET", "/socket.io/?EIO=4&transport=websocket", "", 400),
        ("POST", POLLING, "Content-Length: 0\r\n", 400),
        ("OPTIONS", POLLING, "", 200),
        ("GET", POLLING, "Origin: https://evil.example\r\n", 403),
        ("GET", "/bad", "Host: twice\r\n", 400),
    ];
    for (from, (method, path, headers, status)) in (10..).zip(kinds) {
        let answers = statuses(&node, from, method, path, headers).await;
        let (refused, others): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 429);
        assert!(refused.len() >= 10 && others.len() >= 5, "{method} {path}: {} of 40 refused", refused.len());
        assert!(
            others.iter().all(|answer| status == 0 || answer.status == status),
            "{method} {path}: {}",
            others[0].status
        );
        assert!(refused.iter().all(|answer| answer.header("retry-after") == Some("1")), "{}", refused[0].headers);
        // Who asks for too much of this may still be, or sit beside, an honest client.
        let open = ask([127, 0, 0, from], node.address, b"", "GET", POLLING, "").await;
        assert_eq!(open.status, 200, "{method} {path}");
    }
    assert_eq!(ask([127, 0, 0, 99], node.address, b"", "GET", "/", "").await.status, 200, "others do not pay");
    let denied = metric(&node, "gateway_rate_limit_decisions_total{limiter=\"address_requests\",decision=\"deny\"}");
    assert!(denied >= 10.0 * kinds.len() as f64, "{denied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_proxy_do_not_pay_for_each_other() {
    let changes =
        [("GATEWAY_LIMITS__REQUESTS_PER_SECOND_PER_ADDRESS", "5"), ("GATEWAY_TRUSTED_PROXIES", "127.0.0.1/32")];
    let node = node(&changes).await;
    let ask_for = async |client: &str| {
        let header = format!("X-Forwarded-For: {client}\r\n");
        ask(LOCAL, node.address, b"", "GET", "/nothing", &header).await.status
    };
    let mut refused = 0;
    for _ in 0..40 {
        refused += u32::from(ask_for("203.0.113.1").await == 429);
    }
    assert!(refused >= 10, "{refused}");
    assert_eq!(ask_for("203.0.113.2").await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_answers_only_to_its_names() {
    // `ask` calls it "node", as a page might whose name was pointed here.
    let token = [("GATEWAY_ADMIN__TOKEN", "t")];
    let stranger = node(&token).await;
    let get = async |node: &gateway::app::Gateway, path: &str| {
        let bearer = "Authorization: Bearer t\r\n";
        ask(LOCAL, node.admin_address, b"", "GET", path, bearer).await
    };
    for path in ["/metrics", "/users/ann/sockets", "/socket.io/?EIO=4&transport=polling", "/nothing"] {
        let answer = get(&stranger, path).await;
        assert_eq!(answer.status, 421, "{path}");
        assert!(answer.body.contains("admin.hosts"), "{}", answer.body);
    }
    for probe in ["/livez", "/readyz", "/hearing"] {
        assert_eq!(get(&stranger, probe).await.status, 200, "{probe}");
    }
    let known = node(&[token[0], ("GATEWAY_ADMIN__HOSTS", "node")]).await;
    assert_eq!(get(&known, "/metrics").await.status, 200);
    assert_eq!(get(&known, "/users/ann/sockets").await.status, 200);
    assert_eq!(crate::support::http("GET", stranger.admin_address, "/metrics", "").await.0, 200, "localhost");
}
