//! Pace: how long a hook waits after something was not taken, and how much it tries at once after something was refused.

use std::time::Duration;

use gateway_core::config;

/// The longest that a back end can ask to be left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// So many in a row may be refused alone before the next waits: where everything is refused, something else is wrong than the
/// events.
const REFUSED_AT_ONCE: u32 = 3;

/// How a hook goes on.
#[derive(Debug)]
pub(super) struct Pace {
    first: Duration,
    longest: Duration,
    most: usize,
    /// Attempts in a row that failed.
    failures: u32,
    /// Events in a row that were refused alone.
    refused: u32,
    /// How many are delivered at once.
    at_once: usize,
}

impl Pace {
    pub(super) fn new(settings: &config::Hooks) -> Self {
        let config::Hooks { backoff, backoff_max, batch_events, .. } = *settings;
        Self {
            first: backoff,
            longest: backoff_max,
            most: batch_events,
            failures: 0,
            refused: 0,
            at_once: batch_events,
        }
    }

    /// How many are delivered at once.
    pub(super) fn at_once(&self) -> usize {
        self.at_once
    }

    /// They were taken.
    pub(super) fn taken(&mut self) {
        (self.failures, self.refused) = (0, 0);
        self.at_once = self.at_once.saturating_mul(2).min(self.most);
    }

    /// Not now. Returns how long to wait: about twice as long each time, and never less than the back end asks for.
    pub(super) fn failed(&mut self, retry_after: Option<Duration>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let wait = self.first.saturating_mul(1 << (self.failures - 1).min(20)).min(self.longest);
        // Between half of it and all of it, so that hooks that failed together do not come back together.
        let wait = wait.mul_f64(rand::random_range(0.5..=1.0));
        wait.max(retry_after.unwrap_or_default().min(LONGEST_WAIT))
    }

    /// One of several was refused, or they were too much for the back end at once: fewer show which, and take less time.
    pub(super) fn split(&mut self, were: usize) {
        self.at_once = (were / 2).max(1);
    }

    /// One alone was refused. Returns how long to wait.
    pub(super) fn refused(&mut self) -> Duration {
        self.refused = self.refused.saturating_add(1);
        if self.refused <= REFUSED_AT_ONCE {
            return Duration::ZERO;
        }
        self.first.saturating_mul(1 << (self.refused - REFUSED_AT_ONCE - 1).min(20)).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        let mut settings = gateway_core::config::load(None, std::iter::empty()).unwrap().hooks;
        (settings.backoff, settings.backoff_max) = (Duration::from_secs(1), Duration::from_secs(10));
        settings.batch_events = 100;
        Pace::new(&settings)
    }

    #[test]
    fn waits_grow_up_to_a_bound_and_heed_what_the_back_end_asks_for() {
        let mut pace = pace();
        for longest in [1, 2, 4, 8, 10, 10] {
            let (longest, wait) = (Duration::from_secs(longest), pace.failed(None));
            assert!((longest / 2..=longest).contains(&wait), "{wait:?} of {longest:?}");
        }
        assert_eq!(pace.failed(Some(Duration::from_secs(30))), Duration::from_secs(30));
        assert_eq!(pace.failed(Some(Duration::from_secs(86_400))), LONGEST_WAIT);
        pace.taken();
        assert!(pace.failed(None) <= Duration::from_secs(1));
    }

    #[test]
    fn what_is_refused_is_found_and_slows_down_only_where_all_is_refused() {
        let mut pace = pace();
        pace.split(100);
        assert_eq!(pace.at_once(), 50);
        pace.split(3);
        assert_eq!(pace.at_once(), 1);
        assert_eq!([(); 3].map(|()| pace.refused()), [Duration::ZERO; 3]);
        assert_eq!(pace.refused(), Duration::from_secs(1));
        assert_eq!(pace.refused(), Duration::from_secs(2));
        pace.taken();
        assert_eq!((pace.refused(), pace.at_once()), (Duration::ZERO, 2));
    }
}
