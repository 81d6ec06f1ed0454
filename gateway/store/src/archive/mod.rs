//! The archive in databases.

#[cfg(feature = "mongodb")]
mod mongo;
mod postgres;
mod row;
mod sqlite;

#[cfg(feature = "mongodb")]
pub use mongo::MongoArchive;
pub use postgres::PostgresArchive;
pub use sqlite::SqliteArchive;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gateway_core::archive::{Gap, Place, Record, Why, gaps_of, old_of};
use gateway_core::dates::{milliseconds, now_ms};
use gateway_core::domain::{Offset, RoomName};
use row::{number, offset};

/// Which log an archive follows: by default the main one.
#[derive(Debug, Default)]
struct Followed {
    /// Its name, if it is another.
    name: Option<String>,
    /// What stands for all its rooms where a gap's room is: for the main one's an empty name, which no room has.
    all_rooms: String,
    /// Whether it is known that it was archived before.
    has_begun: AtomicBool,
}

/// Between what the names lie that stand for all rooms of logs that have a name.
const ALL_ROOMS: [&str; 2] = ["\u{1}all:", "\u{1}all;"];

impl Followed {
    fn named(name: &str) -> Self {
        let all_rooms = RoomName::internal(&format!("all:{name}"));
        Self { name: Some(name.to_owned()), all_rooms: all_rooms.as_str().to_owned(), ..Self::default() }
    }

    /// The name of a log that may be archived for the first time by a write up to there. Then it takes over the gaps of all rooms
    /// of all other logs: its rooms may have been theirs until now. What is imported is no beginning.
    fn may_begin(&self, cursor: Offset) -> Option<&str> {
        let may = cursor > Offset::START && !self.has_begun.load(Ordering::Relaxed);
        self.name.as_deref().filter(|_| may)
    }

    /// Something was written up to there.
    fn began(&self, cursor: Offset) {
        if cursor > Offset::START {
            self.has_begun.store(true, Ordering::Relaxed);
        }
    }

    /// What a row of a gap has in place of its room.
    fn room<'a>(&'a self, gap: &'a Gap) -> &'a str {
        gap.room.as_ref().map_or(&self.all_rooms, RoomName::as_str)
    }
}

/// What is known of a room that a batch is about.
#[derive(Debug)]
struct Known {
    room: RoomName,
    /// Up to where it is archived, by its own rows.
    end: Offset,
    forgotten: Option<Offset>,
}

/// As tables have it: the name, up to where it is archived, and up to where it was forgotten.
impl From<(String, i64, Option<i64>)> for Known {
    fn from((room, end, forgotten): (String, i64, Option<i64>)) -> Self {
        Self { room: RoomName::trusted(&room), end: offset(end), forgotten: forgotten.map(offset) }
    }
}

/// The gaps of a batch that are to be noted: `known` is what is known of its rooms, and `all` up to where gaps of all rooms reach.
fn gaps_to_note(records: &[Record], known: &[Known], all: Offset) -> Vec<Gap> {
    let ends = known.iter().map(|known| (known.room.clone(), known.end.max(all))).collect();
    let mut gaps = gaps_of(records, ends);
    gaps.retain(|gap| gap.room.as_ref().is_none_or(|room| !is_forgotten(known, room, gap.through)));
    gaps
}

/// Of the oldest places of a room, in their order, how many are older than a time, `most` at the most, and the last of them.
fn old_places(places: &[Place], older_than: Duration, most: usize) -> Option<(usize, i64)> {
    let before = now_ms().saturating_sub(milliseconds(older_than));
    let old = old_of(places, u64::try_from(before).unwrap_or_default(), most);
    old.checked_sub(1).map(|last| (old, number(places[last].offset)))
}

/// The rooms that a batch is about, each once.
fn rooms_of(records: &[Record]) -> Vec<&str> {
    let named = records.iter().filter_map(|record| match record {
        Record::Event { room, .. } => Some(room.as_str()),
        Record::Gap(gap) => gap.room.as_ref().map(RoomName::as_str),
    });
    named.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether a record is about something that was forgotten: then it is not written again.
fn is_forgotten(known: &[Known], room: &RoomName, at: Offset) -> bool {
    let of_it = known.binary_search_by(|known| known.room.as_str().cmp(room.as_str()));
    of_it.is_ok_and(|place| known[place].forgotten.is_some_and(|forgotten| at <= forgotten))
}

/// The events of a batch that take others back: which, of which room.
fn taken_back(records: &[Record]) -> impl Iterator<Item = (&RoomName, Offset)> {
    records.iter().filter_map(|record| match record {
        Record::Event { room, takes_back: Some(taken), .. } => Some((room, *taken)),
        _ => None,
    })
}

/// A gap of what a row has.
fn gap(room: Option<&RoomName>, after: i64, through: i64, why: &str) -> Gap {
    // A word of a newer version is some reason.
    let why = Why::of_word(why).unwrap_or(Why::Missing);
    Gap { room: room.cloned(), after: offset(after), through: offset(through), why }
}

fn place(number: i64, at_ms: i64, is_gap: bool) -> Place {
    Place { offset: offset(number), at_ms: u64::try_from(at_ms).unwrap_or_default(), is_gap }
}

/// How many, as databases have numbers.
fn count(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}
