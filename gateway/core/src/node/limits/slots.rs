//! Slots: so many may be there at the same time. A slot is given back when it is dropped, whichever way that comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many slots there are, and how many are taken.
#[derive(Debug)]
pub struct Slots {
    taken: AtomicUsize,
    limit: usize,
}

impl Slots {
    /// So many slots, all free; 0 for any number.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { taken: AtomicUsize::new(0), limit }
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    fn enter(&self, limit: usize) -> bool {
        let enter = |taken: usize| (limit == 0 || taken < limit).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).is_ok()
    }
}

impl AsRef<Slots> for Slots {
    fn as_ref(&self) -> &Slots {
        self
    }
}

/// A slot among those of `T`, which it keeps alive.
#[derive(Debug)]
pub struct Slot<T: AsRef<Slots> = Slots>(Arc<T>);

impl<T: AsRef<Slots>> Slot<T> {
    /// Takes a slot; none if all are taken.
    #[must_use]
    pub fn take(of: &Arc<T>) -> Option<Self> {
        let slots: &Slots = of.as_ref().as_ref();
        slots.enter(slots.limit).then(|| Self(of.clone()))
    }

    /// Takes a slot even if all are taken: for who had one a moment ago.
    #[must_use]
    pub fn take_anyway(of: &Arc<T>) -> Self {
        let slots: &Slots = of.as_ref().as_ref();
        slots.enter(0);
        Self(of.clone())
    }
}

impl<T: AsRef<Slots>> Drop for Slot<T> {
    fn drop(&mut self) {
        let slots: &Slots = self.0.as_ref().as_ref();
        slots.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_free_again_when_it_is_dropped() {
        let slots = Arc::new(Slots::new(2));
        let first = Slot::take(&slots).unwrap();
        let _second = Slot::take(&slots).unwrap();
        assert!(Slot::take(&slots).is_none());
        drop(first);
        let third = Slot::take(&slots);
        assert!(third.is_some() && slots.taken() == 2);
        let one_too_many = Slot::take_anyway(&slots);
        assert_eq!(slots.taken(), 3);
        drop((third, one_too_many));
        assert!(slots.taken() == 1 && Slot::take(&slots).is_some());
    }

    #[test]
    fn zero_is_any_number() {
        let slots = Arc::new(Slots::new(0));
        let taken: Vec<_> = (0..1000).map(|_| Slot::take(&slots).unwrap()).collect();
        assert_eq!(slots.taken(), taken.len());
    }

    #[test]
    fn many_at_once_get_no_more_than_there_are() {
        let slots = Arc::new(Slots::new(10));
        let takers: Vec<_> = (0..4)
            .map(|_| {
                let slots = slots.clone();
                std::thread::spawn(move || (0..100).filter_map(|_| Slot::take(&slots)).collect::<Vec<_>>())
            })
            .collect();
        let taken: Vec<_> = takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect();
        assert_eq!(taken.len(), 10);
    }
}
