//! The books of one room: what was published in which order, and what every member heard of it.
//!
//! Order is the order of offsets. What was published is known from acks and from whoever heard it first; up to the
//! newest offset that was known when the oldest unacknowledged publish was first sent, nothing new can turn up, because
//! offsets only grow. Up to there a member's hearing can be compared and then forgotten, so the books stay small.

mod kept;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::torn::Torn;
pub(crate) use kept::Reading;

/// Events that a room remembers although everybody has had them: what the server's history is compared with.
const KEPT: usize = 2_000;

/// What tells one publish from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stamp {
    pub(crate) publisher: u32,
    /// Counts the publisher's publishes; the next one is sent after this one was acknowledged.
    pub(crate) number: u32,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    /// A member never heard an event, and nothing that was announced excuses it.
    Lost,
    /// An event was heard twice by a member, or appended twice.
    Doubled,
    /// A member heard an event after a later one.
    Reordered,
    /// A hole in what a member heard, or a new session, that nobody told it of.
    Silent,
    /// A connected client got nothing where there was something, for long, and nobody harmed its node or Redis.
    Stalled,
    /// The server contradicts itself or the protocol.
    Contradiction,
}

/// One wrong thing.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) wrong: Wrong,
    /// Whom it happened to, if to somebody.
    pub(crate) client: Option<u32>,
    pub(crate) note: String,
}

#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Up to here the log may lack what members have heard: Redis has lost writes.
    torn: Arc<Torn>,
    events: BTreeMap<u64, Stamp>,
    places: HashMap<Stamp, u64>,
    /// Of the events that are forgotten, each publisher's highest number.
    forgotten: HashMap<u32, u32>,
    /// What was sent and is not acknowledged, with the newest offset that was known when it was first sent.
    open: HashMap<Stamp, u64>,
    newest: u64,
    /// Nothing can turn up any more up to here.
    closed: u64,
    ears: BTreeMap<u32, Ear>,
    /// What was found and not taken away yet.
    pub(crate) findings: Vec<Finding>,
    /// What was found altogether.
    pub(crate) counts: BTreeMap<Wrong, u64>,
    /// Deliveries that were compared.
    pub(crate) audited: u64,
    /// Events that members did not hear and were told of.
    pub(crate) announced: u64,
    /// Everything that it says is archived, so all of it is remembered.
    is_archived: bool,
    /// What somebody did not find who read backwards, and Redis may have lost: then the archive does not have it either.
    passed_over: BTreeSet<u64>,
}

/// What one member heard and has a right to.
#[derive(Debug, Default)]
struct Ear {
    /// It is owed everything after this; nothing while its first join is not answered.
    owed_after: Option<u64>,
    /// Its first join was not answered, but worked: the first event that it heard says from where.
    adopted: bool,
    /// Compared up to here.
    settled: u64,
    last: u64,
    /// What it heard and is not compared yet.
    heard: BTreeSet<u64>,
    /// What was found missing, in case it comes late.
    missing: BTreeSet<u64>,
    /// Ranges, both ends included, that an announcement excuses.
    excused: Vec<(u64, u64)>,
    /// A join was sent whose answer may tell of a gap, after what is live.
    asked: bool,
    /// What two primaries took at once and it did not hear, and was not told of yet.
    late: BTreeMap<u64, Stamp>,
    /// Up to here it was told that something of that may be missing.
    told: u64,
    /// A gap was announced after this offset; it ends at what is heard next.
    gap_after: Option<u64>,
    in_a_hole: bool,
}

impl Ear {
    fn begin(&mut self, offset: u64) {
        self.owed_after = Some(offset);
        self.settled = offset;
        self.last = self.last.max(offset);
    }

    /// It is told that something may be missing; returns how much it was that nobody could tell it of before.
    fn tell(&mut self, through: u64) -> u64 {
        self.told = self.told.max(through);
        std::mem::take(&mut self.late).len() as u64
    }
}

impl Room {
    /// The books of a room of which the log may lack what comes up to `torn`.
    pub(crate) fn of(torn: &Arc<Torn>) -> Self {
        Self { torn: torn.clone(), ..Self::default() }
    }

    /// The same, of a room that is archived.
    pub(crate) fn archived(torn: &Arc<Torn>) -> Self {
        Self { is_archived: true, ..Self::of(torn) }
    }

    fn find(&mut self, wrong: Wrong, client: Option<u32>, note: String) {
        *self.counts.entry(wrong).or_default() += 1;
        self.findings.push(Finding { wrong, client, note });
    }

    /// A publish is about to be sent, for the first time or again.
    pub(crate) fn sent(&mut self, stamp: Stamp) {
        self.open.entry(stamp).or_insert(self.newest);
    }

