//! Checking tokens: JWTs in compact form (RFC 7519), by the keys that are configured or fetched.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::claims::{Claims, Header};
use super::jwks::Jwks;
use super::keys::{self, Key, KeyError};
use super::{Identity, Revoked, now};
use crate::config;
use crate::domain::Refusal;
use crate::metrics::Metrics;

/// The longest token that is looked at, in bytes. Real ones are a few hundred; decoding work is bounded by it.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Checks tokens.
pub struct Tokens {
    settings: config::Auth,
    /// In the order in which they are tried.
    keys: Vec<Key>,
    jwks: Option<Arc<Jwks>>,
    revoked: Arc<Revoked>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("keys", &self.keys).field("jwks", &self.jwks.is_some()).finish_non_exhaustive()
    }
}

/// A token, taken apart.
struct Parts<'a> {
    header: &'a str,
    claims: &'a str,
    /// What was signed: header and claims as they came.
    signed: &'a str,
    signature: &'a str,
}

impl Tokens {
    /// Checks tokens by the keys that are configured. Those of `auth.jwks_url` are fetched once before this returns, and
    /// if that fails again later; see [`Self::keep_fresh`].
    ///
    /// # Errors
    /// A key that is configured cannot be used.
    pub async fn start(
        settings: &config::Auth,
        revoked: Arc<Revoked>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, KeyError> {
        let (keys, jwks) = (keys::configured(settings)?, Jwks::new(settings, metrics)?);
        if let Some(jwks) = &jwks {
            jwks.fetch().await;
        }
        Ok(Arc::new(Self { settings: settings.clone(), keys, jwks, revoked }))
    }

    /// Reads the keys that are configured, to find out whether they can be used. Nothing is fetched.
    ///
    /// # Errors
    /// One of them cannot.
    pub fn check(settings: &config::Auth) -> Result<(), KeyError> {
        keys::configured(settings)?;
        Jwks::new(settings, Arc::default())?;
        Ok(())
    }

    /// Fetches the keys of `auth.jwks_url` every `auth.jwks_refresh`, for ever.
    pub async fn keep_fresh(self: Arc<Self>) {
        match self.jwks.clone() {
            Some(jwks) => jwks.keep_fresh().await,
            None => std::future::pending().await,
        }
    }

    /// Whether there are keys at all. If there are none, every session is anonymous and tokens are not looked at.
    #[must_use]
    pub fn configured(&self) -> bool {
        !self.keys.is_empty() || self.jwks.is_some()
    }

    /// Whether nobody comes in without a token.
    #[must_use]
    pub fn required(&self) -> bool {
        self.configured() && !self.settings.anonymous
    }

    /// What was revoked.
    #[must_use]
    pub fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// Who the bearer of a token is. An empty token is none.
    ///
    /// # Errors
    /// [`Refusal::TokenRequired`] without a token, if one is required; [`Refusal::TokenExpired`] if its time is over,
    /// [`Refusal::TokenRevoked`] if it was taken back, [`Refusal::Unauthorized`] if it does not prove who its bearer is.
    /// [`Refusal::Unavailable`] if that cannot be said now, and may be later: its key, or what was revoked, cannot be
    /// had.
    pub async fn identify(&self, token: Option<&str>) -> Result<Identity, Refusal> {
        if !self.configured() {
            return Ok(Identity::default());
        }
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return if self.required() { Err(Refusal::TokenRequired) } else { Ok(Identity::default()) };
        };
        let parts = Parts::of(token).ok_or(Refusal::Unauthorized)?;
        if !self.is_genuine(&parts).await? {
            return Err(Refusal::Unauthorized);
        }
        let claims = read(parts.claims, Claims::read)?;
        let identity = claims.check(&self.settings, now())?;
        if !self.revoked.loaded() {
            return Err(Refusal::Unavailable);
        }
        if self.revoked.covers(&identity) { Err(Refusal::TokenRevoked) } else { Ok(identity) }
    }

    /// Whether one of the keys that may have signed a token did.
    async fn is_genuine(&self, parts: &Parts<'_>) -> Result<bool, Refusal> {
        let json = decode(parts.header)?;
        let header = Header::read(&json).map_err(refused)?;
        let one_of = |keys: &[Key]| {
            let mut able = keys.iter().filter(|key| key.is_for(&header.alg));
            able.any(|key| key.signed(parts.signed.as_bytes(), parts.signature))
        };
        let kid = header.kid.as_deref();
        // A name that is known decides. Keys that are configured have none, whatever the issuer calls them.
        if let Some(named) = self.jwks.as_ref().zip(kid).and_then(|(jwks, kid)| jwks.known(kid)) {
            return Ok(one_of(&named));
        }
        if one_of(&self.keys) {
            return Ok(true);
        }
        match &self.jwks {
            // What no key could have signed is not worth a fetch.
            Some(jwks) if keys::is_public(&header.alg) => Ok(one_of(&jwks.find(kid).await?)),
            _ => Ok(false),
        }
    }
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Option<Self> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        (!claims.contains('.')).then_some(Self { header, claims, signed, signature })
    }
}

fn refused(why: &'static str) -> Refusal {
    tracing::debug!(why, "refused a token");
    Refusal::Unauthorized
}

fn decode(part: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| refused("it is not base64url"))
}

fn read<T>(part: &str, read: impl FnOnce(&[u8]) -> Result<T, &'static str>) -> Result<T, Refusal> {
    read(&decode(part)?).map_err(refused)
}
