//! Where a back end is, and how patient and how persistent to be with it: what a route table says about a call.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, TRANSFER_ENCODING, UPGRADE};
use reqwest::Url;

use crate::calls::Breaker;

/// More would keep a client waiting for what it no longer wants.
const MOST_ATTEMPTS: u32 = 10;
/// The same, for the whole call.
const LONGEST_CALL: Duration = Duration::from_secs(300);

/// A part of a path that is longer than this may be a secret, as in the addresses of webhooks.
const SHOWN_BYTES: usize = 20;

/// Headers that belong to the connection or to the gateway.
const NOT_YOURS: [HeaderName; 7] =
    [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE, EXPECT, super::IDEMPOTENCY_KEY];

/// What a back end is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Events of clients, by their routes.
    Routes,
    /// Who may come in.
    Auth,
    /// Being told what happens.
    Hooks,
    /// Jobs.
    Jobs,
    /// Workflows of Novu.
    Novu,
}

impl Purpose {
    /// All of them, in their order.
    pub(super) const ALL: [Self; 5] = [Self::Routes, Self::Auth, Self::Hooks, Self::Jobs, Self::Novu];

    /// One of `metrics::PURPOSES`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Auth => "auth",
            Self::Hooks => "hooks",
            Self::Jobs => "jobs",
            Self::Novu => "novu",
        }
    }

    /// What a request for it is called in a trace.
    pub(super) fn span(self) -> &'static str {
        match self {
            Self::Routes => "POST call",
            Self::Auth => "POST auth",
            Self::Hooks => "POST hook",
            Self::Jobs => "POST job",
            Self::Novu => "POST novu",
        }
    }

    /// Its place among several that are kept in one number.
    pub(super) fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A back end that can be asked over HTTP.
#[derive(Clone)]
pub struct Endpoint {
    /// Where the request goes. Endpoints whose URLs differ in nothing but the query share a breaker and a bound.
    pub url: Url,
    /// What every request carries besides its own headers, over which these have precedence.
    pub headers: HeaderMap,
    /// How long one attempt may take, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// How often it is tried in all. The whole call takes no longer than this many timeouts.
    pub attempts: u32,
    /// How long to wait before the second attempt, at least; twice as long before each further one.
    pub backoff: Duration,
    /// When to leave it alone.
    pub breaker: Breaker,
    /// What it is asked for, as metrics say when it is left alone.
    pub purpose: Purpose,
}

/// Why an endpoint cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The URL is of another kind.
    #[error("the URL must be http:// or https:// with a host")]
    Scheme,
    /// The URL goes on after a `#`, which is never sent.
    #[error("the URL must not have a fragment (#…)")]
    Fragment,
    /// The number of attempts.
    #[error("attempts must be 1 to {MOST_ATTEMPTS}")]
    Attempts,
    /// The timeout, or the timeout times the attempts.
    #[error("timeout must be at least 1ms, and timeout times attempts at most {LONGEST_CALL:?}")]
    Timeout,
    /// The wait before the second attempt.
    #[error("backoff must be at least 1ms where there is more than one attempt")]
    Backoff,
    /// The time for which nothing is asked.
    #[error("the pause of the breaker must be at least 1ms")]
    Pause,
    /// A header that is the gateway's.
    #[error("the header {0} is not yours to set")]
    Header(HeaderName),
}

impl Endpoint {
    /// An endpoint with defaults: 5 s for each of 3 attempts, 100 ms between the first two, no headers; asked by routes.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            headers: HeaderMap::new(),
            timeout: Duration::from_secs(5),
            attempts: 3,
            backoff: Duration::from_millis(100),
            breaker: Breaker::default(),
            purpose: Purpose::Routes,
        }
    }

    /// The same of a URL as text.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(url: &str) -> Result<Self, String> {
        url.parse().map(Self::new).map_err(|error| format!("{error}"))
    }

    /// Checks what types cannot say; for when the table is loaded.
    ///
    /// # Errors
    /// The first thing that is wrong, in words for whoever wrote the table.
    pub fn check(&self) -> Result<(), EndpointError> {
        let a_moment = Duration::from_millis(1);
        if !["http", "https"].contains(&self.url.scheme()) || !self.url.has_host() {
            return Err(EndpointError::Scheme);
        }
        if self.url.fragment().is_some() {
            return Err(EndpointError::Fragment);
        }
        if !(1..=MOST_ATTEMPTS).contains(&self.attempts) {
            return Err(EndpointError::Attempts);
        }
        if self.timeout < a_moment || self.timeout.saturating_mul(self.attempts) > LONGEST_CALL {
            return Err(EndpointError::Timeout);
        }
        if self.attempts > 1 && self.backoff < a_moment {
            return Err(EndpointError::Backoff);
        }
        if self.breaker.failures > 0 && self.breaker.pause < a_moment {
            return Err(EndpointError::Pause);
        }
        NOT_YOURS
            .into_iter()
            .find(|name| self.headers.contains_key(name))
            .map_or(Ok(()), |name| Err(EndpointError::Header(name)))
    }

    /// The URL as logs may show it.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(&self.url)
    }

    /// How long the whole call may take.
    pub(super) fn budget(&self) -> Duration {
        self.timeout.saturating_mul(self.attempts)
    }

    /// By what its breaker and its bound are found: the URL without what is only told to the back end.
    pub(super) fn identity(&self) -> String {
        format!("{}{}", self.url.origin().ascii_serialization(), self.url.path())
    }
}

