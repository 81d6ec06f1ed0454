//! An operator: a client of the namespace `/admin`, and of the console's HTTP, on the admin listener of a node.

use futures_util::{SinkExt, StreamExt};
use gateway::app::Gateway;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::PATIENCE;

/// An operator in `/admin` on the admin listener of a node.
pub struct Operator {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    acks: u64,
}

impl Operator {
    /// Connects, or returns the packet that refuses it.
    pub async fn connect(node: &Gateway, auth: Value) -> Result<Self, String> {
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", node.admin_address);
        let (socket, _) = connect_async(url).await.map_err(|error| error.to_string())?;
        let mut operator = Self { socket, acks: 0 };
        assert!(operator.text().await.starts_with('0'));
        operator.socket.send(Message::text(format!("40/admin,{auth}"))).await.unwrap();
        let answer = operator.text().await;
        if answer.starts_with("40/admin,") { Ok(operator) } else { Err(answer) }
    }

    async fn text(&mut self) -> String {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("silence") {
                Some(Ok(Message::Text(text))) if text.as_str() == "2" => {
                    self.socket.send(Message::text("3")).await.unwrap();
                }
                Some(Ok(Message::Text(text))) => return text.to_string(),
                other => assert!(matches!(other, Some(Ok(_))), "closed: {other:?}"),
            }
        }
    }

    /// The next event, name and arguments. Acknowledgements before it are lost.
    pub async fn event(&mut self) -> Value {
        loop {
            if let Some(event) = self.text().await.strip_prefix("42/admin,") {
                return serde_json::from_str(event).unwrap();
            }
        }
    }

    /// The next event of a name that is what is looked for.
    pub async fn heard(&mut self, name: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.event().await;
            if event[0] == name && is_meant(&event) {
                return event;
            }
        }
    }

    /// The next figures of a node.
    pub async fn figures(&mut self, node: &str) -> Value {
        self.heard("server_stats", |event| event[1]["serverId"] == node).await[1].clone()
    }

    /// Says something; what is acknowledged. Events before it are lost.
    pub async fn ask(&mut self, name: &str, args: &[Value]) -> Value {
        self.acks += 1;
        let parts: Vec<Value> = std::iter::once(json!(name)).chain(args.iter().cloned()).collect();
        let packet = format!("42/admin,{}{}", self.acks, json!(parts));
        self.socket.send(Message::text(packet)).await.unwrap();
        let prefix = format!("43/admin,{}", self.acks);
        loop {
            if let Some(answer) = self.text().await.strip_prefix(&prefix) {
                let answer: Value = serde_json::from_str(answer).unwrap();
                return answer[0].clone();
            }
        }
    }
}

/// Asks the console of a node something; the status and the JSON of the answer, or nothing if there is none.
pub async fn console(node: &Gateway, token: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = TcpStream::connect(node.admin_address).await.unwrap();
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let head = format!(
        "{method} /console/api{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("transfer-encoding"), "{head}");
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}
