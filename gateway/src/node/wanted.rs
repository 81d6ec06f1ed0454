//! What a session that comes back wants: where it missed events, and why it may not have them.

use std::sync::Arc;

use super::Seat;
use crate::domain::{Mark, Offset, Refusal, RoomName};
use crate::port::PortError;
use crate::sessions::Record;

/// A room that a session comes back to.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The room.
    pub room: RoomName,
    /// The session has everything of the room up to here.
    pub after: Offset,
    /// The session has, or had, everything of the room from here on.
    pub complete_from: Offset,
    /// The client event by which it is, or was, joined.
    pub via: Arc<str>,
    /// What is still there will do, if not everything is.
    pub partial: bool,
    /// Whether the session is counted among its members again.
    pub seat: Option<Seat>,
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
}

impl Unrecovered {
    /// Every reason's name.
    pub const REASONS: [&'static str; 9] = [
        "unknown",
        "offset",
        "history",
        "retention",
        "interrupted",
        "not_allowed",
        "too_much",
        "unreadable",
        "replaced",
    ];

    /// Its name.
    #[must_use]
    pub fn reason(self) -> &'static str {
        Self::REASONS[self as usize]
    }
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

/// Where a session that comes back missed events, by its record and what its client says it heard last.
///
/// # Errors
/// Why that cannot be known.
pub fn wanted(record: &Record, heard: Mark) -> Result<Vec<Wanted>, Unrecovered> {
    let has_all_to = if heard.offset >= record.handed { record.complete_to } else { Offset::START };
    let room = |room: &crate::sessions::RoomRecord| {
        // Handed over after the replay began means after its end, and so does the notice of its end.
        let replay_is_over = room.replay <= heard.replay || heard.offset > room.handed;
        let after = room.since.max(heard.offset).max(has_all_to);
        let complete_from = room.complete_from;
        let (room, via) = (room.room.clone(), room.via.as_str().into());
        let wanted = Wanted { room, after, complete_from, via, partial: false, seat: None };
        if replay_is_over { Ok(wanted) } else { Err(Unrecovered::Interrupted) }
    };
    record.rooms.iter().map(room).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SessionId;
    use crate::sessions::RoomRecord;

    fn record(since: u64, replay: u32, handed: u64) -> Record {
        let room = RoomName::parse("r").unwrap();
        let room = RoomRecord {
            room,
            since: Offset(since),
            complete_from: Offset(since),
            replay,
            handed: Offset(handed),
            via: "join".into(),
        };
        let (user, names, identified) = (None, Vec::new(), None);
        Record {
            term: 0,
            session: SessionId::random(),
            user,
            version: 1,
            rooms: vec![room],
            namespace: "/".into(),
            names,
            identified,
            handed: Offset::START,
            complete_to: Offset::START,
        }
    }

    fn after(record: &Record, heard: &str) -> Result<u64, Unrecovered> {
        wanted(record, Mark::parse(heard).unwrap()).map(|rooms| rooms[0].after.0)
    }

    #[test]
    fn a_room_is_missed_from_what_was_heard_but_not_from_before_it_was_joined() {
        assert_eq!(after(&record(50, 0, 0), "70"), Ok(70));
        assert_eq!(after(&record(50, 0, 0), "0"), Ok(50));
    }

    #[test]
    fn who_has_heard_all_that_it_was_handed_stands_where_that_was_noted() {
        let record = Record { handed: Offset(80), complete_to: Offset(500), ..record(50, 0, 0) };
        assert_eq!(after(&record, "80"), Ok(500));
        assert_eq!(after(&record, "79"), Ok(79), "the last one did not arrive");
        assert_eq!(after(&record, "600"), Ok(600));
    }

    #[test]
    fn a_replay_counts_as_received_when_something_after_it_was() {
        let record = record(100, 2, 60);
        assert_eq!(after(&record, "60"), Err(Unrecovered::Interrupted));
        assert_eq!(after(&record, "60.1"), Err(Unrecovered::Interrupted));
        assert_eq!(after(&record, "60.2"), Ok(100));
        assert_eq!(after(&record, "61"), Ok(100));
    }

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
        ];
        assert_eq!(reasons.map(|(reason, _)| reason.reason()), reasons.map(|(_, name)| name));
        for (_, name) in reasons {
            assert!(crate::metrics::RECOVERY_RESULTS.contains(&name), "{name} would not be counted");
        }
    }
}
