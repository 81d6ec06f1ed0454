//! Rate limits: events of a session, handshakes of an address. A limit of 0 lets everything through.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::config::Limits;
use crate::domain::Refusal;

fn quota(per_second: u32, burst: u32) -> Option<Quota> {
    let quota = Quota::per_second(NonZeroU32::new(per_second)?);
    Some(NonZeroU32::new(burst).map_or(quota, |burst| quota.allow_burst(burst)))
}

/// The wait is computed a moment after the decision; by then it may be over, but "now" is no time to come back at.
fn refuse(wait: Duration) -> Refusal {
    Refusal::RateLimited { retry_after: wait.max(Duration::from_millis(1)) }
}

/// How fast one session may send.
#[derive(Debug)]
pub struct EventLimiter(Option<DefaultDirectRateLimiter>);

impl EventLimiter {
    /// A full allowance.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self(quota(limits.events_per_second, limits.events_burst).map(RateLimiter::direct))
    }

    /// Takes one event from the allowance.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`] with the time until the next one is welcome.
    pub fn check(&self) -> Result<(), Refusal> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        limiter.check().map_err(|not_until| refuse(not_until.wait_time_from(DefaultClock::default().now())))
    }
}

/// How fast this node takes new connections.
#[derive(Debug)]
pub struct HandshakeLimiter(Option<DefaultDirectRateLimiter>);

impl HandshakeLimiter {
    /// A full allowance.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self(quota(limits.handshakes_per_second, limits.handshakes_per_second).map(RateLimiter::direct))
    }

    /// Takes one handshake from the allowance.
    ///
    /// # Errors
    /// [`Refusal::Busy`].
    pub fn check(&self) -> Result<(), Refusal> {
        self.0.as_ref().is_none_or(|limiter| limiter.check().is_ok()).then_some(()).ok_or(Refusal::Busy)
    }
}

/// How fast one address may open connections.
#[derive(Debug)]
pub struct AddressLimiter(Option<DefaultKeyedRateLimiter<IpAddr>>);

impl AddressLimiter {
    /// Full allowances for everybody.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let per_second = limits.handshakes_per_second_per_address;
        Self(quota(per_second, per_second).map(RateLimiter::keyed))
    }

    /// Takes one handshake from the allowance of an address. IPv6 addresses of one /64 share one: that is what a
    /// single customer gets.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`] with the time until the next one is welcome.
    pub fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        let checked = limiter.check_key(&network(address));
        checked.map_err(|not_until| refuse(not_until.wait_time_from(DefaultClock::default().now())))
    }

    /// Forgets addresses whose allowance is full again; returns how many are remembered.
    pub fn forget_idle(&self) -> usize {
        self.0.as_ref().map_or(0, |limiter| {
            limiter.retain_recent();
            limiter.len()
        })
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[8..].fill(0);
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(events: u32, burst: u32, handshakes: u32) -> Limits {
        let mut limits = crate::config::load(None, std::iter::empty()).unwrap().limits;
        limits.events_per_second = events;
        limits.events_burst = burst;
        limits.handshakes_per_second_per_address = handshakes;
        limits
    }

    #[test]
    fn a_burst_passes_and_the_next_event_is_told_how_long_to_wait() {
        let limiter = EventLimiter::new(&limits(1, 3, 0));
        for _ in 0..3 {
            assert_eq!(limiter.check(), Ok(()));
        }
        let wait = limiter.check().unwrap_err().retry_after().unwrap();
        assert!(wait > Duration::from_millis(500) && wait <= Duration::from_secs(1), "{wait:?}");
    }

    #[test]
    fn zero_is_no_limit() {
        let mut limits = limits(0, 0, 0);
        limits.handshakes_per_second = 0;
        let node = HandshakeLimiter::new(&limits);
        let (events, addresses) = (EventLimiter::new(&limits), AddressLimiter::new(&limits));
        for _ in 0..10_000 {
            assert_eq!(events.check(), Ok(()));
            assert_eq!(node.check(), Ok(()));
            assert_eq!(addresses.check("127.0.0.1".parse().unwrap()), Ok(()));
        }
    }

    #[test]
    fn a_stampede_is_told_to_come_back() {
        let mut limits = limits(0, 0, 0);
        limits.handshakes_per_second = 10;
        let limiter = HandshakeLimiter::new(&limits);
        let taken = (0..100).filter(|_| limiter.check().is_ok()).count();
        assert!((10..20).contains(&taken), "{taken}");
        assert_eq!(limiter.check(), Err(Refusal::Busy));
    }

    #[test]
    fn addresses_do_not_share_an_allowance_but_a_v6_network_does() {
        let limiter = AddressLimiter::new(&limits(0, 0, 1));
        let check = |address: &str| limiter.check(address.parse().unwrap()).is_ok();
        assert!(check("10.0.0.1") && check("10.0.0.2"));
        assert!(!check("10.0.0.1") && !check("::ffff:10.0.0.2"));
        assert!(check("2001:db8::1") && !check("2001:db8::2") && check("2001:db8:0:1::1"));
        assert!(limiter.forget_idle() >= 4);
    }
}
