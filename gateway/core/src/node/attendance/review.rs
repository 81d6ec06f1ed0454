//! The review: what the store says that this node has entered, beside where its sessions are. What stays different is mended.

use std::collections::{HashMap, HashSet};
use std::sync::Weak;
use std::time::Duration;

use tokio::task::consume_budget;
use tokio::time::Instant;

use super::{Attendance, Leaving};
use crate::domain::RoomName;
use crate::presence::{Attendee, Held};

/// After so many beats there is a review without a reason: what is known to go wrong gives one.
const SELDOM: u32 = 24;
/// Reviews after something was given up: it may be carried out until then, and a difference shows in two of them.
const AFTER_DOUBT: u32 = 3;

/// When this node's entries are to be looked at, and what the last look found.
#[derive(Debug)]
pub(super) struct Review {
    /// How far two are apart at least: whatever was under way at the first is done, or given up, at the second.
    apart: Duration,
    last: Option<Instant>,
    /// Beats since then.
    beats: u32,
    /// How many are due for a reason.
    due: u32,
    /// What was different.
    suspects: HashSet<Suspect>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Suspect {
    /// The store has it, and no session is there.
    LeftOver(Held),
    /// A session is there, by its holder, and the store does not have it.
    Missing(u64, RoomName),
}

impl Review {
    /// What is asked of the store takes at most `timeout` for each of its parts; few have more than one.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { apart: timeout * 2, last: None, beats: 0, due: 0, suspects: HashSet::new() }
    }

    /// Something that was asked may have been done or not, or will be.
    pub(super) fn doubt(&mut self) {
        self.due = AFTER_DOUBT;
    }

    fn is_due(&mut self, now: Instant) -> bool {
        self.beats = self.beats.saturating_add(1);
        let is_wanted = self.due > 0 || !self.suspects.is_empty() || self.beats >= SELDOM;
        is_wanted && self.last.is_none_or(|last| now >= last + self.apart)
    }

    /// There was no time for one: it would take as much of the store's the next time.
    pub(super) fn give_up(&mut self, now: Instant) {
        (self.last, self.beats, self.due) = (Some(now), 0, 0);
        tracing::warn!("what this node has in the store of presence is too much to be looked at within a beat");
    }

    /// Begins one; returns what the last one found, and whether this one has no reason.
    fn begin(&mut self, now: Instant) -> (HashSet<Suspect>, bool) {
        let is_seldom = self.due == 0 && self.suspects.is_empty();
        (self.last, self.beats, self.due) = (Some(now), 0, self.due.saturating_sub(1));
        (std::mem::take(&mut self.suspects), is_seldom)
    }
}

impl Attendance {
    /// Whether the next beat is to tell what this node has entered. While the store is still being told of much, it is known
    /// to be different.
    pub(super) fn is_review_due(&self) -> bool {
        let is_settling = self.settling.try_lock().is_err();
        self.review.lock().is_due(Instant::now()) && !is_settling
    }

    /// Compares what the store has with where sessions are. What was different the last time too is mended with this beat.
    pub(super) async fn review(&self, held: Vec<Held>) {
        let (before, is_seldom) = self.review.lock().begin(Instant::now());
        let mut of_holders: HashMap<u64, Vec<Held>> = HashMap::new();
        for held in held {
            // Those of a large node are many.
            consume_budget().await;
            of_holders.entry(held.holder).or_default().push(held);
        }
        let (mut found, mut differs) = (HashSet::new(), false);
        for session in self.connected.all() {
            consume_budget().await;
            let holder = session.lease.holder;
            let held = of_holders.remove(&holder).unwrap_or_default();
            if session.is_taking_seats() {
                continue;
            }
            let seats: HashSet<_> = session.seats().into_iter().collect();
            let known: HashSet<_> = held.iter().map(|held| &held.place).collect();
            // Whoever is still beginning must not be stored yet, by which it is asked whether it is superseded.
            let may_miss = !session.is_elsewhere(is_seldom) && session.stored().is_some();
            let mut places = Vec::new();
            for seat in seats.iter().filter(|seat| may_miss && !known.contains(seat)) {
                let suspect = Suspect::Missing(holder, seat.clone());
                if before.contains(&suspect) {
                    places.push(seat.clone());
                } else {
                    found.insert(suspect);
                }
            }
            if !places.is_empty() {
                differs = true;
                self.note_lost(&session, places);
            }
            found.extend(held.into_iter().filter(|held| !seats.contains(&held.place)).map(Suspect::LeftOver));
        }
        found.extend(of_holders.into_values().flatten().map(Suspect::LeftOver));
        let left_over: Vec<_> = found.extract_if(|suspect| before.contains(suspect)).collect();
        if !left_over.is_empty() {
            let entries = left_over.len();
            tracing::warn!(entries, "the store of presence has entries without a session: they are taken out");
            self.metrics.presence_mended.with("taken_out").increment(entries as u64);
            differs = true;
        }
        for suspect in left_over {
            if let Suspect::LeftOver(held) = suspect {
                self.owe(Leaving::of_entry(held));
            }
        }
        let mut review = self.review.lock();
        review.suspects = found;
        if differs {
            review.doubt();
        }
    }
}

impl Leaving {
    /// Takes out just what the store has, and nothing that came after it.
    fn of_entry(held: Held) -> Self {
        let Held { session, holder, term, step, place } = held;
        let who = Attendee { session, holder, term, step, member: String::new(), user: None };
        Self { session: Weak::new(), who, places: vec![place], numbered: None, linger: Duration::ZERO }
    }
}
