//! One websocket with Socket.IO on it: dialled, read packet by packet, and ended in the ways in which networks end one.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long official clients wait for a connection, and this one for everything that it must not wait for in vain.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// What a client's kernel takes in while the client does not read. Small, so that the server notices.
const RECEIVE_BUFFER: u32 = 8 * 1024;

pub(crate) struct Wire {
    socket: WebSocketStream<TcpStream>,
    /// For how long the server may be silent.
    silence: Duration,
    heard: Instant,
}

/// What the server says.
#[derive(Debug)]
pub(crate) enum Packet {
    Open,
    Connected {
        pid: Option<String>,
    },
    /// Official clients do not come back from this by themselves.
    Refused(String),
    Event(Vec<Value>),
    Ack {
        id: u64,
        answer: Value,
    },
}

impl Wire {
    /// Connects; an HTTP status or the kind of trouble if that does not work.
    pub(crate) async fn dial(address: SocketAddr) -> Result<Self, String> {
        timeout(PATIENCE, Self::open(address)).await.unwrap_or_else(|_| Err("timeout".to_owned()))
    }

    async fn open(address: SocketAddr) -> Result<Self, String> {
        let broken = |error: std::io::Error| error.kind().to_string();
        let socket = TcpSocket::new_v4().map_err(broken)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER).map_err(broken)?;
        let stream = socket.connect(address).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let (socket, _) = client_async(url, stream).await.map_err(|error| match error {
            Error::Http(answer) => answer.status().as_u16().to_string(),
            other => kind(&other),
        })?;
        Ok(Self { socket, silence: PATIENCE, heard: Instant::now() })
    }

    /// The next packet; pings are answered. Loses nothing when cancelled.
    pub(crate) async fn read(&mut self) -> Result<Packet, String> {
        loop {
            let message = timeout_at(self.heard + self.silence, self.socket.next()).await;
            self.heard = Instant::now();
            let text = match message {
                Err(_) => return Err("silent server".to_owned()),
                Ok(None) => return Err("end of stream".to_owned()),
                Ok(Some(Err(error))) => return Err(kind(&error)),
                Ok(Some(Ok(Message::Text(text)))) => text,
                Ok(Some(Ok(Message::Close(_)))) => return Err("websocket close".to_owned()),
                Ok(Some(Ok(_))) => continue,
            };
            match text.as_str() {
                "1" => return Err("engine.io close".to_owned()),
                "2" => self.send("3".to_owned()).await?,
                "6" => {}
                packet => {
                    let packet = parse(packet).ok_or_else(|| format!("unreadable packet {packet}"))?;
                    if matches!(packet, Packet::Open) {
                        self.believe(text.as_str());
                    }
                    return Ok(packet);
                }
            }
        }
    }

    /// Takes the server's word for how often it pings.
    fn believe(&mut self, open: &str) {
        let terms: Value = serde_json::from_str(&open[1..]).unwrap_or_default();
        let milliseconds = |key: &str| terms[key].as_u64().unwrap_or(20_000);
        self.silence = Duration::from_millis(milliseconds("pingInterval") + milliseconds("pingTimeout"));
    }

    pub(crate) async fn send(&mut self, packet: String) -> Result<(), String> {
        let sent = timeout(PATIENCE, self.socket.send(Message::text(packet))).await;
        sent.map_err(|_| "a write that waits".to_owned())?.map_err(|error| kind(&error))
    }

    /// Nothing is read for a while, not even pings.
    pub(crate) async fn stop_reading(&mut self, length: Duration) {
        tokio::time::sleep(length).await;
        self.heard = Instant::now();
    }

    /// Ends the connection by a reset: what is on its way is gone, and the server knows at once.
    pub(crate) fn reset(self) {
        self.socket.get_ref().set_zero_linger().ok();
    }

    /// What is on its way is gone, and the server does not learn of it for a while.
    pub(crate) fn vanish(self, until_noticed: Duration) {
        tokio::spawn(async move {
            tokio::time::sleep(until_noticed).await;
            drop(self);
        });
    }

    /// Says goodbye to the transport, but not to the session.
    pub(crate) async fn close(mut self) {
        timeout(Duration::from_secs(1), self.socket.close(None)).await.ok();
    }
}

fn parse(packet: &str) -> Option<Packet> {
    if packet.starts_with('0') {
        return Some(Packet::Open);
    }
    let (kind, body) = packet.split_at_checked(2)?;
    let of_connect = |key: &str| {
        let body: Value = serde_json::from_str(body).ok()?;
        body[key].as_str().map(str::to_owned)
    };
    match kind {
        "40" => Some(Packet::Connected { pid: of_connect("pid") }),
        "41" => Some(Packet::Refused("disconnect".to_owned())),
        "42" => serde_json::from_str(body).ok().map(Packet::Event),
        "43" => {
            let (id, arguments) = body.split_at(body.find('[')?);
            let mut answers: Vec<Value> = serde_json::from_str(arguments).ok()?;
            Some(Packet::Ack { id: id.parse().ok()?, answer: answers.drain(..).next()? })
        }
        "44" => Some(Packet::Refused(of_connect("message").unwrap_or_default())),
        _ => None,
    }
}

fn kind(error: &Error) -> String {
    match error {
        Error::Io(error) => error.kind().to_string(),
        Error::Protocol(error) => error.to_string(),
        other => other.to_string(),
    }
}
