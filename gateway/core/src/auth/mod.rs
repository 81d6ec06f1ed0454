//! Who a client is, what it may do, and whether that was taken back: by its token, and by what a back end says.

mod api_keys;
mod brought;
mod claims;
mod entry;
mod hook;
mod jwks;
mod keys;
mod mint;
mod operators;
mod revoked;
mod rights;
mod suspects;
mod tokens;

pub use api_keys::{ApiKey, ApiKeys, NoKey, make_key};
pub use brought::Brought;
pub use entry::{Admitted, Candidate, Denied, Entry, Occasion};
pub use hook::Hook;
pub use keys::KeyError;
pub use mint::{Grant, mint};
pub use operators::{LetIn, NoOperator, OperatorRole, OperatorToken};
pub use revoked::Revoked;
pub use rights::Rights;
pub use tokens::Tokens;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::domain::UserId;

/// Who a session is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// The user, unless the session is anonymous.
    pub user: Option<UserId>,
    /// What the token says the user is.
    pub roles: Vec<String>,
    /// Which rooms the token opens; none: it says nothing about rooms.
    pub rights: Option<Arc<Rights>>,
    /// What was learned from the token about itself; none for anonymous sessions.
    pub token: Option<TokenFacts>,
    /// Where the token says that the user gets mail.
    pub mail: Option<Arc<MailClaims>>,
}

/// What a token says of the user, as OpenID Connect names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailClaims {
    /// The user's address, `email`, unless `email_verified` is false.
    pub email: String,
    /// What the user is called, `name`.
    pub name: Option<String>,
}

/// What a token says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenFacts {
    /// Its `jti`, by which it can be revoked.
    pub id: Option<String>,
    /// When it was issued, its `iat`: seconds since 1970, whole ones.
    pub issued: Option<u64>,
    /// From when on it is refused, its `exp` and `auth.leeway` after it: seconds since 1970. A session that ended at
    /// `exp` would come back with the same token.
    pub expires: u64,
}

impl TokenFacts {
    /// When a token is refused that is good for ever.
    pub const NEVER: u64 = u64::MAX;
}

impl Identity {
    /// Whether the token lets its bearer join a room. What the route allows comes on top.
    #[must_use]
    pub fn may_join(&self, room: &str) -> bool {
        self.rights.as_ref().is_none_or(|rights| rights.join(room))
    }

    /// Whether the token lets its bearer publish and signal to a room. What the route allows comes on top.
    #[must_use]
    pub fn may_publish(&self, room: &str) -> bool {
        self.rights.as_ref().is_none_or(|rights| rights.publish(room))
    }

    /// How long the token is still good, zero if it is not; none if there is no token, or it is good for ever.
    #[must_use]
    pub fn expires_in(&self) -> Option<Duration> {
        let ends = self.token.as_ref().filter(|token| token.expires < TokenFacts::NEVER);
        ends.map(|token| Duration::from_secs(token.expires).saturating_sub(now()))
    }
}

/// The time of the wall clock since 1970: what tokens are dated by.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_without_a_token_has_no_end_and_no_limits() {
        let anonymous = Identity::default();
        assert!(anonymous.may_join("r") && anonymous.may_publish("r"));
        assert_eq!(anonymous.expires_in(), None);
    }

    #[test]
    fn a_token_ends_when_it_says_and_not_below_zero() {
        let until =
            |expires| Identity { token: Some(TokenFacts { expires, ..TokenFacts::default() }), ..Identity::default() };
        let left = until(now().as_secs() + 60).expires_in().unwrap();
        assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(60), "{left:?}");
        assert_eq!(until(1).expires_in(), Some(Duration::ZERO));
    }
}
