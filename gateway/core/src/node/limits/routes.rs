//! Rates of routes: how often one session may emit one event.

use std::fmt;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::meter::refuse;
use crate::domain::{Refusal, SessionId};

/// One limiter for each route that has a rate, by the route's number.
pub struct RouteLimiter(Vec<Option<DefaultKeyedRateLimiter<SessionId>>>);

impl fmt::Debug for RouteLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteLimiter").finish_non_exhaustive()
    }
}

impl RouteLimiter {
    /// Full allowances. For each route: events per second and how many at once, if it has a rate.
    #[must_use]
    pub fn new(rates: &[Option<(NonZeroU32, NonZeroU32)>]) -> Self {
        let limiter = |&(per_second, burst): &(NonZeroU32, NonZeroU32)| {
            RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst))
        };
        Self(rates.iter().map(|rate| rate.as_ref().map(limiter)).collect())
    }

    /// Takes one event from a session's allowance for a route; nothing if the route has no rate. The error is
    /// [`Refusal::RateLimited`] with the time until the next one is welcome.
    #[must_use]
    pub fn check(&self, route: usize, session: SessionId) -> Option<Result<(), Refusal>> {
        let limiter = self.0.get(route)?.as_ref()?;
        let checked = limiter.check_key(&session);
        Some(checked.map_err(|not_until| refuse(not_until.wait_time_from(DefaultClock::default().now()))))
    }

    /// Forgets sessions whose allowance is full again; returns how many allowances are remembered.
    pub fn forget_idle(&self) -> usize {
        let limiters = self.0.iter().flatten();
        limiters
            .map(|limiter| {
                limiter.retain_recent();
                limiter.len()
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_has_its_own_allowance_for_every_route_that_has_a_rate() {
        let one = NonZeroU32::new(1).unwrap();
        let limiter = RouteLimiter::new(&[None, Some((one, one)), Some((one, one))]);
        let (session, other) = (SessionId::random(), SessionId::random());
        for _ in 0..10 {
            assert_eq!(limiter.check(0, session), None);
        }
        assert_eq!(limiter.check(1, session), Some(Ok(())));
        let wait = limiter.check(1, session).unwrap().unwrap_err().retry_after().unwrap();
        assert!(wait > std::time::Duration::from_millis(500), "{wait:?}");
        assert_eq!(limiter.check(1, other), Some(Ok(())));
        assert_eq!(limiter.check(2, session), Some(Ok(())));
        assert_eq!(limiter.check(7, session), None);
        assert_eq!(limiter.forget_idle(), 3);
    }
}
