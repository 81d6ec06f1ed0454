//! The sessions of one process, gone when it ends.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::announcements::Announcements;
use super::{Claimed, Lease, Record, Sessions, Whose, time_held};
use crate::domain::{PidHash, UserId};
use crate::port::PortError;

/// Sessions in memory.
#[derive(Debug)]
pub struct MemorySessions {
    window: Duration,
    state: Mutex<State>,
    announcements: Announcements,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<PidHash, Entry>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    /// Nobody, once it was released or ended.
    holder: Option<u64>,
    /// Nothing, once it was ended for good.
    record: Option<Record>,
    until: Instant,
}

impl MemorySessions {
    /// No sessions yet. `window` is how long a session may come back after its connection was lost.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self { window, state: Mutex::default(), announcements: Announcements::default() }
    }
}

impl State {
    /// The entry of a session that is not forgotten, or should be.
    fn find(&mut self, pid: PidHash, now: Instant) -> Option<&mut Entry> {
        self.entries.get_mut(&pid).filter(|entry| entry.until > now)
    }

    /// Most sessions are renewed again and again: a sweep over all of them now and then costs less than an order by
    /// age that changes with each renewal.
    fn sweep(&mut self, now: Instant, window: Duration) {
        if self.swept.is_none_or(|at| now.duration_since(at) >= window / 4) {
            self.entries.retain(|_, entry| entry.until > now);
            self.swept = Some(now);
        }
    }
}

#[async_trait]
impl Sessions for MemorySessions {
    async fn save(&self, lease: Lease, record: &Record) -> Result<bool, PortError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.sweep(now, self.window);
        if state.find(lease.pid, now).is_some_and(|entry| entry.holder != Some(lease.holder)) {
            return Ok(false);
        }
        let until = now + time_held(self.window);
        state.entries.insert(lease.pid, Entry { holder: Some(lease.holder), record: Some(record.clone()), until });
        Ok(true)
    }

    async fn claim(&self, lease: Lease, namespace: &str, user: Option<&UserId>) -> Result<Option<Claimed>, PortError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let is_theirs = |record: &Record| record.user.as_ref() == user && record.namespace == namespace;
        let Some(entry) = state.find(lease.pid, now).filter(|entry| entry.record.as_ref().is_some_and(is_theirs))
        else {
            return Ok(None);
        };
        entry.until = now + time_held(self.window);
        let before = entry.holder.replace(lease.holder).filter(|before| *before != lease.holder);
        if let Some(holder) = before {
            self.announcements.announce(Lease { holder, ..lease });
        }
        Ok(entry.record.as_mut().map(|record| {
            record.term += Record::TERMS;
            record.clone().into()
        }))
    }

    async fn release(&self, lease: Lease, keep: bool) -> Result<(), PortError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if let Some(entry) = state.find(lease.pid, now).filter(|entry| entry.holder == Some(lease.holder)) {
            if keep {
                entry.holder = None;
                entry.until = now + self.window;
            } else {
                state.entries.remove(&lease.pid);
            }
        }
        Ok(())
    }

    async fn renew(&self, leases: &[Lease]) -> Result<Vec<Lease>, PortError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.sweep(now, self.window);
        let mut lost = Vec::new();
        for lease in leases {
            match state.find(lease.pid, now).filter(|entry| entry.holder == Some(lease.holder)) {
                Some(entry) => entry.until = now + time_held(self.window),
                None => lost.push(*lease),
            }
        }
        Ok(lost)
    }

    async fn forget(&self, whose: &Whose) -> Result<usize, PortError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let live = state.entries.values_mut().filter(|entry| entry.until > now);
        let mut forgotten = 0;
        for entry in live.filter(|entry| entry.record.as_ref().is_some_and(|record| whose.means(record))) {
            *entry = Entry { holder: None, record: None, until: now + time_held(self.window) };
            forgotten += 1;
        }
        Ok(forgotten)
    }

    fn superseded(&self) -> BoxStream<'static, Lease> {
        self.announcements.take()
    }
}
