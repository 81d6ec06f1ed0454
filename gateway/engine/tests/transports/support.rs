//! A server whose sessions echo, and clients that write every byte themselves.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engine::{
    Admission, Answer, Connection, End, Event, Guest, Handler, Misuse, Packet, Passage, Server, Session, Settings,
    Streamed, Transport,
};
use futures_util::StreamExt;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::roads::Road;

/// How long anything here may take before it counts as never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn settings() -> Settings {
    let long = Duration::from_secs(30);
    Settings {
        ping_interval: long,
        ping_timeout: long,
        connect_timeout: long,
        header_timeout: long,
        keep_alive: long,
        write_timeout: long,
        write_delay: Duration::ZERO,
        message_bytes: 64 * 1024,
        payload_bytes: 1024 * 1024,
        body_bytes: 1024 * 1024,
        attachments: 8,
        waiting_packets: 1000,
        waiting_bytes: 8 * 1024 * 1024,
        budget_bytes: 0,
        idle_connections: 0,
    }
}

/// What the server saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) connections: Mutex<Vec<Connection>>,
    pub(crate) events: Mutex<Vec<Event>>,
    pub(crate) answers: Mutex<Vec<Event>>,
    pub(crate) ends: Mutex<Vec<String>>,
    pub(crate) upgrades: AtomicUsize,
    pub(crate) opened: AtomicUsize,
    /// Who wants into a namespace that takes its time.
    pub(crate) waiting: Mutex<Vec<Admission>>,
    pub(crate) misuses: Mutex<Vec<Misuse>>,
    /// Requests for something else.
    pub(crate) pages: AtomicUsize,
    /// Requests of no connection that may still come.
    pub(crate) strangers: Mutex<Option<usize>>,
    /// From whom they came.
    pub(crate) peers: Mutex<Vec<SocketAddr>>,
    /// Frames and packets that may still come.
    pub(crate) allowance: Mutex<Option<usize>>,
}

/// Lets everybody in, and sends every event back as it came.
struct Echo(Arc<Seen>);

fn too_many() -> Answer {
    let mut answer = Response::new(Bytes::from("too many"));
    *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    answer
}

struct Visitor(Arc<Seen>);

struct Talk {
    seen: Arc<Seen>,
    connection: Connection,
    namespace: Arc<str>,
}

impl Handler for Echo {
    fn admit_origin(&self, origin: &[u8], _: bool) -> Result<(), Box<Answer>> {
        if origin == b"https://evil.example" { Err(Box::new(Response::new(Bytes::from("no")))) } else { Ok(()) }
    }

    fn open(&self, _: &Parts, _: SocketAddr, _: Transport) -> Result<Arc<dyn Guest>, Box<Answer>> {
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(Visitor(self.0.clone())))
    }

    fn admit_stranger(&self, peer: SocketAddr, _: Option<&Parts>) -> Result<(), Box<Answer>> {
        self.0.peers.lock().push(peer);
        let is_over = *self.0.strangers.lock() == Some(0);
        self.0.strangers.lock().iter_mut().for_each(|left| *left = left.saturating_sub(1));
        if is_over { Err(Box::new(too_many())) } else { Ok(()) }
    }

    fn misused(&self, misuse: Misuse) {
        self.0.misuses.lock().push(misuse);
    }

    fn elsewhere(&self, request: Request<Bytes>, _: SocketAddr) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        self.0.pages.fetch_add(1, Ordering::SeqCst);
        if request.uri().path() == "/pieces" {
            let pieces = ["one ", "two"].map(Bytes::from);
            // After these two nothing comes, for ever.
            let pieces = futures_util::stream::iter(pieces).chain(futures_util::stream::pending());
            let mut answer = Response::new(Bytes::new());
            answer.extensions_mut().insert(Streamed::new(Box::pin(pieces)));
            return Box::pin(async move { answer });
        }
        let length = request.uri().path().strip_prefix("/bytes/").map(|length| length.parse().unwrap());
        let body = match length {
            Some(length) => "x".repeat(length),
            None => format!("{} {} {}", request.method(), request.uri(), request.body().len()),
        };
        Box::pin(async move { Response::new(Bytes::from(body)) })
    }

    fn unread(&self, _: &Parts, mut answer: Answer) -> Answer {
        answer.headers_mut().insert("unread", HeaderValue::from_static("yes"));
        answer
    }
}

