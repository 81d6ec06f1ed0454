//! The transports of a client: a websocket, or polling that may become one; and the ways in which networks end them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::http::{self, Http};
use super::plan::Cut;

/// Between the packets of a payload.
const SEPARATOR: &str = "\u{1e}";
/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

pub(super) type Socket = WebSocketStream<TcpStream>;

pub(super) enum Transport {
    Websocket(Socket),
    Polling(Polling),
}

pub(super) struct Polling {
    polls: Http,
    posts: Http,
    path: String,
    /// Where each request goes in turn; nowhere else if there are none.
    nodes: Vec<SocketAddr>,
    turn: usize,
    is_opened: bool,
}

/// Opens a websocket, of a new connection or of one that polls.
pub(super) async fn open_websocket(address: SocketAddr, sid: Option<&str>) -> Result<Socket, String> {
    let stream = http::connect(address).await?;
    let sid = sid.map(|sid| format!("&sid={sid}")).unwrap_or_default();
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket{sid}");
    let (socket, _) = client_async(url, stream).await.map_err(|error| match error {
        Error::Http(answer) => answer.status().as_u16().to_string(),
        other => kind(&other),
    })?;
    Ok(socket)
}

impl Polling {
    /// Asks for a connection. Its first poll brings the packet that opens it. With `nodes`, what follows goes to these in turn.
    pub(super) async fn open(address: SocketAddr, nodes: Vec<SocketAddr>) -> Result<Self, String> {
        let (polls, posts) = (Http::connect(address).await?, Http::connect(address).await?);
        Ok(Self {
            polls,
            posts,
            path: "/socket.io/?EIO=4&transport=polling".to_owned(),
            nodes,
            turn: 0,
            is_opened: false,
        })
    }

    /// A connection for the next request, if it has one of its own. A node that is not there is left out, as by a balancer.
    async fn moved(&mut self) -> Result<Option<Http>, String> {
        if !self.is_opened {
            return Ok(None);
        }
        for _ in 0..self.nodes.len() {
            self.turn += 1;
            if let Ok(http) = Http::connect(self.nodes[self.turn % self.nodes.len()]).await {
                return Ok(Some(http));
            }
        }
        if self.nodes.is_empty() { Ok(None) } else { Err("no node there".to_owned()) }
    }

    pub(super) fn is_opened_as(&mut self, sid: &str) {
        self.path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        self.is_opened = true;
    }

    /// Whether a poll waits for its answer.
    pub(super) fn is_waiting(&self) -> bool {
        self.polls.pending
    }

    async fn poll(&mut self) -> Result<String, String> {
        if !self.polls.pending {
            if let Some(http) = self.moved().await? {
                self.polls = http;
            }
            self.polls.ask("GET", &self.path, "");
        }
        let (status, body) = self.polls.answer().await?;
        if status == 200 { Ok(body) } else { Err(status.to_string()) }
    }

    async fn post(&mut self, packet: &str) -> Result<(), String> {
        if let Some(http) = self.moved().await? {
            self.posts = http;
        }
        self.posts.ask("POST", &self.path, packet);
        let (status, body) = self.posts.answer().await?;
        if (status, body.as_str()) == (200, "ok") { Ok(()) } else { Err(status.to_string()) }
    }
}

impl Transport {
    pub(super) fn is_polling(&self) -> bool {
        matches!(self, Self::Polling(_))
    }

    /// Waits for what the server says, and adds it. Loses nothing when cancelled.
    pub(super) async fn read(&mut self, packets: &mut VecDeque<String>) -> Result<(), String> {
        match self {
            Self::Websocket(socket) => match socket.next().await {
                None => return Err("end of stream".to_owned()),
                Some(Err(error)) => return Err(kind(&error)),
                Some(Ok(Message::Text(text))) => packets.push_back(text.to_string()),
                Some(Ok(Message::Close(_))) => return Err("websocket close".to_owned()),
                Some(Ok(_)) => {}
            },
            Self::Polling(polling) => packets.extend(polling.poll().await?.split(SEPARATOR).map(str::to_owned)),
        }
        Ok(())
    }

    pub(super) async fn send(&mut self, packet: String) -> Result<(), String> {
        match self {
            Self::Websocket(socket) => socket.send(Message::text(packet)).await.map_err(|error| kind(&error)),
            Self::Polling(polling) => polling.post(&packet).await,
        }
    }

    /// Ends as a network or a client does; `packet` is what it wanted to say.
    pub(super) async fn cut(self, how: Cut, packet: &str) {
        match (self, how) {
            (Self::Websocket(socket), Cut::Reset | Cut::Midway) => reset(socket),
            (Self::Polling(polling), Cut::Reset) => polling.polls.reset(),
            (Self::Polling(polling), Cut::Midway) => polling.polls.break_midway().await,
            (transport, Cut::Vanish(until_noticed)) => {
                tokio::spawn(async move {
                    tokio::time::sleep(until_noticed).await;
                    drop(transport);
                });
            }
            (Self::Websocket(mut socket), Cut::Goodbye) => _ = timeout(GOODBYE, socket.close(None)).await,
            (Self::Polling(mut polling), Cut::Goodbye) => _ = timeout(GOODBYE, polling.post("1")).await,
            (Self::Websocket(mut socket), Cut::Half) => {
                let frame = frame(packet);
                timeout(GOODBYE, socket.get_mut().write_all(&frame[..frame.len() / 2])).await.ok();
            }
            (Self::Polling(polling), Cut::Half) => polling.posts.ask_in_half(&polling.path, packet).await,
        }
    }
}

/// Ends a websocket by a reset: what is on its way is gone, and the server knows at once.
pub(super) fn reset(socket: Socket) {
    socket.get_ref().set_zero_linger().ok();
    drop(socket);
}

/// A text frame with a mask of zeros.
fn frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    let head = match length {
        0..=125 => vec![0x81, 0x80 | length.to_be_bytes()[1]],
        _ => [&[0x81, 0x80 | 126][..], &length.to_be_bytes()].concat(),
    };
    [&head, &[0; 4][..], text.as_bytes()].concat()
}

pub(super) fn kind(error: &Error) -> String {
    match error {
        Error::Io(error) => error.kind().to_string(),
        Error::Protocol(error) => error.to_string(),
        other => other.to_string(),
    }
}
