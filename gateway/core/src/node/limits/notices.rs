//! Notices: how many notifications one may send to others, and how many all together may send to one.

use std::net::IpAddr;

use governor::RateLimiter;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;

use super::accounts::Holder;
use super::meter::{Moment, TokioClock, quota, refuse, wait};
use crate::config::{Notifications, Rate};
use crate::domain::{Refusal, UserId, network};

/// Senders, and receivers, that are remembered. More at once have one allowance together.
const REMEMBERED: usize = 65_536;

/// Nobody in particular stands for all that are too many.
type Keyed = RateLimiter<Option<Holder>, DashMapStateStore<Option<Holder>>, TokioClock, NoOpMiddleware<Moment>>;

/// How many notifications users may send on this node.
#[derive(Debug)]
pub struct NoticeLimiter {
    senders: Limit,
    receivers: Limit,
}

/// How much of anything users may have done on this node, each by itself.
#[derive(Debug)]
pub struct SenderLimiter(Limit);

impl SenderLimiter {
    /// Full allowances for everybody.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self(Limit::new(rate))
    }

    /// The same for so many in a minute, which may all come at once.
    #[must_use]
    pub fn per_minute(most: u32) -> Self {
        let quota = std::num::NonZeroU32::new(most).map(governor::Quota::per_minute);
        Self(Limit::with(quota))
    }

    /// Takes one from the allowance of a user, or else of an address, as [`NoticeLimiter::send`] does.
    #[must_use]
    pub fn take(&self, user: Option<&UserId>, address: IpAddr) -> Option<Result<(), Refusal>> {
        self.0.take(holder(user, address))
    }

    /// Forgets whose allowance is full again; returns how many are remembered.
    pub fn forget_idle(&self) -> usize {
        self.0.forget_idle()
    }
}

/// Who is limited: a user, or else an address, of IPv6 its /64.
fn holder(user: Option<&UserId>, address: IpAddr) -> Holder {
    user.map_or_else(|| Holder::Address(network(address)), |user| Holder::User(user.clone()))
}

#[derive(Debug)]
struct Limit {
    keys: Option<Keyed>,
    remembered: usize,
}

impl NoticeLimiter {
    /// Full allowances for everybody.
    #[must_use]
    pub fn new(settings: &Notifications) -> Self {
        Self { senders: Limit::new(settings.of_sender()), receivers: Limit::new(settings.of_receiver()) }
    }

    /// Takes one from the allowance of who sends: of a user, or else of an address, of IPv6 its /64. Nothing if there is no
    /// limit. The error is [`Refusal::RateLimited`] with the time until the next one is welcome.
    #[must_use]
    pub fn send(&self, user: Option<&UserId>, address: IpAddr) -> Option<Result<(), Refusal>> {
        self.senders.take(holder(user, address))
    }

    /// The same for who is sent something.
    #[must_use]
    pub fn receive(&self, user: &UserId) -> Option<Result<(), Refusal>> {
        self.receivers.take(Holder::User(user.clone()))
    }

    /// Forgets whose allowance is full again; returns how many senders and receivers are remembered.
    pub fn forget_idle(&self) -> [usize; 2] {
        [self.senders.forget_idle(), self.receivers.forget_idle()]
    }
}

impl Limit {
    fn new(rate: Rate) -> Self {
        Self::with(quota(rate))
    }

    fn with(quota: Option<governor::Quota>) -> Self {
        let keys = quota.map(|quota| RateLimiter::dashmap_with_clock(quota, TokioClock));
        Self { keys, remembered: REMEMBERED }
    }

    fn take(&self, holder: Holder) -> Option<Result<(), Refusal>> {
        let keys = self.keys.as_ref()?;
        let key = Some(holder).filter(|_| keys.len() < self.remembered);
        Some(keys.check_key(&key).map_err(|not_until| refuse(wait(&not_until))))
    }

    fn forget_idle(&self) -> usize {
        self.keys.as_ref().map_or(0, |keys| {
            keys.retain_recent();
            keys.shrink_to_fit();
            keys.len()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn limiter(sender: u32, receiver: u32) -> NoticeLimiter {
        let mut settings = crate::config::load(None, std::iter::empty()).unwrap().notifications;
        (settings.sender_per_second, settings.sender_burst) = (sender, 3);
        (settings.receiver_per_second, settings.receiver_burst) = (receiver, 5);
        NoticeLimiter::new(&settings)
    }

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn each_user_has_its_own_and_who_has_no_name_shares_that_of_its_address() {
        let limiter = limiter(1, 1);
        let passed = |who: Option<&UserId>, address: &str| {
            (0..10).filter(|_| limiter.send(who, address.parse().unwrap()) == Some(Ok(()))).count()
        };
        assert_eq!((passed(Some(&user("ann")), "10.0.0.1"), passed(Some(&user("bob")), "10.0.0.1")), (3, 3));
        assert_eq!((passed(None, "2001:db8::1"), passed(None, "2001:db8::2"), passed(None, "10.0.0.1")), (3, 0, 3));
        let wait = limiter.send(None, HERE).and_then(Result::err);
        assert_eq!(wait, None, "another address");
        let received = (0..10).filter(|_| limiter.receive(&user("ann")) == Some(Ok(()))).count();
        assert_eq!((received, limiter.forget_idle()), (5, [5, 1]));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(limiter.forget_idle(), [0, 0]);
        assert_eq!(passed(Some(&user("ann")), "10.0.0.1"), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_there_are_memory_is_bounded() {
        let mut limiter = limiter(1, 0);
        limiter.senders.remembered = 100;
        let passed = (0..1_000).filter(|n| limiter.send(Some(&user(&n.to_string())), HERE) == Some(Ok(()))).count();
        assert_eq!((passed, limiter.forget_idle()), (103, [101, 0]), "the rest share one allowance");
        assert_eq!(limiter.receive(&user("ann")), None, "what has no limit decides nothing");
    }
}