impl Guest for Visitor {
    fn admits(&self, packets: usize, _: usize) -> bool {
        match &mut *self.0.allowance.lock() {
            None => true,
            Some(left) => {
                let is_admitted = *left >= packets;
                *left = left.saturating_sub(packets);
                is_admitted
            }
        }
    }

    fn connect(self: Arc<Self>, admission: Admission) {
        if &*admission.namespace == "/closed" {
            return admission.refuse("not \"here\"", Some("{\"why\":1}"));
        }
        if &*admission.namespace == "/slow" {
            return self.0.waiting.lock().push(admission);
        }
        let connection = admission.connection.clone();
        self.0.connections.lock().push(connection.clone());
        let talk = Talk { seen: self.0.clone(), connection, namespace: admission.namespace.clone() };
        let pid = (&*admission.namespace != "/once").then_some("p");
        admission.accept(Arc::new(talk), "s", pid).ok();
    }

    fn upgraded(&self) {
        self.0.upgrades.fetch_add(1, Ordering::SeqCst);
    }

    fn over(&self, end: &End) {
        self.0.ends.lock().push(format!("connection {end:?}"));
    }
}

impl Session for Talk {
    fn event(self: Arc<Self>, event: Event) {
        let packet = match event.ack {
            Some(ack) => Packet::ack(&self.namespace, ack, &event.text, &event.attachments),
            None => Packet::event(&self.namespace, &event.text, &event.attachments),
        };
        self.connection.send(&packet).ok();
        self.seen.events.lock().push(event);
    }

    fn answer(&self, answer: Event) {
        self.seen.answers.lock().push(answer);
    }

    fn over(&self, end: &End) {
        self.seen.ends.lock().push(format!("{} {end:?}", self.namespace));
    }
}

/// A server on a port of its own.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) server: Server,
    pub(crate) seen: Arc<Seen>,
    pub(crate) road: Arc<Road>,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    pub(crate) async fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let (seen, stop, tasks) = (Arc::<Seen>::default(), CancellationToken::new(), TaskTracker::new());
        let mut settings = settings();
        change(&mut settings);
        let road = Road::new().await;
        let passage = Some(road.clone() as Arc<dyn Passage>);
        let (server, loops) = Server::new(Arc::new(Echo(seen.clone())), settings, passage, &tasks, &stop);
        tokio::spawn(stop.clone().run_until_cancelled_owned(road.clone().serve(server.clone())));
        for engine::Loop { work, .. } in loops {
            tokio::spawn(stop.clone().run_until_cancelled_owned(work));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepting, stopped) = (server.clone(), stop.clone());
        tokio::spawn(stopped.run_until_cancelled_owned(async move {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let server = accepting.clone();
                tokio::spawn(async move { server.serve(stream, peer, ()).await });
            }
        }));
        Self { address, server, seen, road, stop }
    }

    /// Stops the server.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// The connection that has had a session longest.
    pub(crate) fn connection(&self) -> Connection {
        self.seen.connections.lock()[0].clone()
    }

    pub(crate) fn ends(&self) -> Vec<String> {
        self.seen.ends.lock().clone()
    }
}

/// Waits for something to be so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never: {what}");
}

