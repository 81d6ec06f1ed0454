//! Refused: what of a client's events was not done, the last few, for operators who look at its session.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::Session;
use crate::node::clock::now_ms;

/// How many are kept.
const KEPT: usize = 8;
/// How much of an event's name is kept, in characters: clients choose it.
const NAME: usize = 64;

/// An event of a client that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The event's name, or its beginning; empty if it had none.
    pub event: String,
    /// Why.
    pub code: &'static str,
}

/// Most sessions have none, and take no memory for it.
#[derive(Default)]
pub(super) struct Refusals(Mutex<Option<Box<Kept>>>);

#[derive(Default)]
struct Kept {
    total: u64,
    last: VecDeque<Refused>,
}

impl Session {
    /// Notes that an event of its client was refused.
    pub fn note_refused(&self, event: &str, code: &'static str) {
        let refused = Refused { at_ms: now_ms(), event: event.chars().take(NAME).collect(), code };
        let mut kept = self.refusals.0.lock();
        let kept = kept.get_or_insert_default();
        kept.total += 1;
        if kept.last.len() == KEPT {
            kept.last.pop_front();
        }
        kept.last.push_back(refused);
    }

    /// How many events of its client were refused here, and the last of them.
    #[must_use]
    pub fn refused(&self) -> (u64, Vec<Refused>) {
        let kept = self.refusals.0.lock();
        kept.as_ref().map_or_else(Default::default, |kept| (kept.total, kept.last.iter().cloned().collect()))
    }
}
