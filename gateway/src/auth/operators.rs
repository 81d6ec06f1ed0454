//! The token of operators. Wrong ones are slowed, logged, and told apart from each other by where they come from.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::suspects::{Suspects, TooMany, Waits};
use crate::config::Secret;
use crate::metrics::Metrics;

/// Decides who is an operator.
#[derive(Debug)]
pub struct OperatorToken {
    token: Secret,
    suspects: Suspects,
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

impl OperatorToken {
    /// Of an empty token nobody is the bearer.
    #[must_use]
    pub fn new(token: Secret, metrics: Arc<Metrics>) -> Arc<Self> {
        let suspects = Suspects::new("wrong tokens for the controls of operators");
        Arc::new(Self { token, suspects, metrics })
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
        let waits = self.wait(from)?;
        let is_suspect = waits.is_some();
        if let Some(waits) = waits {
            waits.pass().await;
        }
        if self.token.is(given) {
            return Ok(());
        }
        self.metrics.operators_refused.with("wrong_token").increment(1);
        self.suspects.note(from);
        if !is_suspect && let Some(waits) = self.wait(from)? {
            waits.pass().await;
        }
        Err(NoOperator::Wrong)
    }

    /// A place among those that wait, if the address has to.
    fn wait(&self, from: IpAddr) -> Result<Option<Waits<'_>>, NoOperator> {
        self.suspects.wait(from).map_err(|TooMany { retry_after }| {
            self.metrics.operators_refused.with("too_many").increment(1);
            NoOperator::TooMany { retry_after }
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::auth::suspects::{ADDRESSES, DELAY, MEMORY, WAITING};

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
        assert_eq!(token.suspects.len(), ADDRESSES);
    }
}
