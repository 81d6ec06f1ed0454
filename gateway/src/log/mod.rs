//! PORT: the log. Per room the ordered recent events; the trait is the contract, `tests/contract/log.rs` checks
//! every backend against it.

mod budget;
mod memory;
mod redis;
mod sqlite;

pub use budget::{Budget, ENTRY_BYTES, ROOM_BYTES};
pub use memory::MemoryLog;
pub use redis::RedisLog;
pub use sqlite::SqliteLog;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::domain::{Epoch, Event, Offset, Position, RoomName};
use crate::outbox::By;
use crate::port::PortError;

/// An ordered, recoverable record of what was published, and the feed of what is being published.
///
/// **Order.** Offsets grow by the order in which events are appended, over all rooms, and over histories: one that
/// begins because the last was lost counts from above it. The feed carries the events
/// of all subscribed rooms in that order; a [`FeedItem::Gap`] stands where it may have missed some. No offset is ever
/// given twice, whatever the log lost: none is below the microseconds of the clock when it was given.
///
/// **Position.** [`Log::mark`] moves the newest position without an event, so that who hears nothing for long does not
/// stand at an offset that is older than everything that is kept.
///
/// **Acknowledged means kept.** [`Log::append`] returns after the event can be read by every node. If it fails,
/// the event may or may not have been appended; the same event with the same [`Dedupe`] key settles it.
///
/// **Retention.** At least `room_events` events of a room are kept, or as many as fit into `room_bytes`, for at least
/// `room_retention` after the last. Whoever reads learns that older ones went.
///
/// **Budget.** When what is kept in all is as much as it may be, appends are refused as [`AppendError::Full`] until there is
/// room again; those that use the reserve, until that is used up, too. Signals and marks are not affected. A dedupe key that
/// is known is answered all the same.
///
/// **Outboxes.** What is appended is in the outboxes that want it by the same step, where they share a store.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Appends an event and announces it on the feeds of all nodes that are subscribed to the room.
    async fn append(&self, room: &RoomName, event: &Event, terms: Terms<'_>) -> Result<Appended, AppendError>;

    /// Reads a part of a room's log, and where the whole log stands at that moment. Of events that weigh more than `bytes`
    /// together as they are kept, no more are read than fit, but one at least.
    async fn read(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Page, PortError>;

    /// Adds the room to this node's feed. What is appended after this returns is in the feed.
    async fn subscribe(&self, room: &RoomName) -> Result<(), PortError>;

    /// Takes the room out of this node's feed. A few more items of it may still arrive.
    async fn unsubscribe(&self, room: &RoomName);

    /// Sends an event on the feeds of all subscribed nodes without appending it: at most once, unordered.
    async fn signal(&self, room: &RoomName, event: &Event) -> Result<(), PortError>;

    /// Moves the log's position to the present without an event, and puts a [`FeedItem::Mark`] with the time `at_ms` into
    /// the feeds of the nodes that are subscribed to the room. To be called every second or so by every node: a log that
    /// nodes share also learns by it which of them wrote what, should its last writes be lost.
    async fn mark(&self, room: &RoomName, at_ms: u64) -> Result<(), PortError>;

    /// This node's feed. To be taken once.
    fn feed(&self) -> BoxStream<'static, FeedItem>;
}

/// What an append asks for beside its event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// By which key it is known again.
    pub dedupe: Option<&'a Dedupe>,
    /// Whether it is refused as [`AppendError::NewRoom`] if the log has nothing of the room.
    pub known_room: bool,
    /// Whether it may use the reserve: for what happened, when what was said is refused already.
    pub reserve: bool,
    /// Whose doing it is, for whoever is told of it outside.
    pub by: Option<By<'a>>,
}

impl<'a> Terms<'a> {
    /// Those of an append that is known again by a key.
    #[must_use]
    pub fn once(dedupe: &'a Dedupe) -> Self {
        Self { dedupe: Some(dedupe), ..Self::default() }
    }
}

/// What an append came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The event's place.
    pub position: Position,
    /// Whether the dedupe key was known, and the place is that of the first append.
    pub duplicate: bool,
}

/// What makes two appends the same one, for the time of `log.dedupe_window`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dedupe(pub String);

/// Which part of a room's log to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// The oldest events after an offset.
    After {
        /// The last offset that is not wanted.
        offset: Offset,
        /// How many events at the most.
        limit: usize,
    },
    /// The newest events, before an offset if there is one.
    Newest {
        /// The first offset that is not wanted.
        before: Option<Offset>,
        /// How many events at the most. 0 asks only where the log stands.
        limit: usize,
    },
}

/// A part of a room's log, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The events.
    pub events: Vec<(Offset, Event)>,
    /// The offset of the last record of this part, readable or not: where reading after it goes on.
    pub read_to: Option<Offset>,
    /// Whether there were records that this version cannot read; they are not among the events.
    pub unreadable: bool,
    /// Whether the room has further events in the direction of reading.
    pub more: bool,
    /// Whether this room ever lost events to its length limit, so that what lies before its oldest event is
    /// unknown and not empty.
    pub trimmed: bool,
    /// The oldest offset that the room still has.
    pub oldest: Option<Offset>,
    /// What was appended to any room up to here may be gone for its age, or is of a lost history. What came after it
    /// is younger than the retention.
    pub floor: Offset,
    /// Where the log's history began. What an older one had after that is lost, so nobody who stands below can be
    /// told what it missed.
    pub began: Offset,
    /// The newest position of the whole log, all rooms: of an event or a mark.
    pub head: Position,
    /// The log may have lost its last writes, which its nodes are about to find out: what is appended before this offset
    /// may be incomplete. If it is, a new history begins. It is later than anything that was given out until they have.
    pub in_doubt_before: Option<Offset>,
}

