//! Suspects: addresses from which wrong secrets came. They are slowed, and what they try is told now and then.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::domain::network;

/// How long an address from which a wrong secret came is remembered.
pub(super) const MEMORY: Duration = Duration::from_secs(60);
/// How long a wrong secret waits for its answer.
pub(super) const DELAY: Duration = Duration::from_secs(1);
/// Secrets of one address that may wait at the same time.
pub(super) const WAITING: usize = 4;
/// How often wrong secrets of one address are logged.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// Addresses that are remembered. Beyond that the one that was quiet longest is forgotten.
pub(super) const ADDRESSES: usize = 1024;

/// So many of an address wait already that this one is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany {
    /// When it may be.
    pub(super) retry_after: Duration,
}

/// The addresses from which wrong secrets of one kind came.
#[derive(Debug)]
pub(super) struct Suspects {
    /// What the lines about them say.
    what: &'static str,
    by_address: Mutex<HashMap<IpAddr, Suspect>>,
}

#[derive(Debug)]
struct Suspect {
    last: Instant,
    waiting: usize,
    told: Option<Instant>,
    untold: u32,
}

/// One that waits, until it is dropped.
pub(super) struct Waits<'a> {
    of: &'a Suspects,
    address: IpAddr,
}

impl Waits<'_> {
    /// Waits.
    pub(super) async fn pass(self) {
        sleep(DELAY).await;
    }
}

impl Suspects {
    /// None yet.
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, by_address: Mutex::default() }
    }

    /// A place among those that wait, if the address is suspect.
    pub(super) fn wait(&self, from: IpAddr) -> Result<Option<Waits<'_>>, TooMany> {
        let address = network(from);
        let mut suspects = self.by_address.lock();
        let Some(suspect) = suspects.get_mut(&address) else { return Ok(None) };
        if suspect.last.elapsed() >= MEMORY && suspect.waiting == 0 {
            suspects.remove(&address);
            return Ok(None);
        }
        if suspect.waiting >= WAITING {
            return Err(TooMany { retry_after: DELAY });
        }
        suspect.waiting += 1;
        Ok(Some(Waits { of: self, address }))
    }

    /// Notes that a wrong secret came from an address.
    pub(super) fn note(&self, from: IpAddr) {
        let (address, now) = (network(from), Instant::now());
        let mut suspects = self.by_address.lock();
        if suspects.len() >= ADDRESSES
            && !suspects.contains_key(&address)
            && let Some(oldest) = suspects.iter().min_by_key(|(_, suspect)| suspect.last).map(|(address, _)| *address)
        {
            suspects.remove(&oldest);
        }
        let new = Suspect { last: now, waiting: 0, told: None, untold: 0 };
        let suspect = suspects.entry(address).or_insert(new);
        (suspect.last, suspect.untold) = (now, suspect.untold + 1);
        if suspect.told.is_none_or(|told| now - told >= TOLD_EVERY) {
            tracing::warn!(%from, count = suspect.untold, "{}", self.what);
            (suspect.told, suspect.untold) = (Some(now), 0);
        }
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_address.lock().len()
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(suspect) = self.of.by_address.lock().get_mut(&self.address) {
            suspect.waiting = suspect.waiting.saturating_sub(1);
        }
    }
}
