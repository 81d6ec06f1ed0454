//! What a batch of the outbox comes to in the archive: events, what is missing between them, and up to where all is there.

use gateway_core::archive::{Gap, Record, Why};
use gateway_core::domain::{Offset, Position};
use gateway_core::outbox::{Batch, Happening, Place, Waiting};

/// Where the log stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    /// Where its history began.
    pub(super) began: Offset,
    /// Whether the archive knows of that.
    pub(super) is_told: bool,
    /// Up to where everything was in the outbox before this batch was read.
    pub(super) before: Option<Offset>,
    /// Up to where there can be anything in the batch.
    pub(super) head: Offset,
}

/// What is to be written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stretch {
    /// In the order of the log.
    pub(super) records: Vec<Record>,
    /// What is settled when that is written.
    pub(super) places: Vec<Place>,
    /// Up to where everything is in the archive then.
    pub(super) cursor: Offset,
}

/// Orders a batch, in front of which everything up to `cursor` is in the archive; nothing if it never had anything.
pub(super) fn stretch(batch: Batch, cursor: Option<Offset>, stand: Stand) -> Stretch {
    let is_all = batch.entries.len() == batch.waiting;
    let mut made = Made { cursor: cursor.unwrap_or_default(), began: stand.began, ..Made::default() };
    made.is_behind = cursor.is_some_and(|cursor| cursor < stand.began);
    if made.is_behind && !stand.is_told {
        // What was lost stood anywhere between: another process of Redis may have taken more before it was known that it
        // lacks something. So it is said first, before the cursor passes any of it.
        made.records.push(Record::Gap(Gap {
            room: None,
            after: made.cursor,
            through: made.began,
            why: Why::NewHistory,
        }));
    }
    let mut lost = batch.lost;
    for Waiting { place, happening, .. } in batch.entries {
        let Some(record) = happening.and_then(record) else {
            made.unreadable.push(place);
            continue;
        };
        let offset = offset_of(&record);
        if let Some(lost) = lost.take_if(|lost| lost.first < offset.0) {
            made.dropped(lost.place, lost.first, lost.last);
        }
        made.pass_to(Offset(offset.0.saturating_sub(1)));
        made.cursor = made.cursor.max(offset);
        made.records.push(record);
        made.places.push(place);
    }
    if is_all {
        if let Some(lost) = lost {
            made.dropped(lost.place, lost.first, lost.last);
        }
        made.pass_to(stand.head);
        made.cursor = made.cursor.max(stand.before.unwrap_or_default());
    } else if made.places.is_empty() {
        made.pass_to(stand.head);
    }
    // Unreadable ones at the end of a part are left: how far they reach shows what comes next.
    Stretch { records: made.records, places: made.places, cursor: made.cursor }
}

#[derive(Default)]
struct Made {
    records: Vec<Record>,
    places: Vec<Place>,
    cursor: Offset,
    began: Offset,
    is_behind: bool,
    /// Where those stand that came last and cannot be read.
    unreadable: Vec<Place>,
}

impl Made {
    /// Notes what is missing up to an offset for reasons that no event shows.
    fn pass_to(&mut self, upto: Offset) {
        if !self.unreadable.is_empty() {
            self.gap(upto, Why::Unreadable);
            self.places.append(&mut self.unreadable);
        }
        if self.is_behind && upto >= self.began {
            self.cursor = self.cursor.max(self.began);
            self.is_behind = false;
        }
    }

    fn dropped(&mut self, place: Place, first: u64, last: u64) {
        self.pass_to(Offset(first.saturating_sub(1)));
        self.cursor = self.cursor.max(Offset(first.saturating_sub(1)));
        self.gap(Offset(last), Why::Dropped);
        self.places.push(place);
    }

    /// Of all rooms: who was meant is not known.
    fn gap(&mut self, through: Offset, why: Why) {
        if through > self.cursor {
            self.records.push(Record::Gap(Gap { room: None, after: self.cursor, through, why }));
            self.cursor = through;
        }
    }
}

fn offset_of(record: &Record) -> Offset {
    match record {
        Record::Event { position, .. } => position.offset,
        Record::Gap(gap) => gap.through,
    }
}

