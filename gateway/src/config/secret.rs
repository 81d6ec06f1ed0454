//! A text that must not be shown: it redacts itself wherever it is printed.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// A secret. `Debug` and `Serialize` show only whether it is set.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Secret(String);

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