    pub(crate) fn acknowledged(&mut self, stamp: Stamp, offset: u64) {
        self.place(stamp, offset);
        self.open.remove(&stamp);
    }

    /// Publishes whose fate is unknown.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// An event stands at an offset, somebody says.
    fn place(&mut self, stamp: Stamp, offset: u64) {
        match self.events.get(&offset) {
            Some(known) if *known == stamp => return,
            Some(known) => {
                let note = format!("{known:?} and {stamp:?} both stand at {offset}");
                return self.find(Wrong::Contradiction, None, note);
            }
            None => {}
        }
        if let Some(first) = self.places.get_mut(&stamp) {
            if self.torn.excuses(*first, offset) {
                // Nobody knows any more that it was appended, so its author's next try appends it.
                *first = offset;
            } else {
                let note = format!("{stamp:?} was appended at {first} and at {offset}");
                self.find(Wrong::Doubled, None, note);
            }
        } else if self.forgotten.get(&stamp.publisher).is_some_and(|number| *number >= stamp.number) {
            self.find(Wrong::Doubled, None, format!("{stamp:?} was appended again at {offset}"));
        } else {
            self.places.insert(stamp, offset);
        }
        if offset <= self.closed {
            let note = format!("{stamp:?} got {offset}, but {} was given before it was sent", self.closed);
            self.find(Wrong::Contradiction, None, note);
        }
        self.events.insert(offset, stamp);
        self.newest = self.newest.max(offset);
    }

    /// A member's join was answered: it is owed what comes after.
    pub(crate) fn joined(&mut self, client: u32, offset: u64) {
        let ear = self.ears.entry(client).or_default();
        if ear.owed_after.is_some() {
            return;
        }
        ear.begin(offset);
        let early = ear.heard.iter().filter(|heard| **heard <= offset).count();
        ear.heard.retain(|heard| *heard > offset);
        if early > 0 {
            self.find(Wrong::Doubled, Some(client), format!("heard {early} events of before its join at {offset}"));
        }
    }

    /// A member is in the room although its first join was not answered, or not with success.
    pub(crate) fn adopted(&mut self, client: u32) {
        let ear = self.ears.entry(client).or_default();
        ear.adopted = true;
        if let (None, Some(first)) = (ear.owed_after, ear.heard.first().copied()) {
            ear.begin(first.saturating_sub(1));
        }
    }

    /// A member has asked to join, or its request was answered or is void.
    pub(crate) fn asks(&mut self, client: u32, asked: bool) {
        self.ears.entry(client).or_default().asked = asked;
    }

    /// A member was told that it misses something, up to what it hears next, and up to an offset if there is one.
    pub(crate) fn gap(&mut self, client: u32, through: Option<u64>) {
        let ear = self.ears.entry(client).or_default();
        ear.gap_after = ear.gap_after.or(Some(ear.last));
        ear.excused.extend(through.map(|through| (ear.last + 1, through)));
        let told = ear.last.max(through.unwrap_or_default());
        self.announced += ear.tell(told);
    }

    /// The answer to a member's join told that it misses something after one offset and up to another. What is live may
    /// have come before the answer.
    pub(crate) fn gap_between(&mut self, client: u32, after: u64, through: u64) {
        let ear = self.ears.entry(client).or_default();
        ear.excused.push((after + 1, through));
        self.announced += ear.tell(through);
    }

    pub(crate) fn heard(&mut self, client: u32, stamp: Stamp, offset: u64) {
        self.place(stamp, offset);
        let ear = self.ears.entry(client).or_default();
        if ear.owed_after.is_none() && ear.adopted {
            ear.begin(offset.saturating_sub(1));
        }
        if let Some(after) = ear.gap_after.take() {
            ear.excused.push((after + 1, offset.saturating_sub(1)));
        }
        let last = ear.last;
        if offset > last {
            ear.last = offset;
            ear.heard.insert(offset);
        } else if ear.missing.remove(&offset) {
            // It was lost until now.
            self.counts.entry(Wrong::Lost).and_modify(|lost| *lost -= 1);
            self.findings.retain(|finding| {
                finding.wrong != Wrong::Lost || finding.client != Some(client) || finding.note != lost(offset, stamp)
            });
            self.find(Wrong::Reordered, Some(client), format!("{stamp:?} at {offset} came long after {last}"));
        } else if ear.late.remove(&offset).is_some() {
            self.find(Wrong::Reordered, Some(client), format!("{stamp:?} at {offset} came long after {last}"));
        } else if offset <= ear.settled || !ear.heard.insert(offset) {
            self.find(Wrong::Doubled, Some(client), format!("{stamp:?} at {offset} came again, after {last}"));
        } else {
            self.find(Wrong::Reordered, Some(client), format!("{stamp:?} at {offset} came after {last}"));
        }
    }

