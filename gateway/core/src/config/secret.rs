//! Texts that must not be shown, or not as a whole: they redact themselves wherever they are printed.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A secret. `Debug` and `Serialize` show only whether it is set.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unseen).map(Self)
    }
}

/// Reads a text. What is none is not repeated: it may be a secret without its quotes.
struct Unseen;

impl Unseen {
    const MUST: &'static str = "must be a text in quotes";
}

impl<'de> Visitor<'de> for Unseen {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<String, E> {
        Err(E::custom(Self::MUST))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<String, E> {
        Err(E::custom(Self::MUST))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<String, E> {
        Err(E::custom(Self::MUST))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<String, E> {
        Err(E::custom(Self::MUST))
    }
}

/// A URL that shows only where it leads: no user, no password, no query.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HiddenUrl(Secret);

impl HiddenUrl {
    /// All of it, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Whether nothing was configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for HiddenUrl {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for HiddenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", shown_url(self.expose()))
    }
}

impl Serialize for HiddenUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&shown_url(self.expose()))
    }
}

impl<'de> Deserialize<'de> for HiddenUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Secret::deserialize(deserializer).map(Self)
    }
}

/// What may be shown of a URL, or of what should have been one.
#[must_use]
pub fn shown_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return if text.is_empty() { String::new() } else { "<redacted>".to_owned() };
    };
    // The last one, wherever: passwords may have slashes in them, although they should not.
    let place = rest.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{}", place.split(['?', '#']).next().unwrap_or_default())
}

impl Secret {
    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a text is the secret. Compares without telling by its duration how much was right.
    #[must_use]
    pub fn is(&self, given: &str) -> bool {
        let (own, given) = (self.0.as_bytes(), given.as_bytes());
        own.len() == given.len() && own.iter().zip(given).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
    }

    /// Whether nothing was configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn redacted(&self) -> &'static str {
        if self.is_empty() { "" } else { "<redacted>" }
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.redacted())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.redacted())
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn secrets_are_compared_whole() {
        let secret = Secret::from("token".to_owned());
        assert!(secret.is("token"));
        for other in ["", "toke", "tokem", "tokenn"] {
            assert!(!secret.is(other));
        }
    }
}