impl Page {
    /// Whether a reader that had everything up to `offset` can get everything after it from this log. It answers
    /// `false` where that cannot be known.
    #[must_use]
    pub fn reaches_back_to(&self, offset: Offset) -> bool {
        let has_the_next = self.oldest.is_some_and(|oldest| oldest <= Offset(offset.0.saturating_add(1)));
        let nothing_went = !self.trimmed && offset >= self.floor;
        (self.began..=self.head.offset).contains(&offset) && (has_the_next || nothing_went)
    }

    /// Whether all that was ever appended after `offset`, as far as this part reads, is among its events. False as well
    /// while that is in doubt.
    #[must_use]
    pub fn is_whole_after(&self, offset: Offset) -> bool {
        let is_in_doubt = self.in_doubt_before.is_some_and(|before| offset < before);
        self.reaches_back_to(offset) && !is_in_doubt && !self.unreadable
    }
}

/// What a node hears of the rooms it is subscribed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedItem {
    /// An appended event.
    Event {
        /// Its room.
        room: RoomName,
        /// Its place.
        position: Position,
        /// The event.
        event: Event,
    },
    /// An event that was never appended.
    Signal {
        /// Its room.
        room: RoomName,
        /// The event.
        event: Event,
    },
    /// A mark: what was appended to any subscribed room up to there stands before it.
    Mark {
        /// Where it was put.
        room: RoomName,
        /// The position.
        position: Position,
        /// When it was put, in milliseconds since 1970 by the clock of the node that put it.
        at_ms: u64,
    },
    /// Events may have been missed before this point; what was missed is in the log, and what follows is
    /// everything that is appended from now on.
    Gap,
}

/// How long and how much a log keeps, from `[log]` of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Events of a room that are kept at least.
    pub room_events: usize,
    /// Bytes of a room beyond which older events go, however few they are; the newest stays. 0 for no limit.
    pub room_bytes: usize,
    /// How long a room's events are kept after its last one.
    pub room_retention: Duration,
    /// How long a dedupe key is known.
    pub dedupe_window: Duration,
    /// Bytes that may be kept in all, 0 for no limit.
    pub max_bytes: u64,
    /// The same in percent of what its store has: of Redis' `maxmemory`, of the disk, of half the machine's memory. 0 for no
    /// limit; the lower of the two holds.
    pub max_percent: u8,
}

impl Retention {
    /// One that counts events alone, and has no limit in bytes.
    #[must_use]
    pub const fn of_events(room_events: usize, room_retention: Duration, dedupe_window: Duration) -> Self {
        Self { room_events, room_bytes: 0, room_retention, dedupe_window, max_bytes: 0, max_percent: 0 }
    }

    /// In how many bytes of a room, on average, it is looked at whether it has too many.
    const LOOKS: usize = 8;

    /// Whether it is to be looked at whether a room has too many bytes, when this many come to it: by chance, so that nobody
    /// has to count them for each room, and more often the more they are. A room has rarely more than a few eighths too many.
    fn weighs(&self, bytes: usize) -> bool {
        self.room_bytes > 0 && rand::random_range(0..self.room_bytes.div_ceil(Self::LOOKS)) < bytes
    }

    /// What a room has after it had too many bytes: with some room, or each append would find it full again.
    fn trimmed_bytes(&self) -> usize {
        self.room_bytes - self.room_bytes / Self::LOOKS
    }
}

/// Why an event was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// As much is kept as may be.
    #[error("append: the log is full")]
    Full,
    /// The log has nothing of the room, and the append was for a known one.
    #[error("append: the room is new")]
    NewRoom,
    /// The log could not do it.
    #[error(transparent)]
    Failed(#[from] PortError),
}

/// The present as an offset, in microseconds since 1970: no offset is below the time when it was given.
fn present() -> Offset {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Offset(u64::try_from(now.as_micros()).unwrap_or(u64::MAX))
}

/// An epoch and an offset, from a backend's texts.
fn position(epoch: &str, offset: &str) -> Option<Position> {
    Some(Position { epoch: Epoch::parse(epoch)?, offset: Offset::parse(offset)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_incomplete_is_not_whole() {
        let whole = Page {
            events: Vec::new(),
            read_to: None,
            unreadable: false,
            more: false,
            trimmed: false,
            oldest: None,
            floor: Offset(10),
            began: Offset(10),
            head: Position { epoch: Epoch(1), offset: Offset(50) },
            in_doubt_before: None,
        };
        assert!(whole.is_whole_after(Offset(20)) && !whole.is_whole_after(Offset(9)));
        let in_doubt = Page { in_doubt_before: Some(Offset(51)), ..whole.clone() };
        assert!(in_doubt.reaches_back_to(Offset(20)) && !in_doubt.is_whole_after(Offset(20)));
        assert!(!Page { unreadable: true, ..whole }.is_whole_after(Offset(20)));
    }
}
