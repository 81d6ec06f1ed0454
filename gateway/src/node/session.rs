//! A session: a client's logical presence on this node, and the outlet through which it hears.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Allowance;
use super::gate::{Gate, Patience};
use crate::auth::Identity;
use crate::domain::{Frame, Offset, RoomName, SessionId};
use crate::sessions::{Lease, Record, RoomRecord};

/// The way to one client. Implemented by the edge; neither method waits.
pub trait Outlet: Send + Sync + 'static {
    /// Queues a frame for the client, in order.
    ///
    /// # Errors
    /// Why the frame will not be delivered.
    fn deliver(&self, frame: &Frame) -> Result<(), Undelivered>;

    /// Ends the connection so that an official client comes back by itself.
    fn close(&self, reason: CloseReason);
}

/// Why a client does not get a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// Its queue is full: it does not keep up.
    Full,
    /// Its connection is over.
    Gone,
}

/// Why the node ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client does not read as fast as its rooms speak.
    Slow,
    /// The node hands its clients over.
    Draining,
    /// The connection is as old as it may get.
    Aged,
    /// Another connection has the session, as far as the store of sessions knows.
    Replaced,
}

/// One session on this node.
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Who it is.
    pub identity: Identity,
    /// Its right to come back.
    pub lease: Lease,
    /// What it may send.
    pub allowance: Arc<Allowance>,
    pub(super) gate: Arc<Gate>,
    membership: Mutex<Membership>,
    /// How many replays began.
    replays: AtomicU32,
    /// Whether its beginning is over: until then only who begins it may store it.
    begun: AtomicBool,
    /// Whether the stored record is as the session is.
    saved: AtomicBool,
    /// How often it was to be stored.
    saves: AtomicU32,
    /// Nothing up to here is for it in rooms that it joins from now on: it was handed newer events, from the log.
    floor: AtomicU64,
    /// Held while the record is stored, so that an older one never comes after a newer one.
    pub(super) saving: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Membership {
    rooms: HashMap<RoomName, Stay>,
    /// Once set, nothing may be joined any more: a late join would stay behind for ever.
    departed: bool,
}

/// A session's being in a room; see [`RoomRecord`] for the fields.
#[derive(Clone, Debug)]
pub(super) struct Stay {
    pub(super) since: Offset,
    pub(super) complete_from: Offset,
    pub(super) replay: u32,
    pub(super) handed: Offset,
    pub(super) via: Arc<str>,
}