/// Nothing if it is none that is archived.
fn record(happening: Happening) -> Option<Record> {
    let (link, event) = (happening.link?, happening.event?);
    Some(Record::Event {
        room: happening.place,
        position: Position { epoch: link.epoch, offset: Offset(happening.number) },
        before: link.before,
        user: happening.user,
        event,
        takes_back: link.takes_back,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gateway_core::domain::{Epoch, Event, RoomName};
    use gateway_core::outbox::{Link, Lost, What};

    use super::*;

    fn said(number: u64) -> Happening {
        let event = Event { name: "e".into(), args: "[]".into(), attachments: vec![], except: None, at_ms: 0 };
        let link = Link { epoch: Epoch(1), before: None, takes_back: None };
        let room = RoomName::parse("chat").unwrap();
        Happening { event: Some(event), link: Some(link), ..Happening::new(What::Published, room, number, 0) }
    }

    /// What is read of an outbox that has room for so many: `most` at the most.
    fn batch(numbers: &[u64], room_for: usize, most: usize) -> Batch {
        let (kept, dropped) = numbers.split_at(room_for.min(numbers.len()));
        let lost = dropped.first().map(|first| Lost::new(*first, dropped[dropped.len() - 1]));
        let place = |number: u64| Lost::new(number, number).place;
        let waits =
            |number: &u64| Waiting { place: place(*number), age: Duration::ZERO, happening: Some(said(*number)) };
        let entries = kept.iter().take(most).map(waits).collect();
        Batch { entries, waiting: kept.len(), dropped: 0, lost }
    }

    fn shown(stretch: &Stretch) -> Vec<String> {
        let show = |record: &Record| match record {
            Record::Event { position, .. } => position.offset.to_string(),
            Record::Gap(Gap { after, through, why, .. }) => format!("{after}..{through} {}", why.as_str()),
        };
        stretch.records.iter().map(show).collect()
    }

    const STAND: Stand = Stand { began: Offset(5), is_told: false, before: Some(Offset(90)), head: Offset(100) };

    #[test]
    fn what_is_all_there_brings_the_cursor_to_where_the_log_stood_before() {
        let made = stretch(batch(&[10, 11], 9, 9), Some(Offset(7)), STAND);
        assert_eq!((shown(&made), made.cursor, made.places.len()), (vec!["10".into(), "11".into()], Offset(90), 2));
        let part = stretch(batch(&[10, 11], 9, 1), Some(Offset(7)), STAND);
        assert_eq!((shown(&part), part.cursor), (vec!["10".into()], Offset(10)));
        let late = stretch(batch(&[95], 9, 9), Some(Offset(7)), STAND);
        assert_eq!(late.cursor, Offset(95));
        let nothing = stretch(Batch::default(), None, Stand { before: None, ..STAND });
        assert_eq!(nothing, Stretch::default());
    }

    #[test]
    fn a_new_history_is_a_gap_from_what_is_there_and_only_once() {
        let began = Stand { began: Offset(20), ..STAND };
        let told = Stand { is_told: true, ..began };
        let made = stretch(batch(&[10, 30], 9, 9), Some(Offset(7)), began);
        assert_eq!(shown(&made), ["7..20 new_history", "10", "30"]);
        let part = stretch(batch(&[10, 30], 9, 1), Some(Offset(7)), began);
        assert_eq!((shown(&part), part.cursor), (vec!["7..20 new_history".into(), "10".into()], Offset(10)));
        let rest = stretch(batch(&[15, 30], 9, 1), Some(Offset(10)), told);
        assert_eq!((shown(&rest), rest.cursor), (vec!["15".into()], Offset(15)), "it was said with the first part");
        let last = stretch(batch(&[30], 9, 9), Some(Offset(15)), told);
        assert_eq!((shown(&last), last.cursor), (vec!["30".into()], Offset(90)));
        let idle = stretch(Batch::default(), Some(Offset(10)), began);
        assert_eq!((shown(&idle), idle.cursor), (vec!["10..20 new_history".into()], Offset(90)));
        let quiet = stretch(Batch::default(), Some(Offset(10)), Stand { before: None, ..told });
        assert_eq!((shown(&quiet), quiet.cursor), (vec![], Offset(20)), "there is nothing before it any more");
        assert!(stretch(Batch::default(), Some(Offset(20)), began).records.is_empty());
        assert!(stretch(batch(&[30], 9, 9), None, began).records.len() == 1, "there was nothing before");
    }

    #[test]
    fn what_was_dropped_is_a_gap_where_it_was() {
        let dropped = batch(&[10, 11, 12, 13], 2, 9);
        let made = stretch(dropped.clone(), Some(Offset(7)), STAND);
        assert_eq!(shown(&made), ["10", "11", "11..13 dropped"]);
        assert_eq!((made.places.len(), made.cursor), (3, Offset(90)));
        let part = stretch(batch(&[10, 11, 12, 13], 2, 1), Some(Offset(7)), STAND);
        assert_eq!((shown(&part), part.places.len()), (vec!["10".into()], 1), "it is told when its turn comes");
        let mut later = dropped;
        later.lost.as_mut().unwrap().last = 20;
        later.entries.push(Waiting { happening: Some(said(15)), ..later.entries[0].clone() });
        later.entries.push(Waiting { happening: Some(said(40)), ..later.entries[0].clone() });
        later.waiting = 9;
        let made = stretch(later, Some(Offset(7)), STAND);
        assert_eq!(shown(&made), ["10", "11", "11..20 dropped", "15", "40"]);
        assert_eq!(made.cursor, Offset(40));
    }

    #[test]
    fn what_cannot_be_read_is_a_gap_up_to_what_can() {
        let mut unreadable = batch(&[10, 11, 15], 9, 9);
        unreadable.entries[1].happening = None;
        let made = stretch(unreadable.clone(), Some(Offset(7)), STAND);
        assert_eq!((shown(&made), made.places.len()), (vec!["10".into(), "10..14 unreadable".into(), "15".into()], 3));
        unreadable.entries[2].happening = None;
        let all = stretch(unreadable.clone(), Some(Offset(7)), STAND);
        assert_eq!((shown(&all), all.cursor), (vec!["10".into(), "10..100 unreadable".into()], Offset(100)));
        unreadable.waiting = 9;
        let part = stretch(unreadable.clone(), Some(Offset(7)), STAND);
        assert_eq!((shown(&part), part.places.len()), (vec!["10".into()], 1), "they are read again with the next");
        unreadable.entries[0].happening = None;
        let none = stretch(unreadable, Some(Offset(7)), STAND);
        assert_eq!((shown(&none), none.places.len()), (vec!["7..100 unreadable".into()], 3));
    }
}
