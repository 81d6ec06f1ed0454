//! PORT: sessions. What a session needs to come back on another connection or node; the trait is the contract,
//! `tests/contract/sessions.rs` checks every backend against it.

mod announcements;
mod memory;
mod redis;
mod sqlite;

pub use memory::MemorySessions;
pub use redis::RedisSessions;
pub use sqlite::SqliteSessions;

use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::domain::{Offset, PidHash, RoomName, SessionId, UserId};
use crate::formats::Format;
use crate::port::PortError;

/// How many holdings that ended may wait to be heard of; what does not fit shows when renewing.
const ANNOUNCEMENTS: usize = 4096;

/// The sessions of a deployment that may come back.
///
/// **One holder.** A session is held by one connection at a time. [`Sessions::claim`] makes the caller the holder;
/// whoever held it before no longer can save, release or renew it, and is told through [`Sessions::superseded`]. Each claim
/// begins a term, whose number is [`Record::TERMS`] above that of the last one.
///
/// **Ends.** What [`Sessions::forget`] has forgotten nobody gets back, not even its holder: as long as the holder could
/// have kept it, nothing can be saved in its place. A claim that was answered before is no exception.
///
/// **Losses.** A store that may lose its last writes gives what it keeps a place in the log's history. Where such a place is
/// lost, that history ends: a record that was kept before the present one began may not be the last one, and says so.
///
/// **Time.** What is held is kept as long as it is renewed every quarter of the recovery window; after its holder
/// released it, or was killed, it is kept for the window at least. After that it may be forgotten.
#[async_trait]
pub trait Sessions: Send + Sync + 'static {
    /// Saves a session for its holder, a new one or one that was forgotten meanwhile. Returns whether it was saved:
    /// not if somebody else holds it by now, or its holder has released it and it is kept.
    async fn save(&self, lease: Lease, record: &Record) -> Result<bool, PortError>;

    /// Takes a session of a namespace over. Nothing if there is none there, it is another user's, or this version cannot
    /// read it: which of them is not told, and then nothing changes. The record is as it was saved, but for the new
    /// holder's term.
    async fn claim(&self, lease: Lease, namespace: &str, user: Option<&UserId>) -> Result<Option<Claimed>, PortError>;

    /// Ends the holding of a session, if it still is this holder's: it is kept for the window, or forgotten at once.
    async fn release(&self, lease: Lease, keep: bool) -> Result<(), PortError>;

    /// Keeps sessions for another while; returns those that are not this holder's any more or were forgotten.
    async fn renew(&self, leases: &[Lease]) -> Result<Vec<Lease>, PortError>;

    /// Ends sessions for good, whether they are held or released; returns how many there were. Holders are not told
    /// through [`Sessions::superseded`]: it shows when they save or renew.
    async fn forget(&self, whose: &Whose) -> Result<usize, PortError>;

    /// The holdings that ended because another connection claimed the session while it was held, on whichever node.
    /// At most once, and only for claims after this was called; what is missed shows when renewing. To be taken once.
    fn superseded(&self) -> BoxStream<'static, Lease>;
}

/// A holder's right to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Which session: what is kept of its pid. The pid itself is its client's alone.
    pub pid: PidHash,
    /// Which connection: random, never 0.
    pub holder: u64,
}

impl Lease {
    /// A new holder's right to a session.
    #[must_use]
    pub fn new(pid: impl Into<PidHash>) -> Self {
        Self { pid: pid.into(), holder: rand::random::<u64>().max(1) }
    }
}

/// Which sessions are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// All of a user: those that came with its token, and those that say they are it.
    User(UserId),
    /// One, by the id that others know.
    Session(SessionId),
}

impl Whose {
    /// Whether a session is meant.
    fn means(&self, record: &Record) -> bool {
        match self {
            Self::User(user) => record.who() == Some(user),
            Self::Session(session) => record.session == *session,
        }
    }
}

