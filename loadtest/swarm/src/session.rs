//! One Socket.IO session over one websocket: packets in, packets out, heartbeats answered.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Utf8Bytes};

use crate::packet::{PONG, Packet};

/// Why a connection ended, in words that can be counted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub(crate) struct Closed(String);

impl Closed {
    pub(crate) fn by(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

#[derive(Debug)]
pub(crate) struct Session {
    websocket: WebSocketStream<TcpStream>,
    ping_timeout: Duration,
    pid: Option<String>,
}

impl Session {
    pub(crate) fn new(websocket: WebSocketStream<TcpStream>) -> Self {
        Self { websocket, ping_timeout: Duration::ZERO, pid: None }
    }

    /// How long the server waits for the answer to a ping, by its own word.
    pub(crate) fn ping_timeout(&self) -> Duration {
        self.ping_timeout
    }

    pub(crate) fn set_ping_timeout(&mut self, ping_timeout: Duration) {
        self.ping_timeout = ping_timeout;
    }

    /// What to send with CONNECT to get this session back.
    pub(crate) fn pid(&self) -> Option<&str> {
        self.pid.as_deref()
    }

    pub(crate) fn set_pid(&mut self, pid: Option<String>) {
        self.pid = pid;
    }

    /// The next text frame, heartbeats included; websocket pings are answered by the library and
    /// binary attachments skipped. Loses nothing when cancelled.
    pub(crate) async fn read(&mut self) -> Result<Utf8Bytes, Closed> {
        loop {
            match self.websocket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Err(Closed(format!("websocket close {}", frame.code)));
                }
                Some(Ok(Message::Close(None))) => {
                    return Err(Closed::by("websocket close"));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(Closed::by("end of stream")),
            }
        }
    }

    pub(crate) async fn send(&mut self, packet: impl Into<Utf8Bytes>) -> Result<(), Closed> {
        Ok(self.websocket.send(Message::Text(packet.into())).await?)
    }

    /// Does what every client owes the server, whatever the scenario.
    pub(crate) async fn absorb(&mut self, packet: Packet<'_>) -> Result<(), Closed> {
        match packet {
            Packet::Ping => self.send(PONG).await,
            Packet::Close => Err(Closed::by("engine.io close")),
            Packet::Disconnect => Err(Closed::by("socket.io disconnect")),
            _ => Ok(()),
        }
    }

    /// Answers pings and ignores events until the connection ends.
    pub(crate) async fn idle(&mut self) -> Closed {
        loop {
            let frame = match self.read().await {
                Ok(frame) => frame,
                Err(closed) => return closed,
            };
            if let Err(closed) = self.absorb(Packet::parse(&frame)).await {
                return closed;
            }
        }
    }

    /// Gives the websocket away, to be read and written at the same time.
    pub(crate) fn into_websocket(self) -> WebSocketStream<TcpStream> {
        self.websocket
    }

    /// Gives the socket away; frames that were read but not taken are gone.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.websocket.into_inner()
    }
}

impl From<WebSocketError> for Closed {
    fn from(error: WebSocketError) -> Self {
        match error {
            WebSocketError::Io(error) => Self(error.kind().to_string()),
            other => Self(other.to_string()),
        }
    }
}
