//! From nothing to a Socket.IO session: source address, websocket handshake, CONNECT, second tries.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use thiserror::Error;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error as WebSocketError;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::{StatusCode, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::args::TargetArguments;
use crate::packet::Packet;
use crate::session::{Closed, Session};
use crate::upgrade::{self, Poll};

/// Allocated per connection at once, and cleared by the library before every read: small, because
/// there may be 100,000 of them and messages are short.
const READ_BUFFER_BYTES: usize = 2_048;

/// For the runtime, standard streams, /proc and the like, beside one descriptor per connection.
const SPARE_DESCRIPTORS: u64 = 64;

/// Opens sessions on the target's nodes in turn.
#[derive(Debug)]
pub(crate) struct Dialer {
    endpoints: Vec<Endpoint>,
    source_addresses: u32,
    connect_packet: Utf8Bytes,
    patience: Duration,
    retries: Cell<u64>,
}

#[derive(Debug)]
struct Endpoint {
    handshake: Uri,
    host: String,
    address: SocketAddr,
}

#[derive(Debug, Error)]
pub(crate) enum DialError {
    #[error("handshake refused with {0}")]
    Handshake(StatusCode),
    #[error("handshake failed: {0}")]
    Io(io::ErrorKind),
    #[error("handshake failed: {0}")]
    WebSocket(String),
    #[error("closed before CONNECT: {0}")]
    Closed(#[from] Closed),
    #[error("CONNECT_ERROR {0}")]
    ConnectError(String),
    #[error("not connected in time")]
    TimedOut,
}

impl DialError {
    /// What official clients try again after. A CONNECT_ERROR makes them give up.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Handshake(status) => {
                matches!(*status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
            }
            Self::Io(kind) => matches!(
                kind,
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::UnexpectedEof
            ),
            Self::Closed(_) => true,
            Self::WebSocket(_) | Self::ConnectError(_) | Self::TimedOut => false,
        }
    }
}

impl Dialer {
    /// Resolves the target and checks, before anything is opened, that `connections` can be had.
    pub(crate) async fn new(target: &TargetArguments, connections: u32) -> anyhow::Result<Self> {
        let descriptors = rlimit::increase_nofile_limit(u64::MAX)?;
        ensure!(
            u64::from(connections) + SPARE_DESCRIPTORS <= descriptors,
            "{connections} connections do not fit into {descriptors} file descriptors: raise the \
             hard limit (ulimit -Hn) or share the load among several swarm processes"
        );
        let mut endpoints = Vec::with_capacity(target.urls.len());
        for url in &target.urls {
            let endpoint = Endpoint::resolve(url).await.context(url.clone())?;
            ensure!(
                target.source_addresses == 0 || is_loopback_v4(endpoint.address),
                "{url} is not 127.0.0.0/8: --source-addresses would not reach it"
            );
            endpoints.push(endpoint);
        }
        let connect_packet = match &target.token {
            Some(token) => format!("40{}", serde_json::json!({ "token": token })),
            None => "40".to_owned(),
        };
        Ok(Self {
            endpoints,
            source_addresses: u32::from(target.source_addresses),
            connect_packet: connect_packet.into(),
            patience: target.connect_timeout,
            retries: Cell::new(0),
        })
    }

    /// Attempts beyond each client's first.
    pub(crate) fn retries(&self) -> u64 {
        self.retries.get()
    }

    /// Returns in the same turn of the event loop in which CONNECT was read.
    pub(crate) async fn dial(&self, client: u32) -> Result<Session, DialError> {
        self.dial_as(client, client as usize, &self.connect_packet).await
    }

    /// The same on a chosen node, with a CONNECT packet of its own. Nodes are counted round and round.
    pub(crate) async fn dial_as(&self, client: u32, node: usize, connect: &Utf8Bytes) -> Result<Session, DialError> {
        self.persist(client, || self.attempt(client, node, connect)).await
    }

    /// One attempt on a chosen node, and no second one.
    pub(crate) async fn dial_once(&self, client: u32, node: usize, connect: &Utf8Bytes) -> Result<Session, DialError> {
        timeout_at(Instant::now() + self.patience, self.attempt(client, node, connect))
            .await
            .unwrap_or(Err(DialError::TimedOut))
    }

    /// Opens the session over long-polling and upgrades it to a websocket, as official clients do by default.
    pub(crate) async fn dial_by_upgrade(&self, client: u32) -> Result<Session, DialError> {
        self.persist(client, || self.attempt_by_upgrade(client)).await
    }

    /// Tries again what failed for a passing reason, until the time is over.
    async fn persist<F>(&self, client: u32, mut attempt: impl FnMut() -> F) -> Result<Session, DialError>
    where
        F: Future<Output = Result<Session, DialError>>,
    {
        let give_up = Instant::now() + self.patience;
        loop {
            match timeout_at(give_up, attempt()).await {
                Ok(Err(error)) if error.is_transient() => {
                    let pause = self.pause(client);
                    if Instant::now() + pause >= give_up {
                        return Err(error);
                    }
                    sleep(pause).await;
                }
                Ok(settled) => return settled,
                Err(_) => return Err(DialError::TimedOut),
            }
            self.retries.set(self.retries.get() + 1);
        }
    }

    /// 0.5 to 1.5 s, as official clients wait after a first failure; spread without randomness, so
    /// that two runs are alike.
    pub(crate) fn pause(&self, client: u32) -> Duration {
        let spread = u64::from(client) * 7_919 + self.retries.get() * 104_729;
        Duration::from_millis(500 + spread % 1_000)
    }

