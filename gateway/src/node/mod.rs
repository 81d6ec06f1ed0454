//! The node: sessions join, leave, publish, signal and read here, whatever edge they came through.

mod canary;
mod fanout;
mod hub;
mod limits;
mod peers;
mod session;

pub use hub::Hub;
pub use limits::{AddressLimiter, EventLimiter};
pub use peers::count_peers;
pub use session::{CloseReason, Outlet, Session, Undelivered};

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::domain::{Event, Offset, Refusal, RoomName};
use crate::log::{Dedupe, Log, LogError, Page, Range};
use crate::metrics::Metrics;

/// The limits that the node itself watches over.
#[derive(Clone, Debug)]
struct Limits {
    rooms_per_session: usize,
    history_page: usize,
}

/// One gateway process's part of the cluster: its sessions, their rooms, and the way of every event.
#[derive(Debug)]
pub struct Node {
    log: Arc<dyn Log>,
    hub: Hub,
    limits: Limits,
    metrics: Arc<Metrics>,
}

/// What a join came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The session has, or will hear, everything of the room after this.
    pub offset: Offset,
    /// For a join that named an offset: whether everything since then was delivered.
    pub recovered: Option<bool>,
}

impl std::fmt::Debug for dyn Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

impl Node {
    /// A node over a log. [`Node::run`] must be running for anything to be delivered.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, config: &Config, metrics: Arc<Metrics>) -> Arc<Self> {
        let limits =
            Limits { rooms_per_session: config.limits.rooms_per_session, history_page: config.limits.history_page };
        Arc::new(Self { hub: Hub::new(log.clone(), config.rooms.linger, metrics.clone()), log, limits, metrics })
    }

    /// Starts the node's own work: fan-out, canary, and listening no longer to rooms that nobody is in.
    pub fn run(self: &Arc<Self>, name: &str, canary: Duration, tasks: &TaskTracker, stop: &CancellationToken) {
        let fanout = fanout::run(self.log.feed(), self.clone(), RoomName::internal(&format!("canary:{name}")));
        tasks.spawn(stop.clone().run_until_cancelled_owned(fanout));
        let (node, room) = (self.clone(), RoomName::internal(&format!("canary:{name}")));
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move { canary::run(node, room, canary).await }));
        let node = self.clone();
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move { node.hub.sweep_forever().await }));
    }

    /// Puts a session into a room. With `after`, everything of the room since that offset is delivered first, or
    /// nothing of it if the log no longer has it all.
    ///
    /// # Errors
    /// Too many rooms, or the log cannot be reached.
    pub async fn join(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        after: Option<Offset>,
    ) -> Result<Joined, Refusal> {
        if !session.is_in(room) && session.rooms() >= self.limits.rooms_per_session && self.limits.rooms_per_session > 0
        {
            return Err(Refusal::TooManyRooms { limit: self.limits.rooms_per_session });
        }
        let joined = self.hub.join(session, room, after).await;
        joined.map_err(|error| self.unavailable(&error))
    }

    /// Takes a session out of a room; nothing happens if it is not in it.
    pub fn leave(&self, session: &Session, room: &RoomName) {
        if session.forget(room) {
            self.hub.leave(session, room);
        }
    }

    /// Takes a session that is over out of all its rooms, for good.
    pub fn depart(&self, session: &Session) {
        for room in session.depart() {
            self.hub.leave(session, &room);
        }
    }

    /// Publishes an event to a room that the session is in. The answer is the event's place in the log.
    ///
    /// # Errors
    /// The session is not in the room, or the log cannot be reached; then, with an `id`, the same publish may be
    /// tried again without the risk of publishing twice.
    pub async fn publish(
        &self,
        session: &Session,
        room: &RoomName,
        event: &Event,
        id: Option<&str>,
    ) -> Result<Offset, Refusal> {
        self.require_membership(session, room)?;
        let started = Instant::now();
        // With its length in front, no author and id read like another author and id.
        let author = session.author();
        let dedupe = id.map(|id| Dedupe(format!("{}:{author}:{id}", author.len())));
        let appended = self.log.append(room, event, dedupe.as_ref()).await.map_err(|error| self.unavailable(&error))?;
        self.metrics.log_append_duration.record(started.elapsed().as_secs_f64());
        Ok(appended.position.offset)
    }

    /// Sends an event to a room that the session is in without keeping it.
    ///
    /// # Errors
    /// The session is not in the room, or the other nodes cannot be reached.
    pub async fn signal(&self, session: &Session, room: &RoomName, event: &Event) -> Result<(), Refusal> {
        self.require_membership(session, room)?;
        self.log.signal(room, event).await.map_err(|error| self.unavailable(&error))
    }

    /// Reads a part of the history of a room that the session is in. `limit` is cut to the configured page.
    ///
    /// # Errors
    /// The session is not in the room, or the log cannot be reached.
    pub async fn history(&self, session: &Session, room: &RoomName, range: Range) -> Result<Page, Refusal> {
        self.require_membership(session, room)?;
        let page = self.limits.history_page;
        let range = match range {
            Range::After { offset, limit } => Range::After { offset, limit: limit.clamp(1, page) },
            Range::Newest { before, limit } => Range::Newest { before, limit: limit.clamp(1, page) },
        };
        self.log.read(room, range).await.map_err(|error| self.unavailable(&error))
    }

    fn require_membership(&self, session: &Session, room: &RoomName) -> Result<(), Refusal> {
        if session.is_in(room) { Ok(()) } else { Err(Refusal::NotInRoom) }
    }

    /// The one place where a failing log becomes what clients read; it is logged here and only here.
    fn unavailable(&self, error: &LogError) -> Refusal {
        self.metrics.log_errors.with(error.operation).increment(1);
        tracing::warn!(%error, "the log failed");
        Refusal::Unavailable
    }
}

/// Now, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago an event was taken, in seconds; 0 if its node's clock is ahead of this one's.
fn age_seconds(event: &Event) -> f64 {
    Duration::from_millis(now_ms().saturating_sub(event.at_ms)).as_secs_f64()
}
