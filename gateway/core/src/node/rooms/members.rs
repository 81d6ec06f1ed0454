//! Members: how sessions come into rooms and out of them, on this node.

use std::sync::Arc;

use super::{Inhabited, Rooms};
use crate::domain::{Offset, Position, Refusal, RoomName};
use crate::node::session::{Session, Stay};

/// The room that the gateway itself puts sessions into is entered by this, which is no client event.
pub const STANDING: &str = "$standing";

impl Rooms {
    /// Whether a session may be in one more room; one that it is in already is none more.
    pub(in crate::node) fn check(&self, session: &Session, room: &RoomName) -> Result<(), Refusal> {
        let limit = self.limits.rooms_per_session;
        let is_full = limit > 0 && room.shown().is_some() && !session.is_in(room) && session.rooms() >= limit;
        if is_full { Err(Refusal::TooManyRooms { limit }) } else { Ok(()) }
    }

    /// The rooms after one that clients can name and that have members here, in order, `limit` at the most.
    pub(in crate::node) fn inhabited(
        &self,
        after: Option<&RoomName>,
        limit: usize,
        is_meant: impl Fn(&RoomName) -> bool,
    ) -> Vec<Inhabited> {
        self.hub.inhabited(after, limit, is_meant)
    }

    /// Puts a session into a room; returns the position after which it hears everything there. It is not stored.
    pub(in crate::node) async fn enter(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        via: &Arc<str>,
    ) -> Result<Position, Refusal> {
        self.hub.enter(session, room, via).await.map_err(|error| self.unavailable_in(room, &error))
    }

    /// The same, where the session is not known to have everything before that position: how it is in the room then.
    pub(in crate::node) async fn enter_as(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        stay: impl Fn(Offset) -> Stay,
    ) -> Result<Position, Refusal> {
        self.hub.enter_as(session, room, stay).await.map_err(|error| self.unavailable_in(room, &error))
    }

    /// Puts a session into rooms that nobody asked for. It is not stored.
    pub(in crate::node) async fn settle(&self, session: &Arc<Session>, rooms: &[RoomName]) -> Result<(), Refusal> {
        let via: Arc<str> = STANDING.into();
        for room in rooms {
            self.hub.enter(session, room, &via).await.map_err(|error| self.unavailable(&error))?;
        }
        Ok(())
    }

    /// Notes that a member needs no published events up to an offset: it has them.
    pub(in crate::node) fn skip_to(&self, session: &Session, room: &RoomName, from: Offset) {
        self.hub.skip_to(session, room, from);
    }

    /// Takes a session out of a room; returns how it was in it, if it was.
    pub(in crate::node) fn leave(&self, session: &Session, room: &RoomName) -> Option<Stay> {
        let stay = session.forget(room)?;
        self.hub.leave(session, room);
        Some(stay)
    }

    /// A session is not in a room after all: what came for it was never meant for it.
    pub(in crate::node) fn take_back(&self, session: &Session, room: &RoomName) {
        self.leave(session, room);
        session.gate.forget(room);
    }

    /// Takes a session that is over out of all rooms, for good; returns where it was counted.
    pub(in crate::node) fn leave_all(&self, session: &Session) -> Vec<RoomName> {
        let left = session.depart();
        for room in &left.rooms {
            self.hub.leave(session, room);
        }
        left.seats
    }
}
