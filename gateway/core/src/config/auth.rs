//! `[auth]` and `[auth.hook]`: who comes in, and what is asked about it.

use std::time::Duration;

use http::HeaderName;
use serde::{Deserialize, Serialize};

use super::{Config, HiddenUrl, Secret};

/// The most attempts to ask about one client: it waits for them.
const MOST_ATTEMPTS: u32 = 10;
/// The most names that one list of what is passed on may have.
const MOST_NAMES: usize = 64;

/// `[auth]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Auth {
    pub secret: Secret,
    pub public_keys: Vec<String>,
    pub jwks_url: HiddenUrl,
    #[serde(with = "humantime_serde")]
    pub jwks_refresh: Duration,
    #[serde(with = "humantime_serde")]
    pub jwks_cooldown: Duration,
    pub issuer: String,
    pub audience: Vec<String>,
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
    pub anonymous: bool,
    #[serde(with = "humantime_serde")]
    pub revocations_kept: Duration,
    pub cookie: String,
    pub query: String,
    pub hook: AuthHook,
}

/// `[auth.hook]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct AuthHook {
    pub url: HiddenUrl,
    pub token: Secret,
    pub headers: Vec<String>,
    pub cookies: Vec<String>,
    pub query: Vec<String>,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    pub attempts: u32,
    pub failures: u32,
    #[serde(with = "humantime_serde")]
    pub pause: Duration,
    #[serde(with = "humantime_serde")]
    pub kept: Duration,
    pub kept_bytes: u64,
}

