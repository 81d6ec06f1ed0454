//! Who does not hear an event, although it is in the room.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{RoomName, SessionId};

/// Who does not hear an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Except {
    /// One session: whose event it is, if it is for the others.
    Session(SessionId),
    /// All of these.
    These(Arc<Excepted>),
}

/// Several that do not hear an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excepted {
    /// Sessions.
    pub sessions: Vec<SessionId>,
    /// Whoever is in one of these rooms when the event comes to it; users by the rooms that are theirs.
    pub rooms: Vec<RoomName>,
    /// Whoever has something waiting: what cannot be had at once is not worth waiting for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub busy: bool,
}

impl Except {
    /// Whether a session is meant; `is_in` tells whether it is in a room, `is_busy` whether something waits for it.
    pub fn covers(
        &self,
        session: SessionId,
        is_in: impl Fn(&RoomName) -> bool,
        is_busy: impl FnOnce() -> bool,
    ) -> bool {
        match self {
            Self::Session(one) => *one == session,
            Self::These(these) => {
                these.sessions.contains(&session) || these.rooms.iter().any(is_in) || (these.busy && is_busy())
            }
        }
    }
}
