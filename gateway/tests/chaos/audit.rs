//! The auditor: the books of all rooms, the trails of all clients, and what was counted.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::books::{Finding, Room, Stamp, Wrong};
use super::plan::Settings;
use super::torn::Torn;
use super::trail::{Step, Trail};

/// Findings of each kind that are described with their trail; the others are only counted.
const DESCRIBED: usize = 4;

pub(crate) struct Audit {
    started: Instant,
    pub(crate) rooms: Vec<Room>,
    trails: Vec<Trail>,
    /// What belongs to no room.
    counts: BTreeMap<Wrong, u64>,
    described: BTreeMap<Wrong, usize>,
    /// By what is counted, and by which kind of it.
    tallies: BTreeMap<&'static str, BTreeMap<String, u64>>,
}

impl Audit {
    /// `torn` is what Redis has lost.
    pub(crate) fn new(settings: &Settings, clients: usize, torn: &Arc<Torn>) -> Self {
        let room = |room| if settings.is_archived(room) { Room::archived(torn) } else { Room::of(torn) };
        Self {
            started: Instant::now(),
            rooms: (0..settings.rooms).map(room).collect(),
            trails: (0..clients).map(|_| Trail::default()).collect(),
            counts: BTreeMap::new(),
            described: BTreeMap::new(),
            tallies: BTreeMap::new(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn note(&mut self, client: u32, step: Step) {
        let at = self.elapsed();
        self.trails[client as usize].note(at, step);
    }

    /// Counts one of a kind.
    pub(crate) fn tally(&mut self, what: &'static str, kind: &str) {
        *self.tallies.entry(what).or_default().entry(kind.to_owned()).or_default() += 1;
    }

    pub(crate) fn tallied(&self, what: &str) -> u64 {
        self.tallies.get(what).map_or(0, |kinds| kinds.values().sum())
    }

    pub(crate) fn counted(&self, what: &str, kind: &str) -> u64 {
        self.tallies.get(what).and_then(|kinds| kinds.get(kind)).copied().unwrap_or_default()
    }

    /// The kinds of something with how often each came.
    pub(crate) fn kinds(&self, what: &str) -> String {
        let kinds = self.tallies.get(what).into_iter().flatten();
        kinds.map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
    }

    /// Something is wrong that no room's books show.
    pub(crate) fn find(&mut self, wrong: Wrong, client: u32, room: Option<usize>, note: String) {
        *self.counts.entry(wrong).or_default() += 1;
        self.describe(&Finding { wrong, client: Some(client), note }, room);
    }

    fn describe(&mut self, finding: &Finding, room: Option<usize>) {
        let Finding { wrong, client, note } = finding;
        let described = self.described.entry(*wrong).or_default();
        *described += 1;
        if *described > DESCRIBED {
            return;
        }
        let whom = client.map_or_else(|| "somebody".to_owned(), |client| format!("client {client}"));
        let trail = client.map(|client| self.trails[client as usize].about(room)).unwrap_or_default();
        let at = self.elapsed().as_secs_f64();
        let place = room.map_or_else(|| "anywhere".to_owned(), |room| format!("in room {room}"));
        println!("{at:.3} {wrong:?} for {whom} {place}: {note}\n{trail}");
    }

    pub(crate) fn settle(&mut self, at_the_end: bool) {
        for room in 0..self.rooms.len() {
            self.rooms[room].settle(at_the_end);
            for finding in std::mem::take(&mut self.rooms[room].findings) {
                self.describe(&finding, Some(room));
            }
        }
    }

    /// Publishes whose fate is unknown.
    pub(crate) fn open(&self) -> usize {
        self.rooms.iter().map(Room::open).sum()
    }

    pub(crate) fn is_level(&self) -> bool {
        self.rooms.iter().all(Room::is_level)
    }

    /// Who has not heard the newest event of some room, a line each.
    pub(crate) fn behind(&self) -> String {
        let mut lines = String::new();
        for (number, room) in self.rooms.iter().enumerate() {
            for (client, last) in room.behind() {
                let trail =
                    if lines.len() < 20_000 { self.trails[client as usize].about(Some(number)) } else { String::new() };
                write!(lines, "client {client} stands at {last} in room {number}\n{trail}").ok();
            }
        }
        lines
    }

    pub(crate) fn count(&self, wrong: Wrong) -> u64 {
        let of_rooms: u64 = self.rooms.iter().filter_map(|room| room.counts.get(&wrong)).sum();
        of_rooms + self.counts.get(&wrong).copied().unwrap_or_default()
    }

    /// Whether nothing at all is wrong.
    pub(crate) fn is_clean(&self) -> bool {
        [Wrong::Lost, Wrong::Doubled, Wrong::Reordered, Wrong::Silent, Wrong::Stalled, Wrong::Contradiction]
            .iter()
            .all(|wrong| self.count(*wrong) == 0)
    }

    pub(crate) fn deliveries(&self) -> u64 {
        self.rooms.iter().map(|room| room.audited).sum()
    }

    /// One line of how it goes.
    pub(crate) fn progress(&self) -> String {
        format!(
            "{:6.0} s: {} acknowledged, {} deliveries audited, {} sessions recovered, {} fresh; {}",
            self.elapsed().as_secs_f64(),
            self.tallied("acknowledged"),
            self.deliveries(),
            self.tallied("recovered"),
            self.tallied("fresh"),
            self.verdict()
        )
    }

    pub(crate) fn verdict(&self) -> String {
        format!(
            "lost {}, doubled {}, reordered {}, silent gaps {}, stalls {}, contradictions {}, lost but announced {}",
            self.count(Wrong::Lost),
            self.count(Wrong::Doubled),
            self.count(Wrong::Reordered),
            self.count(Wrong::Silent),
            self.count(Wrong::Stalled),
            self.count(Wrong::Contradiction),
            self.rooms.iter().map(|room| room.announced).sum::<u64>()
        )
    }

    /// Somebody heard an event.
    pub(crate) fn heard(&mut self, client: u32, room: usize, stamp: Stamp, offset: u64, replayed: bool) {
        self.note(client, Step::Heard { room, offset, replayed });
        self.rooms[room].heard(client, stamp, offset);
    }
}
