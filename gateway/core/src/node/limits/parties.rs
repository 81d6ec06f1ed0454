//! Parties: users and addresses, whose sessions on this node share what they may send and how many they may be.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::meter::Meter;
use super::slots::Slots;
use crate::config::Rate;

/// How fast somebody may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rates {
    pub(super) events: Rate,
    pub(super) bytes: Rate,
}

impl Rates {
    fn are_none(self) -> bool {
        self.events.per_second == 0 && self.bytes.per_second == 0
    }

    /// How long it takes at the most until everything is allowed again.
    fn refill(self) -> Duration {
        let of = |rate: Rate| {
            let seconds = f64::from(rate.burst) / f64::from(rate.per_second.max(1));
            if rate.per_second == 0 { Duration::ZERO } else { Duration::from_secs_f64(seconds) }
        };
        of(self.events).max(of(self.bytes))
    }
}

/// What somebody may still send.
#[derive(Debug)]
pub(super) struct Traffic {
    pub(super) events: Option<Meter>,
    pub(super) bytes: Option<Meter>,
}

impl Traffic {
    pub(super) fn new(rates: Rates) -> Self {
        Self { events: Meter::new(rates.events), bytes: Meter::new(rates.bytes) }
    }
}

/// A user, or an address.
#[derive(Debug)]
pub struct Party {
    pub(super) traffic: Traffic,
    slots: Slots,
}

impl AsRef<Slots> for Party {
    fn as_ref(&self) -> &Slots {
        &self.slots
    }
}

/// All parties of a kind that are here, or were a moment ago.
#[derive(Debug)]
pub(super) struct Parties<K> {
    by_key: Mutex<HashMap<K, Entry>>,
    rates: Rates,
    slots: usize,
}

#[derive(Debug)]
struct Entry {
    party: Arc<Party>,
    /// Since when it has been seen without a session or a connection.
    left: Option<Instant>,
}

impl<K: Eq + Hash> Parties<K> {
    pub(super) fn new(rates: Rates, slots: usize) -> Self {
        Self { by_key: Mutex::default(), rates, slots }
    }

    /// The party of a key; none if nothing limits it.
    pub(super) fn find(&self, key: K) -> Option<Arc<Party>> {
        if self.rates.are_none() && self.slots == 0 {
            return None;
        }
        let make = || Party { traffic: Traffic::new(self.rates), slots: Slots::new(self.slots) };
        let mut by_key = self.by_key.lock();
        let entry = by_key.entry(key).or_insert_with(|| Entry { party: Arc::new(make()), left: None });
        entry.left = None;
        Some(entry.party.clone())
    }

    /// Forgets who is no longer here and has got all its allowance back; returns how many are remembered. Forgetting
    /// them with their last session would make coming back the way round the limit.
    pub(super) fn forget_idle(&self) -> usize {
        let (now, refill) = (Instant::now(), self.rates.refill());
        let mut by_key = self.by_key.lock();
        by_key.retain(|_, entry| {
            // Nobody else can get hold of it while the map is locked.
            if Arc::strong_count(&entry.party) > 1 {
                entry.left = None;
                return true;
            }
            now.duration_since(*entry.left.get_or_insert(now)) < refill
        });
        if by_key.len() < by_key.capacity() / 4 {
            by_key.shrink_to_fit();
        }
        by_key.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::slots::Slot;
    use super::*;

    fn rates(per_second: u32) -> Rates {
        Rates { events: Rate { per_second, burst: 20 }, bytes: Rate { per_second: 0, burst: 0 } }
    }

    #[tokio::test(start_paused = true)]
    async fn a_party_is_remembered_until_it_has_left_and_has_everything_back() {
        let parties = Parties::new(rates(10), 0);
        let take = |count| parties.find("ann").unwrap().traffic.events.as_ref().unwrap().take(count);
        take(20).unwrap();
        assert_eq!(parties.forget_idle(), 1);
        assert!(take(1).is_err(), "coming back at once is no way round the limit");
        assert_eq!(parties.forget_idle(), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(parties.forget_idle(), 1);
        take(10).expect("being looked at costs nothing");
        let slot = Slot::take(&parties.find("ann").unwrap()).unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(parties.forget_idle(), 1, "it is here");
        drop(slot);
        assert_eq!(parties.forget_idle(), 1, "it was, a moment ago");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(parties.forget_idle(), 0);
    }

    #[test]
    fn without_a_limit_nobody_is_remembered() {
        let parties = Parties::new(rates(0), 0);
        assert!(parties.find("ann").is_none());
        assert_eq!(parties.forget_idle(), 0);
        assert!(Parties::new(rates(0), 1).find("ann").is_some());
    }
}
