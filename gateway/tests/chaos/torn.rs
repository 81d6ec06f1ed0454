//! What Redis lost: up to where the log may lack what members have heard.

use parking_lot::Mutex;

use super::harm::now;

/// The losses, as offsets count, each from its beginning to its end. What was appended up to an end may be gone, and what is
/// gone may be appended once more after the beginning: while a failover is under way, there are two primaries.
#[derive(Debug, Default)]
pub(crate) struct Torn(Mutex<Vec<(u64, u64)>>);

impl Torn {
    /// A loss between two offsets.
    pub(crate) fn between(began: u64, ended: u64) -> Self {
        Self(Mutex::new(vec![(began, ended)]))
    }

    /// Notes that a loss begins, and ends in the same moment unless [`Self::go_on`] says otherwise.
    pub(crate) fn begin(&self) {
        let now = now();
        self.0.lock().push((now, now));
    }

    /// Notes that the last loss goes on until now.
    pub(crate) fn go_on(&self) {
        if let Some((_, ended)) = self.0.lock().last_mut() {
            *ended = now();
        }
    }

    /// Up to where something may be gone.
    pub(crate) fn ended(&self) -> u64 {
        self.0.lock().last().map_or(0, |(_, ended)| *ended)
    }

    /// Whether what was appended first may be gone, and have been appended once more.
    pub(crate) fn excuses(&self, first: u64, second: u64) -> bool {
        self.0.lock().last().is_some_and(|(began, ended)| first <= *ended && *began < second)
    }

    /// Whether one and the same may have been appended at both of two offsets, because of any of the losses.
    pub(crate) fn has_doubled(&self, first: u64, second: u64) -> bool {
        self.0.lock().iter().any(|(began, ended)| first <= *ended && *began < second)
    }

    /// Whether there were two primaries when an offset was given. Members of nodes that had not heard of the new one then heard
    /// what the old one took, and cannot be told that they miss something before their nodes know.
    pub(crate) fn is_split_at(&self, offset: u64) -> bool {
        self.0.lock().iter().any(|(began, ended)| (*began..=*ended).contains(&offset))
    }
}