/// What a session brings back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its id, which other nodes and the author of publishes know.
    pub session: SessionId,
    /// Whose it is: the user of the token with which it came.
    pub user: Option<UserId>,
    /// Counts what this holder has saved. A save may arrive late, and must not undo a later one.
    pub version: u32,
    /// Where it is a member.
    pub rooms: Vec<RoomRecord>,
    /// The namespace that it is in.
    pub namespace: String,
    /// Who it says it is, where no token was needed.
    pub identified: Option<UserId>,
    /// The names that it holds, each with the client event by which it claimed it.
    pub names: Vec<(String, RoomName)>,
    /// The newest offset that it had been handed.
    pub handed: Offset,
    /// A client that has heard that has everything of all these rooms up to here. They may be silent for longer than the
    /// log keeps anything; then nothing else says so.
    pub complete_to: Offset,
    /// Which of the session's holders this one is: of two, the later one has the higher number. Not in
    /// [`Format::Unordered`].
    #[serde(default)]
    pub term: u32,
}

/// A session that was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// What was saved last, as far as the store knows.
    pub record: Record,
    /// Where the log stood when that was saved: if its history began later, or what lies before a later offset is in doubt, so
    /// is whether this was the last save. Nothing of a store that loses nothing, or where a node saved it of a version
    /// that did not note it.
    pub kept_at: Option<Offset>,
}

impl From<Record> for Claimed {
    /// Of a store that loses nothing.
    fn from(record: Record) -> Self {
        Self { record, kept_at: None }
    }
}

/// A session's membership of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomRecord {
    /// The room.
    pub room: RoomName,
    /// What was published up to here is not missing: it came before the session did, or was replayed when it joined.
    pub since: Offset,
    /// The session has, or will have, everything from here on. Earlier than `since` if a replay began here.
    pub complete_from: Offset,
    /// The number of the replay with which it joined, counted from 1 in each session; 0 without one.
    pub replay: u32,
    /// The newest offset that the session had been handed when that replay began: a client that knows of no newer
    /// one, nor of the replay's end, may have got a part of it only.
    pub handed: Offset,
    /// The client event by which it joined: the route decides whether it may come back.
    pub via: String,
}

impl Record {
    /// How far apart the terms of two claims are. Whoever claims a session has two: of the session as it was, and behind it
    /// that of a new one with the same id, which comes before all that claim the old one later.
    pub const TERMS: u32 = 2;

    /// Who it is: whose token it came with, or who it says it is.
    #[must_use]
    pub fn who(&self) -> Option<&UserId> {
        self.user.as_ref().or(self.identified.as_ref())
    }

    /// The form that backends store: a format byte, then MessagePack.
    #[must_use]
    pub fn encode(&self, format: Format) -> Vec<u8> {
        let mut bytes = vec![format.number()];
        let encoded = match format {
            Format::Unordered => {
                let Self { session, user, version, rooms, namespace, identified, names, handed, complete_to, .. } =
                    self;
                let fields = (session, user, version, rooms, namespace, identified, names, handed, complete_to);
                rmp_serde::encode::write(&mut bytes, &fields)
            }
            Format::Ordered | Format::Excepting => rmp_serde::encode::write(&mut bytes, self),
        };
        encoded.expect("a record always encodes");
        bytes
    }

    /// Reads [`Self::encode`]'s forms; nothing if it is of another one or damaged: the session is treated as forgotten.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (format, body) = bytes.split_first()?;
        Format::of_number(*format).and_then(|_| rmp_serde::from_slice(body).ok())
    }
}

/// How long an entry is kept after its holder saved, claimed or renewed it: one that is killed just before it would
/// have renewed still leaves more than the window.
fn time_held(window: Duration) -> Duration {
    window * 3 / 2
}

/// Whose a session is, as a text for backends that compare it themselves: no user id is empty.
fn owner(user: Option<&UserId>) -> &str {
    user.map_or("", UserId::as_str)
}

/// A holder as a text: the form in backends.
fn holder(lease: Lease) -> String {
    format!("{:016x}", lease.holder)
}
