//! PORT: the log. Per room the ordered recent events; the trait is the contract, `tests/contract/log.rs` checks
//! every backend against it.

mod budget;
mod memory;
mod redis;
mod sqlite;
mod traced;

pub use budget::{Budget, ENTRY_BYTES, ROOM_BYTES};
pub use memory::MemoryLog;
pub use redis::RedisLog;
pub use sqlite::SqliteLog;
pub use traced::TracedLog;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::future::try_join_all;
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
/// **Outboxes.** What is appended is in the outboxes that want it by the same step, where they share a store. What is there for
/// the archive names the event before it in the room, as far as the log has one.
///
/// **Taken back.** An event that takes another one of its room back removes it in the same step: whoever reads from then on finds
/// the one that took it back. What the log does not have any more, it need not remove.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Appends an event and announces it on the feeds of all nodes that are subscribed to the room.
    async fn append(&self, room: &RoomName, event: &Event, terms: Terms<'_>) -> Result<Appended, AppendError>;

    /// Reads a part of a room's log, and where the whole log stands at that moment. Of events that weigh more than `bytes`
    /// together as they are kept, no more are read than fit, but one at least.
    async fn read(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Page, PortError>;

    /// Reads the oldest events after an offset of each of several rooms, as [`Self::read`] reads those of one; a log that can
    /// reads all at one moment and in one request, and then no more of them together than fit into `bytes`. The pages are in the
    /// order of the rooms.
    async fn read_each(
        &self,
        rooms: &[(&RoomName, Offset)],
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Page>, PortError> {
        let read = rooms.iter().map(|(room, offset)| self.read(room, Range::After { offset: *offset, limit }, bytes));
        try_join_all(read).await
    }

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
    /// The entry of the room that it takes back.
    pub takes_back: Option<Offset>,
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

    /// The least offset that it reaches back to: what the room said after it is in this log, and what it said before may be
    /// gone.
    #[must_use]
    pub fn reaches_back(&self) -> Offset {
        let before_the_oldest = self.oldest.map(|oldest| Offset(oldest.0.saturating_sub(1)));
        let where_nothing_went = (!self.trimmed).then_some(self.floor);
        let least = [before_the_oldest, where_nothing_went].into_iter().flatten().min();
        least.unwrap_or(self.head.offset).max(self.began)
    }

    /// Whether all that was ever appended after `offset`, as far as this part reads, is among its events. False as well
    /// while that is in doubt.
    #[must_use]
    pub fn is_whole_after(&self, offset: Offset) -> bool {
        let is_in_doubt = self.in_doubt_before.is_some_and(|before| offset < before);
        self.reaches_back_to(offset) && !is_in_doubt && !self.unreadable
    }

    /// Up to where at the most something is missing of what was appended after `offset`, as far as this part reads; nothing
    /// if it is whole. It may be missing behind events that are there: those of a history that was lost, and in doubt all.
    #[must_use]
    pub fn missing_to(&self, offset: Offset) -> Option<Offset> {
        let is_in_doubt = self.in_doubt_before.is_some_and(|before| offset < before);
        let in_doubt = is_in_doubt.then_some(self.head.offset);
        let gone = (!self.reaches_back_to(offset)).then(|| self.reaches_back());
        let unreadable = self.unreadable.then(|| self.read_to.unwrap_or(self.head.offset));
        in_doubt.max(gone).max(unreadable)
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
    fn how_far_a_log_reaches_back_is_the_least_offset_that_it_reaches_back_to() {
        for (oldest, trimmed) in [(None, false), (Some(30), false), (Some(30), true), (Some(5), true), (Some(10), true)]
        {
            let page = Page { oldest: oldest.map(Offset), trimmed, ..whole() };
            let Offset(least) = page.reaches_back();
            assert!(page.reaches_back_to(Offset(least)), "{page:?}");
            assert!(!page.reaches_back_to(Offset(least - 1)), "{page:?}");
        }
    }

    fn whole() -> Page {
        Page {
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
        }
    }

    #[test]
    fn what_may_be_incomplete_is_not_whole() {
        let whole = whole();
        assert!(whole.is_whole_after(Offset(20)) && !whole.is_whole_after(Offset(9)));
        let in_doubt = Page { in_doubt_before: Some(Offset(51)), ..whole.clone() };
        assert!(in_doubt.reaches_back_to(Offset(20)) && !in_doubt.is_whole_after(Offset(20)));
        assert!(!Page { unreadable: true, ..whole }.is_whole_after(Offset(20)));
    }

    #[test]
    fn what_is_missing_is_missing_up_to_where_the_log_is_whole_again() {
        let whole = whole();
        assert_eq!((whole.missing_to(Offset(10)), whole.missing_to(Offset(50))), (None, None));
        // What an older history left stands before what it lost.
        let left_over = Page { oldest: Some(Offset(3)), began: Offset(30), floor: Offset(1), ..whole.clone() };
        assert_eq!(left_over.missing_to(Offset(2)), Some(Offset(30)));
        assert_eq!(left_over.missing_to(Offset(30)), None);
        let trimmed = Page { oldest: Some(Offset(20)), trimmed: true, ..whole.clone() };
        assert_eq!((trimmed.missing_to(Offset(12)), trimmed.missing_to(Offset(19))), (Some(Offset(19)), None));
        let in_doubt = Page { in_doubt_before: Some(Offset(51)), ..whole.clone() };
        assert_eq!(in_doubt.missing_to(Offset(20)), Some(Offset(50)));
        let unreadable = Page { unreadable: true, read_to: Some(Offset(40)), ..whole };
        assert_eq!(unreadable.missing_to(Offset(20)), Some(Offset(40)));
    }
}
