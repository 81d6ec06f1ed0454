//! `[api]`: where back ends come in, how fast, and by which keys.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Rate;

/// The longest name of a key, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// Items that a batch may have: a key must be able to send one.
pub const BATCH_ITEMS: usize = 100;

/// `[api]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Api {
    pub listen: String,
    pub requests_per_second: u32,
    pub requests_burst: u32,
    pub connections: usize,
    pub streams: usize,
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    #[serde(with = "humantime_serde")]
    pub repeats_kept: Duration,
    #[serde(with = "humantime_serde")]
    pub history_max_age: Duration,
    pub key: Vec<Key>,
}

/// `[[api.key]]`: what is kept of a key, as `gateway key` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Whose it is, for people and for deduplication: several keys may have one name, to be rotated.
    pub name: String,
    /// By which it is found: it stands in the key itself.
    pub id: String,
    /// SHA-256 of its secret, in hexadecimal digits.
    pub hash: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// Patterns of the rooms that it opens; `*` stands for any letters.
    #[serde(default = "any")]
    pub rooms: Vec<String>,
    /// The same of namespaces.
    #[serde(default = "any")]
    pub namespaces: Vec<String>,
}

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Saying something to clients.
    Publish,
    /// Reading what was said, and who is there.
    Read,
    /// Telling users what they may read later, and deciding about that.
    Notify,
    /// Deciding about sessions, their rooms and their tokens.
    Control,
    /// Taking back what was said.
    Moderate,
    /// Having work done later, and deciding about that.
    Jobs,
    /// Looking at the deployment.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Publish, Self::Read, Self::Notify, Self::Control, Self::Moderate, Self::Jobs, Self::Admin];

    /// The word in configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Notify => "notify",
            Self::Control => "control",
            Self::Moderate => "moderate",
            Self::Jobs => "jobs",
            Self::Admin => "admin",
        }
    }
}

fn any() -> Vec<String> {
    vec!["*".to_owned()]
}

impl Api {
    /// The address of the API's own listener, if it has one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listen.parse().ok()
    }

    /// How many requests one key may make on a node; each item of a batch is one.
    #[must_use]
    pub fn requests(&self) -> Rate {
        Rate { per_second: self.requests_per_second, burst: self.requests_burst }
    }

    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        if !self.listen.is_empty() && self.address().is_none() {
            return Err(("api.listen", "must be an address with a port, or empty".into()));
        }
        let items = u32::try_from(BATCH_ITEMS).unwrap_or(u32::MAX);
        if self.requests_per_second > 0 && self.requests_burst < items {
            return Err(("api.requests_burst", format!("must be at least {BATCH_ITEMS}, the items of a batch")));
        }
        if self.heartbeat < Duration::from_millis(1) {
            return Err(("api.heartbeat", "must be at least 1ms".into()));
        }
        if self.connections == 0 {
            return Err(("api.connections", "must be at least 1".into()));
        }
        if self.repeats_kept < Duration::from_secs(1) {
            return Err(("api.repeats_kept", "must be at least 1s".into()));
        }
        for (index, key) in self.key.iter().enumerate() {
            key.validate().map_err(|why| ("api.key", format!("[{index}] ({:?}) {why}", key.name)))?;
            if self.key[..index].iter().any(|other| other.id == key.id) {
                return Err(("api.key", format!("[{index}] ({:?}) has the id of another key", key.name)));
            }
        }
        Ok(())
    }
}

impl Key {
    /// Looks at everything but its patterns.
    ///
    /// # Errors
    /// What is wrong.
    pub fn validate(&self) -> Result<(), String> {
        let is_hex = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if self.name.is_empty() || self.name.len() > MAX_NAME_BYTES || self.name.chars().any(char::is_control) {
            return Err(format!("needs a name of 1 to {MAX_NAME_BYTES} bytes without control characters"));
        }
        if !is_hex(&self.id, Self::ID_DIGITS) {
            return Err(format!("needs an id of {} hexadecimal digits, as `gateway key` makes it", Self::ID_DIGITS));
        }
        if !is_hex(&self.hash, 64) {
            return Err("needs the hash that `gateway key` printed: 64 hexadecimal digits".into());
        }
        if self.scopes.is_empty() {
            return Err("needs scopes: without any it is good for nothing".into());
        }
        Ok(())
    }

    /// How long an id is.
    pub const ID_DIGITS: usize = 16;
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, load};

    fn with(text: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(Some(file.path()), std::iter::empty()).map_err(|error| error.to_string())
    }

    fn key(changes: &str) -> String {
        let hash = "a".repeat(64);
        format!(
            "[[api.key]]\nname = \"n\"\nid = \"0123456789abcdef\"\nhash = \"{hash}\"\nscopes = [\"read\"]\n{changes}"
        )
    }

    #[test]
    fn a_key_opens_everything_unless_it_says_less() {
        let config = with(&key("")).unwrap();
        assert_eq!((&config.api.key[0].rooms, &config.api.key[0].namespaces), (&super::any(), &super::any()));
        assert_eq!(with(&key("rooms = []")).unwrap().api.key[0].rooms, Vec::<String>::new());
        let printed = toml::to_string(&config).unwrap();
        assert_eq!(with(&printed).unwrap().api.key, config.api.key, "{printed}");
        assert!(load(None, std::iter::empty()).unwrap().api.key.is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said() {
        for (text, word) in [
            (key("").replace("0123456789abcdef", "0123"), "16 hexadecimal digits"),
            (key("").replace("aaaa", "aaaz"), "hash"),
            (key("").replace("\"n\"", "\"\""), "name"),
            (key("").replace("\"read\"", ""), "scopes"),
            (key("").replace("\"read\"", "\"everything\""), "unknown variant"),
            (key("secret = 7"), "unknown field"),
            (format!("{}{}", key(""), key("")), "id of another"),
            ("[api]\nlisten = \"nowhere\"\n".into(), "api.listen"),
            ("[api]\nrequests_burst = 99\n".into(), "api.requests_burst"),
            ("[api]\nrepeats_kept = \"1ms\"\n".into(), "api.repeats_kept"),
        ] {
            let said = with(&text).unwrap_err();
            assert!(said.contains(word), "{said} has no {word}");
        }
    }
}
