//! What a session that comes back wants: rooms of which it missed something, its seats in them, and why it may not have
//! them.

use std::sync::Arc;

use crate::domain::{Offset, Refusal, RoomName};
use crate::port::PortError;

/// A room that a session comes back to.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The room.
    pub room: RoomName,
    /// The session has everything of the room up to here.
    pub after: Offset,
    /// The session has, or had, everything of the room from here on.
    pub complete_from: Offset,
    /// Where the log stood when it was stored that the session is in this room, if something says so that may be lost.
    pub kept_at: Option<Offset>,
    /// Since when the session was in the room before it was away; nothing if it only comes now.
    pub since: Option<Offset>,
    /// The client event by which it is, or was, joined.
    pub via: Arc<str>,
    /// What is still there will do, if not everything is.
    pub partial: bool,
    /// Whether the session is counted among its members again.
    pub seat: Option<Seat>,
}

/// A session's being counted in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// How many members the room may have.
    pub capacity: Option<usize>,
}

/// Why a session cannot have what it missed. Its name is what clients read and metrics count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrecovered {
    /// There is no such session: it is too long ago, it ended for good, or it is somebody else's.
    Unknown,
    /// The offset cannot be one of this log's.
    Offset,
    /// The log lost its history meanwhile.
    History,
    /// The log no longer has everything.
    Retention,
    /// The connection broke during a replay, and how much of it arrived is not known.
    Interrupted,
    /// The session may not be in one of its rooms any more.
    NotAllowed,
    /// It missed more than is replayed.
    TooMuch,
    /// Something that it missed was written by a newer version of the gateway.
    Unreadable,
    /// Another connection took the session over meanwhile.
    Replaced,
    /// The archive does not have everything, or did not answer.
    Archive,
}

impl Unrecovered {
    /// Every reason's name.
    pub const REASONS: [&'static str; 10] = [
        "unknown",
        "offset",
        "history",
        "retention",
        "interrupted",
        "not_allowed",
        "too_much",
        "unreadable",
        "replaced",
        "archive",
    ];

    /// Its name.
    #[must_use]
    pub fn reason(self) -> &'static str {
        Self::REASONS[self as usize]
    }
}

/// What of a room is missing for one that takes what is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Why.
    pub why: Unrecovered,
    /// Up to where at the most, if that is known: also between events that are there.
    pub through: Option<Offset>,
}

/// What keeps a session from coming back.
#[derive(Debug)]
pub enum RecoveryError {
    /// Nothing will change that.
    Unrecovered(Unrecovered),
    /// The log could not be asked; later it may, unless it is damaged.
    Log(PortError),
    /// Something else could not be asked; later it may.
    Unavailable(Refusal),
}

impl Missing {
    /// Both, by the reason of the first.
    pub(super) fn with(known: Option<Self>, more: Self) -> Self {
        let why = known.map_or(more.why, |known| known.why);
        Self { why, through: known.and_then(|known| known.through).max(more.through) }
    }
}

impl Wanted {
    /// What is missing before this is missing here: what was said in the room, or that it is the session's.
    pub(super) fn stands_at(&self, read_to: Offset) -> Offset {
        self.kept_at.map_or(read_to, |kept_at| kept_at.min(read_to))
    }
}

impl From<PortError> for RecoveryError {
    fn from(error: PortError) -> Self {
        Self::Log(error)
    }
}

impl From<Unrecovered> for RecoveryError {
    fn from(reason: Unrecovered) -> Self {
        Self::Unrecovered(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_name_and_its_series() {
        let reasons = [
            (Unrecovered::Unknown, "unknown"),
            (Unrecovered::Offset, "offset"),
            (Unrecovered::History, "history"),
            (Unrecovered::Retention, "retention"),
            (Unrecovered::Interrupted, "interrupted"),
            (Unrecovered::NotAllowed, "not_allowed"),
            (Unrecovered::TooMuch, "too_much"),
            (Unrecovered::Unreadable, "unreadable"),
            (Unrecovered::Replaced, "replaced"),
            (Unrecovered::Archive, "archive"),
        ];
        assert_eq!(reasons.map(|(reason, _)| reason.reason()), reasons.map(|(_, name)| name));
        for (_, name) in reasons {
            assert!(crate::metrics::RECOVERY_RESULTS.contains(&name), "{name} would not be counted");
        }
    }
}
