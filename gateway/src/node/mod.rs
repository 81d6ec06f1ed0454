//! The node: sessions join, leave, publish, signal and read here, whatever edge they came through.

mod canary;
mod fanout;
mod gate;
mod hearing;
mod hub;
mod limits;
mod peers;
mod recovery;
mod roster;
mod session;

pub use gate::Patience;
pub use hearing::{Ask, Hearing, Listening};
pub use hub::Hub;
pub use limits::{AddressLimiter, Allowance, HandshakeLimiter, Limiters, Party, Place, Places, Verdict};
pub use peers::count_peers;
use recovery::Recoveries;
pub use recovery::{RecoveryError, Replay, Unrecovered, Wanted, wanted};
pub use roster::Roster;
pub use session::{CloseReason, Outlet, Session, Undelivered};

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use serde::Serialize;

use crate::config::{self, Config};
use crate::domain::{Event, Frame, Mark, Offset, Refusal, RoomName, UserId};
use crate::log::{Dedupe, Log, LogError, Page, Range};
use crate::metrics::Metrics;
use crate::sessions::{Lease, Record, Sessions, SessionsError};
use session::Stay;

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
    sessions: Arc<dyn Sessions>,
    hub: Hub,
    roster: Roster,
    hearing: Hearing,
    limits: Limits,
    recovery: config::Recovery,
    recoveries: Recoveries,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
}

/// What a join came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The session has, or will hear, everything of the room after this.
    pub offset: Offset,
    /// For a join that named an offset: whether everything since then was delivered, or why not.
    pub recovered: Option<Result<(), Unrecovered>>,
}

/// What a client is told when the replay of a join has ended.
#[derive(Serialize)]
struct Replayed<'a> {
    room: &'a RoomName,
    events: usize,
}

impl std::fmt::Debug for dyn Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

impl std::fmt::Debug for dyn Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}

impl Node {
    /// A node over a log and a store of sessions. [`Node::run`] must be running for anything to be delivered.
    #[must_use]
    pub fn new(
        log: Arc<dyn Log>,
        sessions: Arc<dyn Sessions>,
        config: &Config,
        metrics: Arc<Metrics>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let limits =
            Limits { rooms_per_session: config.limits.rooms_per_session, history_page: config.limits.history_page };
        let hub = Hub::new(log.clone(), config.rooms.linger, metrics.clone());
        let recovery = config.recovery.clone();
        let (roster, hearing, recoveries) = (Roster::default(), Hearing::default(), Recoveries::default());
        Arc::new(Self { log, sessions, hub, roster, hearing, limits, recovery, recoveries, metrics, tasks })
    }

