//! What a session is in: its rooms, and where it is counted.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{Offset, RoomName};

#[derive(Default)]
pub(super) struct Membership {
    pub(super) rooms: HashMap<RoomName, Stay>,
    /// The names that it holds, as they were given, each with the client event by which it claimed it.
    pub(super) names: Vec<(Arc<str>, RoomName)>,
    /// Once set, nothing may be joined any more: a late join would stay behind for ever.
    pub(super) departed: bool,
}

impl Membership {
    pub(super) fn seats(&self) -> Vec<RoomName> {
        let rooms = self.rooms.iter().filter(|(_, stay)| stay.seated).map(|(room, _)| room);
        rooms.cloned().chain(self.looks()).collect()
    }

    /// Where it is for the names that it holds.
    pub(super) fn looks(&self) -> impl Iterator<Item = RoomName> {
        self.names.iter().flat_map(|(_, name)| name.looks())
    }
}

/// A session's being in a room; see [`crate::sessions::RoomRecord`] for the fields.
#[derive(Clone, Debug)]
pub(super) struct Stay {
    pub(super) since: Offset,
    pub(super) complete_from: Offset,
    pub(super) replay: u32,
    pub(super) handed: Offset,
    pub(super) via: Arc<str>,
    /// Whether it is counted among the room's members, cluster-wide.
    pub(super) seated: bool,
}

impl Stay {
    pub(super) fn new(since: Offset, via: &Arc<str>) -> Self {
        Self { since, complete_from: since, replay: 0, handed: Offset::START, via: via.clone(), seated: false }
    }
}

/// What a session was in when it ended.
pub(super) struct Left {
    pub(super) rooms: Vec<RoomName>,
    /// Where it was counted: rooms and names.
    pub(super) seats: Vec<RoomName>,
}
