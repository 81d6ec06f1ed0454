//! A node: it hears partitions, each in its order, hands every session what its rooms say, and knows how far each session is.

use std::collections::{BTreeMap, BTreeSet};

use crate::clients::{Client, Frame};
use crate::log::{Page, Room};
use crate::settings::Offsets;
use crate::token::{Partition, Position};

/// What comes from a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    /// The room of an event; none of a mark.
    pub(crate) room: Option<Room>,
    /// Where it stands.
    pub(crate) offset: u64,
    /// How often the partition had moved when it was announced.
    pub(crate) home: u32,
}

/// What a node knows of a partition of which it hears.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    /// Everything of its rooms up to here was dispatched.
    pub(crate) through: u64,
    /// The change with which the history that it follows began.
    pub(crate) since: u32,
    /// How often the partition had moved where the node has subscribed.
    pub(crate) home: u32,
    /// The highest of these at which its subscription has ended.
    pub(crate) left: Option<u32>,
    /// What comes while it is not known what was missed.
    pub(crate) waits: Option<Vec<Heard>>,
    /// What it has subscribed to.
    pub(crate) rooms: BTreeSet<Room>,
}

/// Who comes in: what is asked for it, and what it hears meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Entering {
    /// Partitions of which the log has not been read for it.
    pub(crate) asked: BTreeSet<Partition>,
    /// What was read.
    pub(crate) pages: Vec<(Partition, Vec<(Room, Page)>)>,
    /// Events that came meanwhile.
    pub(crate) held: Vec<(Partition, Room, u64)>,
    /// Where it was; none for a session that begins.
    pub(crate) from: Option<Position>,
}

/// A session on this node.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// Its connection.
    pub(crate) line: u32,
    /// As long as it comes in.
    pub(crate) entering: Option<Entering>,
    /// Of each partition: up to where everything was handed to it when it came in.
    starts: BTreeMap<Partition, u64>,
    /// Of each partition: the last that it was handed.
    last: BTreeMap<Partition, u64>,
    /// Of each room: nothing up to here is handed to it any more.
    cursors: BTreeMap<Room, u64>,
}

/// One node.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// Which of its lives it is in; none while it is away.
    pub(crate) alive: bool,
    /// How often it has begun.
    pub(crate) boot: u32,
    /// All changes up to this one were told to its sessions.
    pub(crate) known: u32,
    /// Those beyond it.
    pub(crate) beyond: BTreeSet<u32>,
    /// What it hears.
    pub(crate) feeds: BTreeMap<Partition, Feed>,
    /// Whom it has.
    pub(crate) sessions: BTreeMap<Client, Session>,
    /// And in which rooms.
    pub(crate) rooms: BTreeMap<Room, BTreeSet<Client>>,
}

/// What is to be sent: to whom, on which connection, what, and with which position.
pub(crate) type Sent = (Client, u32, Frame, Position);

impl Node {
    /// It heard something new of a partition; what of it goes to whom.
    pub(crate) fn dispatch(&mut self, partition: Partition, heard: Heard, offsets: Offsets, sent: &mut Vec<Sent>) {
        let Some(feed) = self.feeds.get_mut(&partition) else { return };
        if heard.offset <= feed.through {
            return;
        }
        feed.through = heard.offset;
        let Some(room) = heard.room else { return };
        for client in self.rooms.get(&room).into_iter().flatten() {
            let Some(session) = self.sessions.get_mut(client) else { continue };
            if let Some(entering) = &mut session.entering {
                entering.held.push((partition, room, heard.offset));
            } else if session.hand(partition, room, heard.offset) {
                let position = session.position(&self.feeds, self.known, offsets);
                sent.push((*client, session.line, Frame::Event(room, heard.offset), position));
            }
        }
    }

    /// A partition's history ended: everybody in it is told, once.
    pub(crate) fn learn(&mut self, partition: Partition, since: u32, offsets: Offsets, sent: &mut Vec<Sent>) {
        let Some(feed) = self.feeds.get_mut(&partition).filter(|feed| feed.since < since) else { return };
        feed.since = since;
        for (client, session) in &self.sessions {
            if session.entering.is_none() && session.starts.contains_key(&partition) {
                let position = session.position(&self.feeds, self.known, offsets);
                sent.push((*client, session.line, Frame::Gap(partition, since), position));
            }
        }
    }

    /// Of the change with this number its sessions know. Positions say so only when they know of all before it, too.
    pub(crate) fn settle(&mut self, change: u32) {
        if change > self.known {
            self.beyond.insert(change);
        }
        while self.beyond.remove(&(self.known + 1)) {
            self.known += 1;
        }
    }