    /// Whether every member has heard the newest event.
    pub(crate) fn is_level(&self) -> bool {
        self.ears.values().all(|ear| ear.last >= self.newest)
    }

    /// The members that have not heard the newest event.
    pub(crate) fn behind(&self) -> impl Iterator<Item = (u32, u64)> {
        self.ears.iter().filter(|(_, ear)| ear.last < self.newest).map(|(client, ear)| (*client, ear.last))
    }

    /// What a member heard last, and what there is to hear.
    pub(crate) fn progress(&self, client: u32) -> (u64, u64) {
        let Some(ear) = self.ears.get(&client) else { return (0, self.newest) };
        // What was announced as missing will not come.
        (if ear.gap_after.is_some() { self.newest } else { ear.last }, self.newest)
    }

    /// Compares what can be compared. At the end that is everything: what was not heard by then is lost.
    pub(crate) fn settle(&mut self, at_the_end: bool) {
        self.closed = if at_the_end { self.newest } else { self.open.values().copied().min().unwrap_or(self.newest) };
        let mut found = Vec::new();
        for (client, ear) in &mut self.ears {
            if ear.owed_after.is_none() || (ear.asked && !at_the_end) {
                continue;
            }
            if at_the_end && let Some(after) = ear.gap_after.take() {
                ear.excused.push((after + 1, self.newest));
            }
            for (offset, stamp) in ear.late.iter().filter(|_| at_the_end) {
                found.push((Wrong::Silent, *client, format!("two primaries, and it was never told: {offset}")));
                found.push((Wrong::Lost, *client, lost(*offset, *stamp)));
            }
            let through = if at_the_end { self.newest } else { self.closed.min(ear.last) };
            if through <= ear.settled {
                continue;
            }
            for (offset, stamp) in self.events.range(ear.settled + 1..=through) {
                if ear.heard.remove(offset) {
                    self.audited += 1;
                    ear.in_a_hole = false;
                } else if ear.excused.iter().any(|(first, last)| (first..=last).contains(&offset))
                    || self.torn.is_split_at(*offset) && *offset <= ear.told
                {
                    self.announced += 1;
                } else if self.torn.is_split_at(*offset) && !at_the_end {
                    ear.late.insert(*offset, *stamp);
                } else {
                    if !ear.in_a_hole {
                        found.push((Wrong::Silent, *client, format!("a hole that begins at {offset}")));
                    }
                    found.push((Wrong::Lost, *client, lost(*offset, *stamp)));
                    ear.missing.insert(*offset);
                    ear.in_a_hole = true;
                }
            }
            ear.settled = through;
            ear.excused.retain(|(_, last)| *last > through);
        }
        for (wrong, client, note) in found {
            self.find(wrong, Some(client), note);
        }
        self.forget();
    }

    fn forget(&mut self) {
        if self.is_archived {
            return;
        }
        let settled = self.ears.values().filter(|ear| ear.owed_after.is_some()).map(|ear| ear.settled).min();
        while self.events.len() > KEPT {
            let Some(oldest) = self.events.first_entry() else { return };
            if settled.is_none_or(|settled| *oldest.key() > settled) {
                return;
            }
            let stamp = oldest.remove();
            self.places.remove(&stamp);
            let number = self.forgotten.entry(stamp.publisher).or_default();
            *number = stamp.number.max(*number);
        }
    }

    /// Compares the server's history, oldest first, with what is remembered.
    pub(crate) fn compare(&mut self, history: &[(u64, Stamp)]) {
        let torn = self.torn.ended();
        let known =
            |offset: &u64| *offset > torn && self.events.first_key_value().is_some_and(|(oldest, _)| offset >= oldest);
        let history: Vec<_> = history.iter().filter(|(offset, _)| known(offset)).copied().collect();
        let oldest = history.first().map_or(u64::MAX, |(offset, _)| *offset);
        let expected: Vec<_> = self.events.range(oldest..).map(|(offset, stamp)| (*offset, *stamp)).collect();
        if history != expected || history.is_empty() != self.events.range(torn + 1..).next().is_none() {
            let first = history.iter().zip(&expected).find(|(has, should)| has != should);
            let (has, should) = (history.len(), expected.len());
            let note = format!("history has {has} events since {oldest}, members had {should}; first other: {first:?}");
            self.find(Wrong::Contradiction, None, note);
        }
    }
}

fn lost(offset: u64, stamp: Stamp) -> String {
    format!("{stamp:?} at {offset} never came")
}
