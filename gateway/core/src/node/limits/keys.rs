//! Keys: how fast the bearers of one key of a back end may ask, all of them together.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::RateLimiter;
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;

use super::meter::{TokioClock, quota, wait};
use crate::config::Rate;

type Keyed = RateLimiter<String, DashMapStateStore<String>, TokioClock, StateInformationMiddleware>;

/// How many requests each key may make. There are as many as are configured.
#[derive(Debug)]
pub struct KeyLimiter(Option<Limits>);

#[derive(Debug)]
struct Limits {
    keys: Keyed,
    rate: Rate,
}

/// What is left of a key's allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// How many requests more it may make now.
    pub left: u32,
    /// How long it takes until it has all of them again, if it makes none, in seconds, rounded up.
    pub full_in: u64,
}

impl KeyLimiter {
    /// Full allowances for every key.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let keys = quota(rate).map(|quota| RateLimiter::dashmap_with_clock(quota, TokioClock));
        Self(keys.map(|keys| Limits { keys: keys.with_middleware(), rate }))
    }

    /// How many requests a key may make at once, and in how many seconds it has that again, rounded up; nothing if there is no
    /// limit.
    #[must_use]
    pub fn policy(&self) -> Option<(u32, u64)> {
        self.0.as_ref().map(|Limits { rate, .. }| (rate.burst, seconds(rate.burst, *rate)))
    }

    /// Takes so many requests from the allowance of a key, by its id; nothing if there is no limit. Of more than it has at
    /// once all are taken.
    ///
    /// # Errors
    /// The time until they are welcome.
    pub fn take(&self, id: &String, count: usize) -> Result<Option<Allowed>, Duration> {
        let Some(Limits { keys, rate }) = &self.0 else { return Ok(None) };
        let count = u32::try_from(count).unwrap_or(u32::MAX).clamp(1, rate.burst.max(1));
        let Some(count) = NonZeroU32::new(count) else { return Ok(None) };
        match keys.check_key_n(id, count) {
            Ok(Ok(state)) => {
                let left = state.remaining_burst_capacity();
                Ok(Some(Allowed { left, full_in: seconds(rate.burst.saturating_sub(left), *rate) }))
            }
            Ok(Err(not_until)) => Err(wait(&not_until)),
            // More than the burst, which the line above excludes.
            Err(_) => Ok(None),
        }
    }
}

fn seconds(count: u32, rate: Rate) -> u64 {
    u64::from(count.div_ceil(rate.per_second.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_key_has_its_own_allowance_and_is_told_what_is_left() {
        let limiter = KeyLimiter::new(Rate { per_second: 10, burst: 100 });
        assert_eq!(limiter.policy(), Some((100, 10)));
        let (one, other) = ("a".to_owned(), "b".to_owned());
        assert_eq!(limiter.take(&one, 1), Ok(Some(Allowed { left: 99, full_in: 1 })));
        assert_eq!(limiter.take(&one, 99), Ok(Some(Allowed { left: 0, full_in: 10 })));
        let wait = limiter.take(&one, 5).unwrap_err();
        assert_eq!(wait, Duration::from_millis(500));
        assert_eq!(limiter.take(&other, 1_000), Ok(Some(Allowed { left: 0, full_in: 10 })));
        tokio::time::advance(wait).await;
        assert_eq!(limiter.take(&one, 5), Ok(Some(Allowed { left: 0, full_in: 10 })));
    }

    #[test]
    fn zero_is_no_limit() {
        let limiter = KeyLimiter::new(Rate { per_second: 0, burst: 100 });
        assert_eq!((limiter.policy(), limiter.take(&"a".to_owned(), 1_000)), (None, Ok(None)));
    }
}