/// A stream on which a client writes and reads what it wants.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(world: &World) -> Self {
        let stream = TcpStream::connect(world.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until there are so many bytes; false at the end of the stream.
    async fn fill(&mut self, length: usize) -> bool {
        while self.buffer.len() < length {
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            if !read.expect("silence").is_ok_and(|read| read > 0) {
                return false;
            }
        }
        true
    }

    /// Whether the stream is at its end, after whatever else is on it.
    pub(crate) async fn ends(&mut self) -> bool {
        while self.fill(self.buffer.len() + 1).await {}
        true
    }

    /// An answer: its status, its head, its body.
    pub(crate) async fn answer(&mut self) -> (u16, String, String) {
        self.answer_to(false).await
    }

    /// The same where there may be no body.
    pub(crate) async fn answer_to(&mut self, is_head: bool) -> (u16, String, String) {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.fill(self.buffer.len() + 1).await, "closed: {}", String::from_utf8_lossy(&self.buffer));
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap().to_lowercase();
        let status = head[9..12].parse().unwrap();
        let length = head.split("content-length: ").nth(1).filter(|_| !is_head);
        let length = length.map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
        self.fill(length).await;
        let body = self.buffer.drain(..length).collect();
        (status, head, String::from_utf8(body).unwrap())
    }

    /// The next frame of the server: its first byte and its payload; nothing at the end of the stream.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        if !self.fill(2).await {
            return None;
        }
        let (mut header, mut length) = (2, usize::from(self.buffer[1]));
        if length == 126 {
            self.fill(4).await;
            (header, length) = (4, usize::from(u16::from_be_bytes([self.buffer[2], self.buffer[3]])));
        } else if length == 127 {
            self.fill(10).await;
            (header, length) = (10, u64::from_be_bytes(self.buffer[2..10].try_into().unwrap()) as usize);
        }
        if !self.fill(header + length).await {
            return None;
        }
        let first = self.buffer[0];
        let frame: Vec<u8> = self.buffer.drain(..header + length).collect();
        Some((first, frame[header..].to_vec()))
    }

    /// The next text of a websocket.
    pub(crate) async fn text(&mut self) -> Option<String> {
        let (first, payload) = self.frame().await?;
        (first == 0x81).then(|| String::from_utf8(payload).unwrap())
    }

    /// Sends a text over a websocket.
    pub(crate) async fn say(&mut self, text: &str) {
        self.write(frame(0x81, text.as_bytes())).await;
    }

    /// Turns the stream into a websocket.
    pub(crate) async fn websocket(world: &World, query: &str) -> Self {
        let mut raw = Self::connect(world).await;
        raw.write(websocket_request(query)).await;
        let (status, head, body) = raw.answer().await;
        assert_eq!(status, 101, "{head}{body}");
        raw
    }

    /// A websocket with a session.
    pub(crate) async fn connected(world: &World) -> Self {
        let mut raw = Self::websocket(world, "").await;
        assert!(raw.text().await.unwrap().starts_with("0{"));
        raw.say("40").await;
        assert_eq!(raw.text().await.unwrap(), r#"40{"sid":"s","pid":"p"}"#);
        raw
    }
}

pub(crate) fn websocket_request(query: &str) -> String {
    format!(
        "GET /socket.io/?EIO=4&transport=websocket{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// A client's frame, masked with nothing.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..126 => bytes.push(0x80 | length as u8),
        length @ ..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// A client that polls, each request over a stream of its own.
pub(crate) struct Poller {
    pub(crate) address: SocketAddr,
    pub(crate) id: String,
}

impl Poller {
    /// One with a session.
    pub(crate) async fn connected(world: &World) -> Self {
        let poller = Self::open(world).await;
        poller.say("40").await;
        assert_eq!(poller.poll().await, (200, r#"40{"sid":"s","pid":"p"}"#.into()));
        poller
    }

    pub(crate) async fn open(world: &World) -> Self {
        let mut poller = Self { address: world.address, id: String::new() };
        let (status, body) = poller.poll().await;
        assert_eq!(status, 200, "{body}");
        poller.id = body.split('"').nth(3).unwrap().to_owned();
        poller
    }

    /// Begins a poll, whose answer is read later.
    pub(crate) async fn begin(&self) -> Raw {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut raw = Raw { stream, buffer: Vec::new() };
        raw.write(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", self.path())).await;
        raw
    }

    pub(crate) async fn poll(&self) -> (u16, String) {
        let (status, _, body) = self.begin().await.answer().await;
        (status, body)
    }

    pub(crate) async fn post(&self, body: impl AsRef<[u8]>) -> (u16, String) {
        let body = body.as_ref();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut raw = Raw { stream, buffer: Vec::new() };
        raw.write(format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", self.path(), body.len())).await;
        raw.stream.write_all(body).await.ok();
        let (status, _, body) = raw.answer().await;
        (status, body)
    }

    pub(crate) async fn say(&self, packet: &str) {
        assert_eq!(self.post(packet).await, (200, "ok".into()));
    }

    pub(crate) fn path(&self) -> String {
        let id = if self.id.is_empty() { String::new() } else { format!("&sid={}", self.id) };
        format!("/socket.io/?EIO=4&transport=polling{id}")
    }
}
