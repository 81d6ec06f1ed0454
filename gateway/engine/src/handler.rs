//! What a server asks of its user.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use http::request::Parts;
use http::{Request, Response};
use parking_lot::Mutex;

use crate::connection::Connection;
use crate::inbound::Event;

/// An answer to an HTTP request, with its whole body.
pub type Answer = Response<Bytes>;

/// Decides who may open a connection, and answers what is not Socket.IO. No method waits; all may be called from many
/// threads at once.
pub trait Handler: Send + Sync + 'static {
    /// Whether a page of this origin may send requests.
    ///
    /// # Errors
    /// The answer for who may not.
    fn admit_origin(&self, origin: &[u8], is_handshake: bool) -> Result<(), Box<Answer>>;

    /// Whether a connection may open. Transient trouble should be refused here, by an HTTP status: official clients try
    /// again, which they don't after a refused session.
    ///
    /// # Errors
    /// The answer for who may not.
    fn open(&self, request: &Parts, peer: SocketAddr, transport: Transport) -> Result<Arc<dyn Guest>, Box<Answer>>;

    /// Whether a peer may send one more request that belongs to no connection and opens none. Asked before any other work
    /// is done for it; without the request's head if it was not HTTP.
    ///
    /// # Errors
    /// The answer for who may not.
    fn admit_stranger(&self, peer: SocketAddr, request: Option<&Parts>) -> Result<(), Box<Answer>>;

    /// A request was refused that is not one of the protocol, or not in order.
    fn misused(&self, misuse: Misuse);

    /// Answers a request for another path, or one that came in by a [`Side`] door.
    fn elsewhere(&self, request: Request<Bytes>, peer: SocketAddr) -> Pin<Box<dyn Future<Output = Answer> + Send>>;

    /// What is said to such a request whose body was too large, too slow or broken, instead of the server's own answer.
    fn unread(&self, request: &Parts, answer: Answer) -> Answer;
}

/// Among the extensions of an answer: its body comes in pieces, as they come, until there is none any more or the server stops.
/// Nothing else is read of the connection after that.
#[derive(Clone)]
pub struct Streamed(Arc<Mutex<Option<Pieces>>>);

/// The pieces of a body.
pub type Pieces = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

impl Streamed {
    /// A body of so many pieces.
    #[must_use]
    pub fn new(pieces: Pieces) -> Self {
        Self(Arc::new(Mutex::new(Some(pieces))))
    }

    pub(crate) fn take(&self) -> Option<Pieces> {
        self.0.lock().take()
    }
}

impl std::fmt::Debug for Streamed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Streamed(…)")
    }
}

/// Among the extensions of a request: it came in by a listener at which there is no Socket.IO.
#[derive(Clone, Copy, Debug)]
pub struct Side;

/// The handler's part of one connection.
pub trait Guest: Send + Sync + 'static {
    /// Whether the connection may send so much more. Asked before anything is done for it, for every frame and every
    /// request with its packets, whatever they are; with `false` the connection ends.
    fn admits(&self, packets: usize, bytes: usize) -> bool;

    /// The client wants a session in a namespace. It waits, for [`Settings::connect_timeout`](crate::Settings) at the
    /// most, until the admission is accepted or refused.
    fn connect(self: Arc<Self>, admission: Admission);

    /// The connection goes on over a websocket.
    fn upgraded(&self);

    /// The connection is over, after all its sessions. Called once.
    fn over(&self, end: &End);
}

/// The handler's part of a client's session in one namespace.
pub trait Session: Send + Sync + 'static {
    /// An event came. Those of one session come one after the other; what waits here, the whole connection waits for.
    fn event(self: Arc<Self>, event: Event);

    /// The client answers what it was [asked](crate::Packet::question), or what it was not: its number stands in `ack`. What is
    /// done here, the whole connection waits for.
    fn answer(&self, answer: Event);

    /// The session is over. Called once, after the last event.
    fn over(&self, end: &End);
}

/// How packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP requests, each answered when there is something to say.
    Polling,
    /// One stream.
    Websocket,
}

/// Why a connection or a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client closed the connection.
    Closed,
    /// The client left the namespace and keeps the connection.
    Left,
    /// The connection ended and nobody had said so before: the client, or something between it and this server, was killed.
    Cut,
    /// The connection broke.
    Broken,
    /// The server that passed its websocket on ended that, as it does before it stops.
    Parted,
    /// The client did not answer a ping in time.
    Silent,
    /// The client had no session for too long.
    Sessionless,
    /// The client sent what the protocol does not have, or more than it may hold.
    BadPacket,
    /// The client sent more than [`Guest::admits`].
    Flooding,
    /// The client did not take what was written in time.
    Slow,
    /// It was ended by the server's user, for the reason given.
    Ended(&'static str),
}

/// What a request did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// A handshake that is none, or of another version.
    Handshake,
    /// A request for a connection that is not here, or not in its order.
    Request,
    /// Not HTTP as it should be.
    Http,
}

/// The connection, or the session on it, is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is over")]
pub struct Gone;

/// A client that wants a session in a namespace.
#[derive(Debug)]
pub struct Admission {
    /// The connection over which it asks.
    pub connection: Connection,
    /// Where it wants in.
    pub namespace: Arc<str>,
    /// What it says about itself: a JSON text.
    pub auth: Option<String>,
    pub(crate) number: u64,
    pub(crate) settled: bool,
}

impl Admission {
    /// Lets it in: from now on its events go to `session`. It reads `sid` as its id, and `pid`, if there is one, as
    /// what it may come back with.
    ///
    /// # Errors
    /// The connection is over, or cannot take the reply; nobody else will end the session.
    pub fn accept(mut self, session: Arc<dyn Session>, sid: &str, pid: Option<&str>) -> Result<(), Gone> {
        self.settled = true;
        self.connection.accept(&self.namespace, self.number, session, sid, pid)
    }

    /// Refuses it with a message, and `data` beside it, which must be JSON. The official client does not try again by itself.
    pub fn refuse(mut self, message: &str, data: Option<&str>) {
        self.settled = true;
        self.connection.refuse(&self.namespace, self.number, message, data);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.settled {
            self.connection.forget_seat(self.number);
        }
    }
}