    /// Starts the node's own work: fan-out, canary, keeping sessions, and listening no longer to rooms that nobody
    /// is in.
    pub fn run(self: &Arc<Self>, name: &str, canary: Duration, stop: &CancellationToken) {
        let room = RoomName::internal(&format!("canary:{name}"));
        let spawn = |work: futures_util::future::BoxFuture<'static, ()>| {
            self.tasks.spawn(stop.clone().run_until_cancelled_owned(work));
        };
        spawn(Box::pin(fanout::run(self.log.feed(), self.clone(), room.clone())));
        spawn(Box::pin(canary::run(self.clone(), room, canary)));
        let (sweeper, keeper, listener) = (self.clone(), self.clone(), self.clone());
        spawn(Box::pin(async move { sweeper.hub.sweep_forever().await }));
        let every = self.recovery.window / 4;
        spawn(Box::pin(async move { keeper.renew_forever(every).await }));
        spawn(Box::pin(async move { listener.heed_claims_forever().await }));
    }

    /// Whether it hears the others.
    #[must_use]
    pub fn hearing(&self) -> &Hearing {
        &self.hearing
    }

    /// The sessions that are connected to this node.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Takes over the session of a client that comes back, from whatever connection still has it. Nothing if there is
    /// none, or it is another user's.
    ///
    /// # Errors
    /// The store of sessions cannot be reached.
    pub async fn claim(&self, lease: Lease, user: Option<&UserId>) -> Result<Option<Record>, Refusal> {
        self.sessions.claim(lease, user).await.map_err(|error| self.without_sessions(&error))
    }

    /// Stores a session so that it can come back. False if another connection has taken it over, or it is over.
    ///
    /// # Errors
    /// The store of sessions cannot be reached.
    pub async fn save(&self, session: &Session) -> Result<bool, Refusal> {
        let _saving = session.saving.lock().await;
        let Some(record) = session.record() else { return Ok(false) };
        let saved = self.sessions.save(session.lease, &record).await;
        saved.map_err(|error| {
            session.mark_unsaved();
            self.without_sessions(&error)
        })
    }

    /// Counts a session among those that are connected, until [`Self::depart`]; its connection ends at `ends`. Before
    /// it is stored for the first time: only who is counted learns that somebody else has claimed the session.
    pub fn arrive(&self, session: &Arc<Session>, ends: Option<Instant>) {
        self.roster.insert(session, ends);
    }

    fn release(&self, session: Arc<Session>, keep: bool) {
        let (sessions, metrics) = (self.sessions.clone(), self.metrics.clone());
        self.tasks.spawn(async move {
            // After whatever is being stored: a record must not come back from the dead.
            let _saving = session.saving.lock().await;
            if let Err(error) = sessions.release(session.lease, keep).await {
                // It is forgotten a while later by itself.
                metrics.session_errors.with(error.operation).increment(1);
            }
        });
    }

    /// Puts a session into a room. With `after`, everything of the room since that offset is delivered first, or
    /// nothing of it if the log no longer has it all. `via` is the event that asked for it.
    ///
    /// # Errors
    /// Too many rooms, or the log or the store of sessions cannot be reached.
    pub async fn join(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        after: Option<Offset>,
        via: &Arc<str>,
    ) -> Result<Joined, Refusal> {
        if !session.is_in(room) && session.rooms() >= self.limits.rooms_per_session && self.limits.rooms_per_session > 0
        {
            return Err(Refusal::TooManyRooms { limit: self.limits.rooms_per_session });
        }
        if session.is_in(room) {
            let boundary = self.hub.enter(session, room, via).await.map_err(|error| self.unavailable(&error))?;
            // The answer to the join may have been lost: what it came to must not sound better the second time.
            let complete_from = session.complete_from(room).unwrap_or(boundary.offset);
            let recovered =
                after.map(|after| if after >= complete_from { Ok(()) } else { Err(Unrecovered::Retention) });
            return Ok(Joined { offset: boundary.offset, recovered });
        }
        let handed = session.gate.hold();
        let joined = match after {
            None => self.join_from_now(session, room, via).await,
            Some(after) => self.join_after(session, room, after, via, handed).await,
        };
        if joined.is_err() {
            // What came for a room that it is not in was never meant for it.
            session.gate.release(std::slice::from_ref(room), Offset(u64::MAX)).await;
        }
        joined
    }

    /// Joins while the gate is held, and opens it unless there is an error.
    async fn join_from_now(&self, session: &Arc<Session>, room: &RoomName, via: &Arc<str>) -> Result<Joined, Refusal> {
        let boundary = self.hub.enter(session, room, via).await.map_err(|error| self.unavailable(&error))?;
        self.save_or_leave(session, room).await?;
        session.gate.release(&[], Offset::START).await;
        Ok(Joined { offset: boundary.offset, recovered: None })
    }

    /// Joins while the gate is held, reads and hands over what was missed, and opens it unless there is an error.
    async fn join_after(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        after: Offset,
        via: &Arc<str>,
        handed: Offset,
    ) -> Result<Joined, Refusal> {
        let boundary = self.hub.enter(session, room, via).await.map_err(|error| self.unavailable(&error))?;
        let wanted = Wanted { room: room.clone(), after, complete_from: after, via: via.clone() };
        let replay = match self.read_missed(session, vec![wanted]).await {
            Ok(replay) => replay,
            Err(RecoveryError::Unrecovered(reason)) => {
                self.save_or_leave(session, room).await?;
                session.gate.release(&[], Offset::START).await;
                return Ok(Joined { offset: boundary.offset, recovered: Some(Err(reason)) });
            }
            Err(RecoveryError::Log(error)) => {
                self.leave_room(session, room);
                return Err(self.unavailable(&error));
            }
        };
        let (events, offset) = (replay.events(), replay.upto);
        let number = if events == 0 { 0 } else { session.next_replay() };
        // Until the replay has ended, only the notice of its end proves that a client got it. If this join is refused
        // because its record was stored without an answer, nothing does.
        let unproven =
            Stay { since: offset, complete_from: after, replay: number, handed: Offset(u64::MAX), via: via.clone() };
        session.remember(room, unproven);
        self.save_or_leave(session, room).await?;
        let end = (events > 0).then(|| {
            let mark = Mark { offset: handed, replay: number }.to_string();
            Frame::notice("gateway:replayed", &Replayed { room, events }, Some(&mark))
        });
        self.replay_out_of_order(session, replay, end).await;
        if events > 0 {
            session.replay_ended(room, handed);
            // If it cannot be stored now, it will be; until then a client that breaks off may be told too much.
            self.save(session).await.ok();
        }
        Ok(Joined { offset, recovered: Some(Ok(())) })
    }

    /// What was joined must come back with the session; if that cannot be stored, it was not joined.
    async fn save_or_leave(&self, session: &Session, room: &RoomName) -> Result<(), Refusal> {
        match self.save(session).await {
            // Taken over meanwhile: nobody waits for the answer.
            Ok(_) => Ok(()),
            Err(refusal) => {
                self.leave_room(session, room);
                Err(refusal)
            }
        }
    }

    fn leave_room(&self, session: &Session, room: &RoomName) {
        if session.forget(room) {
            self.hub.leave(session, room);
        }
    }

    /// Takes a session out of a room; nothing happens if it is not in it.
    ///
    /// # Errors
    /// The store of sessions cannot be reached: the session is out of the room, but would come back into it.
    pub async fn leave(&self, session: &Session, room: &RoomName) -> Result<(), Refusal> {
        self.leave_room(session, room);
        self.save(session).await.map(|_| ())
    }

    /// Takes a session whose connection is over out of everything. It may come back within the recovery window if it
    /// is to be kept.
    pub fn depart(&self, session: &Arc<Session>, keep: bool) {
        self.leave_all(session);
        if self.roster.remove(session) {
            self.release(session.clone(), keep);
        }
    }

    fn leave_all(&self, session: &Session) {
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

    fn without_sessions(&self, error: &SessionsError) -> Refusal {
        self.note_sessions_error(error);
        Refusal::Unavailable
    }

    fn note_sessions_error(&self, error: &SessionsError) {
        self.metrics.session_errors.with(error.operation).increment(1);
        tracing::warn!(%error, "the store of sessions failed");
    }

    /// The one place where a failing log becomes what clients read; it is logged here and only here.
    pub fn unavailable(&self, error: &LogError) -> Refusal {
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
