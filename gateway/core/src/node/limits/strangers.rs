//! Strangers: requests that belong to no connection and open none, by the address that they come from.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::meter::{Moment, TokioClock, quota, refuse, wait};
use crate::config::{Limits, Rate};
use crate::domain::{Refusal, network};

/// Addresses that are remembered. More at once, which is no crowd any more, have one allowance together.
const ADDRESSES: usize = 65_536;
/// Stands for all of these.
const ALL_OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// How many requests one address may send that are no client's.
#[derive(Debug)]
pub struct StrangerLimiter {
    limiter: Option<RateLimiter<IpAddr, DashMapStateStore<IpAddr>, TokioClock, NoOpMiddleware<Moment>>>,
    addresses: usize,
}

impl StrangerLimiter {
    /// Full allowances for everybody, of requests of any kind.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let per_second = limits.requests_per_second_per_address;
        Self::with(quota(Rate { per_second, burst: per_second }))
    }

    /// Those of requests below `/api`, which are counted by the minute.
    #[must_use]
    pub fn of_http(limits: &Limits) -> Self {
        Self::with(NonZeroU32::new(limits.http_per_minute_per_address).map(Quota::per_minute))
    }

    fn with(quota: Option<Quota>) -> Self {
        let limiter = quota.map(|quota| RateLimiter::dashmap_with_clock(quota, TokioClock));
        Self { limiter, addresses: ADDRESSES }
    }

    /// Takes one request from the allowance of an address. IPv6 addresses of one /64 share one.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`] with the time until the next one is welcome.
    pub fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let key = if limiter.len() < self.addresses { network(address) } else { ALL_OTHERS };
        limiter.check_key(&key).map_err(|not_until| refuse(wait(&not_until)))
    }

    /// Forgets addresses whose allowance is full again; returns how many are remembered.
    pub fn forget_idle(&self) -> usize {
        self.limiter.as_ref().map_or(0, |limiter| {
            limiter.retain_recent();
            limiter.shrink_to_fit();
            limiter.len()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limiter(per_second: u32, addresses: usize) -> StrangerLimiter {
        let mut limits = crate::config::load(None, std::iter::empty()).unwrap().limits;
        limits.requests_per_second_per_address = per_second;
        StrangerLimiter { addresses, ..StrangerLimiter::new(&limits) }
    }

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + number).into()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_an_allowance_that_fills_again() {
        let limiter = limiter(5, ADDRESSES);
        let passed = |number| (0..10).filter(|_| limiter.check(address(number)).is_ok()).count();
        assert_eq!((passed(1), passed(2)), (5, 5));
        let wait = limiter.check(address(1)).unwrap_err().retry_after().unwrap();
        tokio::time::advance(wait).await;
        assert_eq!(passed(1), 1);
        assert_eq!(limiter.forget_idle(), 2);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(limiter.forget_idle(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_addresses_there_are_memory_is_bounded() {
        let limiter = limiter(5, 100);
        let passed = (0..10_000).filter(|number| limiter.check(address(*number)).is_ok()).count();
        assert_eq!((passed, limiter.forget_idle()), (105, 101), "the rest share one allowance");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(limiter.forget_idle(), 0);
        assert!(limiter.check(address(20_000)).is_ok(), "afterwards each has its own again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_below_api_is_counted_by_the_minute() {
        let mut limits = crate::config::load(None, std::iter::empty()).unwrap().limits;
        assert!((0..1_000).all(|_| StrangerLimiter::of_http(&limits).check(address(1)).is_ok()), "no limit by default");
        limits.http_per_minute_per_address = 6;
        let limiter = StrangerLimiter::of_http(&limits);
        let passed = |address: &str| (0..10).filter(|_| limiter.check(address.parse().unwrap()).is_ok()).count();
        assert_eq!((passed("10.0.0.1"), passed("2001:db8::1"), passed("2001:db8::2")), (6, 6, 0), "of IPv6 a /64");
        let wait = limiter.check("10.0.0.1".parse().unwrap()).unwrap_err().retry_after().unwrap();
        assert_eq!(wait, Duration::from_secs(10));
        tokio::time::advance(wait).await;
        assert_eq!(passed("10.0.0.1"), 1);
    }

    #[test]
    fn zero_is_no_limit() {
        let limiter = limiter(0, ADDRESSES);
        assert!((0..10_000).all(|_| limiter.check(address(1)).is_ok()));
        assert_eq!(limiter.forget_idle(), 0);
    }
}
