//! Accounts: how much users, and addresses of sessions without one, may have kept, and how many rooms they may begin.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::meter::Meter;
use crate::config::{Limits, Rate};
use crate::domain::{Refusal, UserId};
use crate::metrics::Metrics;

/// On whose account something is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    User(UserId),
    /// Of IPv6 the network.
    Address(IpAddr),
}

/// How fast somebody may have something kept.
#[derive(Clone, Copy, Debug)]
struct Rates {
    bytes: Rate,
    rooms: Rate,
}

/// What somebody may still have kept. All sessions of a user share it, or all of an address that have no user.
#[derive(Debug)]
pub struct Account {
    bytes: Option<Meter>,
    rooms: Option<Meter>,
    /// What was taken of each at the most since it was full.
    taken: [AtomicU64; 2],
    /// Its limiters' names, as metrics have them.
    names: [&'static str; 2],
    metrics: Arc<Metrics>,
}

impl Account {
    fn new(rates: Rates, names: [&'static str; 2], metrics: Arc<Metrics>) -> Self {
        let (bytes, rooms) = (Meter::new(rates.bytes), Meter::new(rates.rooms));
        Self { bytes, rooms, taken: Default::default(), names, metrics }
    }

    /// Takes what is to be kept, in bytes. It is not given back if it is not kept after all.
    ///
    /// # Errors
    /// [`Refusal::TooMuchKept`].
    pub fn keep(&self, bytes: usize) -> Result<(), Refusal> {
        let taken = self.take(0, self.bytes.as_ref(), bytes);
        taken.map_err(|retry_after| Refusal::TooMuchKept { retry_after })
    }

    /// Takes a room that is new to the log, and what it weighs, in bytes.
    ///
    /// # Errors
    /// [`Refusal::TooManyNewRooms`], [`Refusal::TooMuchKept`].
    pub fn begin_room(&self, bytes: usize) -> Result<(), Refusal> {
        let taken = self.take(1, self.rooms.as_ref(), 1);
        taken.map_err(|retry_after| Refusal::TooManyNewRooms { retry_after })?;
        self.keep(bytes)
    }

    fn take(&self, which: usize, meter: Option<&Meter>, count: usize) -> Result<(), Duration> {
        let Some(meter) = meter else { return Ok(()) };
        let taken = meter.take(count);
        let decision = if taken.is_ok() { "allow" } else { "deny" };
        self.metrics.rate_limit_decisions.with(self.names[which], decision).increment(1);
        if taken.is_ok() {
            self.taken[which].fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        taken
    }

    /// How long it takes at the most until everything is allowed again. Who had little kept is soon forgotten, and so many
    /// can be remembered.
    fn refill(&self, rates: Rates) -> Duration {
        let of = |rate: Rate, taken: &AtomicU64| {
            let taken = taken.load(Ordering::Relaxed).min(rate.burst.into());
            if rate.per_second == 0 {
                Duration::ZERO
            } else {
                Duration::from_millis(taken.saturating_mul(1_000) / u64::from(rate.per_second))
            }
        };
        of(rates.bytes, &self.taken[0]).max(of(rates.rooms, &self.taken[1]))
    }
}

/// All accounts of those that are here and had something kept, or were a moment ago.
#[derive(Debug)]
pub(super) struct Accounts {
    by_holder: Mutex<HashMap<Holder, Entry>>,
    user: Rates,
    address: Rates,
    pub(super) metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Entry {
    account: Arc<Account>,
    /// Since when it has been seen without a session.
    left: Option<Instant>,
}

impl Accounts {
    pub(super) fn new(limits: &Limits, metrics: Arc<Metrics>) -> Self {
        let user = Rates { bytes: limits.user_kept(), rooms: limits.user_new_rooms() };
        let address = Rates { bytes: limits.address_kept(), rooms: limits.address_new_rooms() };
        Self { by_holder: Mutex::default(), user, address, metrics }
    }

    fn rates(&self, holder: &Holder) -> Rates {
        match holder {
            Holder::User(_) => self.user,
            Holder::Address(_) => self.address,
        }
    }

    /// Whose account is asked for the first time gets a full one; none if nothing limits it.
    pub(super) fn find(&self, holder: &Holder) -> Option<Arc<Account>> {
        let rates = self.rates(holder);
        if rates.bytes.per_second == 0 && rates.rooms.per_second == 0 {
            return None;
        }
        let names = match holder {
            Holder::User(_) => ["user_kept_bytes", "user_new_rooms"],
            Holder::Address(_) => ["address_kept_bytes", "address_new_rooms"],
        };
        let mut by_holder = self.by_holder.lock();
        let entry = by_holder.entry(holder.clone()).or_insert_with(|| Entry {
            account: Arc::new(Account::new(rates, names, self.metrics.clone())),
            left: None,
        });
        entry.left = None;
        Some(entry.account.clone())
    }

    /// Forgets who is no longer here and has got everything back; returns how many are remembered.
    pub(super) fn forget_idle(&self) -> usize {
        let now = Instant::now();
        let mut by_holder = self.by_holder.lock();
        by_holder.retain(|holder, entry| {
            // Nobody else can get hold of it while the map is locked.
            if Arc::strong_count(&entry.account) > 1 {
                entry.left = None;
                return true;
            }
            now.duration_since(*entry.left.get_or_insert(now)) < entry.account.refill(self.rates(holder))
        });
        if by_holder.len() < by_holder.capacity() / 4 {
            by_holder.shrink_to_fit();
        }
        by_holder.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(change: impl FnOnce(&mut Limits)) -> Accounts {
        let mut limits = crate::config::load(None, std::iter::empty()).unwrap().limits;
        change(&mut limits);
        Accounts::new(&limits, Arc::new(Metrics::new()))
    }

    fn user(name: &str) -> Holder {
        Holder::User(UserId::parse(name).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn each_has_its_own_and_its_sessions_share_it() {
        let accounts = accounts(|limits| {
            (limits.user_kept_bytes_per_second, limits.user_kept_bytes_burst) = (100, 1_000);
            (limits.user_new_rooms_per_second, limits.user_new_rooms_burst) = (1, 2);
        });
        let (one, again) = (accounts.find(&user("ann")).unwrap(), accounts.find(&user("ann")).unwrap());
        one.keep(600).unwrap();
        let wait = Refusal::TooMuchKept { retry_after: Duration::from_secs(2) };
        assert_eq!(again.keep(600), Err(wait));
        assert_eq!((again.begin_room(0), one.begin_room(0)), (Ok(()), Ok(())));
        let wait = Refusal::TooManyNewRooms { retry_after: Duration::from_secs(1) };
        assert_eq!(one.begin_room(0), Err(wait.clone()));
        let other = accounts.find(&user("bob")).unwrap();
        assert_eq!((other.keep(500), other.begin_room(100)), (Ok(()), Ok(())));
        tokio::time::advance(wait.retry_after().unwrap() * 2).await;
        assert_eq!((one.keep(600), again.begin_room(0)), (Ok(()), Ok(())));
        let denied = accounts.metrics.render();
        assert!(denied.contains("{limiter=\"user_kept_bytes\",decision=\"deny\"} 1"));
        assert!(denied.contains("{limiter=\"user_new_rooms\",decision=\"deny\"} 1"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_remembered_for_as_long_as_it_takes_to_get_everything_back() {
        let accounts = accounts(|limits| {
            (limits.user_kept_bytes_per_second, limits.user_kept_bytes_burst) = (100, 1_000_000);
        });
        for (holder, bytes, remembered) in [(user("ann"), 500, 5), (user("bob"), 100, 1)] {
            accounts.find(&holder).unwrap().keep(bytes).unwrap();
            assert_eq!(accounts.forget_idle(), 1, "it was here a moment ago");
            tokio::time::advance(Duration::from_millis(remembered * 1_000 - 1)).await;
            assert_eq!(accounts.forget_idle(), 1);
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(accounts.forget_idle(), 0);
        }
        let here = accounts.find(&user("ann")).unwrap();
        tokio::time::advance(Duration::from_secs(1_000)).await;
        assert_eq!(accounts.forget_idle(), 1);
        drop(here);
    }

    #[test]
    fn without_a_limit_nobody_has_one() {
        let accounts = accounts(|limits| {
            (limits.user_kept_bytes_per_second, limits.user_new_rooms_per_second) = (0, 0);
            limits.address_kept_bytes_per_second = 0;
        });
        assert!(accounts.find(&user("ann")).is_none());
        let address = Holder::Address([127, 0, 0, 1].into());
        let account = accounts.find(&address).expect("rooms are still limited");
        account.keep(usize::MAX).unwrap();
        assert_eq!(accounts.forget_idle(), 1);
    }
}