type Wrong = (&'static str, String);

impl Auth {
    /// Whether tokens are checked here.
    pub(super) fn has_keys(&self) -> bool {
        !(self.secret.is_empty() && self.public_keys.is_empty() && self.jwks_url.is_empty())
    }
}

impl Config {
    /// Checks what a handshake may bring, and who is asked about it.
    pub(super) fn validate_entry(&self) -> Result<(), Wrong> {
        let auth = &self.auth;
        auth.hook.validate(self.socket.connect_timeout)?;
        let ways = [("auth.cookie", &auth.cookie), ("auth.query", &auth.query)];
        for (key, name) in ways {
            if !name.is_empty() && !auth.has_keys() && auth.hook.url.is_empty() {
                return Err((key, "needs keys for tokens or auth.hook.url, or no token is looked at".into()));
            }
            if !is_name(name) && !name.is_empty() {
                return Err((key, format!("{name:?} is not a name that it can have")));
            }
        }
        // A browser sends cookies along whichever page connects.
        let by_cookie =
            [("auth.cookie", !auth.cookie.is_empty()), ("auth.hook.cookies", !auth.hook.cookies.is_empty())];
        match by_cookie.into_iter().find(|(_, is_used)| *is_used && self.socket.origins.is_empty()) {
            Some((key, _)) => {
                Err((key, "needs socket.origins, or any page could connect in the name of who visits it".into()))
            }
            None => Ok(()),
        }
    }
}

impl AuthHook {
    fn validate(&self, connect_timeout: Duration) -> Result<(), Wrong> {
        if self.url.is_empty() {
            let unused = [
                ("auth.hook.token", self.token.is_empty()),
                ("auth.hook.headers", self.headers.is_empty()),
                ("auth.hook.cookies", self.cookies.is_empty()),
                ("auth.hook.query", self.query.is_empty()),
            ];
            let unused = unused.into_iter().find(|(_, is_empty)| !is_empty);
            return unused.map_or(Ok(()), |(key, _)| Err((key, "needs auth.hook.url, or nobody is asked".into())));
        }
        if !["http://", "https://"].iter().any(|scheme| self.url.expose().starts_with(scheme)) {
            return Err(("auth.hook.url", "must begin with https:// or http://".into()));
        }
        if self.attempts > MOST_ATTEMPTS {
            return Err(("auth.hook.attempts", format!("must be at most {MOST_ATTEMPTS}")));
        }
        if self.timeout.saturating_mul(self.attempts + 1) > connect_timeout {
            let why = "times attempts, and once more for waiting in line, must be at most socket.connect_timeout";
            return Err(("auth.hook.timeout", why.into()));
        }
        if !self.token.expose().bytes().all(|byte| (b'!'..=b'~').contains(&byte)) {
            return Err(("auth.hook.token", "must be of printable ASCII characters, without spaces".into()));
        }
        for (key, names) in [
            ("auth.hook.headers", &self.headers),
            ("auth.hook.cookies", &self.cookies),
            ("auth.hook.query", &self.query),
        ] {
            if names.len() > MOST_NAMES {
                return Err((key, format!("must have at most {MOST_NAMES} entries")));
            }
            if let Some(name) = names.iter().find(|name| !is_name(name)) {
                return Err((key, format!("{name:?} is not a name that it can have")));
            }
        }
        let is_told_otherwise = |name: &&String| ["authorization", "cookie"].contains(&name.to_lowercase().as_str());
        match self.headers.iter().find(is_told_otherwise) {
            Some(name) => {
                let instead = "the token is told anyway, and cookies are listed in auth.hook.cookies";
                Err(("auth.hook.headers", format!("must not have {name:?}: {instead}")))
            }
            None => Ok(()),
        }
    }
}

/// What headers, cookies and parameters may be called alike: a token of HTTP.
fn is_name(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use crate::config::load;

    const URL: (&str, &str) = ("GATEWAY_AUTH__HOOK__URL", "http://back.example/who");
    const ORIGINS: (&str, &str) = ("GATEWAY_SOCKET__ORIGINS", "https://a.example");

    fn wrong(pairs: &[(&str, &str)]) -> Option<String> {
        let loaded = load(None, pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        loaded.err().map(|error| error.to_string())
    }

    #[test]
    fn what_may_be_asked_about_whom() {
        for good in [
            vec![URL],
            vec![URL, ORIGINS, ("GATEWAY_AUTH__HOOK__COOKIES", "session,csrf"), ("GATEWAY_AUTH__COOKIE", "jwt")],
            vec![URL, ("GATEWAY_AUTH__HOOK__HEADERS", "User-Agent, x-tenant"), ("GATEWAY_AUTH__HOOK__QUERY", "team")],
            vec![("GATEWAY_AUTH__SECRET", "s"), ("GATEWAY_AUTH__QUERY", "token")],
            vec![URL, ("GATEWAY_AUTH__HOOK__TIMEOUT", "5s"), ("GATEWAY_AUTH__HOOK__ATTEMPTS", "1")],
        ] {
            assert_eq!(wrong(&good), None, "{good:?}");
        }
        for (bad, key) in [
            (vec![("GATEWAY_AUTH__HOOK__URL", "ftp://back.example")], "auth.hook.url: must begin with"),
            (vec![("GATEWAY_AUTH__HOOK__HEADERS", "x")], "auth.hook.headers: needs auth.hook.url"),
            (vec![URL, ("GATEWAY_AUTH__HOOK__HEADERS", "a b")], "auth.hook.headers: \"a b\""),
            (vec![URL, ("GATEWAY_AUTH__HOOK__HEADERS", "Cookie")], "auth.hook.headers: must not have \"Cookie\""),
            (vec![URL, ("GATEWAY_AUTH__HOOK__COOKIES", "session")], "auth.hook.cookies: needs socket.origins"),
            (vec![URL, ("GATEWAY_AUTH__COOKIE", "session")], "auth.cookie: needs socket.origins"),
            (vec![("GATEWAY_AUTH__QUERY", "token")], "auth.query: needs keys"),
            (vec![URL, ("GATEWAY_AUTH__QUERY", "a=b")], "auth.query: \"a=b\""),
            (vec![URL, ("GATEWAY_AUTH__HOOK__TIMEOUT", "4s")], "auth.hook.timeout: times attempts"),
            (vec![URL, ("GATEWAY_AUTH__HOOK__ATTEMPTS", "0")], "auth.hook.attempts: must be at least 1"),
            (vec![URL, ("GATEWAY_AUTH__HOOK__TOKEN", "a b")], "auth.hook.token: must be"),
            (vec![("GATEWAY_AUTH__HOOK", "x")], "auth.hook: no such key"),
            (vec![("GATEWAY_AUTH__HOOK__NOPE", "x")], "auth.hook.nope: no such key"),
            (vec![("GATEWAY_AUTH__NOPE__URL", "x")], "auth.nope.url: no such key"),
        ] {
            let said = wrong(&bad).unwrap_or_default();
            assert!(said.starts_with(key), "{said:?} does not begin with {key:?}");
        }
    }
}
