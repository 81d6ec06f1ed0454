//! Origins: from which pages browsers may connect, as a list of patterns.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An entry of `socket.origins`: `https://app.example`, `https://*.example` for every name below `example` (and not
/// itself), `http://localhost:*` for every port, or `null` for pages that browsers give no origin (files, sandboxes).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Origin {
    /// Pages without an origin of their own.
    Null,
    /// Pages of these hosts.
    Web {
        /// `https`, or an app's own.
        scheme: String,
        /// The host, or what its names end with after a dot.
        host: Host,
        /// The port.
        port: Port,
    },
}

/// One host or many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// This one.
    Exactly(String),
    /// All below this one, at any depth.
    Below(String),
}

/// One port or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// This one; none where the origin does not name one, because it is the scheme's own.
    Exactly(Option<u16>),
    /// Any.
    Any,
}

/// Scheme, host and port as written; the port with what stands after the colon.
fn split(text: &str) -> Option<(&str, &str, Option<&str>)> {
    let (scheme, authority) = text.split_once("://")?;
    // The colons of an IPv6 address stand in brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_name = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = bracketed.map_or_else(|| is_name(host, b"-._*"), |address| is_name(address, b":."));
    (is_name(scheme, b"+-.") && is_host).then_some((scheme, host, port))
}

/// Browsers do not write the port that the scheme has anyway.
fn significant(scheme: &str, port: u16) -> Option<u16> {
    (!matches!((scheme, port), ("https", 443) | ("http", 80))).then_some(port)
}

impl Origin {
    /// Whether it admits what a browser says in the `Origin` header.
    #[must_use]
    pub fn admits(&self, origin: &str) -> bool {
        let Self::Web { scheme, host, port } = self else { return origin == "null" };
        let Some((its_scheme, its_host, its_port)) = split(origin) else { return false };
        let fits_host = match host {
            Host::Exactly(name) => its_host.eq_ignore_ascii_case(name),
            Host::Below(name) => below(its_host, name),
        };
        let fits_port = match (port, its_port.map(str::parse::<u16>)) {
            (_, Some(Err(_))) => false,
            (Port::Any, _) => true,
            (Port::Exactly(port), None) => port.is_none(),
            (Port::Exactly(port), Some(Ok(its_port))) => *port == significant(scheme, its_port),
        };
        its_scheme.eq_ignore_ascii_case(scheme) && fits_host && fits_port
    }
}

/// Whether a host has a name of its own before `.name`.
fn below(host: &str, name: &str) -> bool {
    let Some(at) = host.len().checked_sub(name.len()).filter(|at| host.is_char_boundary(*at)) else { return false };
    let (own, rest) = host.split_at(at);
    rest.eq_ignore_ascii_case(name) && own.len() > 1 && own.ends_with('.')
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let why = || {
            format!(
                "{text:?} is not an origin: write scheme://host or scheme://host:port, without a path, as in \
                 https://app.example, https://*.example or http://localhost:*"
            )
        };
        if text == "null" {
            return Ok(Self::Null);
        }
        let lower = text.to_ascii_lowercase();
        let (scheme, host, port) = split(&lower).ok_or_else(why)?;
        let port = match port {
            None => Port::Exactly(None),
            Some("*") => Port::Any,
            Some(port) => Port::Exactly(significant(scheme, port.parse().map_err(|_| why())?)),
        };
        let host = match host.strip_prefix("*.") {
            Some(name) if !name.is_empty() => Host::Below(name.to_owned()),
            _ => Host::Exactly(host.to_owned()),
        };
        let (Host::Exactly(name) | Host::Below(name)) = &host;
        if name.contains('*') {
            return Err(why());
        }
        Ok(Self::Web { scheme: scheme.to_owned(), host, port })
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Web { scheme, host, port } = self else { return f.write_str("null") };
        match host {
            Host::Exactly(name) => write!(f, "{scheme}://{name}")?,
            Host::Below(name) => write!(f, "{scheme}://*.{name}")?,
        }
        match port {
            Port::Exactly(None) => Ok(()),
            Port::Exactly(Some(port)) => write!(f, ":{port}"),
            Port::Any => f.write_str(":*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Origin, String> {
        Origin::try_from(text.to_owned())
    }

    #[test]
    fn what_an_entry_admits() {
        let table: [(&str, &[&str], &[&str]); 8] = [
            (
                "https://app.example",
                &["https://app.example", "https://APP.example", "https://app.example:443"],
                &[
                    "http://app.example",
                    "https://app.example:8443",
                    "https://app.example.evil",
                    "https://evil-app.example",
                    "https://x.app.example",
                    "https://app.example/",
                    "https://app.example@evil",
                    "app.example",
                    "null",
                    "",
                ],
            ),
            (
                "https://*.example",
                &["https://a.example", "https://a.b.example"],
                &[
                    "https://example",
                    "https://.example",
                    "https://evilexample",
                    "https://a.example:1",
                    "https://a.example.evil",
                ],
            ),
            ("HTTPS://App.Example:443", &["https://app.example"], &["https://app.example:80"]),
            (
                "http://localhost:*",
                &["http://localhost", "http://localhost:5173"],
                &["http://localhost:x", "http://localhost:99999"],
            ),
            ("http://localhost:3000", &["http://localhost:3000"], &["http://localhost", "http://localhost:3001"]),
            ("http://[::1]:3000", &["http://[::1]:3000"], &["http://[::1]", "http://[::2]:3000"]),
            ("capacitor://localhost", &["capacitor://localhost"], &["https://localhost"]),
            ("null", &["null"], &["https://null", "NULL", ""]),
        ];
        for (entry, admitted, refused) in table {
            let entry = parse(entry).unwrap();
            for origin in admitted {
                assert!(entry.admits(origin), "{entry} does not admit {origin}");
            }
            for origin in refused {
                assert!(!entry.admits(origin), "{entry} admits {origin}");
            }
        }
    }

    #[test]
    fn what_is_no_origin_says_how_one_is_written() {
        for entry in [
            "app.example",
            "https://",
            "https://app.example/",
            "https://app.example/path",
            "https://*",
            "*",
            "https://*.",
            "https://a*.example",
            "https://*.*.example",
            "https://user@app.example",
            "https://app.example:port",
            "https://app.example:70000",
            "://app.example",
            "",
        ] {
            let why = parse(entry).expect_err(entry);
            assert!(why.contains("https://app.example"), "{why}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered_and_entries_are_written_as_read(text in "\\PC{0,40}", origin in "\\PC{0,40}") {
            if let Ok(entry) = parse(&text) {
                let _: bool = entry.admits(&origin);
                proptest::prop_assert_eq!(parse(&entry.to_string()), Ok(entry));
            }
            let below = parse("https://*.example").unwrap();
            proptest::prop_assert!(!below.admits(&origin) || origin.to_ascii_lowercase().ends_with(".example"));
        }
    }
}
