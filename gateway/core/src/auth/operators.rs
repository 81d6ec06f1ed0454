//! The tokens of operators and viewers, and logins that stand for them. Wrong ones are slowed, logged, and told apart from
//! each other by where they come from.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::now;
use super::suspects::{Suspects, TooMany, Waits};
use crate::config::Secret;
use crate::metrics::Metrics;

/// How long a login is good.
const LOGIN: Duration = Duration::from_secs(24 * 3600);

/// Decides who is an operator, and who a viewer.
#[derive(Debug)]
pub struct OperatorToken {
    token: Secret,
    viewer: Secret,
    suspects: Suspects,
    metrics: Arc<Metrics>,
}

/// What somebody may whom `admin.token` or `admin.viewer_token` lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatorRole {
    /// Everything.
    Operator,
    /// Look, but not at payloads, and change nothing.
    Viewer,
}

impl OperatorRole {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }
}

/// By what somebody was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetIn {
    /// What it may.
    pub role: OperatorRole,
    /// Whether it was a login, and not the token itself.
    pub is_login: bool,
}

/// What a login says.
#[derive(Serialize, Deserialize)]
struct Claims {
    sub: OperatorRole,
    exp: u64,
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
    pub fn new(token: Secret, viewer: Secret, metrics: Arc<Metrics>) -> Arc<Self> {
        let suspects = Suspects::new("wrong tokens for the controls of operators");
        Arc::new(Self { token, viewer, suspects, metrics })
    }

    /// A login that is let in as the bearer of the role's token for a day, by every node that has the same token.
    ///
    /// # Panics
    /// Never: claims of a word and a number always sign.
    #[must_use]
    pub fn login(&self, role: OperatorRole) -> String {
        let claims = Claims { sub: role, exp: now().saturating_add(LOGIN).as_secs() };
        let key = EncodingKey::from_secret(&self.key(role));
        jsonwebtoken::encode(&Header::default(), &claims, &key).expect("plain claims always sign")
    }

    /// Whose login it is, if it is one that is still good.
    fn logged_in(&self, given: &str) -> Option<OperatorRole> {
        let of = |role| {
            let key = DecodingKey::from_secret(&self.key(role));
            let claims = jsonwebtoken::decode::<Claims>(given, &key, &Validation::default()).ok()?.claims;
            (claims.sub == role).then_some(role)
        };
        let roles = [(OperatorRole::Operator, &self.token), (OperatorRole::Viewer, &self.viewer)];
        roles.into_iter().filter(|(_, token)| !token.is_empty()).find_map(|(role, _)| of(role))
    }

    /// What signs logins of a role: of no use for anything else, and another one when the token is another.
    fn key(&self, role: OperatorRole) -> [u8; 32] {
        let token = if role == OperatorRole::Operator { &self.token } else { &self.viewer };
        let (mut hash, purpose) = (Sha256::new(), "gateway login of operators");
        for part in [purpose, role.word(), token.expose()] {
            hash.update(part);
            hash.update([0]);
        }
        hash.finalize().into()
    }

    fn role_of(&self, given: &str) -> Option<LetIn> {
        let let_in = |role, is_login| Some(LetIn { role, is_login });
        if self.token.is(given) {
            return let_in(OperatorRole::Operator, false);
        }
        if !self.viewer.is_empty() && self.viewer.is(given) {
            return let_in(OperatorRole::Viewer, false);
        }
        self.logged_in(given).and_then(|role| let_in(role, true))
    }

    /// Whether nobody can be an operator.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.token.is_empty()
    }

    /// Looks at a token, or a login, from an address.
    ///
    /// # Errors
    /// Why its bearer is no operator.
    pub async fn check(&self, given: Option<&str>, from: IpAddr) -> Result<LetIn, NoOperator> {
        let Some(given) = given.filter(|_| !self.is_empty()) else { return Err(NoOperator::Wrong) };
        let waits = self.wait(from)?;
        let is_suspect = waits.is_some();
        if let Some(waits) = waits {
            waits.pass().await;
        }
        if let Some(let_in) = self.role_of(given) {
            return Ok(let_in);
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
        (OperatorToken::new(secret("right"), secret("look"), metrics.clone()), metrics)
    }

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    const OPERATOR: LetIn = LetIn { role: OperatorRole::Operator, is_login: false };

    #[tokio::test]
    async fn each_token_and_its_logins_let_in_as_what_they_are_wherever_the_token_is_the_same() {
        let (here, (there, _)) = (OperatorToken::new(secret("right"), secret("look"), Arc::default()), token());
        for (given, role) in [("right", OperatorRole::Operator), ("look", OperatorRole::Viewer)] {
            assert_eq!(here.check(Some(given), HERE).await, Ok(LetIn { role, is_login: false }));
            let login = here.login(role);
            assert_eq!(there.check(Some(&login), HERE).await, Ok(LetIn { role, is_login: true }));
            let other = OperatorToken::new(secret("other"), secret("others"), Arc::default());
            assert_eq!(other.check(Some(&login), HERE).await, Err(NoOperator::Wrong));
        }
        let without_viewers = OperatorToken::new(secret("right"), Secret::default(), Arc::default());
        let forged = without_viewers.login(OperatorRole::Viewer);
        for given in ["", &forged] {
            assert_eq!(without_viewers.check(Some(given), HERE).await, Err(NoOperator::Wrong));
        }
    }

    #[tokio::test]
    async fn a_login_ends() {
        let (token, _) = token();
        let claims = Claims { sub: OperatorRole::Operator, exp: now().as_secs() - 120 };
        let key = EncodingKey::from_secret(&token.key(OperatorRole::Operator));
        let ended = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
        assert_eq!(token.check(Some(&ended), HERE).await, Err(NoOperator::Wrong));
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_tokens_are_slow_and_right_ones_are_not() {
        let (token, metrics) = token();
        let began = Instant::now();
        for _ in 0..100 {
            assert_eq!(token.check(Some("right"), HERE).await, Ok(OPERATOR));
            assert_eq!(token.check(None, HERE).await, Err(NoOperator::Wrong), "is no guess");
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..3 {
            assert_eq!(token.check(Some("wrong"), HERE).await, Err(NoOperator::Wrong));
        }
        assert_eq!(began.elapsed(), 3 * DELAY);
        assert_eq!(token.check(Some("right"), HERE).await, Ok(OPERATOR));
        assert_eq!(began.elapsed(), 4 * DELAY, "or the wait would tell which one was right");
        assert_eq!(token.check(Some("right"), THERE).await, Ok(OPERATOR));
        assert_eq!(began.elapsed(), 4 * DELAY, "it came from elsewhere");
        tokio::time::advance(MEMORY).await;
        let began = Instant::now();
        assert_eq!(token.check(Some("right"), HERE).await, Ok(OPERATOR));
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
        assert_eq!(token.check(Some("right"), HERE).await, Ok(OPERATOR));
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_token_is_nobodys_and_addresses_are_bounded() {
        let nobody = OperatorToken::new(Secret::default(), Secret::default(), Arc::default());
        assert_eq!(nobody.check(Some(""), HERE).await, Err(NoOperator::Wrong));
        let (token, _) = token();
        let many = (0..3000_u32).map(|number| IpAddr::from(number.to_be_bytes()));
        futures_util::future::join_all(many.map(|from| token.check(Some("wrong"), from))).await;
        assert_eq!(token.suspects.len(), ADDRESSES);
    }
}