    /// Asks for a connection and drops it at once, whatever the answer: the status of that answer.
    pub(crate) async fn knock(&self, client: u32) -> Result<StatusCode, DialError> {
        let endpoint = &self.endpoints[client as usize % self.endpoints.len()];
        let stream = self.open(endpoint.address, client).await?;
        // Ends with a reset, which leaves no port waiting: thousands a second would use all of them up.
        stream.set_zero_linger()?;
        match client_async_with_config(&endpoint.handshake, stream, None).await {
            Ok((_, response)) => Ok(response.status()),
            Err(WebSocketError::Http(response)) => Ok(response.status()),
            Err(error) => Err(error.into()),
        }
    }

    async fn attempt(&self, client: u32, node: usize, connect: &Utf8Bytes) -> Result<Session, DialError> {
        let endpoint = &self.endpoints[node % self.endpoints.len()];
        let mut session = self.open_websocket(endpoint, &endpoint.handshake, client).await?;
        enter_session(&mut session, connect).await?;
        Ok(session)
    }

    async fn attempt_by_upgrade(&self, client: u32) -> Result<Session, DialError> {
        let endpoint = &self.endpoints[client as usize % self.endpoints.len()];
        let poll = async |sid: Option<&str>, body: Option<&str>| {
            let stream = self.open(endpoint.address, client).await?;
            Poll { host: &endpoint.host, sid, body }.send(stream).await
        };
        let sid = upgrade::read_sid(&poll(None, None).await?)?;
        poll(Some(&sid), Some(&self.connect_packet)).await?;
        while !upgrade::is_connected(&poll(Some(&sid), None).await?)? {}
        let handshake = format!("{}&sid={sid}", endpoint.handshake).parse().map_err(|_| io::ErrorKind::InvalidData);
        let mut session = self.open_websocket(endpoint, &handshake.map_err(DialError::Io)?, client).await?;
        upgrade::upgrade(&mut session).await?;
        Ok(session)
    }

    async fn open_websocket(&self, endpoint: &Endpoint, handshake: &Uri, client: u32) -> Result<Session, DialError> {
        let stream = self.open(endpoint.address, client).await?;
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
        let (websocket, _) = client_async_with_config(handshake, stream, Some(config)).await?;
        Ok(Session::new(websocket))
    }

    async fn open(&self, address: SocketAddr, client: u32) -> io::Result<TcpStream> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if self.source_addresses > 0 {
            let second_address = u32::from(Ipv4Addr::new(127, 0, 0, 2));
            let source = Ipv4Addr::from(second_address + client % self.source_addresses);
            socket.bind(SocketAddr::from((source, 0)))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Endpoint {
    async fn resolve(url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url.parse()?;
        if !matches!(uri.scheme_str(), Some("http" | "ws")) {
            bail!("only http:// and ws:// are spoken: measure behind the TLS, not through it");
        }
        let host = uri.host().context("no host")?;
        let port = uri.port_u16().unwrap_or(80);
        let bare_host = host.trim_start_matches('[').trim_end_matches(']');
        let address = lookup_host((bare_host, port))
            .await?
            // "localhost" is often both, and servers on loopback mostly listen on IPv4 alone.
            .min_by_key(SocketAddr::is_ipv6)
            .context("no address")?;
        let host = format!("{host}:{port}");
        let handshake = format!("ws://{host}/socket.io/?EIO=4&transport=websocket").parse()?;
        Ok(Self { handshake, host, address })
    }
}

fn is_loopback_v4(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V4(ip) if ip.is_loopback())
}

/// Opens the Socket.IO session on a fresh connection.
async fn enter_session(session: &mut Session, connect: &Utf8Bytes) -> Result<(), DialError> {
    loop {
        let frame = session.read().await?;
        match Packet::parse(&frame) {
            Packet::Open(handshake) => {
                session.set_ping_timeout(read_ping_timeout(handshake)?);
                session.send(connect.clone()).await?;
            }
            Packet::Connect(reply) => {
                session.set_pid(read_pid(reply));
                return Ok(());
            }
            Packet::ConnectError(reason) => {
                return Err(DialError::ConnectError(reason.to_owned()));
            }
            other => session.absorb(other).await?,
        }
    }
}

fn read_ping_timeout(handshake: &str) -> Result<Duration, DialError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Handshake {
        ping_timeout: u64,
    }
    serde_json::from_str(handshake)
        .map(|Handshake { ping_timeout }| Duration::from_millis(ping_timeout))
        .map_err(|error| DialError::WebSocket(format!("unreadable open packet: {error}")))
}

/// What brings the session back; servers without recovery have none.
fn read_pid(reply: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Reply {
        pid: Option<String>,
    }
    serde_json::from_str::<Reply>(reply).ok()?.pid
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

impl From<WebSocketError> for DialError {
    fn from(error: WebSocketError) -> Self {
        match error {
            WebSocketError::Http(response) => Self::Handshake(response.status()),
            WebSocketError::Io(error) => error.into(),
            // An overloaded listener cuts connections in the middle of the handshake.
            WebSocketError::Protocol(
                ProtocolError::HandshakeIncomplete | ProtocolError::ResetWithoutClosingHandshake,
            ) => Self::Io(io::ErrorKind::UnexpectedEof),
            other => Self::WebSocket(other.to_string()),
        }
    }
}
