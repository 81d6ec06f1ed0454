//! Which rooms are archived, and where.

use std::fmt;
use std::sync::Arc;

use super::Archive;
use crate::domain::RoomName;
use crate::outbox::Wants;

/// The archive, for who reads of rooms that may be in it.
#[derive(Clone)]
pub struct Archived {
    archive: Arc<dyn Archive>,
    wants: Wants,
}

impl fmt::Debug for Archived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archived").field("wants", &self.wants).finish_non_exhaustive()
    }
}

impl Archived {
    /// The archive of the rooms whose events are wanted for it.
    #[must_use]
    pub fn new(archive: Arc<dyn Archive>, wants: Wants) -> Self {
        Self { archive, wants }
    }

    /// The archive of a room, if the room is archived.
    #[must_use]
    pub fn of(&self, room: &RoomName) -> Option<&dyn Archive> {
        self.wants.is_archived(room).then_some(&*self.archive)
    }

    /// The archive, whatever is in it.
    #[must_use]
    pub fn archive(&self) -> &Arc<dyn Archive> {
        &self.archive
    }
}
