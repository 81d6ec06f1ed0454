//! Allowances: what a session may send, by itself, as its user and as its address, and when it has asked for too much.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::accounts::{Account, Accounts, Holder};
use super::meter::{Meter, refuse};
use super::parties::{Parties, Party, Rates, Traffic};
use super::slots::Slot;
use super::throughput::Throughput;
use crate::config::{Limits, Rate};
use crate::domain::{Refusal, UserId, network};
use crate::metrics::Metrics;

/// What becomes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken.
    Allow,
    /// It is refused, in words.
    Refuse(Refusal),
    /// It is refused, and so were so many before it that words are wasted: the connection is to be ended.
    Close,
}

/// Limiters' names, as metrics have them: of events, of bytes.
const SESSION: [&str; 2] = ["session_events", "session_bytes"];
const USER: [&str; 2] = ["user_events", "user_bytes"];
const ADDRESS: [&str; 2] = ["address_events", "address_bytes"];

/// The limiter that refused, and how long to wait.
type Denied = (&'static str, Duration);

/// What one session may send. Of the meters of its user and of its address there is one for all their sessions.
#[derive(Debug)]
pub struct Allowance {
    own: Traffic,
    user: Option<Arc<Party>>,
    address: Option<Arc<Party>>,
    /// Answers that say no. They are traffic too, and who goes on after so many does not read them.
    refusals: Option<Meter>,
    /// On whose account is kept what it publishes: looked up with the first, as most sessions only listen.
    account: OnceLock<Option<Arc<Account>>>,
    accounts: Arc<Accounts>,
}

impl Allowance {
    /// Decides about an event that weighs `bytes`.
    ///
    /// The session's own limits are asked first, and what they refuse takes nothing from what it shares with others:
    /// one session's flood is not its user's, nor its neighbours'. Otherwise what a limiter has given is not given
    /// back when a later one refuses.
    #[must_use]
    pub fn check(&self, bytes: usize) -> Verdict {
        match self.take(bytes) {
            Ok(()) => Verdict::Allow,
            Err((limiter, wait)) => {
                self.count(limiter, "deny");
                self.refuse(refuse(wait))
            }
        }
    }

    /// A refusal for another reason, with an end to the patience.
    #[must_use]
    pub fn refuse(&self, refusal: Refusal) -> Verdict {
        let Some(refusals) = &self.refusals else { return Verdict::Refuse(refusal) };
        if refusals.take(1).is_ok() {
            self.count("session_refusals", "allow");
            Verdict::Refuse(refusal)
        } else {
            self.count("session_refusals", "deny");
            Verdict::Close
        }
    }

    /// Takes what an answer weighs from the bytes that the session, its user and its address have.
    ///
    /// # Errors
    /// They have used theirs up, and when there will be enough.
    pub fn charge(&self, bytes: usize) -> Result<(), Refusal> {
        let parties = [(Some(&self.own), SESSION), (traffic(&self.user), USER), (traffic(&self.address), ADDRESS)];
        for (of_whom, [_, name]) in parties {
            let Some(meter) = of_whom.and_then(|traffic| traffic.bytes.as_ref()) else { continue };
            if let Err(wait) = meter.take(bytes) {
                self.count(name, "deny");
                return Err(refuse(wait));
            }
            self.count(name, "allow");
        }
        Ok(())
    }

    /// On whose account is kept what it publishes: its user's, or its address'; none if nothing limits that. Asked for the
    /// same ones each time.
    pub(in crate::node) fn account(&self, user: Option<&UserId>, address: IpAddr) -> Option<&Account> {
        let holder = || user.map_or_else(|| Holder::Address(network(address)), |user| Holder::User(user.clone()));
        self.account.get_or_init(|| self.accounts.find(&holder())).as_deref()
    }

    fn take(&self, bytes: usize) -> Result<(), Denied> {
        self.take_from(&self.own, SESSION, bytes)?;
        for (party, names) in [(&self.user, USER), (&self.address, ADDRESS)] {
            if let Some(party) = party {
                self.take_from(&party.traffic, names, bytes)?;
            }
        }
        Ok(())
    }

    fn take_from(&self, traffic: &Traffic, [events, of_bytes]: [&'static str; 2], bytes: usize) -> Result<(), Denied> {
        for (meter, count, name) in [(&traffic.events, 1, events), (&traffic.bytes, bytes, of_bytes)] {
            if let Some(meter) = meter {
                meter.take(count).map_err(|wait| (name, wait))?;
                self.count(name, "allow");
            }
        }
        Ok(())
    }

    fn count(&self, limiter: &str, decision: &str) {
        self.accounts.metrics.rate_limit_decisions.with(limiter, decision).increment(1);
    }
}

fn traffic(party: &Option<Arc<Party>>) -> Option<&Traffic> {
    party.as_ref().map(|party| &party.traffic)
}

/// The limits of a node on what is sent, and on how many connections an address and sessions a user may have.
#[derive(Debug)]
pub struct Limiters {
    session: Rates,
    refusals: Rate,
    connection_packets: Rate,
    connection_bytes: Rate,
    users: Parties<UserId>,
    addresses: Parties<IpAddr>,
    accounts: Arc<Accounts>,
    sessions_per_user: usize,
    metrics: Arc<Metrics>,
}

impl Limiters {
    /// Full allowances for everybody.
    #[must_use]
    pub fn new(limits: &Limits, metrics: Arc<Metrics>) -> Self {
        // One event must always be possible. What is larger is refused for that.
        let largest = u32::try_from(limits.message_bytes).unwrap_or(u32::MAX);
        let of_bytes = |rate: Rate| Rate { burst: rate.burst.max(largest), ..rate };
        let session = Rates { events: limits.session_events(), bytes: of_bytes(limits.session_bytes()) };
        let user = Rates { events: limits.user_events(), bytes: of_bytes(limits.user_bytes()) };
        let address = Rates { events: limits.address_events(), bytes: of_bytes(limits.address_bytes()) };
        Self {
            session,
            refusals: limits.refusals(),
            connection_packets: limits.connection_packets(),
            connection_bytes: limits.connection_bytes(),
            users: Parties::new(user, limits.sessions_per_user),
            addresses: Parties::new(address, limits.connections_per_address),
            accounts: Arc::new(Accounts::new(limits, metrics.clone())),
            sessions_per_user: limits.sessions_per_user,
            metrics,
        }
    }

    /// What a new session may send. Sessions without a user have no limit as a user.
    #[must_use]
    pub fn allowance(&self, user: Option<&UserId>, address: IpAddr) -> Allowance {
        Allowance {
            own: Traffic::new(self.session),
            user: user.and_then(|user| self.users.find(user.clone())),
            address: self.addresses.find(network(address)),
            refusals: Meter::new(self.refusals),
            account: OnceLock::new(),
            accounts: self.accounts.clone(),
        }
    }

    /// What a new connection may send in all.
    #[must_use]
    pub fn throughput(&self) -> Throughput {
        Throughput::new(self.connection_packets, self.connection_bytes, self.metrics.clone())
    }

    /// A slot for a connection among those of its address; `None` within if nothing limits them.
    ///
    /// # Errors
    /// [`Refusal::TooManyConnections`].
    pub fn connection(&self, address: IpAddr) -> Result<Option<Slot<Party>>, Refusal> {
        let party = self.addresses.find(network(address));
        party.map(|party| Slot::take(&party).ok_or(Refusal::TooManyConnections)).transpose()
    }

    /// A slot for a session among those of its user; `None` within if nothing limits them.
    ///
    /// # Errors
    /// [`Refusal::TooManySessions`].
    pub fn session(&self, user: Option<&UserId>) -> Result<Option<Slot<Party>>, Refusal> {
        let refusal = Refusal::TooManySessions { limit: self.sessions_per_user };
        self.user(user).map(|party| Slot::take(&party).ok_or(refusal)).transpose()
    }

    /// A slot for a session that came back, and that had one already: the connection that it had may not have ended.
    #[must_use]
    pub fn session_again(&self, user: Option<&UserId>) -> Option<Slot<Party>> {
        self.user(user).map(|party| Slot::take_anyway(&party))
    }

    fn user(&self, user: Option<&UserId>) -> Option<Arc<Party>> {
        user.and_then(|user| self.users.find(user.clone()))
    }

    /// Forgets users and addresses that are gone, and publishes how many are remembered; to be called every few
    /// seconds.
    pub fn upkeep(&self) {
        let counts = [self.users.forget_idle(), self.addresses.forget_idle(), self.accounts.forget_idle()];
        for (name, count) in ["user", "address", "kept"].into_iter().zip(counts) {
            self.metrics.rate_limit_keys.with(name).set(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiters(change: impl FnOnce(&mut Limits)) -> (Limiters, Arc<Metrics>) {
        let mut limits = crate::config::load(None, std::iter::empty()).unwrap().limits;
        limits.message_bytes = 100;
        limits.events_per_second = 0;
        limits.bytes_per_second = 0;
        limits.user_events_per_second = 0;
        limits.user_bytes_per_second = 0;
        change(&mut limits);
        let metrics = Arc::new(Metrics::new());
        (Limiters::new(&limits, metrics.clone()), metrics)
    }

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn is_refused(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Refuse(Refusal::RateLimited { retry_after }) if !retry_after.is_zero())
    }

    fn denied(metrics: &Metrics, limiter: &str) -> bool {
        let series = format!("gateway_rate_limit_decisions_total{{limiter=\"{limiter}\",decision=\"deny\"}} 1");
        metrics.render().lines().any(|line| line == series)
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_has_its_own_events_and_bytes() {
        let (limiters, metrics) = limiters(|limits| {
            (limits.events_per_second, limits.events_burst) = (1, 2);
            (limits.bytes_per_second, limits.bytes_burst) = (100, 150);
        });
        let (one, other) = (limiters.allowance(None, HERE), limiters.allowance(None, HERE));
        assert_eq!(one.check(10), Verdict::Allow);
        assert_eq!(one.check(10), Verdict::Allow);
        assert!(is_refused(&one.check(10)) && denied(&metrics, "session_events"));
        assert_eq!(other.check(100), Verdict::Allow);
        assert!(is_refused(&other.check(100)) && denied(&metrics, "session_bytes"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_largest_event_is_possible_whatever_the_burst() {
        let (limiters, _) = limiters(|limits| (limits.bytes_per_second, limits.bytes_burst) = (10, 1));
        let session = limiters.allowance(None, HERE);
        assert_eq!(session.check(100), Verdict::Allow);
        assert!(is_refused(&session.check(100)));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(session.check(100), Verdict::Allow);
    }

    #[tokio::test(start_paused = true)]
    async fn users_and_addresses_share_over_their_sessions_and_not_with_others() {
        let (limiters, metrics) = limiters(|limits| {
            (limits.user_events_per_second, limits.user_events_burst) = (1, 2);
            (limits.address_bytes_per_second, limits.address_bytes_burst) = (1, 400);
        });
        let (ann, bob) = (user("ann"), user("bob"));
        let first = limiters.allowance(Some(&ann), HERE);
        let second = limiters.allowance(Some(&ann), "10.0.0.1".parse().unwrap());
        assert_eq!((first.check(1), second.check(1)), (Verdict::Allow, Verdict::Allow));
        assert!(is_refused(&first.check(1)) && denied(&metrics, "user_events"));
        let other = limiters.allowance(Some(&bob), "2001:db8::1".parse().unwrap());
        let neighbour = limiters.allowance(None, "2001:db8::2".parse().unwrap());
        let stranger = limiters.allowance(None, "2001:db8:0:1::1".parse().unwrap());
        assert_eq!((other.check(100), other.check(100)), (Verdict::Allow, Verdict::Allow));
        assert_eq!((neighbour.check(100), neighbour.check(100)), (Verdict::Allow, Verdict::Allow));
        assert!(is_refused(&neighbour.check(100)) && denied(&metrics, "address_bytes"));
        assert_eq!(stranger.check(100), Verdict::Allow);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_session_is_refused_takes_nothing_from_its_user() {
        let (limiters, _) = limiters(|limits| {
            (limits.events_per_second, limits.events_burst) = (1, 1);
            (limits.user_events_per_second, limits.user_events_burst) = (1, 2);
        });
        let ann = user("ann");
        let (flood, quiet) = (limiters.allowance(Some(&ann), HERE), limiters.allowance(Some(&ann), HERE));
        assert_eq!(flood.check(1), Verdict::Allow);
        for _ in 0..100 {
            assert!(is_refused(&flood.check(1)));
        }
        assert_eq!(quiet.check(1), Verdict::Allow);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_heed_refusals_is_closed_and_who_does_is_not() {
        let (limiters, metrics) = limiters(|limits| {
            (limits.events_per_second, limits.events_burst) = (1, 1);
            (limits.refusals_per_second, limits.refusals_burst) = (2, 5);
        });
        let session = limiters.allowance(None, HERE);
        assert_eq!(session.check(1), Verdict::Allow);
        let verdicts: Vec<_> = (0..6).map(|_| session.check(1)).collect();
        assert!(verdicts[..5].iter().all(is_refused), "{verdicts:?}");
        assert_eq!(verdicts[5], Verdict::Close);
        assert!(denied(&metrics, "session_refusals"));
        let patient = limiters.allowance(None, HERE);
        for _ in 0..100 {
            if let Verdict::Refuse(refusal) = patient.check(1) {
                tokio::time::advance(refusal.retry_after().unwrap()).await;
            }
            assert_ne!(patient.check(1), Verdict::Close);
        }
    }

    #[test]
    fn with_no_limits_everything_passes_and_nobody_is_remembered() {
        let (limiters, metrics) = limiters(|limits| (limits.sessions_per_user, limits.refusals_per_second) = (0, 0));
        let session = limiters.allowance(Some(&user("ann")), HERE);
        for _ in 0..10_000 {
            assert_eq!(session.check(usize::MAX), Verdict::Allow);
        }
        for _ in 0..10_000 {
            assert_eq!(session.refuse(Refusal::Overloaded), Verdict::Refuse(Refusal::Overloaded));
        }
        assert!(limiters.connection(HERE).unwrap().is_none());
        limiters.upkeep();
        assert!(metrics.render().contains("gateway_rate_limit_keys{limiter=\"user\"} 0"));
    }

    #[test]
    fn connections_and_sessions_take_slots() {
        let (limiters, metrics) =
            limiters(|limits| (limits.connections_per_address, limits.sessions_per_user) = (1, 1));
        let connection = limiters.connection(HERE).unwrap();
        assert_eq!(limiters.connection(HERE).unwrap_err(), Refusal::TooManyConnections);
        assert!(limiters.connection("10.0.0.1".parse().unwrap()).is_ok());
        drop(connection);
        assert!(limiters.connection(HERE).is_ok());
        let ann = user("ann");
        let session = limiters.session(Some(&ann)).unwrap();
        assert_eq!(limiters.session(Some(&ann)).unwrap_err(), Refusal::TooManySessions { limit: 1 });
        let again = limiters.session_again(Some(&ann));
        assert!(again.is_some() && limiters.session(None).is_ok());
        drop(session);
        assert!(limiters.session(Some(&ann)).is_err(), "the one that came back is still here");
        limiters.upkeep();
        assert!(metrics.render().contains("gateway_rate_limit_keys{limiter=\"user\"} 1"));
    }

    #[test]
    fn an_allowance_is_small() {
        assert!(size_of::<Allowance>() <= 200, "{}", size_of::<Allowance>());
    }
}