    /// All was read for a session: what it missed, what it is told, and then what came meanwhile. How many events it missed.
    pub(crate) fn enter(&mut self, client: Client, offsets: Offsets, sent: &mut Vec<Sent>) -> usize {
        let Some(session) = self.sessions.get_mut(&client) else { return 0 };
        let Some(entering) = session.entering.take() else { return 0 };
        let from = entering.from;
        let mut missed: Vec<(u64, Partition, Room)> = Vec::new();
        let (mut gaps, mut dropped, mut joined) = (Vec::new(), Vec::new(), Vec::new());
        for (partition, pages) in entering.pages {
            let since = pages.iter().map(|(_, page)| page.since).max().unwrap_or_default();
            let since = since.max(self.feeds.get(&partition).map_or(0, |feed| feed.since));
            let was = from.as_ref().map(|position| position.of(partition));
            if from.as_ref().is_some_and(|position| since > position.version) {
                gaps.push((partition, since));
            }
            // Rooms of a partition are read one after the other; the first tells up to where all of them were.
            let read = pages.iter().map(|(_, page)| page.boundary).min().unwrap_or_default();
            session.starts.insert(partition, read.max(was.unwrap_or_default()));
            session.last.insert(partition, was.unwrap_or(read));
            for (room, page) in pages {
                if was.is_some_and(|was| page.dropped > was) {
                    dropped.push((room, page.dropped));
                }
                missed.extend(page.offsets.iter().map(|offset| (*offset, partition, room)));
                session.cursors.insert(room, was.unwrap_or(page.boundary));
                joined.push((room, page.boundary));
            }
        }
        // Nothing was handed yet: until then a position is where the session was.
        let before = from.clone().unwrap_or_default();
        for (partition, since) in gaps {
            sent.push((client, session.line, Frame::Gap(partition, since), before.clone()));
        }
        for (room, through) in dropped {
            sent.push((client, session.line, Frame::Dropped(room, through), before.clone()));
        }
        // In the order of offsets, so that the floor rises with them; but no partition is further than it was read.
        missed.sort_unstable();
        let count = missed.len();
        for (offset, partition, room) in missed {
            if session.hand(partition, room, offset) {
                let through = |partition, read: u64| read.min(offset).max(before.of(partition));
                let position = session.position_by(through, self.known, offsets);
                sent.push((client, session.line, Frame::Event(room, offset), position));
            }
        }
        // What the node has dispatched meanwhile waits here, so it is no further than what it is handed.
        let arrived = if from.is_none() { Frame::Greeting(joined) } else { Frame::Back };
        let position = session.position_by(|_, read| read, self.known, offsets);
        sent.push((client, session.line, arrived, position));
        let mut handed = BTreeMap::new();
        for (partition, room, offset) in entering.held {
            if session.hand(partition, room, offset) {
                handed.insert(partition, offset);
                let through = |partition, read: u64| handed.get(&partition).copied().unwrap_or_default().max(read);
                let position = session.position_by(through, self.known, offsets);
                sent.push((client, session.line, Frame::Event(room, offset), position));
            }
        }
        count
    }
}

impl Session {
    /// One that comes in.
    pub(crate) fn entering(line: u32, entering: Entering) -> Self {
        Self { line, entering: Some(entering), ..Self::default() }
    }

    /// Whether it has to be handed this one.
    fn hand(&mut self, partition: Partition, room: Room, offset: u64) -> bool {
        let cursor = self.cursors.entry(room).or_default();
        if offset <= *cursor {
            return false;
        }
        *cursor = offset;
        let last = self.last.entry(partition).or_default();
        *last = offset.max(*last);
        true
    }

    /// Up to where it was handed everything of a partition.
    fn through(&self, feeds: &BTreeMap<Partition, Feed>, partition: Partition, start: u64) -> u64 {
        feeds.get(&partition).map_or(start, |feed| feed.through.max(start))
    }

    /// Everything of a session: each of its partitions and how far it is there.
    pub(crate) fn everything(&self, feeds: &BTreeMap<Partition, Feed>) -> impl Iterator<Item = (Partition, u64)> {
        self.starts.iter().map(|(partition, start)| (*partition, self.through(feeds, *partition, *start)))
    }

    /// Where it is when it was handed all that its node has dispatched.
    fn position(&self, feeds: &BTreeMap<Partition, Feed>, version: u32, offsets: Offsets) -> Position {
        self.position_by(|partition, start| self.through(feeds, partition, start), version, offsets)
    }

    /// Where it is, if it was handed everything of a partition up to what `through` says of it: a floor under all of its
    /// partitions, and those in which it was handed something above it.
    fn position_by(&self, through: impl Fn(Partition, u64) -> u64, version: u32, offsets: Offsets) -> Position {
        let floor = self.starts.iter().map(|(partition, start)| through(*partition, *start)).min().unwrap_or_default();
        let ahead = self.last.iter().map(|(partition, last)| (*partition, *last)).filter(|(_, last)| *last > floor);
        match offsets {
            Offsets::Vector => Position { version, floor, ahead: ahead.collect() },
            Offsets::Floor => Position { version, floor, ahead: BTreeMap::new() },
            Offsets::Scalar => {
                let newest = ahead.map(|(_, last)| last).max().unwrap_or(floor);
                Position { version, floor: newest, ahead: BTreeMap::new() }
            }
        }
    }
}