/// Headers and URLs carry credentials: only their names and places are for logs.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &shown(&self.url))
            .field("headers", &self.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>())
            .field("timeout", &self.timeout)
            .field("attempts", &self.attempts)
            .field("backoff", &self.backoff)
            .field("breaker", &self.breaker)
            .field("purpose", &self.purpose)
            .finish()
    }
}

/// A URL as logs may show it: no user, no password, no query, and no part of the path that could be a secret.
pub(super) fn shown(url: &Url) -> String {
    let mut text = url.origin().ascii_serialization();
    for part in url.path_segments().into_iter().flatten() {
        text.push('/');
        text.push_str(if part.len() > SHOWN_BYTES { "…" } else { part });
    }
    text
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        Endpoint::new(url.parse().unwrap())
    }

    #[test]
    fn what_a_table_may_say() {
        type Change = fn(&mut Endpoint);
        assert_eq!(endpoint("https://api.example.test/v1/orders?team=7").check(), Ok(()));
        let wrong = |change: Change| {
            let mut endpoint = endpoint("http://localhost:8080/");
            change(&mut endpoint);
            endpoint.check().unwrap_err().to_string()
        };
        let table: [(Change, &str); 11] = [
            (|it| it.url = "ftp://host/".parse().unwrap(), "the URL must be http:// or https:// with a host"),
            (|it| it.url = "data:text".parse().unwrap(), "the URL must be http:// or https:// with a host"),
            (|it| it.url.set_fragment(Some("top")), "the URL must not have a fragment (#…)"),
            (|it| it.attempts = 0, "attempts must be 1 to 10"),
            (|it| it.attempts = 11, "attempts must be 1 to 10"),
            (|it| it.timeout = Duration::ZERO, "timeout must be at least 1ms, and timeout times attempts at most 300s"),
            (
                |it| it.timeout = Duration::from_secs(101),
                "timeout must be at least 1ms, and timeout times attempts at most 300s",
            ),
            (|it| it.backoff = Duration::ZERO, "backoff must be at least 1ms where there is more than one attempt"),
            (|it| it.breaker.pause = Duration::ZERO, "the pause of the breaker must be at least 1ms"),
            (|it| drop(it.headers.insert(HOST, HeaderValue::from_static("a"))), "the header host is not yours to set"),
            (
                |it| drop(it.headers.insert("idempotency-key", HeaderValue::from_static("a"))),
                "the header idempotency-key is not yours to set",
            ),
        ];
        for (change, message) in table {
            assert_eq!(wrong(change), message);
        }
    }

    #[test]
    fn endpoints_that_differ_in_the_query_are_one() {
        let one = endpoint("http://user:word@HOST:80/a/b?team=1").identity();
        assert_eq!(one, endpoint("http://host/a/b?team=2").identity());
        for other in ["https://host/a/b", "http://host:81/a/b", "http://host/a", "http://other/a/b"] {
            assert_ne!(one, endpoint(other).identity());
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let mut hook = endpoint("https://me:hunter2@hooks.test/services/T01/0123456789abcdefghijk?key=hunter3");
        hook.headers.insert("authorization", HeaderValue::from_static("Bearer hunter4"));
        let text = format!("{hook:?}");
        assert!(text.contains("https://hooks.test/services/T01/…") && text.contains("authorization"), "{text}");
        assert!(!text.contains("hunter") && !text.contains("0123456789abcdefghijk"), "{text}");
    }
}
