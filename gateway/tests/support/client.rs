//! A small Socket.IO client over websocket, for what official clients do not let a test do.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::PATIENCE;

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What came before the websocket, over another transport.
    packets: VecDeque<String>,
    next_ack: u64,
    /// What stands before the namespace's packets: nothing, or its name and a comma.
    space: String,
    /// Events that came while something else was awaited.
    events: VecDeque<Value>,
    /// What it needs to come back, as official clients keep it; empty if it has none.
    pub pid: String,
    /// Its session's public id.
    pub sid: String,
    pub offset: Option<String>,
    /// The first event of the connection.
    pub hello: Value,
}

impl Client {
    /// Connects and gets a session, or the message of the CONNECT_ERROR.
    pub async fn try_connect(address: SocketAddr, auth: Value) -> Result<Self, String> {
        Self::try_connect_with(address, "", &[], auth).await
    }

    /// Connects to a namespace.
    pub async fn connect_to(address: SocketAddr, namespace: &str) -> Self {
        Self::try_connect_to(address, namespace, json!({})).await.unwrap()
    }

    /// The same, which may be refused.
    pub async fn try_connect_to(address: SocketAddr, namespace: &str, auth: Value) -> Result<Self, String> {
        Self::try_connect_all(address, namespace, "", &[], auth).await
    }

    /// The same with more in the handshake: in its query, and headers.
    pub async fn try_connect_with(
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, &str)],
        auth: Value,
    ) -> Result<Self, String> {
        Self::try_connect_all(address, "/", query, headers, auth).await
    }

    async fn try_connect_all(
        address: SocketAddr,
        namespace: &str,
        query: &str,
        headers: &[(&'static str, &str)],
        auth: Value,
    ) -> Result<Self, String> {
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket{query}");
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, _) = connect_async(request).await.map_err(|error| error.to_string())?;
        let mut client = Self::over(socket, namespace, VecDeque::new());
        let open = client.text().await.ok_or("closed before it was open")?;
        assert!(open.starts_with('0'), "{open}");
        client.send(&format!("40{}{auth}", client.space)).await;
        client.greeted().await?;
        Ok(client)
    }

    /// One without a session over a connection, to which `packets` came before.
    pub(super) fn over(
        socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
        namespace: &str,
        packets: VecDeque<String>,
    ) -> Self {
        let space = if namespace == "/" { String::new() } else { format!("{namespace},") };
        let (events, pid, sid) = (VecDeque::new(), String::new(), String::new());
        Self { socket, packets, next_ack: 0, space, events, pid, sid, offset: None, hello: Value::Null }
    }

    /// Takes note of its session, or says why it got none.
    pub(super) async fn greeted(&mut self) -> Result<(), String> {
        let answer = self.text().await.ok_or("closed before it was connected")?;
        let reply = answer.strip_prefix(&format!("40{}", self.space)).ok_or_else(|| answer.clone())?;
        let reply: Value = serde_json::from_str(reply).unwrap();
        self.pid = reply["pid"].as_str().unwrap_or_default().to_owned();
        self.sid = reply["sid"].as_str().unwrap_or_default().to_owned();
        let text = self.text().await.ok_or("closed before it was greeted")?;
        self.keep(&text);
        self.hello = self.events.pop_front().ok_or_else(|| format!("{text} before it was greeted"))?;
        assert_eq!(self.hello[0], "gateway:session", "{}", self.hello);
        Ok(())
    }

    /// Comes back to the session of a client whose connection is over, to whichever node.
    pub async fn come_back(address: SocketAddr, pid: &str, offset: Option<&str>) -> Self {
        Self::try_connect(address, json!({ "pid": pid, "offset": offset })).await.unwrap()
    }

    /// Whether it has the session that it asked for.
    pub fn recovered(&self) -> bool {
        self.hello[1]["recovered"] == true
    }

    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address, json!({})).await.unwrap()
    }

    pub async fn send(&mut self, packet: &str) {
        self.socket.send(Message::text(packet)).await.unwrap();
    }

    /// The next packet but pings, which are answered; `None` when the connection is over.
    pub async fn text(&mut self) -> Option<String> {
        if let Some(packet) = self.packets.pop_front() {
            return Some(packet);
        }
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("silence");
            match message {
                Some(Ok(Message::Text(text))) if text.as_str() == "2" => {
                    self.socket.send(Message::text("3")).await.ok()?
                }
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Emits with an ack and waits for it.
    pub async fn ask(&mut self, event: &str, argument: Value) -> Value {
        let id = self.next_ack;
        self.next_ack += 1;
        let space = self.space.clone();
        self.send(&format!("42{space}{id}{}", json!([event, argument]))).await;
        let prefix = format!("43{space}{id}[");
        loop {
            let text = self.text().await.expect("closed instead of an ack");
            if let Some(rest) = text.strip_prefix(&prefix) {
                return serde_json::from_str::<Vec<Value>>(&format!("[{rest}")).unwrap().remove(0);
            }
            self.keep(&text);
        }
    }

    /// Joins a room, which must work.
    pub async fn join(&mut self, room: &str) -> String {
        let ack = self.ask("join", json!({ "room": room })).await;
        assert_eq!(ack["ok"], true, "{ack}");
        ack["offset"].as_str().unwrap().to_owned()
    }

    /// Publishes, which must work; returns the offset.
    pub async fn publish(&mut self, room: &str, data: Value) -> String {
        let ack = self.ask("publish", json!({ "room": room, "data": data })).await;
        assert_eq!(ack["ok"], true, "{ack}");
        ack["offset"].as_str().unwrap().to_owned()
    }

    /// Publishes in the room `r` until it is acknowledged; returns the offset. What is refused meanwhile can be tried again.
    pub async fn publish_until_acknowledged(&mut self, data: Value) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ack = self.ask("publish", json!({ "room": "r", "data": data, "id": data.to_string() })).await;
            if ack["ok"] == true {
                return ack["offset"].as_str().unwrap().parse().unwrap();
            }
            assert_eq!(ack["error"]["code"], "unavailable", "{ack}");
            assert!(Instant::now() < deadline, "nothing was acknowledged: {ack}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The next event, name and arguments.
    pub async fn event(&mut self) -> Value {
        while self.events.is_empty() {
            let text = self.text().await.expect("closed instead of an event");
            self.keep(&text);
        }
        self.events.pop_front().unwrap()
    }

    /// An event that came already, if there is one.
    pub fn kept(&mut self) -> Option<Value> {
        self.events.pop_front()
    }

    /// The data of the next `message`, and its offset.
    pub async fn message(&mut self) -> (Value, u64) {
        let mut event = self.event().await;
        while event[0] == "gateway:replayed" {
            event = self.event().await;
        }
        assert_eq!(event[0], "message", "{event}");
        (event[1]["data"].clone(), event[2].as_str().unwrap().parse().unwrap())
    }

    /// Whether nothing comes for a while.
    pub async fn is_quiet(&mut self, duration: Duration) -> bool {
        self.events.is_empty() && tokio::time::timeout(duration, self.text()).await.is_err()
    }

    /// Takes note of a packet that came while something else was awaited.
    pub fn keep(&mut self, text: &str) {
        if let Some(event) = text.strip_prefix("42").and_then(|rest| rest.strip_prefix(&self.space)) {
            // A connection may have other namespaces, which somebody else listens to.
            if !event.starts_with('[') {
                return;
            }
            let event: Vec<Value> = serde_json::from_str(event).unwrap();
            if let Some(offset) = event.last().and_then(Value::as_str) {
                self.offset = Some(offset.to_owned());
            }
            self.events.push_back(Value::Array(event));
        }
    }
}
