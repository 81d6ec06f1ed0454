//! The token of operators. Wrong ones are slowed, logged, and told apart from each other by where they come from.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::config::Secret;
use crate::domain::network;
use crate::metrics::Metrics;

/// How long an address from which a wrong token came is remembered. Until then each of its tokens waits.
const MEMORY: Duration = Duration::from_secs(60);
/// How long a wrong token waits for its answer.
const DELAY: Duration = Duration::from_secs(1);
/// Tokens of one address that may wait at the same time.
const WAITING: usize = 4;
/// How often wrong tokens of one address are logged.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// Addresses that are remembered. Beyond that the one that was quiet longest is forgotten.
const ADDRESSES: usize = 1024;

/// Decides who is an operator.
#[derive(Debug)]
pub struct OperatorToken {
    token: Secret,
    suspects: Mutex<HashMap<IpAddr, Suspect>>,
    metrics: Arc<Metrics>,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoOperator {
    /// There is no token, or a wrong one.
    Wrong,
    /// So many of its address wait already that this one was not looked at.
    TooMany {
        /// When it may be.
        retry_after: Duration,
    },
}

/// An address from which a wrong token came.
#[derive(Debug)]
struct Suspect {
    last: Instant,
    waiting: usize,
    told: Option<Instant>,
    untold: u32,
}

impl OperatorToken {
    /// Of an empty token nobody is the bearer.
    #[must_use]
    pub fn new(token: Secret, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { token, suspects: Mutex::default(), metrics })
    }

    /// Whether nobody can be an operator.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.token.is_empty()
    }

    /// Looks at a token from an address.
    ///
    /// # Errors
    /// Why its bearer is no operator.
    pub async fn check(&self, given: Option<&str>, from: IpAddr) -> Result<(), NoOperator> {
        let Some(given) = given.filter(|_| !self.is_empty()) else { return Err(NoOperator::Wrong) };
        let address = network(from);
        let waits = self.wait(address)?;
        if waits.is_some() {
            sleep(DELAY).await;
        }
        if self.token.is(given) {
            return Ok(());
        }
        self.note(address, from);
        if waits.is_none() {
            let _waits = self.wait(address)?;
            sleep(DELAY).await;
        }
        Err(NoOperator::Wrong)
    }

    /// A place among those that wait, if the address has to.
    fn wait(&self, address: IpAddr) -> Result<Option<Waits<'_>>, NoOperator> {
        let mut suspects = self.suspects.lock();
        let Some(suspect) = suspects.get_mut(&address) else { return Ok(None) };
        if suspect.last.elapsed() >= MEMORY && suspect.waiting == 0 {
            suspects.remove(&address);
            return Ok(None);
        }
        if suspect.waiting >= WAITING {
            self.metrics.operators_refused.with("too_many").increment(1);
            return Err(NoOperator::TooMany { retry_after: DELAY });
        }
        suspect.waiting += 1;
        Ok(Some(Waits { of: self, address }))
    }

    fn note(&self, address: IpAddr, from: IpAddr) {
        self.metrics.operators_refused.with("wrong_token").increment(1);
        let now = Instant::now();
        let mut suspects = self.suspects.lock();
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
            tracing::warn!(%from, count = suspect.untold, "wrong tokens for the controls of operators");
            (suspect.told, suspect.untold) = (Some(now), 0);
        }
    }
}

/// One that waits, until it is dropped.
struct Waits<'a> {
    of: &'a OperatorToken,
    address: IpAddr,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(suspect) = self.of.suspects.lock().get_mut(&self.address) {
            suspect.waiting = suspect.waiting.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    fn token() -> (Arc<OperatorToken>, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new());
        (OperatorToken::new(Secret::from("right".to_owned()), metrics.clone()), metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_tokens_are_slow_and_right_ones_are_not() {
        let (token, metrics) = token();
        let began = Instant::now();
        for _ in 0..100 {
            assert_eq!(token.check(Some("right"), HERE).await, Ok(()));
            assert_eq!(token.check(None, HERE).await, Err(NoOperator::Wrong), "is no guess");
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..3 {
            assert_eq!(token.check(Some("wrong"), HERE).await, Err(NoOperator::Wrong));
        }
        assert_eq!(began.elapsed(), 3 * DELAY);
        assert_eq!(token.check(Some("right"), HERE).await, Ok(()));
        assert_eq!(began.elapsed(), 4 * DELAY, "or the wait would tell which one was right");
        assert_eq!(token.check(Some("right"), THERE).await, Ok(()));
        assert_eq!(began.elapsed(), 4 * DELAY, "it came from elsewhere");
        tokio::time::advance(MEMORY).await;
        let began = Instant::now();
        assert_eq!(token.check(Some("right"), HERE).await, Ok(()));
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(metrics.render().contains("gateway_operators_refused_total{reason=\"wrong_token\"} 3"));
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_few_of_an_address_are_looked_at_in_a_second() {
        let (token, _) = token();
        token.check(Some("wrong"), HERE).await.unwrap_err();
        let began = Instant::now();
        let all = futures_util::future::join_all((0..100).map(|_| token.check(Some("right"), HERE))).await;
        assert_eq!(all.iter().filter(|result| result.is_ok()).count(), WAITING);
        assert_eq!(all.iter().filter(|result| matches!(result, Err(NoOperator::TooMany { .. }))).count(), 96);
        assert_eq!(began.elapsed(), DELAY);
        assert_eq!(token.check(Some("right"), HERE).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_token_is_nobodys_and_addresses_are_bounded() {
        let nobody = OperatorToken::new(Secret::default(), Arc::default());
        assert_eq!(nobody.check(Some(""), HERE).await, Err(NoOperator::Wrong));
        let (token, _) = token();
        let many = (0..3000_u32).map(|number| IpAddr::from(number.to_be_bytes()));
        futures_util::future::join_all(many.map(|from| token.check(Some("wrong"), from))).await;
        assert_eq!(token.suspects.lock().len(), ADDRESSES);
    }
}
