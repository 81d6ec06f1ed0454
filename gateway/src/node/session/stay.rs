//! What a session is in: its rooms, and where it is counted.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{Offset, RoomName};

#[derive(Default)]
pub(in crate::node) struct Membership {
    pub(in crate::node) rooms: HashMap<RoomName, Stay>,
    /// The names that it holds, as they were given, each with the client event by which it claimed it.
    pub(in crate::node) names: Vec<(Arc<str>, RoomName)>,
    /// Once set, nothing may be joined any more: a late join would stay behind for ever.
    pub(in crate::node) departed: bool,
}

impl Membership {
    pub(in crate::node) fn seats(&self) -> Vec<RoomName> {
        let rooms = self.rooms.iter().filter(|(_, stay)| stay.seated).map(|(room, _)| room);
        rooms.cloned().chain(self.looks()).collect()
    }

    /// Where it is for the names that it holds.
    pub(in crate::node) fn looks(&self) -> impl Iterator<Item = RoomName> {
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
}

/// What a session was in when it ended.
pub(in crate::node) struct Left {
    pub(in crate::node) rooms: Vec<RoomName>,
    /// Where it was counted: rooms and names.
    pub(in crate::node) seats: Vec<RoomName>,
}
