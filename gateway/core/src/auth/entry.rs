//! Who comes in: by its token, by what a back end says, or by both.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::brought::Brought;
use super::hook::Hook;
use super::{Identity, Tokens};
use crate::domain::{Refusal, RoomName};

/// Decides who comes in.
#[derive(Debug)]
pub struct Entry {
    tokens: Arc<Tokens>,
    hook: Option<Hook>,
}

/// When it is asked who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// It wants a session, or its session back.
    Connect,
    /// It has one, and sends a new token for it.
    Refresh,
}

/// A client, as far as it is known before anybody has been asked.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Why it is asked about.
    pub occasion: Occasion,
    /// The namespace that it wants into, or is in.
    pub namespace: &'a str,
    /// Where it is, as far as trusted proxies tell.
    pub address: IpAddr,
    /// Its token, wherever it came from.
    pub token: Option<&'a str>,
    /// What else it says about itself: a JSON object, or `null`.
    pub auth: &'a RawValue,
    /// What came with its handshake; nothing of that is known any more when a token is renewed.
    pub brought: &'a Brought,
}

/// Who comes in, and what else was decided about it.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Who it is.
    pub identity: Identity,
    /// The rooms into which the back end puts it.
    pub rooms: Arc<[RoomName]>,
    /// What the back end has to tell it first.
    pub data: Option<Arc<RawValue>>,
}

/// Who does not come in.
#[derive(Clone, Debug)]
pub struct Denied {
    /// Why. [`Refusal::Unavailable`]: that cannot be said now, and the client should try again.
    pub refusal: Refusal,
    /// What the back end has to tell it about that.
    pub data: Option<Arc<RawValue>>,
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, data: None }
    }
}

impl Entry {
    /// Decides by `tokens`, and has `hook` asked about all that they let in, if there is one.
    #[must_use]
    pub fn new(tokens: Arc<Tokens>, hook: Option<Hook>) -> Self {
        Self { tokens, hook }
    }

    /// Whether anybody is asked who a client is. If not, every session is anonymous and tokens are not looked at.
    #[must_use]
    pub fn configured(&self) -> bool {
        self.hook.is_some() || self.tokens.configured()
    }

    /// The tokens.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Who a client is. A token that keys let in is passed on to the back end; without keys it decides about any.
    ///
    /// # Errors
    /// As [`Tokens::identify`], and [`Refusal::Rejected`] if the back end says no.
    pub async fn admit(&self, candidate: &Candidate<'_>) -> Result<Admitted, Denied> {
        let identity = self.tokens.identify(candidate.token).await?;
        match &self.hook {
            Some(hook) => hook.decide(candidate, identity, self.tokens.revoked()).await,
            None => Ok(Admitted { identity, rooms: Arc::default(), data: None }),
        }
    }
}
