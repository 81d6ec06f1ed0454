//! The server: takes TCP streams, reads requests from them, and answers them.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::Method;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::budget::Budget;
use crate::connections::{Connections, Traffic};
use crate::handler::{End, Handler, Misuse, Side, Streamed};
use crate::handshake;
use crate::heartbeat::Clock;
use crate::http::{Idle, Timing, Wire};
use crate::keeper::{self, Keeper};
use crate::opening::head_of;
use crate::parting::Partings;
use crate::passing::{Onward, Passage, Tag, Tunnel};
use crate::reply::Reply;
use crate::settings::Settings;

/// A server of Socket.IO. Cloning gives another handle of the same.
#[derive(Clone)]
pub struct Server(pub(crate) Arc<Shared>);

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("connections", &self.connections()).finish_non_exhaustive()
    }
}

/// Work of a server that never ends by itself. Without it no connection is pinged and no end is told.
#[must_use]
pub struct Loop {
    /// What it is called.
    pub name: &'static str,
    /// The work.
    pub work: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl std::fmt::Debug for Loop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loop").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the connections of a server share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) clock: Clock,
    pub(crate) budget: Arc<Budget>,
    pub(crate) connections: Connections,
    pub(crate) keeper: Keeper,
    /// The way to other servers, if there are any.
    pub(crate) passage: Option<Arc<dyn Passage>>,
    /// What the ids of this server's connections carry.
    pub(crate) tag: Tag,
    pub(crate) onward: Onward,
    partings: Partings,
    idle: Idle,
    /// Those of other servers, which have bounds of their own.
    pub(crate) passed_idle: Idle,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Server {
    /// A server whose connections are run by `tasks` until `stop`, and the loops that its user has to run for as long. Without
    /// a passage it knows no other.
    pub fn new(
        handler: Arc<dyn Handler>,
        settings: Settings,
        passage: Option<Arc<dyn Passage>>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> (Self, [Loop; 3]) {
        let shared = Arc::new(Shared {
            handler,
            clock: Clock::new(),
            budget: Budget::new(settings.budget_bytes),
            connections: Connections::default(),
            keeper: Keeper::default(),
            tag: passage.as_ref().map_or_else(Tag::random, |passage| passage.tag()),
            passage,
            onward: Onward::default(),
            idle: Idle::new(settings.idle_connections),
            partings: Partings::default(),
            passed_idle: Idle::new(0),
            tasks: tasks.clone(),
            stop: stop.clone(),
            settings,
        });
        let loops = [
            Loop { name: "ends of connections", work: Box::pin(keeper::tell_ends(shared.clone())) },
            Loop { name: "heartbeats", work: Box::pin(keeper::watch(shared.clone())) },
            Loop { name: "delayed writes", work: Box::pin(keeper::write_delayed(shared.clone())) },
        ];
        (Self(shared), loops)
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.connections.len()
    }

    /// How many bytes the connections make the server hold, for what clients have not taken and have not finished.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.0.budget.used()
    }

    /// What all connections have sent and received so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.0.connections.traffic()
    }

    /// Websockets that go on to other servers.
    #[must_use]
    pub fn tunnels(&self) -> Vec<Tunnel> {
        self.0.onward.tunnels.all()
    }

    /// How many of them there are, and how many polls wait for other servers.
    #[must_use]
    pub fn passed_on(&self) -> (usize, usize) {
        (self.0.onward.tunnels.len(), self.0.onward.polls())
    }

    /// Has the polls answered that wait for other servers: with nothing, if there is nothing to say. Their clients poll again, and
    /// may be led elsewhere.
    pub fn hurry_polls(&self) {
        self.0.onward.hurry();
    }

    /// Serves a TCP stream: HTTP requests, one after the other, until it ends or becomes a websocket. `place` is held as
    /// long as the stream is.
    pub async fn serve<P: Send + 'static>(&self, stream: TcpStream, peer: SocketAddr, place: P) {
        self.serve_by(stream, peer, place, false).await;
    }

    /// The same for a stream by which nothing of Socket.IO comes: all its requests are for [`Handler::elsewhere`], and say
    /// so by [`Side`].
    pub async fn serve_side<P: Send + 'static>(&self, stream: TcpStream, peer: SocketAddr, place: P) {
        self.serve_by(stream, peer, place, true).await;
    }

    async fn serve_by<P: Send + 'static>(&self, stream: TcpStream, peer: SocketAddr, place: P, is_side: bool) {
        let shared = &self.0;
        let Settings { header_timeout, keep_alive, write_timeout, .. } = shared.settings;
        let timing = Timing { request: header_timeout, idle: keep_alive, write: write_timeout };
        let mut wire = Wire::new(stream, timing);
        let has_more = loop {
            let head = tokio::select! {
                head = wire.head(&shared.idle) => head,
                () = shared.stop.cancelled() => return,
            };
            let head = match head {
                Ok(Some(mut head)) => {
                    if is_side {
                        head.parts.extensions.insert(Side);
                    }
                    head
                }
                Ok(None) => return,
                Err(bad) => {
                    shared.handler.misused(Misuse::Http);
                    let answer =
                        shared.handler.admit_stranger(peer, None).map_or_else(|answer| *answer, |()| bad.answer());
                    wire.answer(None, answer, false).await;
                    break true;
                }
            };
            let (mut answer, goes_on, poll) = match shared.reply(&mut wire, &head, peer).await {
                // A body that nobody wanted is not to be taken for the next request.
                Reply::Answer(answer) => (answer, head.keep_alive && !wire.has_untaken, None),
                Reply::Poll(answer, connection) => (answer, head.keep_alive && !wire.has_untaken, Some(connection)),
                Reply::Last(answer) => (answer, false, None),
                Reply::Open(answer, guest) => return shared.open(wire, &answer, guest, place).await,
                Reply::Upgrade(answer, connection) => {
                    return shared.upgrade(wire, &answer, connection, false, place).await;
                }
                Reply::Outdated(answer) => {
                    let bytes = [head_of(&answer), handshake::farewell_to_outdated()].concat();
                    // Whoever does not take it has nothing here.
                    wire.write_all(&bytes).await.ok();
                    break true;
                }
                Reply::Passed(true) => {
                    consume_budget().await;
                    continue;
                }
                Reply::Tunnel(far, way) => return shared.tunnel(wire, far, (place, way)),
                Reply::Passed(false) => break wire.has_untaken,
                Reply::Gone => return,
            };
            let streamed = answer.extensions_mut().remove::<Streamed>().and_then(|streamed| streamed.take());
            if let Some(pieces) = streamed.filter(|_| head.parts.method != Method::HEAD) {
                wire.stream(&head, answer, pieces, &shared.stop).await;
                return;
            }
            let is_written = wire.answer(Some(&head), answer, goes_on).await;
            if let Some(connection) = poll.filter(|_| !is_written) {
                connection.end_now(End::Broken);
            }
            if !is_written {
                return;
            }
            if !goes_on {
                break wire.has_untaken;
            }
            // Of requests that came in one piece none has to be waited for: others must have their turn in between.
            consume_budget().await;
        };
        if has_more || !wire.buffer.is_empty() {
            // Most have nothing more to say, and need not carry what this needs.
            Box::pin(shared.partings.part(wire.stream)).await;
        }
    }
}
