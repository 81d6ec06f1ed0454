//! The log: partitions, each with a counter and a history of its own, on servers that may be lost.

use std::collections::{BTreeMap, VecDeque};

/// A room of the deployment.
pub(crate) type Room = u32;
/// A server of the log: a primary of a Redis Cluster.
pub(crate) type Server = u16;

/// What a room said.
#[derive(Debug, Default)]
struct Stream {
    entries: VecDeque<u64>,
    /// The newest that was dropped for want of room.
    dropped: u64,
}

/// A part of all rooms.
#[derive(Debug)]
pub(crate) struct Part {
    /// Where it is.
    pub(crate) server: Server,
    /// The change with which its history began.
    pub(crate) since: u32,
    /// While it moves it takes nothing.
    pub(crate) moving: bool,
    head: u64,
    rooms: BTreeMap<Room, Stream>,
    /// The newest appends, which a replica may not have.
    unsure: VecDeque<(u64, Room)>,
}

/// What reading a room's log finds.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// What came after the offset that was asked for.
    pub(crate) offsets: Vec<u64>,
    /// Up to where the log was read.
    pub(crate) boundary: u64,
    /// What was dropped up to.
    pub(crate) dropped: u64,
    /// The change with which the history began.
    pub(crate) since: u32,
}

impl Part {
    /// One that is empty.
    pub(crate) fn new(server: Server) -> Self {
        let (rooms, unsure) = (BTreeMap::new(), VecDeque::new());
        Self { server, since: 0, moving: false, head: 0, rooms, unsure }
    }

    /// Gives the next offset, which is never below the clock, keeps the event, and drops what is beyond `kept`.
    pub(crate) fn append(&mut self, room: Room, now: u64, kept: usize, lag: usize) -> u64 {
        self.head = now.max(self.head + 1);
        let stream = self.rooms.entry(room).or_default();
        stream.entries.push_back(self.head);
        while stream.entries.len() > kept {
            stream.dropped = stream.entries.pop_front().unwrap_or_default();
        }
        self.unsure.push_back((self.head, room));
        while self.unsure.len() > lag {
            self.unsure.pop_front();
        }
        self.head
    }

    /// A mark: an offset that is no event's. What is below it was announced before it.
    pub(crate) fn mark(&mut self, now: u64) -> u64 {
        self.head = now.max(self.head + 1);
        self.head
    }

    /// What a room said after an offset.
    pub(crate) fn read(&self, room: Room, after: u64) -> Page {
        let stream = self.rooms.get(&room);
        let offsets = stream.map(|stream| {
            let first = stream.entries.partition_point(|offset| *offset <= after);
            stream.entries.range(first..).copied().collect()
        });
        let dropped = stream.map_or(0, |stream| stream.dropped);
        Page { offsets: offsets.unwrap_or_default(), boundary: self.head, dropped, since: self.since }
    }

    /// Goes on as a replica knows it: without its newest `count` appends, which are returned, and with a history that
    /// begins now.
    pub(crate) fn lose(&mut self, count: usize, since: u32) -> Vec<(u64, Room)> {
        self.since = since;
        let mut lost = Vec::new();
        while lost.len() < count {
            let Some((offset, room)) = self.unsure.pop_back() else { break };
            let stream = self.rooms.entry(room).or_default();
            // It may have been dropped meanwhile, and then nobody reads it anyway.
            if stream.entries.back() == Some(&offset) {
                stream.entries.pop_back();
            }
            lost.push((offset, room));
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_never_given_twice() {
        let mut part = Part::new(0);
        let given: Vec<_> = [100, 100, 90].map(|now| part.append(1, now, 10, 10)).into();
        assert_eq!(given, [100, 101, 102]);
        assert_eq!(part.lose(2, 1).len(), 2);
        assert_eq!(part.read(1, 0).offsets, [100]);
        assert_eq!(part.append(1, 50, 10, 10), 103, "above what was lost");
    }

    #[test]
    fn what_is_dropped_is_known() {
        let mut part = Part::new(0);
        for now in 1..=5 {
            part.append(1, now, 3, 10);
        }
        let page = part.read(1, 1);
        assert_eq!((page.offsets, page.dropped, page.boundary), (vec![3, 4, 5], 2, 5));
        assert_eq!(part.read(2, 0).offsets, [0; 0]);
    }
}
