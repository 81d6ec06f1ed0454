//! A client that connects as official ones do unless they are told otherwise: it polls, and goes on over a websocket.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async};

use super::client::Client;
use super::wanderer::{RECORD, ask_over};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

impl Client {
    /// Connects from an address and gets a session, or why it did not. Each request has a connection of its own, so that a
    /// balancer may send each of them elsewhere.
    pub async fn try_connect_upgrading(from: IpAddr, to: SocketAddr, auth: Value) -> Result<Self, String> {
        let way = Way { from, to };
        let opened = way.answered("GET", POLLING, "").await?;
        let opened: Value = opened.strip_prefix('0').and_then(|it| serde_json::from_str(it).ok()).ok_or(opened)?;
        let id = opened["sid"].as_str().unwrap();
        let path = format!("{POLLING}&sid={id}");
        way.answered("POST", &path, &format!("40{auth}")).await?;
        let probed = AtomicBool::new(false);
        let upgraded = tokio::try_join!(way.poll(&path, &probed), way.probe(id, &probed));
        let (packets, socket) = match upgraded {
            Ok(upgraded) => upgraded,
            Err(why) => {
                // Nobody is left behind to be found silent.
                way.answered("POST", &path, "1").await.ok();
                return Err(why);
            }
        };
        let mut client = Self::over(socket, "/", packets);
        client.socket.send(Message::text("5")).await.map_err(|error| error.to_string())?;
        client.greeted().await?;
        Ok(client)
    }
}

/// Where a client's connections come from and go to.
#[derive(Clone, Copy)]
struct Way {
    from: IpAddr,
    to: SocketAddr,
}

impl Way {
    async fn stream(self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.from, 0))?;
        socket.connect(self.to).await
    }

    /// The body of an answer of 200.
    async fn answered(self, method: &str, path: &str, body: &str) -> Result<String, String> {
        let stream = self.stream().await.map_err(|error| error.to_string())?;
        match ask_over(stream, method, path, body).await {
            Ok((200, body)) => Ok(body),
            Ok((status, body)) => Err(format!("{status} {body}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Polls until the websocket has answered and the last request has; all packets that came.
    async fn poll(self, path: &str, probed: &AtomicBool) -> Result<VecDeque<String>, String> {
        let mut packets = VecDeque::new();
        while !probed.load(Ordering::Acquire) {
            for packet in self.answered("GET", path, "").await?.split(RECORD) {
                match packet {
                    "2" => drop(self.answered("POST", path, "3").await?),
                    "6" => {}
                    _ => packets.push_back(packet.to_owned()),
                }
            }
        }
        Ok(packets)
    }

    async fn probe(self, id: &str, probed: &AtomicBool) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, String> {
        let stream = self.stream().await.map_err(|error| error.to_string())?;
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket&sid={id}", self.to);
        let connected = client_async(url, MaybeTlsStream::Plain(stream)).await;
        let (mut socket, _) = connected.map_err(|error| error.to_string())?;
        socket.send(Message::text("2probe")).await.map_err(|error| error.to_string())?;
        match socket.next().await {
            Some(Ok(Message::Text(text))) if text.as_str() == "3probe" => {}
            other => return Err(format!("{other:?} in answer to a probe")),
        }
        probed.store(true, Ordering::Release);
        Ok(socket)
    }
}
