//! PORT: the archive. What was published in the rooms that are archived, for as long as it is kept; the trait is the
//! contract, `tests/contract/archive.rs` checks every backend against it.

mod age;
mod archived;
mod archives;
mod chain;
mod memory;
mod part;

pub use age::{Place, old_of};
pub use archived::Archived;
pub use archives::Archives;
pub use chain::{Ends, gaps_of};
pub use memory::MemoryArchive;
pub use part::Part;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{Event, Offset, Position, RoomName, UserId};
use crate::log::Range;
use crate::port::PortError;

/// What rooms said, beyond what the log keeps.
///
/// **Once.** A record has the place that the log gave it. Written again it changes nothing, whoever writes: also one that
/// has lost its claim, or that does not know whether its last attempt got through.
///
/// **In order.** Records are written in the order of the log, and read in it.
///
/// **Exact.** Each event names the one before it in its room. What the archive does not have in between becomes a [`Gap`]
/// where it is, in the same step; a gap that is known changes nothing.
///
/// **All or nothing.** A batch is there with its cursor and its gaps, or none of it is. Where a store has no transactions, a
/// part of it may be there until the same batch is written again, and the cursor is moved last.
///
/// **Taken back.** What was taken back, or removed for its user, leaves a tombstone: its place, and nothing of what it said.
///
/// **One for each log.** Where namespaces have a Redis of their own, there is an archive for each log, all in one place: what is
/// known of all of a log is each one's own, which is its cursor and its gaps of all rooms. What is in rooms all of them have. A
/// log with a name that is written to for the first time takes over the others' gaps of all rooms, as its rooms may have been
/// theirs until then; what is written up to no offset, which is an import, is no beginning.
#[async_trait]
pub trait Archive: Send + Sync + 'static {
    /// Writes records, in the order of the log, of which all up to `cursor` are with it in the archive, or in its gaps.
    async fn write(&self, records: &[Record], cursor: Offset) -> Result<Written, PortError>;

    /// Reads a part of what a room said. Of entries that weigh more than `bytes` together, no more are read than fit, but one at
    /// least.
    async fn read(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Page, PortError>;

    /// Up to where all of the log that is to be archived was: nothing if there never was anything.
    async fn cursor(&self) -> Result<Option<Offset>, PortError>;

    /// The archive of another log than the main one, by what its Redis is called, in the same place.
    fn of_log(&self, name: &str) -> Arc<dyn Archive>;

    /// The rooms of which there is anything, by their names: those after one, `most` at the most.
    async fn rooms(&self, after: Option<&RoomName>, most: usize) -> Result<Vec<RoomName>, PortError>;

    /// The rooms in which a user said anything that is there, by their names: those after one, `most` at the most.
    async fn rooms_of(&self, user: &UserId, after: Option<&RoomName>, most: usize) -> Result<Vec<RoomName>, PortError>;

    /// Makes tombstones of what a user said, or of one entry: `most` at the most. Returns how many there were, so that who
    /// asks goes on until there are none.
    async fn take_back(&self, what: &Taken, most: usize) -> Result<u64, PortError>;

    /// Forgets what a room said before a time, tombstones and gaps too: `most` at the most. Returns how many rows went. What the
    /// room said before is older than its archive, not missing.
    async fn forget(&self, room: &RoomName, older_than: Duration, most: usize) -> Result<u64, PortError>;
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An event.
    Event {
        /// Its room.
        room: RoomName,
        /// Its place in the log.
        position: Position,
        /// The place of the one before it in the room, as the log knew when this was appended: nothing if the log had none.
        before: Option<Offset>,
        /// Who said it, if the gateway knows.
        user: Option<UserId>,
        /// What was said.
        event: Event,
        /// The event that this one takes back.
        takes_back: Option<Offset>,
    },
    /// What is missing for a reason that no event shows.
    Gap(Gap),
}

/// A part of a room, or of all rooms, of which the archive may not have everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// In which room; in all of them if it is not known in which.
    pub room: Option<RoomName>,
    /// The last that is not missing.
    pub after: Offset,
    /// The last that may be missing.
    pub through: Offset,
    /// Why.
    pub why: Why,
}

/// Why something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The event that came next names one before it that never came.
    Missing,
    /// What waited for the archive was more than may wait.
    Dropped,
    /// The log lost its last writes, and a new history began.
    NewHistory,
    /// A record that this version cannot read.
    Unreadable,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Missing, Self::Dropped, Self::NewHistory, Self::Unreadable];

    /// The word for it, in databases, metrics and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Dropped => "dropped",
            Self::NewHistory => "new_history",
            Self::Unreadable => "unreadable",
        }
    }

    /// What a word stands for.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.as_str() == word)
    }
}

/// What writing came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Events that were not there before.
    pub events: u64,
    /// The gaps that were not known before, found and given ones.
    pub gaps: Vec<Gap>,
}

/// What is to be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// One entry.
    One {
        /// Of which room.
        room: RoomName,
        /// Its place.
        offset: Offset,
    },
    /// All that a user said, in all rooms.
    User(UserId),
}

/// A part of what a room said, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What was said.
    pub entries: Vec<Entry>,
    /// What of it may be missing: the room's gaps, and those of all rooms, that touch this part.
    pub gaps: Vec<Gap>,
    /// Whether the room has further entries in the direction of reading.
    pub more: bool,
    /// Up to here everything was forgotten for its age.
    pub forgotten: Option<Offset>,
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub position: Position,
    /// Who said it, if the gateway knew. Nobody for a tombstone.
    pub user: Option<UserId>,
    /// What was said; nothing if it was taken back.
    pub event: Option<Event>,
}