impl Stay {
    pub(super) fn new(since: Offset, via: &Arc<str>) -> Self {
        Self { since, complete_from: since, replay: 0, handed: Offset::START, via: via.clone() }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Session {
    /// A session in no room.
    #[must_use]
    pub fn new(
        id: SessionId,
        identity: Identity,
        lease: Lease,
        allowance: Arc<Allowance>,
        patience: Patience,
        outlet: Box<dyn Outlet>,
    ) -> Self {
        Self {
            id,
            identity,
            lease,
            allowance,
            gate: Arc::new(Gate::new(outlet, patience)),
            membership: Mutex::default(),
            replays: AtomicU32::new(0),
            begun: AtomicBool::new(false),
            saved: AtomicBool::new(false),
            saves: AtomicU32::new(0),
            floor: AtomicU64::new(0),
            saving: tokio::sync::Mutex::default(),
        }
    }

    /// Whose publishes are one sequence for deduplication: the user's, or the anonymous session's own. The first
    /// letter keeps a user from being called like a session.
    #[must_use]
    pub fn author(&self) -> String {
        self.identity.user.as_ref().map_or_else(|| format!("s:{}", self.id), |user| format!("u:{}", user.as_str()))
    }

    /// Whether the session is in a room.
    #[must_use]
    pub fn is_in(&self, room: &RoomName) -> bool {
        self.membership.lock().rooms.contains_key(room)
    }

    /// In how many rooms it is.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.membership.lock().rooms.len()
    }

    /// Hands a live frame of a room to the client, at once or after what waits already; false if it will not get it.
    pub(super) fn deliver(&self, room: &RoomName, offset: Option<Offset>, frame: &Arc<Frame>) -> bool {
        self.gate.deliver(room, offset, frame)
    }

    /// Hands the first frame of the connection to the client.
    pub async fn greet(&self, hello: &Frame) {
        self.gate.overtake(hello, None).await;
    }

    /// Hands a notice to the client after what waits already; if it cannot take it, it is closed.
    pub(super) fn tell(&self, room: &RoomName, notice: &Arc<Frame>) {
        self.gate.notify(room, notice);
    }

    /// Ends the session's connection.
    pub fn close(&self, reason: CloseReason) {
        self.gate.outlet().close(reason);
    }

    /// Notes that the session is in a room, or since when it is; false if it is over and must not be.
    pub(super) fn remember(&self, room: &RoomName, stay: Stay) -> bool {
        let mut membership = self.membership.lock();
        if !membership.departed {
            membership.rooms.insert(room.clone(), stay);
        }
        !membership.departed
    }

    /// Notes that the replay with which it joined a room has ended, and what it had been handed before.
    pub(super) fn replay_ended(&self, room: &RoomName, handed: Offset) {
        if let Some(stay) = self.membership.lock().rooms.get_mut(room) {
            stay.handed = handed;
        }
    }

    /// Notes since when it is in a room to which it came back, if it is.
    pub(super) fn stay_since(&self, room: &RoomName, since: Offset, complete_from: Offset) {
        if let Some(stay) = self.membership.lock().rooms.get_mut(room) {
            (stay.since, stay.complete_from) = (since, complete_from);
        }
    }

    /// Notes that it is no longer; false if it was not.
    pub(super) fn forget(&self, room: &RoomName) -> bool {
        self.membership.lock().rooms.remove(room).is_some()
    }

    /// Ends all membership for good; returns the rooms that it was in.
    pub(super) fn depart(&self) -> Vec<RoomName> {
        let mut membership = self.membership.lock();
        membership.departed = true;
        std::mem::take(&mut membership.rooms).into_keys().collect()
    }

    /// The number of a replay that begins.
    pub(super) fn next_replay(&self) -> u32 {
        self.replays.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Counts replays on from those that the session had on another connection.
    pub(super) fn count_replays_from(&self, last: u32) {
        self.replays.store(last, Ordering::Release);
    }

    /// From which offset on it has, or will have, everything of a room that it is in.
    pub(super) fn complete_from(&self, room: &RoomName) -> Option<Offset> {
        self.membership.lock().rooms.get(room).map(|stay| stay.complete_from)
    }

    /// Notes that what it joins from now on is nothing to it up to an offset.
    pub(super) fn raise_floor(&self, upto: Offset) {
        self.floor.fetch_max(upto.0, Ordering::AcqRel);
    }

    pub(super) fn floor(&self) -> Offset {
        Offset(self.floor.load(Ordering::Acquire))
    }

    /// What must be stored so that it can come back; nothing if it is over, because then its rooms are gone. Whatever
    /// changes from now on makes it stale.
    pub(super) fn record(&self) -> Option<Record> {
        self.begun.store(true, Ordering::Release);
        self.saved.store(true, Ordering::Release);
        let membership = self.membership.lock();
        if membership.departed {
            return None;
        }
        let room = |(room, stay): (&RoomName, &Stay)| RoomRecord {
            room: room.clone(),
            since: stay.since,
            complete_from: stay.complete_from,
            replay: stay.replay,
            handed: stay.handed,
            via: stay.via.to_string(),
        };
        let rooms = membership.rooms.iter().map(room).collect();
        let version = self.saves.fetch_add(1, Ordering::AcqRel) + 1;
        Some(Record { session: self.id, user: self.identity.user.clone(), version, rooms })
    }

    /// Notes that what is stored is not what the session is.
    pub(super) fn mark_unsaved(&self) {
        self.saved.store(false, Ordering::Release);
    }

    pub(super) fn is_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    pub(super) fn is_saved(&self) -> bool {
        self.saved.load(Ordering::Acquire)
    }
}
