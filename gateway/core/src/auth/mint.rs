//! Minting tokens, for development and tests: what a back end of one's own would do.

use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

use super::now;
use crate::config;
use crate::domain::UserId;

/// What a token says.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Whose it is.
    pub user: UserId,
    /// What the user is.
    pub roles: Vec<String>,
    /// How long it is good.
    pub ttl: Duration,
    /// Patterns of the rooms that may be joined; none for no limit.
    pub join: Option<Vec<String>>,
    /// Patterns of the rooms that may be published to; none for no limit.
    pub publish: Option<Vec<String>>,
    /// The `jti`, by which it can be revoked.
    pub id: Option<String>,
}

impl Grant {
    /// A token for a user and a time, and nothing else.
    #[must_use]
    pub fn new(user: UserId, ttl: Duration) -> Self {
        Self { user, roles: Vec::new(), ttl, join: None, publish: None, id: None }
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    roles: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    join: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    publish: Option<&'a [String]>,
}

/// A token that is valid from now on, signed with `auth.secret`, by the issuer and for the first audience that are
/// configured; nothing if there is no secret.
///
/// # Panics
/// Never: claims of text and numbers always sign.
#[must_use]
pub fn mint(settings: &config::Auth, grant: &Grant) -> Option<String> {
    if settings.secret.is_empty() {
        return None;
    }
    let issued = now();
    let claims = Claims {
        sub: grant.user.as_str(),
        iat: issued.as_secs(),
        exp: issued.saturating_add(grant.ttl).as_secs(),
        iss: &settings.issuer,
        aud: settings.audience.first().map(String::as_str),
        jti: grant.id.as_deref(),
        roles: &grant.roles,
        join: grant.join.as_deref(),
        publish: grant.publish.as_deref(),
    };
    let key = EncodingKey::from_secret(settings.secret.expose().as_bytes());
    Some(jsonwebtoken::encode(&Header::default(), &claims, &key).expect("plain claims always sign"))
}
