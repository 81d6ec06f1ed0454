//! Records: where a session that comes back missed events, by what was stored of it.

use crate::domain::{Mark, Offset};
use crate::node::wanted::{Unrecovered, Wanted};
use crate::sessions::{Claimed, RoomRecord};

/// Where a session that comes back missed events, by its record and what its client says it heard last.
///
/// # Errors
/// Why that cannot be known.
pub fn wanted(claimed: &Claimed, heard: Mark) -> Result<Vec<Wanted>, Unrecovered> {
    let Claimed { record, kept_at } = claimed;
    let has_all_to = if heard.offset >= record.handed { record.complete_to } else { Offset::START };
    let room = |room: &RoomRecord| {
        // Handed over after the replay began means after its end, and so does the notice of its end.
        let replay_is_over = room.replay <= heard.replay || heard.offset > room.handed;
        let after = room.since.max(heard.offset).max(has_all_to);
        let (complete_from, since) = (room.complete_from, Some(room.since));
        let (room, via) = (room.room.clone(), room.via.as_str().into());
        let wanted = Wanted { room, after, complete_from, kept_at: *kept_at, since, via, partial: false, seat: None };
        if replay_is_over { Ok(wanted) } else { Err(Unrecovered::Interrupted) }
    };
    record.rooms.iter().map(room).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{RoomName, SessionId};
    use crate::sessions::Record;

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
        wanted(&record.clone().into(), Mark::parse(heard).unwrap()).map(|rooms| rooms[0].after.0)
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
}
