//! The node: sessions join, leave, publish, signal and read here, whatever edge they came through.

mod asking;
mod attendance;
mod canary;
mod fanout;
mod gap;
mod gate;
mod giving;
mod hearing;
mod hub;
mod limits;
mod membership;
mod order;
mod outlet;
mod peers;
mod put;
mod reading;
mod recovery;
mod roster;
mod seating;
mod session;
mod stay;
mod tap;
mod troubles;
mod turns;
mod typing;
mod wanted;

use asking::Asking;
pub use asking::{Question, Reply};
use attendance::Attendance;
pub use attendance::{Change, Departure};
pub use gate::{Hold, Patience};
pub use giving::GIVEN;
pub use hearing::{Ask, Hearing, Listening};
pub use hub::Hub;
pub use limits::{
    Account, AddressLimiter, Allowance, Allowed, FailureLimiter, HandshakeLimiter, KeyLimiter, Limiters, Party,
    RouteLimiter, Slot, Slots, StrangerLimiter, Throughput, Verdict,
};
pub use membership::{Entrance, Joined, STANDING, Seat};
pub use order::Turn;
pub use outlet::{CloseReason, Outlet, Undelivered, Waiting};
pub use peers::Peers;
pub use put::PUT;
use put::Removals;
use reading::Doubt;
pub use recovery::{Replay, Reseated};
pub use roster::{Roster, RosterChange, Stage};
pub use session::{Client, Session};
pub use tap::{Heard, Tap, Taps};
use troubles::Troubles;
use turns::Turns;
pub use wanted::{RecoveryError, Unrecovered, Wanted, wanted};

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{self, Config};
use crate::domain::{Event, Refusal, RoomName, UserId};
use crate::log::{AppendError, Appended, Dedupe, ENTRY_BYTES, Log, Page, ROOM_BYTES, Range, Terms};
use crate::metrics::Metrics;
use crate::port::PortError;
use crate::presence::Presence;
use crate::sessions::{Lease, Record, Sessions, Whose};
use crate::supervisor::Supervisor;

/// The limits that the node itself watches over.
#[derive(Clone, Debug)]
struct Limits {
    rooms_per_session: usize,
    history_page: usize,
    room_retention: Duration,
}

/// One gateway process's part of the cluster: its sessions, their rooms, and the way of every event.
#[derive(Debug)]
pub struct Node {
    log: Arc<dyn Log>,
    sessions: Arc<dyn Sessions>,
    hub: Hub,
    asking: Asking,
    attendance: Attendance,
    roster: Roster,
    hearing: Hearing,
    limits: Limits,
    recovery: config::Recovery,
    turns: Turns,
    doubt: Doubt,
    troubles: Troubles,
    removals: Removals,
    /// Cancelled when it leaves: readers that are no clients are told first.
    leaving: CancellationToken,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
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
    /// A node over a log and a store of sessions, with as many shards as the runtime that this is called on has worker
    /// threads, one outside of any. [`Node::run`] must be running for anything to be delivered.
    #[must_use]
    pub fn new(
        log: Arc<dyn Log>,
        sessions: Arc<dyn Sessions>,
        presence: Arc<dyn Presence>,
        config: &Config,
        metrics: Arc<Metrics>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let limits = Limits {
            rooms_per_session: config.limits.rooms_per_session,
            history_page: config.limits.history_page,
            room_retention: config.log.room_retention,
        };
        let attendance = Attendance::new(presence, config.presence.linger, config.redis.timeout);
        // As many as threads that could deliver at the same time.
        let shards = tokio::runtime::Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        let hub = Hub::new(log.clone(), config.rooms.linger, shards, metrics.clone());
        let recovery = config.recovery.clone();
        let (roster, hearing, turns) = (Roster::default(), Hearing::default(), Turns::new(metrics.clone()));
        let doubt = Doubt::default();
        let troubles = Troubles::new();
        Arc::new(Self {
            log,
            sessions,
            hub,
            leaving: CancellationToken::new(),
            asking: Asking::default(),
            attendance,
            roster,
            hearing,
            limits,
            recovery,
            turns,
            doubt,
            troubles,
            // As long as a session may be kept.
            removals: Removals::new(config.recovery.window * 3 / 2),
            metrics,
            tasks,
        })
    }

