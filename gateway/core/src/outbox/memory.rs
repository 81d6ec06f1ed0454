//! The outboxes of one process, gone when it ends.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::claims::Claims;
use super::{
    Batch, Bounds, Claim, Decision, Fate, GivenUp, Happening, Lost, Most, Outbox, Place, Scribe, Standing, Waiting,
    Wants,
};
use crate::port::PortError;

/// Outboxes in memory.
#[derive(Debug)]
pub struct MemoryOutbox {
    wants: Wants,
    claims: Claims,
    queues: Mutex<HashMap<String, Queue>>,
}

#[derive(Debug)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    given_up: VecDeque<(Entry, String)>,
    dropped: u64,
    /// Of these, how many were not told yet.
    untold: u64,
    /// The numbers of the first and the last of these, in the archive's until that is settled.
    lost: Option<(u64, u64)>,
    next: u64,
    /// When somebody last wanted it.
    wanted: Instant,
}

#[derive(Clone, Debug)]
struct Entry {
    number: u64,
    since: Instant,
    happening: Happening,
}

impl Entry {
    fn place(&self) -> Place {
        Place(self.number.to_string())
    }

    fn is_at(&self, places: &[Place]) -> bool {
        places.contains(&self.place())
    }
}

impl Queue {
    fn new() -> Self {
        let (entries, given_up) = (VecDeque::new(), VecDeque::new());
        Self { entries, bytes: 0, given_up, dropped: 0, untold: 0, lost: None, next: 0, wanted: Instant::now() }
    }

    /// Takes something in, if it fits; what is for the archive with its link. What takes something back there always fits.
    fn push(&mut self, happening: &Happening, bounds: Bounds, is_archive: bool) -> bool {
        let weight = happening.weight();
        let takes_back = is_archive && happening.link.is_some_and(|link| link.takes_back.is_some());
        if !takes_back && (self.entries.len() >= bounds.entries || self.bytes + weight > bounds.bytes) {
            return false;
        }
        self.bytes += weight;
        self.next += 1;
        let happening = Happening { link: happening.link.filter(|_| is_archive), ..happening.clone() };
        self.entries.push_back(Entry { number: self.next, since: Instant::now(), happening });
        true
    }
}

impl Queue {
    /// Takes entries out, in their order. They stand at the front, or near it.
    fn take_out(&mut self, places: &[Place]) -> Vec<Entry> {
        let numbers: HashSet<u64> = places.iter().filter_map(|Place(number)| number.parse().ok()).collect();
        let last = numbers.iter().max().copied().unwrap_or_default();
        let front = self.entries.partition_point(|entry| entry.number <= last);
        let front: Vec<_> = self.entries.drain(..front).collect();
        let (taken, rest): (Vec<_>, Vec<_>) = front.into_iter().partition(|entry| numbers.contains(&entry.number));
        rest.into_iter().rev().for_each(|entry| self.entries.push_front(entry));
        taken
    }
}

impl MemoryOutbox {
    /// Outboxes in which nothing waits.
    #[must_use]
    pub fn new(wants: Wants) -> Self {
        Self { wants, claims: Claims::default(), queues: Mutex::default() }
    }
}

#[async_trait]
impl Scribe for MemoryOutbox {
    fn is_wanted(&self) -> bool {
        !self.wants.is_empty()
    }

    fn put(&self, happenings: Vec<Happening>) {
        let mut queues = self.queues.lock();
        for happening in happenings {
            for name in self.wants.of(happening.what, &happening.place) {
                let (bounds, is_archive) = (self.wants.bounds(&name), name == Wants::ARCHIVE);
                let queue = queues.entry(name).or_insert_with(Queue::new);
                if queue.push(&happening, bounds, is_archive) {
                    continue;
                }
                (queue.dropped, queue.untold) = (queue.dropped + 1, queue.untold + 1);
                if is_archive {
                    let (first, _) = queue.lost.unwrap_or((happening.number, happening.number));
                    queue.lost = Some((first, happening.number));
                }
            }
        }
    }

