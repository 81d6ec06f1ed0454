//! Which links of a batch are missing: what every backend asks within the step that writes it.

use std::collections::HashMap;

use super::{Gap, Record, Why};
use crate::domain::{Offset, RoomName};

/// Up to where rooms are archived: the newest of what is there of each, be it an entry, the end of a gap of the room or of all
/// rooms, or up to where it was forgotten. Rooms of which there never was anything are not in it.
pub type Ends = HashMap<RoomName, Offset>;

/// The gaps that a batch has, given up to where its rooms are archived: those it brings, and those that the links of its events
/// show. What is archived already shows none, and neither does a room's first event: what came before it is older than
/// the archive.
#[must_use]
pub fn gaps_of(records: &[Record], mut ends: Ends) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for record in records {
        match record {
            Record::Gap(gap) => {
                match &gap.room {
                    Some(room) => pass(ends.entry(room.clone()).or_insert(gap.through), gap.through),
                    None => ends.values_mut().for_each(|end| pass(end, gap.through)),
                }
                gaps.push(gap.clone());
            }
            Record::Event { room, position, before, .. } => {
                let end = ends.entry(room.clone()).or_insert_with(|| before.unwrap_or_default());
                if let Some(before) = before.filter(|before| before > end && position.offset > *end) {
                    gaps.push(Gap { room: Some(room.clone()), after: *end, through: before, why: Why::Missing });
                }
                pass(end, position.offset);
            }
        }
    }
    gaps
}

fn pass(end: &mut Offset, offset: Offset) {
    *end = offset.max(*end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Epoch, Event, Position};

    fn room(name: &str) -> RoomName {
        RoomName::trusted(name)
    }

    fn said(name: &str, offset: u64, before: Option<u64>) -> Record {
        Record::Event {
            room: room(name),
            position: Position { epoch: Epoch(1), offset: Offset(offset) },
            before: before.map(Offset),
            user: None,
            event: Event { name: "e".into(), args: "[]".into(), attachments: vec![], except: None, at_ms: 0 },
            takes_back: None,
        }
    }

    fn gap(name: Option<&str>, after: u64, through: u64, why: Why) -> Gap {
        Gap { room: name.map(room), after: Offset(after), through: Offset(through), why }
    }

    #[test]
    fn what_an_event_names_and_is_not_there_is_a_gap() {
        let records = [said("a", 10, Some(7)), said("b", 11, None), said("a", 15, Some(12)), said("a", 16, Some(15))];
        assert_eq!(gaps_of(&records, Ends::new()), [gap(Some("a"), 10, 12, Why::Missing)]);
        let ends = Ends::from([(room("a"), Offset(5)), (room("b"), Offset(2))]);
        let expected = [gap(Some("a"), 5, 7, Why::Missing), gap(Some("a"), 10, 12, Why::Missing)];
        assert_eq!(gaps_of(&records, ends), expected);
    }

    #[test]
    fn what_is_archived_already_shows_no_gap() {
        let records = [said("a", 10, Some(7)), said("a", 15, Some(12))];
        assert_eq!(gaps_of(&records, Ends::from([(room("a"), Offset(15))])), []);
        assert_eq!(gaps_of(&records, Ends::from([(room("a"), Offset(12))])), []);
    }

    #[test]
    fn a_gap_that_is_known_covers_what_its_rooms_miss() {
        let dropped = gap(None, 8, 14, Why::Dropped);
        let records =
            [said("a", 8, None), Record::Gap(dropped.clone()), said("a", 15, Some(12)), said("b", 20, Some(14))];
        assert_eq!(gaps_of(&records, Ends::from([(room("b"), Offset(3))])), [dropped]);
    }
}
