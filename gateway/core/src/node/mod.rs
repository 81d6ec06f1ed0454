//! The node: sessions join, leave, publish, signal and read here, whatever edge they came through.
//!
//! What it knows lies in three parts, each with a state of its own, that know each other in one direction: *rooms* (who hears
//! what), *comebacks* (who is connected, and may come back; of rooms it knows how far sessions were handed everything) and
//! *attendance* (who is counted where; of comebacks it knows who is connected). [`Node`] builds and runs them, once for each
//! ground that namespaces stand on (its `quarters`), and does itself what needs more than one. Below them is what a session is,
//! which all three know.

mod asking;
mod attendance;
mod clock;
mod comebacks;
mod giving;
mod limits;
mod membership;
mod movable;
mod namespaces;
mod naming;
mod peers;
mod put;
mod quarters;
mod recovery;
mod rooms;
mod session;
mod sights;
mod tap;
mod troubles;
mod wanted;

pub use asking::{Question, Reply};
pub use attendance::{Change, Departure, Firsts, Reseated, Turn};
pub use clock::now_ms;
pub use comebacks::{Roster, RosterChange, Stage, wanted};
pub use giving::GIVEN;
pub use limits::{
    Account, AddressLimiter, Allowance, Allowed, FailureLimiter, HandshakeLimiter, KeyLimiter, Limiters, NoticeLimiter,
    Party, RouteLimiter, SenderLimiter, Slot, Slots, StrangerLimiter, Throughput, Verdict,
};
pub use membership::{Entrance, Joined};
pub use peers::Peers;
pub use put::PUT;
pub use quarters::Ground;
pub use recovery::Replay;
pub use rooms::{Ask, Hearing, Inhabited, Listening, Past, STANDING, Stretch, dedupe, dedupe_of};
pub use session::{Client, CloseReason, Hold, Outlet, Patience, Refused, Session, Undelivered, Waiting};
pub use sights::{Seen, Sight, Sights, Watch};
pub use tap::{Heard, Tap, Taps};
pub use wanted::{Missing, RecoveryError, Seat, Unrecovered, Wanted};

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::asking::Asking;
use self::quarters::{Quarters, Shared};
use crate::config::Config;
use crate::domain::{Event, Offset, Refusal, RoomName, UserId};
use crate::formats::Formats;
use crate::log::{Appended, Range, Terms};
use crate::metrics::Metrics;
use crate::presence::{self, Presence};
use crate::sessions::{Claimed, Lease, Sessions, Whose};
use crate::supervisor::Supervisor;

/// One gateway process's part of the cluster: its sessions, their rooms, and the way of every event.
#[derive(Debug)]
pub struct Node {
    quarters: Quarters,
    roster: Arc<Roster>,
    hearing: Arc<Hearing>,
    asking: Asking,
    sights: Arc<Sights>,
    /// Cancelled when it leaves: readers that are no clients are told first. Another one when it does not leave after all.
    leaving: Mutex<CancellationToken>,
    tasks: TaskTracker,
}

impl Node {
    /// A node over a log, or a log and an archive, and stores of sessions and presence, with as many shards as the runtime that this is called on has
    /// worker threads, one outside of any. [`Node::run`] must be running for anything to be delivered.
    #[must_use]
    pub fn new(
        past: impl Into<Past>,
        sessions: Arc<dyn Sessions>,
        presence: Arc<dyn Presence>,
        config: &Config,
        metrics: Arc<Metrics>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let (past, name) = (past.into(), config.redis.name().to_owned());
        let ground = Ground { name, namespaces: Vec::new(), past, sessions, presence };
        Self::on(ground, Vec::new(), config, metrics, tasks)
    }

    /// The same over several grounds: `main` has all namespaces that none of the `others` has.
    #[must_use]
    pub fn on(
        main: Ground,
        others: Vec<Ground>,
        config: &Config,
        metrics: Arc<Metrics>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let (roster, sights) = (Arc::<Roster>::default(), Arc::<Sights>::default());
        let names = std::iter::once(&main).chain(&others).map(|ground| ground.name.clone());
        let hearing = Arc::new(Hearing::new(names.collect(), config.canary.deaf_after, metrics.clone()));
        let shared = Shared { roster: &roster, hearing: &hearing, sights: &sights, config, metrics, tasks: &tasks };
        let quarters = Quarters::new(main, others, &shared);
        let (asking, leaving) = (Asking::default(), Mutex::default());
        Arc::new(Self { quarters, roster, hearing, asking, sights, leaving, tasks })
    }

    /// Starts the node's own work: fan-out and shards, canary, keeping sessions, counting them, and listening no longer to
    /// rooms that nobody is in.
    pub fn run(&self, name: &str, settings: &Config, supervisor: &Supervisor) {
        self.quarters.run(name, settings, supervisor);
    }

