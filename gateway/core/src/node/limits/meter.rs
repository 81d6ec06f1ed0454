//! Meters: so many of something in a second, with a burst after a pause; and the clock that they go by.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Add;
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};
use tokio::time::Instant;

use crate::config::Rate;
use crate::domain::Refusal;

/// tokio's clock. It takes no room, and every session has three meters; and tests can pause it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TokioClock;

/// A point in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(Instant);

impl Clock for TokioClock {
    type Instant = Moment;

    fn now(&self) -> Moment {
        Moment(Instant::now())
    }
}

impl Reference for Moment {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        self.0.checked_sub(duration.into()).map_or(*self, Self)
    }
}

impl Add<Nanos> for Moment {
    type Output = Self;

    fn add(self, duration: Nanos) -> Self {
        Self(self.0 + duration.into())
    }
}

/// A quota, unless there is no limit. A burst of 0 is one second's worth.
pub(super) fn quota(rate: Rate) -> Option<Quota> {
    let quota = Quota::per_second(NonZeroU32::new(rate.per_second)?);
    Some(NonZeroU32::new(rate.burst).map_or(quota, |burst| quota.allow_burst(burst)))
}

/// The time until the same is welcome. It is computed a moment after the decision; by then it may be over, but "now"
/// is no time to come back at.
pub(super) fn wait(not_until: &NotUntil<Moment>) -> Duration {
    not_until.wait_time_from(TokioClock.now()).max(Duration::from_millis(1))
}

/// That time as a refusal.
pub(super) fn refuse(retry_after: Duration) -> Refusal {
    Refusal::RateLimited { retry_after }
}

/// How fast one thing may go.
pub(super) struct Meter {
    limiter: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Moment>>,
    burst: NonZeroU32,
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("burst", &self.burst).finish_non_exhaustive()
    }
}

impl Meter {
    /// A full meter, or none if there is no limit.
    pub(super) fn new(rate: Rate) -> Option<Self> {
        let quota = quota(rate)?;
        let limiter = RateLimiter::direct_with_clock(quota, TokioClock);
        Some(Self { limiter, burst: quota.burst_size() })
    }

    /// Whether so much can be taken at once at all.
    pub(super) fn has_room_for(&self, count: usize) -> bool {
        u32::try_from(count).is_ok_and(|count| count <= self.burst.get())
    }

    /// Takes `count`, or all that a full meter has if it is more than that; or tells the time until it can.
    pub(super) fn take(&self, count: usize) -> Result<(), Duration> {
        let Some(count) = NonZeroU32::new(u32::try_from(count).unwrap_or(u32::MAX)) else { return Ok(()) };
        match self.limiter.check_n(count.min(self.burst)) {
            Ok(decision) => decision.map_err(|not_until| wait(&not_until)),
            // More than the burst, which the line above excludes.
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(per_second: u32, burst: u32) -> Meter {
        Meter::new(Rate { per_second, burst }).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_the_next_is_welcome_exactly_after_the_wait() {
        let meter = meter(1, 3);
        for _ in 0..3 {
            assert_eq!(meter.take(1), Ok(()));
        }
        let wait = meter.take(1).unwrap_err();
        assert_eq!(wait, Duration::from_secs(1));
        tokio::time::advance(wait - Duration::from_millis(1)).await;
        assert_eq!(meter.take(1), Err(Duration::from_millis(1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(meter.take(1), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_more_than_a_burst_takes_all_of_it() {
        let meter = meter(100, 200);
        assert_eq!(meter.take(usize::MAX), Ok(()));
        assert!(meter.take(1).is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(meter.take(1000), Err(Duration::from_secs(1)), "it waits for a full meter");
        assert_eq!(meter.take(0), Ok(()));
        assert_eq!(meter.take(100), Ok(()), "what is refused takes nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn the_fastest_rate_is_still_one() {
        let meter = meter(1_000_000_000, 1);
        assert_eq!(meter.take(1), Ok(()));
        assert!(meter.take(1).is_err());
    }

    #[test]
    fn nothing_is_kept_for_no_limit_and_little_for_one() {
        assert!(Meter::new(Rate { per_second: 0, burst: 7 }).is_none());
        assert!(size_of::<Meter>() <= 48, "{}", size_of::<Meter>());
    }
}