    async fn written(&self) {}
}

#[async_trait]
impl Outbox for MemoryOutbox {
    async fn read(&self, name: &str, claim: &Claim, most: Most) -> Result<Option<Batch>, PortError> {
        if !self.claims.take(name, claim) {
            return Ok(None);
        }
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(name) else { return Ok(Some(Batch::default())) };
        let mut bytes = 0;
        let fits = |(index, entry): &(usize, &Entry)| {
            bytes += entry.happening.weight();
            *index == 0 || bytes <= most.bytes
        };
        let waiting = |(_, entry): (usize, &Entry)| Waiting {
            place: entry.place(),
            age: entry.since.elapsed(),
            happening: Some(entry.happening.clone()),
        };
        let entries = queue.entries.iter().take(most.entries).enumerate().take_while(fits).map(waiting).collect();
        let dropped = std::mem::take(&mut queue.untold);
        let lost = queue.lost.map(|(first, last)| Lost::new(first, last));
        Ok(Some(Batch { entries, waiting: queue.entries.len(), dropped, lost }))
    }

    async fn settle(&self, name: &str, claim: &Claim, places: &[Place], fate: Fate<'_>) -> Result<bool, PortError> {
        if !self.claims.renew(name, claim) {
            return Ok(false);
        }
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(name) else { return Ok(true) };
        if places.iter().any(|place| queue.lost.is_some() && Lost::at(place) == queue.lost) {
            queue.lost = None;
        }
        for entry in queue.take_out(places) {
            queue.bytes -= entry.happening.weight();
            if let Fate::GivenUp { why, kept } = fate {
                queue.given_up.push_back((entry, why.to_owned()));
                while queue.given_up.len() > kept {
                    queue.given_up.pop_front();
                }
            }
        }
        Ok(true)
    }

    async fn let_go(&self, name: &str, claim: &Claim) -> Result<(), PortError> {
        self.claims.let_go(name, claim);
        Ok(())
    }

    async fn survey(&self, wanted: &[String], keep: Duration) -> Result<Vec<Standing>, PortError> {
        let mut queues = self.queues.lock();
        for name in wanted {
            queues.entry(name.clone()).or_insert_with(Queue::new).wanted = Instant::now();
        }
        queues.retain(|name, queue| wanted.contains(name) || queue.wanted.elapsed() < keep);
        let standing = |(name, queue): (&String, &Queue)| Standing {
            name: name.clone(),
            waiting: queue.entries.len(),
            bytes: queue.bytes,
            oldest: queue.entries.front().map(|entry| entry.since.elapsed()),
            given_up: queue.given_up.len(),
            dropped: queue.dropped,
        };
        let mut all: Vec<_> = queues.iter().map(standing).collect();
        all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    async fn given_up(&self, name: &str, after: Option<&Place>, most: usize) -> Result<Vec<GivenUp>, PortError> {
        let queues = self.queues.lock();
        let Some(queue) = queues.get(name) else { return Ok(Vec::new()) };
        let from = after.and_then(|after| queue.given_up.iter().position(|(entry, _)| entry.place() == *after));
        let rest = queue.given_up.iter().skip(from.map_or(0, |at| at + 1)).take(most);
        let told = |(entry, why): &(Entry, String)| GivenUp {
            place: entry.place(),
            happening: Some(entry.happening.clone()),
            why: why.clone(),
        };
        Ok(rest.map(told).collect())
    }

    async fn decide(&self, name: &str, places: &[Place], decision: Decision) -> Result<usize, PortError> {
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(name) else { return Ok(0) };
        let (chosen, mut rest): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut queue.given_up).into_iter().partition(|(entry, _)| entry.is_at(places));
        let mut done = 0;
        for (entry, why) in chosen {
            if decision == Decision::Drop || queue.push(&entry.happening, self.wants.bounds(name), true) {
                done += 1;
            } else {
                rest.push_back((entry, why));
            }
        }
        queue.given_up = rest;
        Ok(done)
    }
}