    /// Whether it hears the others.
    #[must_use]
    pub fn hearing(&self) -> &Hearing {
        &self.hearing
    }

    /// Compares what this node hears on one ground with what others hear there, for ever.
    pub async fn mind_hearing(self: Arc<Self>, listening: Listening) {
        let number = self.hearing.number_of(&listening.ground);
        self.quarters.number(number).rooms.mind_hearing(listening).await;
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
        self.quarters.of_room(room).rooms.publish(room, event, terms, account).await
    }

    /// Sends an event to a room without keeping it.
    ///
    /// # Errors
    /// The other nodes cannot be reached.
    pub async fn signal(&self, room: &RoomName, event: &Event) -> Result<(), Refusal> {
        self.quarters.of_room(room).rooms.signal(room, event).await
    }

    /// Hands an event to the members that a room has on this node, without the log and without other nodes: at most once, in
    /// the order of these calls. Waits while the fan-out is behind.
    pub async fn relay(&self, room: &RoomName, event: Event) {
        self.quarters.of_room(room).rooms.relay(room, event).await;
    }

    /// Hands an event to one session, without the log: at most once. False if its client will not get it.
    pub fn tell(&self, session: &Session, event: &Event) -> bool {
        self.quarter(session).rooms.tell(session, event)
    }

    /// The sessions of this node that are in a room.
    #[must_use]
    pub fn members(&self, room: &RoomName) -> Vec<Arc<Session>> {
        self.quarters.of_room(room).rooms.members(room)
    }