    /// Starts the node's own work: fan-out and shards, canary, keeping sessions, and listening no longer to rooms that nobody
    /// is in.
    pub fn run(self: &Arc<Self>, name: &str, settings: &Config, supervisor: &Supervisor) {
        let room = RoomName::internal(&format!("canary:{name}"));
        supervisor.run("fan-out", fanout::run(self.log.feed(), self.clone(), room.clone()));
        self.run_shards(supervisor);
        supervisor.run("canary", canary::run(self.clone(), room, settings.canary.interval));
        let (sweeper, keeper, listener, member) = (self.clone(), self.clone(), self.clone(), self.clone());
        supervisor.run("sweep of rooms", async move { sweeper.hub.sweep_forever().await });
        let every = self.recovery.window / 4;
        supervisor.run("renewal of sessions", async move { keeper.renew_forever(every).await });
        supervisor.run("claims of sessions", async move { listener.heed_claims_forever().await });
        let every = settings.presence.lease / 3;
        supervisor.run("beat of presence", async move { member.beat_forever(every).await });
    }

    /// Runs the shards: one among the other tasks, several on threads of their own. The runtime keeps tasks that wake each
    /// other on one thread, which would deliver everything while the others sleep.
    fn run_shards(&self, supervisor: &Supervisor) {
        let shards = self.hub.shards();
        for (number, shard) in shards.iter().enumerate() {
            let (shard, name) = (shard.clone(), format!("shard-{number}"));
            let work = async move { shard.run().await };
            if shards.len() == 1 {
                supervisor.run(name, work);
                continue;
            }
            let work = supervisor.until_stop(name.clone(), work);
            let runtime = tokio::runtime::Handle::current();
            let thread = std::thread::Builder::new().name(name);
            thread.spawn(move || runtime.block_on(work)).expect("the system has no thread left");
        }
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
    /// none in the namespace, or it is another user's.
    ///
    /// # Errors
    /// The store of sessions cannot be reached.
    pub async fn claim(&self, lease: Lease, namespace: &str, user: Option<&UserId>) -> Result<Option<Record>, Refusal> {
        let claimed = self.sessions.claim(lease, namespace, user).await;
        let claimed = claimed.map_err(|error| self.without_sessions(&error))?;
        Ok(claimed.map(|record| self.removals.apply(record)))
    }

    /// Stores a session so that it can come back. False if another connection has taken it over, or it is over.
    ///
    /// # Errors
    /// The store of sessions cannot be reached.
    pub async fn save(&self, session: &Session) -> Result<bool, Refusal> {
        let _saving = session.saving.lock().await;
        let Some(record) = session.record(self.hub.handed_to(session)) else { return Ok(false) };
        let saved = self.sessions.save(session.lease, &record).await;
        saved.map_err(|error| {
            session.mark_unsaved();
            self.without_sessions(&error)
        })
    }

    /// Ends sessions in the store for good, connected or away; returns how many there were. Those that are connected are
    /// still to be closed.
    ///
    /// # Errors
    /// The store of sessions cannot be reached.
    pub async fn forget(&self, whose: &Whose) -> Result<usize, Refusal> {
        self.sessions.forget(whose).await.map_err(|error| self.without_sessions(&error))
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

    /// Publishes an event to a room, on somebody's account if that has limits. The answer has the event's place in the log.
    ///
    /// # Errors
    /// The account or the log is exhausted, or the log cannot be reached; then, with a key, the same publish may be tried
    /// again without the risk of publishing twice.
    pub async fn publish(
        &self,
        room: &RoomName,
        event: &Event,
        terms: Terms<'_>,
        account: Option<&Account>,
    ) -> Result<Appended, Refusal> {
        let started = Instant::now();
        if let Some(account) = account {
            let key = terms.dedupe.map_or(0, |Dedupe(key)| key.len());
            account.keep(event.size() + ENTRY_BYTES + key)?;
        }
        // Whether a room is new costs nothing to ask this way, and another round trip when it is.
        let mut appended = self.log.append(room, event, Terms { known_room: true, ..terms }).await;
        if matches!(appended, Err(AppendError::NewRoom)) {
            if let Some(account) = account {
                account.begin_room(ROOM_BYTES)?;
            }
            appended = self.log.append(room, event, Terms { known_room: false, ..terms }).await;
            if appended.is_ok() {
                self.metrics.log_new_rooms.increment(1);
            }
        }
        let appended = appended.map_err(|error| match error {
            AppendError::Full | AppendError::NewRoom => {
                self.troubles.full.note(|what| tracing::error!("{what}"));
                Refusal::LogFull
            }
            AppendError::Failed(error) => self.unavailable_in(room, &error),
        })?;
        self.metrics.log_append_duration.record(started.elapsed().as_secs_f64());
        Ok(appended)
    }

    /// Sends an event to a room without keeping it.
    ///
    /// # Errors
    /// The other nodes cannot be reached.
    pub async fn signal(&self, room: &RoomName, event: &Event) -> Result<(), Refusal> {
        self.log.signal(room, event).await.map_err(|error| self.unavailable_in(room, &error))
    }

    /// Reads a part of the history of a room. `limit` is cut to the configured page.
    ///
    /// # Errors
    /// The log cannot be reached.
    pub async fn history(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Page, Refusal> {
        let page = self.limits.history_page;
        let range = match range {
            Range::After { offset, limit } => Range::After { offset, limit: limit.clamp(1, page) },
            Range::Newest { before, limit } => Range::Newest { before, limit: limit.clamp(1, page) },
        };
        self.log.read(room, range, bytes).await.map_err(|error| self.unavailable_in(room, &error))
    }

    fn without_sessions(&self, error: &PortError) -> Refusal {
        self.note_sessions_error(error);
        Refusal::Unavailable
    }

    fn note_sessions_error(&self, error: &PortError) {
        self.metrics.session_errors.with(error.operation).increment(1);
        self.troubles.sessions.note(error);
    }

    /// What a client is told whose recovery could not be decided.
    pub fn not_now(&self, error: RecoveryError) -> Refusal {
        match error {
            RecoveryError::Log(error) => self.unavailable(&error),
            RecoveryError::Unavailable(refusal) => refusal,
            RecoveryError::Unrecovered(_) => Refusal::Unavailable,
        }
    }

    /// Tells readers that are no clients that the node leaves.
    pub fn leave_readers(&self) {
        self.leaving.cancel();
    }

    /// The one place where a failing log becomes what clients read; it is logged here and only here.
    pub fn unavailable(&self, error: &PortError) -> Refusal {
        self.metrics.log_errors.with(error.operation).increment(1);
        self.troubles.log.note(error);
        Refusal::Unavailable
    }

    /// The same for what was asked of one room, which then is in the line.
    fn unavailable_in(&self, room: &RoomName, error: &PortError) -> Refusal {
        tracing::Span::current().record("room", tracing::field::display(room));
        self.unavailable(error)
    }
}

/// The key by which a publish of a session to a room is known again: its author's id for it.
#[must_use]
pub fn dedupe(session: &Session, room: &RoomName, id: &str) -> Dedupe {
    dedupe_of(&session.author(), room, id)
}

/// The same for an author that is no session: one letter and a colon say what else it is.
#[must_use]
pub fn dedupe_of(author: &str, room: &RoomName, id: &str) -> Dedupe {
    // With their lengths in front, no three of them read like three others.
    let room = room.as_str();
    Dedupe(format!("{}:{author}:{}:{room}:{id}", author.len(), room.len()))
}

/// Now, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago an event was taken, in seconds; 0 if its node's clock is ahead of this one's.
fn age_seconds(taken_ms: u64) -> f64 {
    Duration::from_millis(now_ms().saturating_sub(taken_ms)).as_secs_f64()
}
