//! Tokens: who a client is and what roles it has. HS256 with one configured secret.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::config;
use crate::domain::{Refusal, UserId};

/// The longest token that is looked at, in bytes. Real ones are a few hundred; decoding work is bounded by it.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Who a session is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user, unless the session is anonymous.
    pub user: Option<UserId>,
    /// What the token says the user is.
    pub roles: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
}

/// Checks and mints tokens.
pub struct Tokens {
    keys: Option<Keys>,
}

struct Keys {
    decoding: DecodingKey,
    encoding: EncodingKey,
    validation: Validation,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("required", &self.keys.is_some()).finish()
    }
}

impl Tokens {
    /// With a secret, tokens are required; without one, every session is anonymous.
    #[must_use]
    pub fn new(settings: &config::Auth) -> Self {
        let secret = settings.secret.expose().as_bytes();
        let keys = (!secret.is_empty()).then(|| {
            // The algorithm is fixed here and never taken from the token.
            let mut validation = Validation::new(Algorithm::HS256);
            validation.leeway = settings.leeway.as_secs();
            validation.validate_nbf = true;
            validation.set_required_spec_claims(&["exp", "sub"]);
            Keys { decoding: DecodingKey::from_secret(secret), encoding: EncodingKey::from_secret(secret), validation }
        });
        Self { keys }
    }

    /// Who the bearer of a token is.
    ///
    /// # Errors
    /// [`Refusal::Unauthorized`] if a token is required and it is missing, damaged, forged or out of its time.
    pub fn identify(&self, token: Option<&str>) -> Result<Identity, Refusal> {
        let Some(keys) = &self.keys else {
            return Ok(Identity::default());
        };
        let token = token.filter(|token| token.len() <= MAX_TOKEN_BYTES).ok_or(Refusal::Unauthorized)?;
        let claims: Claims = jsonwebtoken::decode(token, &keys.decoding, &keys.validation)
            .map_err(|error| {
                tracing::debug!(%error, "refused a token");
                Refusal::Unauthorized
            })?
            .claims;
        let user = UserId::parse(&claims.sub).ok_or(Refusal::Unauthorized)?;
        Ok(Identity { user: Some(user), roles: claims.roles })
    }

    /// A token for a user that is valid from now for `ttl`; nothing if no secret is configured.
    ///
    /// # Panics
    /// Never: claims of text and numbers always sign.
    #[must_use]
    pub fn mint(&self, user: &UserId, roles: Vec<String>, ttl: Duration) -> Option<String> {
        let keys = self.keys.as_ref()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let claims = Claims { sub: user.as_str().to_owned(), exp: (now + ttl).as_secs(), roles };
        Some(jsonwebtoken::encode(&Header::default(), &claims, &keys.encoding).expect("plain claims always sign"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::encode;

    fn tokens(secret: &str) -> Tokens {
        Tokens::new(&config::Auth { secret: secret.to_owned().into(), leeway: Duration::from_secs(5) })
    }

    fn alice() -> UserId {
        UserId::parse("alice").unwrap()
    }

    #[test]
    fn a_minted_token_names_its_user_and_roles() {
        let tokens = tokens("secret");
        let token = tokens.mint(&alice(), vec!["member".into()], Duration::from_secs(60)).unwrap();
        let identity = tokens.identify(Some(&token)).unwrap();
        assert_eq!(identity, Identity { user: Some(alice()), roles: vec!["member".into()] });
    }

    #[test]
    fn without_a_secret_everybody_is_anonymous() {
        assert_eq!(tokens("").identify(Some("whatever")), Ok(Identity::default()));
        assert_eq!(tokens("").mint(&alice(), vec![], Duration::from_secs(60)), None);
    }

    #[test]
    fn what_does_not_prove_a_user_is_refused() {
        let tokens = tokens("secret");
        let claims = |sub: &str, exp: u64| Claims { sub: sub.into(), exp, roles: vec![] };
        let key = EncodingKey::from_secret(b"secret");
        let signed = |algorithm, claims: &Claims| encode(&Header::new(algorithm), claims, &key).unwrap();
        let future = 4_000_000_000;
        let foreign = self::tokens("other").mint(&alice(), vec![], Duration::from_secs(60)).unwrap();
        // {"alg":"none"}.{"sub":"alice","exp":4000000000} without a signature
        let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6NDAwMDAwMDAwMH0.";
        let cases = [
            None,
            Some(String::new()),
            Some("not a token".into()),
            Some(unsigned.into()),
            Some(foreign),
            Some(signed(Algorithm::HS384, &claims("alice", future))),
            Some(signed(Algorithm::HS256, &claims("alice", 1))),
            Some(signed(Algorithm::HS256, &claims("", future))),
            Some("a".repeat(MAX_TOKEN_BYTES + 1)),
        ];
        for token in cases {
            assert_eq!(tokens.identify(token.as_deref()), Err(Refusal::Unauthorized), "{token:?}");
        }
    }
}
