//! What a session is in: its rooms, and where it is counted.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Session, State};
use crate::domain::{Except, Offset, RoomName};

#[derive(Default)]
pub(super) struct Membership {
    pub(super) rooms: HashMap<RoomName, Stay>,
    /// The names that it holds, as they were given, each with the client event by which it claimed it.
    pub(super) names: Vec<(Arc<str>, RoomName)>,
    /// How many replays began.
    replays: u32,
    /// Nothing up to here is for it in rooms that it joins from now on: it was handed newer events, from the log.
    floor: Offset,
}

impl Membership {
    pub(super) fn seats(&self) -> Vec<RoomName> {
        let rooms = self.rooms.iter().filter(|(_, stay)| stay.seated).map(|(room, _)| room);
        rooms.cloned().chain(self.looks()).collect()
    }

    /// Where it is for the names that it holds.
    fn looks(&self) -> impl Iterator<Item = RoomName> {
        self.names.iter().flat_map(|(_, name)| name.looks())
    }
}

/// A session's being in a room; see [`crate::sessions::RoomRecord`] for the fields.
#[derive(Clone, Debug)]
pub(in crate::node) struct Stay {
    pub(in crate::node) since: Offset,
    pub(in crate::node) complete_from: Offset,
    pub(in crate::node) replay: u32,
    pub(in crate::node) handed: Offset,
    pub(in crate::node) via: Arc<str>,
    /// Whether it is counted among the room's members, cluster-wide.
    pub(in crate::node) seated: bool,
}

impl Stay {
    pub(in crate::node) fn new(since: Offset, via: &Arc<str>) -> Self {
        Self { since, complete_from: since, replay: 0, handed: Offset::START, via: via.clone(), seated: false }
    }

    /// One that begins with a replay of which no client is known to have got anything.
    pub(in crate::node) fn unproven(since: Offset, replay: u32, via: &Arc<str>) -> Self {
        Self { replay, handed: Offset(u64::MAX), ..Self::new(since, via) }
    }
}

/// What a session was in when it ended.
pub(in crate::node) struct Left {
    pub(in crate::node) rooms: Vec<RoomName>,
    /// Where it was counted: rooms and names.
    pub(in crate::node) seats: Vec<RoomName>,
}

impl Session {
    /// Whether the session is in a room.
    #[must_use]
    pub fn is_in(&self, room: &RoomName) -> bool {
        self.state.lock().membership.rooms.contains_key(room)
    }

    /// Whether an event is not for it. Only where several are meant, its rooms are looked at.
    pub(in crate::node) fn is_excepted(&self, except: &Except) -> bool {
        except.covers(self.id, |room| self.is_in(room), || self.gate.is_busy())
    }

    /// In how many rooms it is that it asked for.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.state.lock().membership.rooms.keys().filter(|room| room.shown().is_some()).count()
    }

    /// The rooms that it is in, each with the client event by which it joined.
    #[must_use]
    pub fn stays(&self) -> Vec<(RoomName, Arc<str>)> {
        self.state.lock().membership.rooms.iter().map(|(room, stay)| (room.clone(), stay.via.clone())).collect()
    }

    /// Where it is counted: rooms and names.
    pub(in crate::node) fn seats(&self) -> Vec<RoomName> {
        self.state.lock().membership.seats()
    }

    /// Whether it is counted in a room.
    pub(in crate::node) fn is_seated(&self, room: &RoomName) -> bool {
        self.state.lock().membership.rooms.get(room).is_some_and(|stay| stay.seated)
    }

    /// Lets go of a name that somebody else holds.
    pub(in crate::node) fn drop_name(&self, name: &RoomName) {
        self.state.lock().membership.names.retain(|(_, held)| held != name);
    }

    /// Notes that it is counted in a room that it is in; false if it is not in it any more.
    pub(in crate::node) fn seat(&self, room: &RoomName) -> bool {
        self.state.lock().membership.rooms.get_mut(room).map(|stay| stay.seated = true).is_some()
    }

    /// Notes that it holds a name; returns the places of the one that it had by the same event, which it lets go. Nothing
    /// is noted, and the name's own come back, if the session is over.
    pub(in crate::node) fn take_name(&self, via: &Arc<str>, name: &RoomName) -> Vec<RoomName> {
        let State { life, membership } = &mut *self.state.lock();
        if life.has_departed() {
            return name.looks();
        }
        let old = membership.names.iter().position(|(event, _)| event == via);
        let old = old.map(|at| membership.names.swap_remove(at).1);
        membership.names.push((via.clone(), name.clone()));
        let held: Vec<_> = membership.looks().collect();
        let let_go = old.into_iter().flat_map(|old| old.looks());
        let_go.filter(|look| !held.contains(look)).collect()
    }

    /// Notes that the session is in a room, or since when it is; false if it is over and must not be.
    pub(in crate::node) fn remember(&self, room: &RoomName, stay: Stay) -> bool {
        let State { life, membership } = &mut *self.state.lock();
        if !life.has_departed() {
            membership.rooms.insert(room.clone(), stay);
        }
        !life.has_departed()
    }

    /// Notes that the replay with which it joined a room has ended, and what it had been handed before.
    pub(in crate::node) fn replay_ended(&self, room: &RoomName, handed: Offset) {
        if let Some(stay) = self.state.lock().membership.rooms.get_mut(room) {
            stay.handed = handed;
        }
    }

    /// Notes since when it is in a room to which it came back, if it is.
    pub(in crate::node) fn stay_since(&self, room: &RoomName, since: Offset, complete_from: Offset) {
        if let Some(stay) = self.state.lock().membership.rooms.get_mut(room) {
            (stay.since, stay.complete_from) = (since, complete_from);
        }
    }

    /// Notes that it is no longer; returns how it was, if it was.
    pub(in crate::node) fn forget(&self, room: &RoomName) -> Option<Stay> {
        self.state.lock().membership.rooms.remove(room)
    }

    /// The number of a replay that begins.
    pub(in crate::node) fn next_replay(&self) -> u32 {
        let membership = &mut self.state.lock().membership;
        membership.replays += 1;
        membership.replays
    }

    /// Counts replays on from those that the session had on another connection.
    pub(in crate::node) fn count_replays_from(&self, last: u32) {
        self.state.lock().membership.replays = last;
    }

    /// From which offset on it has, or will have, everything of a room that it is in.
    pub(in crate::node) fn complete_from(&self, room: &RoomName) -> Option<Offset> {
        self.state.lock().membership.rooms.get(room).map(|stay| stay.complete_from)
    }

    /// Notes that what it joins from now on is nothing to it up to an offset.
    pub(in crate::node) fn raise_floor(&self, upto: Offset) {
        let membership = &mut self.state.lock().membership;
        membership.floor = membership.floor.max(upto);
    }

    /// Up to where nothing is for it in a room that it joins now.
    pub(in crate::node) fn floor(&self) -> Offset {
        self.state.lock().membership.floor
    }
}
