//! Room names: what clients may call a room, and the few that the gateway keeps for itself.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::look::looks;
use super::{Refusal, UserId};

/// What the names of rooms that no client can ask for begin with.
const OWN: char = '\u{1}';

/// What comes before the look of names that are held.
const LOOK: &str = "look:";

/// The name of a room: what its members call it, 1 to 255 bytes of UTF-8 without control characters, and the namespace
/// that it is in.
///
/// In the namespace `/` it is the text itself. Rooms of other namespaces and those that the gateway keeps for itself
/// begin with the control character `U+0001`, which no client can write: see [`RoomName::parse`].
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

    /// The same for a room of a namespace.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_in(namespace: &str, text: &str) -> Result<Self, Refusal> {
        let plain = Self::parse(text)?;
        Ok(if namespace == "/" { plain } else { Self(format!("{OWN}{namespace}{OWN}{text}").into()) })
    }

    /// Where the rooms of a namespace begin in the order of their bytes, and before what they end: other rooms stand outside.
    #[must_use]
    pub fn span(namespace: &str) -> (Self, Option<Self>) {
        // The first character that names may have, and those around the namespace.
        if namespace == "/" {
            return (Self(" ".into()), None);
        }
        (Self(format!("{OWN}{namespace}{OWN}").into()), Some(Self(format!("{OWN}{namespace}\u{2}").into())))
    }

    /// The room that everybody in a namespace is in.
    #[must_use]
    pub fn everybody(namespace: &str) -> Self {
        Self(format!("{OWN}everybody:{namespace}").into())
    }

    /// The room that all sessions of a user in a namespace are in.
    #[must_use]
    pub fn personal(namespace: &str, user: &UserId) -> Self {
        Self(format!("{OWN}user:{namespace}{OWN}{}", user.as_str()).into())
    }

    /// A name that is unique in a namespace, as it was given. Who holds it has a seat in each of its [`Self::looks`].
    #[must_use]
    pub fn claimed(namespace: &str, name: &str) -> Self {
        Self(format!("{OWN}name:{namespace}{OWN}{name}").into())
    }

    /// The places that whoever holds this name is in: each is for all names that look alike. None if it is no name, or one
    /// of which nobody sees anything.
    #[must_use]
    pub fn looks(&self) -> Vec<Self> {
        let (Some(namespace), Some(name)) = (self.namespace(), self.held_name()) else { return Vec::new() };
        let place = |look| Self(format!("{OWN}{LOOK}{namespace}{OWN}{look}").into());
        looks(name).into_iter().map(place).collect()
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn is_look(&self) -> bool {
        self.0.strip_prefix(OWN).is_some_and(|rest| rest.starts_with(LOOK))
    }

    /// What its members call it; nothing if it is one that the gateway keeps for itself.
    #[must_use]
    pub fn shown(&self) -> Option<&str> {
        match self.0.strip_prefix(OWN) {
            None => Some(&self.0),
            Some(rest) if rest.starts_with('/') => rest.split_once(OWN).map(|(_, name)| name),
            Some(_) => None,
        }
    }

    /// A room of the gateway's own, out of the reach of clients.
    #[must_use]
    pub fn internal(purpose: &str) -> Self {
        Self(format!("{OWN}{purpose}").into())
    }

    /// Takes back a name that this deployment wrote itself (a channel, a key), unchecked.
    #[must_use]
    pub fn trusted(text: &str) -> Self {
        Self(text.into())
    }

    /// The namespace that it is in; nothing for rooms of the gateway that are in none.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        let Some(rest) = self.0.strip_prefix(OWN) else { return Some("/") };
        let (place, _) = rest.split_once(OWN).unwrap_or((rest, ""));
        if place.starts_with('/') {
            return Some(place);
        }
        let (_, namespace) = place.split_once(':')?;
        namespace.starts_with('/').then_some(namespace)
    }

    /// The name as it was given, if this is one that is held.
    #[must_use]
    pub fn held_name(&self) -> Option<&str> {
        let (_, name) = self.0.strip_prefix(OWN)?.strip_prefix("name:")?.split_once(OWN)?;
        Some(name)
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

    #[test]
    fn rooms_of_namespaces_and_the_gateway_s_own_never_meet() {
        let user = UserId::parse("*").unwrap();
        let rooms = [
            RoomName::parse_in("/", "*").unwrap(),
            RoomName::parse_in("/other", "*").unwrap(),
            RoomName::everybody("/"),
            RoomName::everybody("/other"),
            RoomName::personal("/", &user),
            RoomName::personal("/other", &user),
            RoomName::claimed("/", "*"),
            RoomName::internal("*"),
            RoomName::parse_in("/a:/b", "*").unwrap(),
            RoomName::personal("/a:/b", &user),
            RoomName::claimed("/", "*").looks().remove(0),
        ];
        for (place, room) in rooms.iter().enumerate() {
            assert!(!rooms[place + 1..].contains(room), "{room:?}");
        }
        let namespaces = rooms.each_ref().map(RoomName::namespace);
        let (main, other) = (Some("/"), Some("/other"));
        assert_eq!(namespaces, [main, other, main, other, main, other, main, None, Some("/a:/b"), Some("/a:/b"), main]);
        assert_eq!(rooms[6].held_name(), Some("*"));
        assert!(rooms[10].is_look() && rooms[..10].iter().all(|room| !room.is_look() && room.held_name() != Some("")));
        for namespace in ["/", "/other", "/a:/b", "/oth"] {
            let (first, end) = RoomName::span(namespace);
            let is_within = |room: &&RoomName| **room >= first && end.as_ref().is_none_or(|end| *room < end);
            let within: Vec<_> = rooms.iter().filter(is_within).collect();
            let of_it: Vec<_> =
                rooms.iter().filter(|room| room.shown().is_some() && room.namespace() == Some(namespace)).collect();
            assert_eq!(within, of_it, "{namespace}");
        }
        let shown = rooms.map(|room| room.shown().map(str::to_owned));
        assert_eq!(
            shown,
            [Some("*"), Some("*"), None, None, None, None, None, None, Some("*"), None, None]
                .map(|name| name.map(str::to_owned))
        );
        assert_eq!(RoomName::parse_in("/", "a").unwrap(), RoomName::parse("a").unwrap());
    }
}
