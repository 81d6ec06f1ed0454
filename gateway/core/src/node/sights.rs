//! Sights: what happens to the sessions of this node, told one by one to whoever watches. While nobody does, it costs a look
//! at a number; while somebody does, only so much is told until the watcher's next turn, and the rest is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::domain::{RoomName, SessionId, UserId};

/// Joins and leaves that are told between two turns.
const MOVES: i64 = 100;
/// Events that are told between two turns.
const EVENTS: i64 = 50;
/// Sights that wait for a watcher: more than come between two turns.
const WAITING: usize = 512;

/// Something that was seen.
#[derive(Clone, Debug)]
pub struct Sight {
    /// Of which session.
    pub session: SessionId,
    /// The namespace that it is in.
    pub namespace: Arc<str>,
    /// What.
    pub what: Seen,
}

/// What was seen of a session.
#[derive(Clone, Debug)]
pub enum Seen {
    /// It is in a room.
    Joined(RoomName),
    /// It is no longer.
    Left(RoomName),
    /// It says who it is.
    Named(UserId),
    /// Its client sent an event: the JSON array of the name and the arguments.
    Received(String),
    /// It was handed one, as one of all that were.
    Sent(String),
}

/// Where what happens is told, if anybody watches.
#[derive(Debug)]
pub struct Sights {
    watchers: AtomicUsize,
    moves: AtomicI64,
    events: AtomicI64,
    left_out: AtomicU64,
    told: broadcast::Sender<Sight>,
}

impl Default for Sights {
    fn default() -> Self {
        let (watchers, moves, events) = (AtomicUsize::new(0), AtomicI64::new(0), AtomicI64::new(0));
        Self { watchers, moves, events, left_out: AtomicU64::new(0), told: broadcast::Sender::new(WAITING) }
    }
}

impl Sights {
    /// Whether anybody watches.
    #[must_use]
    pub fn are_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }

    /// Watches until the watch is dropped.
    #[must_use]
    pub fn watch(self: &Arc<Self>) -> Watch {
        self.turn();
        self.watchers.fetch_add(1, Ordering::Relaxed);
        Watch { sights: self.clone(), told: self.told.subscribe() }
    }

    /// Tells of a session that is in a room, or is no longer, or says who it is; nothing is made that nobody is told.
    pub(in crate::node) fn tell_move(&self, sight: impl FnOnce() -> Option<Sight>) {
        self.tell(&self.moves, sight);
    }

    /// The same of an event that a client sent or was handed.
    pub(crate) fn tell_event(&self, sight: impl FnOnce() -> Option<Sight>) {
        self.tell(&self.events, sight);
    }

    fn tell(&self, left: &AtomicI64, sight: impl FnOnce() -> Option<Sight>) {
        if !self.are_watched() {
            return;
        }
        if left.load(Ordering::Relaxed) <= 0 {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        } else if let Some(sight) = sight() {
            left.fetch_sub(1, Ordering::Relaxed);
            // Whoever watched may have stopped just now.
            self.told.send(sight).ok();
        }
    }

    /// Lets so many be told again; returns how many were not since the turn before.
    pub fn turn(&self) -> u64 {
        self.moves.store(MOVES, Ordering::Relaxed);
        self.events.store(EVENTS, Ordering::Relaxed);
        self.left_out.swap(0, Ordering::Relaxed)
    }
}

/// Somebody's watching.
#[derive(Debug)]
pub struct Watch {
    sights: Arc<Sights>,
    told: broadcast::Receiver<Sight>,
}

impl Watch {
    /// The next sight. Those that waited for too long are lost, and counted as left out.
    pub async fn next(&mut self) -> Sight {
        loop {
            match self.told.recv().await {
                Ok(sight) => return sight,
                Err(RecvError::Lagged(lost)) => _ = self.sights.left_out.fetch_add(lost, Ordering::Relaxed),
                // The sender is held here.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.sights.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight() -> Option<Sight> {
        let what = Seen::Received("[]".into());
        Some(Sight { session: SessionId::random(), namespace: "/".into(), what })
    }

    #[tokio::test]
    async fn nothing_is_made_while_nobody_watches_and_only_so_much_while_somebody_does() {
        let sights = Arc::new(Sights::default());
        sights.tell_event(|| unreachable!("nobody watches"));
        let mut watch = sights.watch();
        for _ in 0..1000 {
            sights.tell_event(sight);
        }
        for _ in 0..EVENTS {
            watch.next().await;
        }
        assert_eq!(sights.turn(), 1000 - EVENTS.unsigned_abs());
        sights.tell_event(sight);
        watch.next().await;
        assert_eq!(sights.turn(), 0);
        drop(watch);
        sights.tell_event(|| unreachable!("nobody watches any more"));
    }

    #[tokio::test]
    async fn what_waits_for_too_long_is_counted() {
        let sights = Arc::new(Sights::default());
        let mut watch = sights.watch();
        for _ in 0..20 {
            sights.turn();
            (0..EVENTS).for_each(|_| sights.tell_event(sight));
        }
        watch.next().await;
        assert_eq!(sights.turn(), 1000 - WAITING as u64);
    }
}