    /// Reads a part of the history of a room, what has left the log from the archive. `limit` is cut to the configured page.
    ///
    /// # Errors
    /// The log, or the archive, cannot be reached.
    pub async fn history(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Stretch, Refusal> {
        self.quarters.of_room(room).rooms.history(room, range, bytes).await
    }

    /// Whether an event is where it is said to be, in the log or in the archive.
    ///
    /// # Errors
    /// Neither says so, and one of them cannot be reached.
    pub async fn has_said(&self, room: &RoomName, offset: Offset) -> Result<bool, Refusal> {
        self.quarters.of_room(room).rooms.has_said(room, offset).await
    }

    /// Where the log stands, and from where on it has everything of a room.
    ///
    /// # Errors
    /// The log cannot be reached.
    pub async fn log_reaches(&self, room: &RoomName) -> Result<(Offset, Offset), Refusal> {
        self.quarters.of_room(room).rooms.log_reaches(room).await
    }

    /// Tells a room that a session types: `begin` now, unless the room was told a moment ago, and `end` when `ttl` has
    /// passed without another call.
    ///
    /// # Errors
    /// The session types in too many places, or the other nodes cannot be reached.
    pub async fn begin_typing(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        begin: &Event,
        end: &Event,
        ttl: Duration,
    ) -> Result<(), Refusal> {
        self.quarter(session).rooms.begin_typing(session, room, begin, end, ttl).await
    }

    /// Ends at once what [`Self::begin_typing`] began; nothing happens if it is over.
    ///
    /// # Errors
    /// The other nodes cannot be reached.
    pub async fn end_typing(&self, session: &Session, room: &RoomName, end: &Event) -> Result<(), Refusal> {
        self.quarter(session).rooms.end_typing(session, room, end).await
    }

    /// Keeps what is live from a session as long as the hold is there.
    pub fn hold(&self, session: &Session) -> Hold {
        session.gate.hold()
    }

    /// Tells readers that are no clients that the node leaves.
    pub fn leave_readers(&self) {
        self.leaving.lock().cancel();
    }

    /// Has such readers again: the node does not leave.
    pub fn welcome_readers(&self) {
        *self.leaving.lock() = CancellationToken::new();
    }

    /// What happens to sessions here, one by one.
    #[must_use]
    pub fn sights(&self) -> &Arc<Sights> {
        &self.sights
    }

    /// The rooms that have members on this node and that clients can name, those after one, with how many there are of each
    /// and a name that `is_meant`: in order, `limit` at the most.
    #[must_use]
    pub fn inhabited(
        &self,
        after: Option<&RoomName>,
        limit: usize,
        is_meant: impl Fn(&RoomName) -> bool,
    ) -> Vec<Inhabited> {
        let all = self.quarters.all().flat_map(|quarter| quarter.rooms.inhabited(after, limit, &is_meant));
        let mut inhabited: Vec<_> = all.collect();
        inhabited.sort_unstable_by(|one, other| one.room.cmp(&other.room));
        inhabited.truncate(limit);
        inhabited
    }

    /// Puts a session into rooms that nobody asked for: those of its user and of everybody. It is not stored.
    ///
    /// # Errors
    /// The log cannot be reached.
    pub async fn settle(&self, session: &Arc<Session>, rooms: &[RoomName]) -> Result<(), Refusal> {
        self.quarter(session).rooms.settle(session, rooms).await
    }

    /// The sessions that are connected to this node.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Counts a session among those that are connected, until [`Self::depart`]; its connection ends at `ends`. Before
    /// it is stored for the first time: only who is counted learns that somebody else has claimed the session.
    pub fn arrive(&self, session: &Arc<Session>, ends: Option<Instant>) {
        self.quarter(session).comebacks.arrive(session, ends);
    }

    /// Takes over the session of a client that comes back, from whatever connection still has it. Nothing if there is
    /// none in the namespace, or it is another user's.
    ///
    /// # Errors
    /// The store of sessions cannot be reached.
    pub async fn claim(
        &self,
        lease: Lease,
        namespace: &str,
        user: Option<&UserId>,
    ) -> Result<Option<Claimed>, Refusal> {
        self.quarters.of(namespace).comebacks.claim(lease, namespace, user).await
    }

    /// Stores a session so that it can come back. False if another connection has taken it over, or it is over.
    ///
    /// # Errors
    /// The store of sessions cannot be reached.
    pub async fn save(&self, session: &Session) -> Result<bool, Refusal> {
        self.quarter(session).comebacks.save(session).await
    }

    /// Ends sessions in the store for good, connected or away; returns how many there were. Those that are connected are
    /// still to be closed.
    ///
    /// # Errors
    /// The store of sessions cannot be reached.
    pub async fn forget(&self, whose: &Whose) -> Result<usize, Refusal> {
        // In every store, whichever of them fails: what could be ended is, and trying again ends the rest.
        let forgotten = join_all(self.quarters.all().map(|quarter| quarter.comebacks.forget(whose))).await;
        // A session is in one of them.
        if let Whose::Session(_) = whose
            && let Some(found) = forgotten.iter().flatten().find(|found| **found > 0)
        {
            return Ok(*found);
        }
        forgotten.into_iter().sum()
    }

    /// Renews all sessions in the store now, and closes those that were ended or taken over there: for who may have missed
    /// being told.
    pub async fn renew(&self) {
        join_all(self.quarters.all().map(|quarter| quarter.comebacks.renew_all())).await;
    }

    /// Closes connections that are as old as they may get; to be called every few seconds.
    pub fn close_aged(&self) {
        self.quarters.main().comebacks.close_aged();
    }

    /// Stores all sessions anew whenever an older format is to be written, for ever: nodes that read no newer one could not
    /// let them come back.
    pub async fn heed_formats_forever(self: Arc<Self>, formats: Formats) {
        join_all(self.quarters.all().map(|quarter| quarter.comebacks.heed_formats_forever(formats.clone()))).await;
    }

    /// What happens to places, as far as this node is the one that learns it: those of one ground after the other, each to be
    /// taken once, and nothing when all were.
    pub fn changes(&self) -> Option<mpsc::Receiver<Change>> {
        self.quarters.all().find_map(|quarter| quarter.attendance.changes())
    }

    /// Counts a session in the namespace; returns the turn of its coming. If that cannot be done now, it will be.
    pub async fn count_in(&self, session: &Arc<Session>) -> Option<Turn> {
        self.quarter(session).attendance.count_in(session).await
    }

    /// Counts a session with the next beat in rooms that it is in and where nobody was counted before.
    pub fn count_in_rooms(&self, session: &Arc<Session>, rooms: impl IntoIterator<Item = RoomName>) {
        self.quarter(session).attendance.count_in_rooms(session, rooms);
    }

    /// How many members rooms have, in order.
    ///
    /// # Errors
    /// The store of presence cannot be reached.
    pub async fn count_members(&self, rooms: &[RoomName]) -> Result<Vec<u64>, Refusal> {
        let mut counted = vec![0; rooms.len()];
        for (number, quarter) in self.quarters.all().enumerate() {
            let own: Vec<usize> =
                (0..rooms.len()).filter(|at| self.quarters.number_of(&rooms[*at]) == number).collect();
            if !own.is_empty() {
                let names: Vec<_> = own.iter().map(|at| rooms[*at].clone()).collect();
                let counts = quarter.attendance.count_members(&names).await?;
                own.into_iter().zip(counts).for_each(|(at, count)| counted[at] = count);
            }
        }
        Ok(counted)
    }

    /// Who is in a room: `limit` members at the most, those after a cursor.
    ///
    /// # Errors
    /// The store of presence cannot be reached.
    pub async fn list_members(
        &self,
        room: &RoomName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<presence::Page, Refusal> {
        self.quarters.of_room(room).attendance.list_members(room, after, limit).await
    }
}
