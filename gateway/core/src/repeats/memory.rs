//! The repeats of one process, gone when it ends.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Begun, LEASE, Repeat, Repeats};
use crate::port::PortError;

/// Repeats in memory.
#[derive(Debug)]
pub struct MemoryRepeats {
    kept: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entries: HashMap<String, Entry>,
    swept: Instant,
}

#[derive(Debug)]
struct Entry {
    print: String,
    run: u64,
    answer: Option<Vec<u8>>,
    until: Instant,
}

impl MemoryRepeats {
    /// None yet. Answers are kept for `kept`.
    #[must_use]
    pub fn new(kept: Duration) -> Self {
        Self { kept, state: Mutex::new(State { entries: HashMap::new(), swept: Instant::now() }) }
    }
}

#[async_trait]
impl Repeats for MemoryRepeats {
    async fn begin(&self, repeat: &Repeat) -> Result<Begun, PortError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        // Looking through all of them now and then costs less than an order by age.
        if now - state.swept >= LEASE {
            state.entries.retain(|_, entry| entry.until > now);
            state.swept = now;
        }
        if let Some(entry) = state.entries.get(&repeat.name).filter(|entry| entry.until > now) {
            return Ok(match &entry.answer {
                _ if entry.print != repeat.print => Begun::Different,
                Some(answer) => Begun::Done(answer.clone()),
                None => Begun::Running,
            });
        }
        let entry = Entry { print: repeat.print.clone(), run: repeat.run, answer: None, until: now + LEASE };
        state.entries.insert(repeat.name.clone(), entry);
        Ok(Begun::New)
    }

    async fn finish(&self, repeat: &Repeat, answer: &[u8]) -> Result<(), PortError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let is_others =
            state.entries.get(&repeat.name).is_some_and(|entry| entry.until > now && entry.run != repeat.run);
        if !is_others {
            let (print, answer) = (repeat.print.clone(), Some(answer.to_owned()));
            state.entries.insert(repeat.name.clone(), Entry { print, run: repeat.run, answer, until: now + self.kept });
        }
        Ok(())
    }

    async fn give_up(&self, repeat: &Repeat) -> Result<(), PortError> {
        let mut state = self.state.lock();
        if state.entries.get(&repeat.name).is_some_and(|entry| entry.run == repeat.run && entry.answer.is_none()) {
            state.entries.remove(&repeat.name);
        }
        Ok(())
    }
}
