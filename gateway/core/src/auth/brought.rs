//! What a handshake brings: a token, and what of the rest a back end is told.

use std::collections::BTreeMap;
use std::fmt;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::config;

/// What a handshake brought, as far as it is looked at.
#[derive(Debug, Default)]
pub struct Brought {
    /// The token of the Authorization header, or of the cookie or the parameter that may bring one.
    token: Option<Box<str>>,
    pub(super) facts: Option<Box<Facts>>,
}

/// What a back end is told of a handshake, as the configuration lists it.
#[derive(Clone, Default, Serialize)]
pub(super) struct Facts {
    headers: BTreeMap<String, String>,
    cookies: BTreeMap<String, String>,
    query: BTreeMap<String, String>,
}

/// Cookies, and much else, open doors.
impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Facts(…)")
    }
}

impl Brought {
    /// Reads what is looked at. What cannot be read as a token is one that is not valid, and not none.
    #[must_use]
    pub fn read(settings: &config::Auth, parts: &Parts) -> Self {
        let headers = &parts.headers;
        let query = parts.uri.query().unwrap_or_default();
        let token = bearer(headers)
            .or_else(|| named(&settings.cookie, |name| cookie(headers, name)))
            .or_else(|| named(&settings.query, |name| parameter(query, name)));
        let hook = &settings.hook;
        let facts = (!hook.url.is_empty()).then(|| {
            let all = |names: &[String], find: &dyn Fn(&str) -> Option<String>| {
                names.iter().filter_map(|name| Some((name.clone(), find(name)?))).collect()
            };
            Box::new(Facts {
                headers: all(&hook.headers, &|name| header(headers, name)),
                cookies: all(&hook.cookies, &|name| cookie(headers, name)),
                query: all(&hook.query, &|name| parameter(query, name)),
            })
        });
        Self { token: token.map(Into::into), facts }
    }

    /// The token that came with the handshake. An empty one is none.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref().filter(|token| !token.is_empty())
    }
}

fn named(name: &str, find: impl FnOnce(&str) -> Option<String>) -> Option<String> {
    if name.is_empty() { None } else { find(name) }
}

/// The token that a client sends in the header that is made for it.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = String::from_utf8_lossy(headers.get(AUTHORIZATION)?.as_bytes());
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().into())
}

/// A header's values, with commas between them if there are several (RFC 9110, 5.3).
fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// A cookie's value as it was set, without the quotes that may be around it. Of several the first counts, which browsers send
/// for the longest path (RFC 6265, 5.4).
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get_all(COOKIE).iter().find_map(|value| {
        let text = String::from_utf8_lossy(value.as_bytes());
        let mut pairs = text.split(';').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(found, _)| found.trim() == name)?;
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        Some(bare.unwrap_or(value).to_owned())
    })
}

/// A parameter's value, decoded as forms are. Of several the first counts.
fn parameter(query: &str, name: &str) -> Option<String> {
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(found, _)| decoded(found) == name).map(|(_, value)| decoded(value))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn settings(more: &[(&str, &str)]) -> config::Auth {
        let ways = [
            ("GATEWAY_AUTH__HOOK__URL", "http://back.example"),
            ("GATEWAY_SOCKET__ORIGINS", "https://a.example"),
            ("GATEWAY_AUTH__COOKIE", "jwt"),
            ("GATEWAY_AUTH__QUERY", "token"),
        ];
        let all = ways.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        config::load(None, all).unwrap().auth
    }

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let request = headers.iter().fold(Request::get(uri), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_token_comes_in_a_header_a_cookie_or_the_query_in_this_order() {
        let auth = settings(&[]);
        let token = |uri: &str, headers: &[(&str, &str)]| {
            Brought::read(&auth, &parts(uri, headers)).token().map(ToOwned::to_owned)
        };
        let header = ("authorization", "bearer  h");
        let cookie = ("cookie", "jwtx=1; a=b;jwt=\"c\"; jwt=d");
        assert_eq!(token("/?token=q", &[cookie, header]).as_deref(), Some("h"));
        assert_eq!(token("/?token=q", &[cookie, ("authorization", "Basic h")]).as_deref(), Some("c"));
        assert_eq!(token("/?a=1&token=q%2Bq+r&token=x", &[("cookie", "other=1")]).as_deref(), Some("q+q r"));
        assert_eq!(token("/?token=", &[]), None);
        assert_eq!(token("/?token", &[("cookie", "jwt=; x")]), None);
        assert_eq!(token("/?token=%ff", &[]).as_deref(), Some("\u{fffd}"), "it is one, and not valid");
        let unnamed = config::load(None, std::iter::empty()).unwrap().auth;
        assert_eq!(Brought::read(&unnamed, &parts("/?token=q&=x", &[cookie])).token(), None);
    }

    #[test]
    fn a_back_end_is_told_what_is_listed_and_nothing_else() {
        let auth = settings(&[
            ("GATEWAY_AUTH__HOOK__HEADERS", "User-Agent,x-many,x-none"),
            ("GATEWAY_AUTH__HOOK__COOKIES", "session"),
            ("GATEWAY_AUTH__HOOK__QUERY", "team"),
        ]);
        let headers = [("user-agent", "me"), ("x-many", "1"), ("x-many", "2"), ("cookie", "session=s; other=o")];
        let brought = Brought::read(&auth, &parts("/?team=a%20b&sid=x", &headers));
        let told = serde_json::to_value(brought.facts.as_deref().unwrap()).unwrap();
        let expected = serde_json::json!({
            "headers": { "User-Agent": "me", "x-many": "1, 2" }, "cookies": { "session": "s" }, "query": { "team": "a b" },
        });
        assert_eq!(told, expected);
        assert!(!format!("{brought:?}").contains("session"));
    }
}
