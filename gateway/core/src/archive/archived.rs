//! Which rooms are archived, and where.

use std::fmt;

use super::{Archive, Archives};
use crate::domain::RoomName;
use crate::outbox::Wants;

/// The archive, for who reads of rooms that may be in it.
#[derive(Clone)]
pub struct Archived {
    archives: Archives,
    wants: Wants,
}

impl fmt::Debug for Archived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archived").field("wants", &self.wants).finish_non_exhaustive()
    }
}

impl Archived {
    /// The archives of the rooms whose events are wanted for them.
    #[must_use]
    pub fn new(archives: Archives, wants: Wants) -> Self {
        Self { archives, wants }
    }

    /// The archive of a room, if the room is archived.
    #[must_use]
    pub fn of(&self, room: &RoomName) -> Option<&dyn Archive> {
        self.wants.is_archived(room).then(|| &**self.archives.of(room))
    }

    /// The archives, whatever is in them.
    #[must_use]
    pub fn archives(&self) -> &Archives {
        &self.archives
    }
}
