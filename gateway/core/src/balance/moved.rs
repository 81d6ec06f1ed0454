//! Who was moved a while ago, on whichever node, and is left alone.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

/// Sessions that are remembered; of more the oldest may be moved again.
const REMEMBERED: usize = 200_000;

/// Sessions that were moved, by half of their ids, for as long as they rest.
#[derive(Debug)]
pub(super) struct Moved {
    rest: Duration,
    in_order: VecDeque<(Duration, u64)>,
    all: HashSet<u64>,
}

impl Moved {
    pub(super) fn new(rest: Duration) -> Self {
        Self { rest, in_order: VecDeque::new(), all: HashSet::new() }
    }

    pub(super) fn note(&mut self, now: Duration, number: u64) {
        self.forget(now);
        if self.all.insert(number) {
            self.in_order.push_back((now, number));
        }
        if self.in_order.len() > REMEMBERED
            && let Some((_, oldest)) = self.in_order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }

    pub(super) fn rests(&self, number: u64) -> bool {
        self.all.contains(&number)
    }

    /// Forgets who has rested.
    pub(super) fn forget(&mut self, now: Duration) {
        while let Some((at, number)) = self.in_order.front().copied()
            && now.saturating_sub(at) >= self.rest
        {
            self.in_order.pop_front();
            self.all.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_moved_rests_for_a_while() {
        let session = 7;
        let mut moved = Moved::new(Duration::from_secs(60));
        moved.note(Duration::from_secs(5), session);
        moved.note(Duration::from_secs(30), session);
        moved.forget(Duration::from_secs(64));
        assert!(moved.rests(session) && !moved.rests(session ^ 1));
        moved.forget(Duration::from_secs(65));
        assert!(!moved.rests(session) && moved.in_order.is_empty());
    }

    #[test]
    fn not_more_are_remembered_than_may_be() {
        let mut moved = Moved::new(Duration::from_secs(60));
        (0..=REMEMBERED as u64).for_each(|number| moved.note(Duration::ZERO, number));
        assert_eq!((moved.all.len(), moved.in_order.len()), (REMEMBERED, REMEMBERED));
        assert!(!moved.rests(0) && moved.rests(1));
    }
}
