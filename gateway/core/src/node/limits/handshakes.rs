//! Handshakes: how fast this node, and one address, may open connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use governor::RateLimiter;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::meter::{Meter, Moment, TokioClock, quota, refuse, wait};
use crate::config::{Limits, Rate};
use crate::domain::{Refusal, network, site};

/// How many times as much as one of its networks a whole site of IPv6 may do.
const NETWORKS_OF_A_SITE: u32 = 8;

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

type Keyed = RateLimiter<IpAddr, DashMapStateStore<IpAddr>, TokioClock, NoOpMiddleware<Moment>>;

/// How often one address may do something. IPv6 addresses of one /64 are one; and as whoever floods may have a /48, its 65,536
/// networks together may do it only a few times as often.
#[derive(Debug)]
pub struct AddressLimiter(Option<Pair>);

/// Who has an allowance of its own. The first network of a site has the address of the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    Network(IpAddr),
    Site(IpAddr),
}

/// For networks, and for sites.
#[derive(Debug)]
struct Pair {
    networks: Keyed,
    sites: Keyed,
}

impl AddressLimiter {
    /// Full allowances for everybody.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let keyed = |rate| quota(rate).map(|quota| RateLimiter::dashmap_with_clock(quota, TokioClock));
        let burst = if rate.burst == 0 { rate.per_second } else { rate.burst };
        let times = |count: u32| count.saturating_mul(NETWORKS_OF_A_SITE).min(1_000_000_000);
        let of_site = Rate { per_second: times(rate.per_second), burst: times(burst) };
        Self(keyed(rate).zip(keyed(of_site)).map(|(networks, sites)| Pair { networks, sites }))
    }

    /// Takes one time from the allowance of an address.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`] with the time until the next one is welcome.
    pub fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        self.take(address).map_err(|(_, wait)| refuse(wait))
    }

    /// The same; the error says who has to wait, and for how long.
    fn take(&self, address: IpAddr) -> Result<(), (Who, Duration)> {
        let Some(limits) = &self.0 else { return Ok(()) };
        let network = network(address);
        limits.networks.check_key(&network).map_err(|not_until| (Who::Network(network), wait(&not_until)))?;
        let Some(site) = site(address) else { return Ok(()) };
        limits.sites.check_key(&site).map_err(|not_until| (Who::Site(site), wait(&not_until)))
    }

    /// Forgets addresses whose allowance is full again; returns how many are remembered.
    pub fn forget_idle(&self) -> usize {
        let of = |limiter: &Keyed| {
            limiter.retain_recent();
            limiter.len()
        };
        self.0.as_ref().map_or(0, |limits| of(&limits.networks) + of(&limits.sites))
    }
}

/// How often one address may fail to get a session. Who fails too often is not asked for a while: what it sends costs
/// checking signatures.
#[derive(Debug)]
pub struct FailureLimiter {
    failures: AddressLimiter,
    /// Networks and sites that are not asked, until when.
    waiting: Mutex<HashMap<Who, Instant>>,
}

impl FailureLimiter {
    /// Nobody has failed yet.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self { failures: AddressLimiter::new(limits.failed_connects()), waiting: Mutex::default() }
    }

    /// Whether somebody at an address may try.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`] with the time until it may.
    pub fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        let waiting = self.waiting.lock();
        let whole = site(address).and_then(|site| waiting.get(&Who::Site(site)));
        let until = waiting.get(&Who::Network(network(address))).max(whole);
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        left.filter(|left| !left.is_zero()).map_or(Ok(()), |left| Err(refuse(left)))
    }

    /// Notes that somebody at an address has failed.
    pub fn failed(&self, address: IpAddr) {
        if let Err((who, wait)) = self.failures.take(address) {
            self.waiting.lock().insert(who, Instant::now() + wait);
        }
    }

    /// Forgets who may try again and has its allowance back; returns how many are remembered.
    pub fn forget_idle(&self) -> usize {
        let now = Instant::now();
        self.waiting.lock().retain(|_, until| *until > now);
        self.failures.forget_idle()
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
        let (node, addresses) = (HandshakeLimiter::new(&limits), AddressLimiter::new(limits.address_handshakes()));
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
        let limiter = AddressLimiter::new(limits(0, 1).address_handshakes());
        let check = |address: &str| limiter.check(address.parse().unwrap()).is_ok();
        assert!(check("10.0.0.1") && check("10.0.0.2"));
        assert!(!check("10.0.0.1") && !check("::ffff:10.0.0.2"));
        assert!(check("2001:db8::1") && !check("2001:db8::2") && check("2001:db8:0:1::1"));
        assert_eq!(limiter.forget_idle(), 4 + 1, "and a site");
        let wait = limiter.check("10.0.0.1".parse().unwrap()).unwrap_err().retry_after().unwrap();
        tokio::time::advance(wait).await;
        assert!(check("10.0.0.1"));
    }
    #[tokio::test(start_paused = true)]
    async fn the_networks_of_a_site_share_too_and_other_sites_do_not_pay() {
        let limiter = AddressLimiter::new(limits(0, 2).address_handshakes());
        let check = |site: u16, network: u16| {
            limiter.check(std::net::Ipv6Addr::new(0x2001, 0xdb8, site, network, 0, 0, 0, 1).into()).is_ok()
        };
        let taken = (0..1000).filter(|network| check(1, *network)).count();
        assert_eq!(taken, 2 * NETWORKS_OF_A_SITE as usize);
        assert!(check(2, 0) && check(2, 0) && !check(2, 0));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(check(1, 2000));
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_too_often_has_to_wait_and_others_do_not() {
        let mut limits = limits(0, 0);
        (limits.failed_connects_per_second_per_address, limits.failed_connects_burst_per_address) = (2, 10);
        let limiter = FailureLimiter::new(&limits);
        let (here, there) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        for _ in 0..10 {
            assert_eq!(limiter.check(here), Ok(()));
            limiter.failed(here);
        }
        assert_eq!(limiter.check(here), Ok(()), "as often as it may");
        limiter.failed(here);
        let wait = limiter.check(here).unwrap_err().retry_after().unwrap();
        assert!(limiter.check(there).is_ok() && wait <= Duration::from_millis(500), "{wait:?}");
        assert_eq!(limiter.forget_idle(), 1);
        tokio::time::advance(wait).await;
        assert_eq!(limiter.check(here), Ok(()));
        for network in 0..1000_u16 {
            limiter.failed(std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, network, 0, 0, 0, 1).into());
        }
        assert!(limiter.check("2001:db8:1:ffff::1".parse().unwrap()).is_err(), "one of the same site");
        (0..11).for_each(|_| limiter.failed("2001:db8:3::1".parse().unwrap()));
        assert!(limiter.check("2001:db8:3::2".parse().unwrap()).is_err());
        assert!(limiter.check("2001:db8:3:1::1".parse().unwrap()).is_ok(), "the first network is not the site");
        assert!(limiter.check("2001:db8:2::1".parse().unwrap()).is_ok());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!((limiter.forget_idle(), limiter.waiting.lock().len()), (0, 0));
        limits.failed_connects_per_second_per_address = 0;
        let none = FailureLimiter::new(&limits);
        (0..1000).for_each(|_| none.failed(here));
        assert_eq!(none.check(here), Ok(()));
    }
}
