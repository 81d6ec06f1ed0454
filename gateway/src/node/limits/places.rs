//! Places: so many may be there at the same time. A place is given back when it is dropped, whichever way that comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many places there are, and how many are taken.
#[derive(Debug)]
pub struct Places {
    taken: AtomicUsize,
    limit: usize,
}

impl Places {
    /// So many places, all free; 0 for any number.
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

impl AsRef<Places> for Places {
    fn as_ref(&self) -> &Places {
        self
    }
}

/// A place among those of `T`, which it keeps alive.
#[derive(Debug)]
pub struct Place<T: AsRef<Places> = Places>(Arc<T>);

impl<T: AsRef<Places>> Place<T> {
    /// Takes a place; none if all are taken.
    #[must_use]
    pub fn take(of: &Arc<T>) -> Option<Self> {
        let places: &Places = of.as_ref().as_ref();
        places.enter(places.limit).then(|| Self(of.clone()))
    }

    /// Takes a place even if all are taken: for who had one a moment ago.
    #[must_use]
    pub fn take_anyway(of: &Arc<T>) -> Self {
        let places: &Places = of.as_ref().as_ref();
        places.enter(0);
        Self(of.clone())
    }
}

impl<T: AsRef<Places>> Drop for Place<T> {
    fn drop(&mut self) {
        let places: &Places = self.0.as_ref().as_ref();
        places.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let places = Arc::new(Places::new(2));
        let first = Place::take(&places).unwrap();
        let _second = Place::take(&places).unwrap();
        assert!(Place::take(&places).is_none());
        drop(first);
        let third = Place::take(&places);
        assert!(third.is_some() && places.taken() == 2);
        let one_too_many = Place::take_anyway(&places);
        assert_eq!(places.taken(), 3);
        drop((third, one_too_many));
        assert!(places.taken() == 1 && Place::take(&places).is_some());
    }

    #[test]
    fn zero_is_any_number() {
        let places = Arc::new(Places::new(0));
        let taken: Vec<_> = (0..1000).map(|_| Place::take(&places).unwrap()).collect();
        assert_eq!(places.taken(), taken.len());
    }

    #[test]
    fn many_at_once_get_no_more_than_there_are() {
        let places = Arc::new(Places::new(10));
        let takers: Vec<_> = (0..4)
            .map(|_| {
                let places = places.clone();
                std::thread::spawn(move || (0..100).filter_map(|_| Place::take(&places)).collect::<Vec<_>>())
            })
            .collect();
        let taken: Vec<_> = takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect();
        assert_eq!(taken.len(), 10);
    }
}
