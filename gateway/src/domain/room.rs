//! Room names: what clients may call a room, and the few that the gateway keeps for itself.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Refusal;

/// The name of a room: 1 to 255 bytes of UTF-8 without control characters.
///
/// Names that start with the control character `U+0001` belong to the gateway; [`RoomName::parse`] refuses
/// control characters, so that no client can reach one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RoomName(Arc<str>);

impl RoomName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// Accepts a name that came from outside.
    ///
    /// # Errors
    /// [`Refusal::BadRoom`] if it is empty, longer than [`Self::MAX_BYTES`] or has control characters.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let fits = !text.is_empty() && text.len() <= Self::MAX_BYTES;
        if fits && !text.chars().any(char::is_control) { Ok(Self(text.into())) } else { Err(Refusal::BadRoom) }
    }

    /// A room of the gateway's own, out of the reach of clients.
    #[must_use]
    pub fn internal(purpose: &str) -> Self {
        Self(format!("\u{1}{purpose}").into())
    }

    /// Takes back a name that this deployment wrote itself (a channel, a key), unchecked.
    #[must_use]
    pub fn trusted(text: &str) -> Self {
        Self(text.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for RoomName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_are_short_printable_text() {
        for good in ["a", "général", "room:1/2", &"x".repeat(255)] {
            assert!(RoomName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a\u{0}", "line\nbreak", "\u{1}canary", "\u{7f}", &"x".repeat(256)] {
            assert_eq!(RoomName::parse(bad), Err(Refusal::BadRoom), "{bad:?}");
        }
    }
}
