//! Handshakes: how fast this node, and one address, may open connections.

use std::net::{IpAddr, Ipv6Addr};

use governor::RateLimiter;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;

use super::meter::{Meter, Moment, TokioClock, quota, refuse, wait};
use crate::config::{Limits, Rate};
use crate::domain::Refusal;

/// How fast this node takes new connections.
#[derive(Debug)]
pub struct HandshakeLimiter(Option<Meter>);

impl HandshakeLimiter {
    /// A full allowance.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let per_second = limits.handshakes_per_second;
        Self(Meter::new(Rate { per_second, burst: per_second }))
    }

    /// Takes one handshake from the allowance.
    ///
    /// # Errors
    /// [`Refusal::Busy`].
    pub fn check(&self) -> Result<(), Refusal> {
        self.0.as_ref().is_none_or(|meter| meter.take(1).is_ok()).then_some(()).ok_or(Refusal::Busy)
    }
}

/// How fast one address may open connections.
#[derive(Debug)]
pub struct AddressLimiter(Option<RateLimiter<IpAddr, DashMapStateStore<IpAddr>, TokioClock, NoOpMiddleware<Moment>>>);

impl AddressLimiter {
    /// Full allowances for everybody.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let per_second = limits.handshakes_per_second_per_address;
        let quota = quota(Rate { per_second, burst: per_second });
        Self(quota.map(|quota| RateLimiter::dashmap_with_clock(quota, TokioClock)))
    }

    /// Takes one handshake from the allowance of an address. IPv6 addresses of one /64 share one.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`] with the time until the next one is welcome.
    pub fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        limiter.check_key(&network(address)).map_err(|not_until| refuse(wait(&not_until)))
    }

    /// Forgets addresses whose allowance is full again; returns how many are remembered.
    pub fn forget_idle(&self) -> usize {
        self.0.as_ref().map_or(0, |limiter| {
            limiter.retain_recent();
            limiter.len()
        })
    }
}

/// What counts as one address: of IPv6 the /64, because that is what a single customer gets.
pub(super) fn network(address: IpAddr) -> IpAddr {
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

    fn limits(node: u32, address: u32) -> Limits {
        let mut limits = crate::config::load(None, std::iter::empty()).unwrap().limits;
        limits.handshakes_per_second = node;
        limits.handshakes_per_second_per_address = address;
        limits
    }

    #[test]
    fn zero_is_no_limit() {
        let limits = limits(0, 0);
        let (node, addresses) = (HandshakeLimiter::new(&limits), AddressLimiter::new(&limits));
        for _ in 0..10_000 {
            assert_eq!(node.check(), Ok(()));
            assert_eq!(addresses.check("127.0.0.1".parse().unwrap()), Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stampede_is_told_to_come_back() {
        let limiter = HandshakeLimiter::new(&limits(10, 0));
        let taken = (0..100).filter(|_| limiter.check().is_ok()).count();
        assert_eq!(taken, 10);
        assert_eq!(limiter.check(), Err(Refusal::Busy));
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_do_not_share_an_allowance_but_a_v6_network_does() {
        let limiter = AddressLimiter::new(&limits(0, 1));
        let check = |address: &str| limiter.check(address.parse().unwrap()).is_ok();
        assert!(check("10.0.0.1") && check("10.0.0.2"));
        assert!(!check("10.0.0.1") && !check("::ffff:10.0.0.2"));
        assert!(check("2001:db8::1") && !check("2001:db8::2") && check("2001:db8:0:1::1"));
        assert_eq!(limiter.forget_idle(), 4);
        let wait = limiter.check("10.0.0.1".parse().unwrap()).unwrap_err().retry_after().unwrap();
        tokio::time::advance(wait).await;
        assert!(check("10.0.0.1"));
    }
}
