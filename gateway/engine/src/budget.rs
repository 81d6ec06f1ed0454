//! The budget: how much memory all connections of a node may together make it hold, for what they have not taken yet
//! and for what they have not finished sending.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many bytes for all.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit: if limit == 0 { usize::MAX } else { limit } })
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes a part, given back when the charge is dropped; nothing if there is not enough left.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        let mut charge = Charge { budget: self.clone(), bytes: 0 };
        charge.change_to(bytes).then_some(charge)
    }
}

/// A part of the budget that is in use.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Charge {
    /// Takes more or gives some back; false, and nothing changes, if there is not enough left.
    pub(crate) fn change_to(&mut self, bytes: usize) -> bool {
        let used = &self.budget.used;
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            if used.fetch_add(more, Ordering::Relaxed).saturating_add(more) > self.budget.limit {
                used.fetch_sub(more, Ordering::Relaxed);
                return false;
            }
        } else {
            used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more() {
        let budget = Budget::new(100);
        let mut one = budget.charge(60).unwrap();
        assert!(budget.charge(41).is_none());
        let two = budget.charge(40).unwrap();
        assert!(!one.change_to(61));
        assert_eq!(budget.used(), 100);
        drop(two);
        assert!(one.change_to(100) && one.change_to(10));
        assert_eq!(budget.used(), 10);
        drop(one);
        assert_eq!(budget.used(), 0);
        assert!(Budget::new(0).charge(usize::MAX / 2).is_some(), "0 is no limit");
    }
}
