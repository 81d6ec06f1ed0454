//! A session: a client's logical presence on this node, and the outlet through which it hears.

use std::collections::HashSet;
use std::fmt;

use parking_lot::Mutex;

use super::EventLimiter;
use crate::auth::Identity;
use crate::domain::{Frame, RoomName, SessionId};

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
}

/// One session on this node.
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Who it is.
    pub identity: Identity,
    /// How fast it may send.
    pub limiter: EventLimiter,
    outlet: Box<dyn Outlet>,
    membership: Mutex<Membership>,
}

#[derive(Default)]
struct Membership {
    rooms: HashSet<RoomName>,
    /// Once set, nothing may be joined any more: a late join would stay behind for ever.
    departed: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Session {
    /// A session in no room.
    #[must_use]
    pub fn new(id: SessionId, identity: Identity, limiter: EventLimiter, outlet: Box<dyn Outlet>) -> Self {
        Self { id, identity, limiter, outlet, membership: Mutex::default() }
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
        self.membership.lock().rooms.contains(room)
    }

    /// In how many rooms it is.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.membership.lock().rooms.len()
    }

    /// Hands a frame to the client if its queue has room.
    pub(super) fn try_deliver(&self, frame: &Frame) -> Result<(), Undelivered> {
        self.outlet.deliver(frame)
    }

    /// Hands a frame to the client; false if it will not get it. One that does not keep up is closed: a hole would
    /// never be noticed.
    pub fn deliver(&self, frame: &Frame) -> bool {
        let delivered = self.try_deliver(frame);
        if delivered == Err(Undelivered::Full) {
            self.outlet.close(CloseReason::Slow);
        }
        delivered.is_ok()
    }

    /// Ends the session's connection.
    pub fn close(&self, reason: CloseReason) {
        self.outlet.close(reason);
    }

    /// Notes that the session is in a room; false if the session is over and must not be.
    pub(super) fn remember(&self, room: &RoomName) -> bool {
        let mut membership = self.membership.lock();
        if !membership.departed {
            membership.rooms.insert(room.clone());
        }
        !membership.departed
    }

    /// Notes that it is no longer; false if it was not.
    pub(super) fn forget(&self, room: &RoomName) -> bool {
        self.membership.lock().rooms.remove(room)
    }

    /// Ends all membership for good; returns the rooms that it was in.
    pub(super) fn depart(&self) -> HashSet<RoomName> {
        let mut membership = self.membership.lock();
        membership.departed = true;
        std::mem::take(&mut membership.rooms)
    }
}
