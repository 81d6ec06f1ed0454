//! What is kept of a room for good, as somebody reads it, compared with the books: nothing missing, nothing twice, one order.

use std::collections::{BTreeSet, HashMap};

use super::{Room, Stamp, Wrong, lost};

/// What somebody read of a room, from one end to the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// What was read, in the order that its reader was given.
    pub(crate) entries: Vec<(u64, Stamp)>,
    /// Of what it was told that something may be missing there: ranges, both ends included.
    pub(crate) excused: Vec<(u64, u64)>,
    /// Everything up to here had been said when the reading began.
    pub(crate) upto: u64,
    /// It began with the newest. What the log itself lost then is told to nobody who reads within the log.
    pub(crate) backwards: bool,
}

impl Reading {
    fn excuses(&self, offset: u64) -> bool {
        self.excused.iter().any(|(first, last)| (first..=last).contains(&&offset))
    }
}

impl Room {
    /// The newest event that anybody knows of.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// Somebody has read the room while things were said.
    pub(crate) fn read(&mut self, reader: u32, reading: &Reading) {
        let read = self.in_order(Some(reader), reading);
        self.find_missing(Some(reader), reading, &read);
    }

    /// The whole room has been read at the end, past all nodes.
    pub(crate) fn archived_as(&mut self, reading: &Reading) {
        let read = self.in_order(None, reading);
        self.find_missing(None, reading, &read);
        for (offset, stamp) in &reading.entries {
            if !self.places.contains_key(stamp) {
                self.find(Wrong::Contradiction, None, format!("nobody said {stamp:?}, which is archived at {offset}"));
            }
        }
        for offset in std::mem::take(&mut self.passed_over) {
            if read.contains(&offset) {
                let note = format!("who read backwards did not find {offset}, which is archived");
                self.find(Wrong::Lost, None, note);
            }
        }
    }

    /// What was read, compared with itself and with what is known of it.
    fn in_order(&mut self, reader: Option<u32>, reading: &Reading) -> BTreeSet<u64> {
        let (mut last, mut read, mut seen) = (0, BTreeSet::new(), HashMap::new());
        for (offset, stamp) in &reading.entries {
            if !read.insert(*offset) {
                self.find(Wrong::Doubled, reader, format!("{stamp:?} at {offset} was read again, after {last}"));
            } else if *offset < last {
                self.find(Wrong::Reordered, reader, format!("{stamp:?} at {offset} was read after {last}"));
            }
            last = *offset;
            match self.events.get(offset) {
                Some(known) if known != stamp => {
                    let note = format!("{known:?} and {stamp:?} both stand at {offset}");
                    self.find(Wrong::Contradiction, reader, note);
                }
                _ => {}
            }
            // What Redis lost its author said again. The archive may have had it before.
            for other in [seen.insert(*stamp, *offset), self.places.get(stamp).copied()].into_iter().flatten() {
                let (first, second) = (other.min(*offset), other.max(*offset));
                if first < second && !self.torn.has_doubled(first, second) {
                    self.find(Wrong::Doubled, reader, format!("{stamp:?} is kept at {first} and at {second}"));
                }
            }
        }
        read
    }

    fn find_missing(&mut self, reader: Option<u32>, reading: &Reading, read: &BTreeSet<u64>) {
        let mut missing = Vec::new();
        for (offset, stamp) in self.events.range(..=reading.upto) {
            if read.contains(offset) || reading.excuses(*offset) {
                continue;
            }
            if reading.backwards && *offset <= self.torn.ended() {
                self.passed_over.insert(*offset);
            } else {
                missing.push(lost(*offset, *stamp));
            }
        }
        for note in missing {
            self.find(Wrong::Lost, reader, format!("of what is kept, {note}"));
        }
    }
}
