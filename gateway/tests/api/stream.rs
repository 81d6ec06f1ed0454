//! Rooms as streams: what readers hear, how they come back, and what becomes of those that do not read.

use std::net::SocketAddr;
use std::time::Duration;

use gateway::app::Gateway;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::caller::{Caller, config, node};
use crate::sessions::cluster;
use crate::support::client::Client;
use crate::support::redis::Redis;
use crate::support::{PATIENCE, eventually, metric};

/// A reader as others are: it takes chunks apart, then events.
struct Reader {
    stream: TcpStream,
    head: String,
    raw: Vec<u8>,
    text: String,
    is_over: bool,
}

#[derive(Debug, PartialEq)]
struct Event {
    id: Option<String>,
    kind: Option<String>,
    data: Value,
}

impl Reader {
    async fn open(address: SocketAddr, key: &str, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reader = Self { stream, head: String::new(), raw: Vec::new(), text: String::new(), is_over: false };
        loop {
            if let Some(end) = reader.raw.windows(4).position(|four| four == b"\r\n\r\n") {
                reader.head = String::from_utf8(reader.raw.drain(..end + 4).collect()).unwrap();
                return reader;
            }
            assert!(reader.more().await, "it ended before its head did");
        }
    }

    async fn more(&mut self) -> bool {
        let mut piece = vec![0; 64 * 1024];
        let length = timeout(PATIENCE, self.stream.read(&mut piece)).await.expect("silence").unwrap_or(0);
        self.raw.extend_from_slice(&piece[..length]);
        length > 0
    }

    /// Takes whole chunks apart.
    fn unchunk(&mut self) {
        while let Some(end) = self.raw.windows(2).position(|two| two == b"\r\n") {
            let length = usize::from_str_radix(std::str::from_utf8(&self.raw[..end]).unwrap(), 16).unwrap();
            if self.raw.len() < end + 4 + length {
                return;
            }
            self.text.push_str(std::str::from_utf8(&self.raw[end + 2..end + 2 + length]).unwrap());
            self.raw.drain(..end + 4 + length);
            self.is_over |= length == 0;
        }
    }

    /// The next block of lines; nothing at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            self.unchunk();
            if let Some(end) = self.text.find("\n\n") {
                let block = self.text[..end].to_owned();
                self.text.drain(..end + 2);
                return Some(block);
            }
            if self.is_over || !self.more().await {
                return None;
            }
        }
    }

    /// The next event.
    async fn event(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| {
                let lines = block.lines().filter_map(|line| line.strip_prefix(&format!("{name}: ")));
                let lines: Vec<_> = lines.collect();
                (!lines.is_empty()).then(|| lines.join("\n"))
            };
            if let Some(data) = field("data") {
                let data = serde_json::from_str(&data).unwrap();
                return Some(Event { id: field("id"), kind: field("event"), data });
            }
        }
    }
}

fn said(event: &Event) -> (&Value, &Value) {
    (&event.data["event"], &event.data["args"])
}

async fn publish(back_end: &Caller, room: &str, body: Value) -> String {
    let answer = back_end.post(&format!("/api/v1/rooms/{room}/events"), &body).await;
    assert!(answer.status < 300, "{answer:?}");
    answer.body["offset"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_what_members_hear_and_goes_on_where_it_broke_off() {
    let redis = Redis::start().await;
    let (nodes, back_end) = Box::pin(cluster(&redis, 2)).await;
    let first = publish(&back_end, "r", json!({ "event": "a", "data": 1 })).await;
    let path = "/api/v1/rooms/r/stream";
    let mut now = Reader::open(nodes[1].address, &back_end.key, path, "").await;
    assert!(
        now.head.starts_with("HTTP/1.1 200 ") && now.head.contains("content-type: text/event-stream"),
        "{}",
        now.head
    );
    let mut past = Reader::open(nodes[0].address, &back_end.key, &format!("{path}?after=0"), "").await;
    assert_eq!(past.event().await.unwrap().kind.as_deref(), Some("gap"), "0 is before everything");
    let old = past.event().await.unwrap();
    assert_eq!((old.id.as_deref(), said(&old)), (Some(first.as_str()), (&json!("a"), &json!([1]))));
    let mut offsets = Vec::new();
    for number in 0..50 {
        offsets.push(publish(&back_end, "r", json!({ "event": "b", "args": [number, "text"] })).await);
    }
    publish(&back_end, "r", json!({ "event": "c", "ephemeral": true })).await;
    for reader in [&mut now, &mut past] {
        for (number, offset) in offsets.iter().enumerate() {
            let event = reader.event().await.unwrap();
            assert_eq!((event.id.as_ref(), said(&event)), (Some(offset), (&json!("b"), &json!([number, "text"]))));
        }
        let signal = reader.event().await.unwrap();
        assert_eq!((signal.id.clone(), said(&signal)), (None, (&json!("c"), &json!([]))));
    }
    // Its reader comes back with the last id, which counts over what the URL says; to another node.
    let header = format!("Last-Event-ID: {}\r\n", offsets[47]);
    let mut back = Reader::open(nodes[1].address, &back_end.key, &format!("{path}?after={first}"), &header).await;
    for offset in &offsets[48..] {
        assert_eq!(back.event().await.unwrap().id.as_ref(), Some(offset));
    }
    let last = publish(&back_end, "r", json!({ "event": "d" })).await;
    assert_eq!(back.event().await.unwrap().id, Some(last));
    // Nobody sees it, and it leaves nothing behind.
    assert_eq!(back_end.get("/api/v1/rooms/r/members").await.body["count"], 0);
    assert_eq!(metric(&nodes[1], "gateway_api_streams"), 2.0);
    drop((now, back));
    eventually("they are gone", || async { metric(&nodes[1], "gateway_api_streams") == 0.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_told() {
    let (_node, back_end) = node(&[("GATEWAY_LOG__ROOM_EVENTS", "3")]).await;
    let path = "/api/v1/rooms/r/stream";
    let mut offsets = Vec::new();
    for number in 0..2_000 {
        offsets.push(publish(&back_end, "r", json!({ "event": "a", "data": number })).await);
    }
    let mut reader = Reader::open(back_end.address, &back_end.key, &format!("{path}?after={}", offsets[0]), "").await;
    let gap = reader.event().await.unwrap();
    let through: u64 = gap.data["through"].as_str().unwrap().parse().unwrap();
    let told = json!({ "room": "r", "reason": "retention", "through": through.to_string() });
    assert_eq!((gap.kind.as_deref(), &gap.data), (Some("gap"), &told));
    let mut event = reader.event().await.unwrap();
    assert!(through > offsets[0].parse().unwrap() && through < event.id.as_ref().unwrap().parse().unwrap());
    let mut before = 0;
    while event.id.as_ref() != offsets.last() {
        let at = event.id.unwrap().parse::<u64>().unwrap();
        assert!(at > before, "in order");
        before = at;
        event = reader.event().await.unwrap();
    }
    let future = u64::MAX / 2;
    let mut reader = Reader::open(back_end.address, &back_end.key, &format!("{path}?after={future}"), "").await;
    assert_eq!(reader.event().await.unwrap().data["reason"], "offset");
    let next = publish(&back_end, "r", json!({ "event": "b" })).await;
    assert_eq!(reader.event().await.unwrap().id, Some(next));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_power_cut_took_is_told_to_who_is_given_what_stood_before_it() {
    let mut redis = Redis::start().await;
    let (nodes, back_end) = Box::pin(cluster(&redis, 1)).await;
    let first = publish(&back_end, "r", json!({ "event": "heard" })).await;
    let kept = publish(&back_end, "r", json!({ "event": "kept" })).await;
    let disk = redis.on_disk();
    let lost = publish(&back_end, "r", json!({ "event": "lost" })).await;
    redis.kill();
    drop(nodes);
    redis.go_back(&disk);
    redis.start_again().await;
    let (nodes, back_end) = Box::pin(cluster(&redis, 1)).await;
    let new = publish(&back_end, "r", json!({ "event": "new" })).await;
    let path = format!("/api/v1/rooms/r/stream?after={first}");
    // While it is not known yet what Redis lost, and when it is.
    for is_known in [false, true] {
        if is_known {
            let is_certain = || async {
                let later = publish(&back_end, "other", json!({ "event": "later" })).await;
                let page = back_end.get(&format!("/api/v1/rooms/other/events?after={later}")).await;
                page.body["complete"] == true
            };
            eventually("it is known", is_certain).await;
        }
        let mut reader = Reader::open(nodes[0].address, &back_end.key, &path, "").await;
        let gap = reader.event().await.unwrap();
        assert_eq!((gap.kind.as_deref(), &gap.data["reason"]), (Some("gap"), &json!("history")), "{is_known}");
        let through: u64 = gap.data["through"].as_str().expect("more may be missing").parse().unwrap();
        assert!(through >= lost.parse().unwrap(), "{is_known}: {through} is before {lost}");
        // What stands before the hole comes all the same.
        for offset in [&kept, &new] {
            assert_eq!(reader.event().await.unwrap().id.as_ref(), Some(offset), "{is_known}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_room_is_alive_and_one_that_drains_ends_its_streams() {
    let (node, back_end) = node(&[("GATEWAY_API__HEARTBEAT", "50ms")]).await;
    let mut reader = Reader::open(node.address, &back_end.key, "/api/v1/rooms/r/stream", "").await;
    assert_eq!(reader.block().await.unwrap(), "retry: 1000");
    for _ in 0..3 {
        assert_eq!(reader.block().await.unwrap(), ": nothing new");
    }
    let began = Instant::now();
    let stopping = tokio::spawn(node.stop());
    while reader.block().await.is_some() {}
    assert!(reader.is_over, "the last chunk came");
    stopping.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_closed_and_others_go_on() {
    let changes = [
        ("GATEWAY_LIMITS__BACKLOG_BYTES", "1000000"),
        ("GATEWAY_SOCKET__WRITE_TIMEOUT", "1s"),
        ("GATEWAY_API__STREAMS", "2"),
    ];
    let (node, back_end) = node(&changes).await;
    let path = "/api/v1/rooms/r/stream";
    let mut lazy = Reader::open(node.address, &back_end.key, path, "").await;
    let mut good = Reader::open(node.address, &back_end.key, path, "").await;
    let third = back_end.get(path).await;
    assert_eq!((third.status, third.code()), (429, "rate_limited"));
    for _ in 0..300 {
        let offset = publish(&back_end, "r", json!({ "event": "a", "data": "x".repeat(50_000) })).await;
        assert_eq!(good.event().await.unwrap().id, Some(offset));
    }
    eventually("the lazy one is gone", || async { metric(&node, "gateway_api_streams") == 1.0 }).await;
    drop(good);
    eventually("the lazy one is gone", || async { metric(&node, "gateway_api_streams") == 0.0 }).await;
    while lazy.block().await.is_some() {}
    assert!(Client::connect(node.address).await.join("r").await.parse::<u64>().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_stream_is_refused() {
    let (config, key) = config(&[]);
    let node = Gateway::start(config, 20_000).await.unwrap();
    let back_end = Caller { address: node.address, key };
    let path = "/api/v1/rooms/r/stream";
    for (path, headers) in
        [(format!("{path}?after=x"), ""), (format!("{path}?limit=1"), ""), (path.to_owned(), "Last-Event-ID: 1.2\r\n")]
    {
        let refused = back_end.ask_with("GET", &path, headers, None).await;
        assert_eq!((refused.status, refused.code()), (400, "bad_parameter"), "{path} {headers}");
    }
    let head = back_end.ask("HEAD", path, None).await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    let item = json!({ "items": [{ "method": "GET", "path": path }] });
    assert_eq!(back_end.post("/api/v1/batch", &item).await.body["items"][0]["status"], 404);
    // HTTP/1.0 knows no chunks: the end of the connection is the end.
    let mut old = TcpStream::connect(node.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nAuthorization: Bearer {}\r\n\r\n", back_end.key);
    old.write_all(request.as_bytes()).await.unwrap();
    eventually("it is open", || async { metric(&node, "gateway_api_streams") == 1.0 }).await;
    publish(&back_end, "r", json!({ "event": "a" })).await;
    let mut text = String::new();
    while !text.contains("\"event\":\"a\"") {
        let mut piece = [0; 4096];
        let length = timeout(PATIENCE, old.read(&mut piece)).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&piece[..length]).unwrap());
    }
    assert!(!text.contains("chunked") && text.contains("\r\n\r\nretry: 1000\n\n"), "{text}");
}
