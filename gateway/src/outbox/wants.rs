//! Wants: which outboxes want what, where things happen. Replaced as a whole when the configuration is read again.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;

use super::What;
use crate::domain::RoomName;

/// How much may wait in one outbox. What comes when it is full is dropped, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Things that happened.
    pub entries: usize,
    /// What they weigh together, in bytes.
    pub bytes: usize,
}

/// Names of rooms: `*` stands for any letters, also none, all else for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Pattern(Vec<String>);

impl Pattern {
    /// Reads a pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.split('*').map(str::to_owned).collect())
    }

    /// Whether a name is one of them. As `tell.lua` does it: in a time that no name can make long.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let [first, between @ .., last] = &self.0[..] else { return self.0.iter().any(|only| only == name) };
        let Some(mut rest) = name.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str())) else {
            return false;
        };
        for piece in between {
            let Some(at) = rest.find(piece.as_str()) else { return false };
            rest = &rest[at + piece.len()..];
        }
        true
    }
}

/// What one outbox wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The name of the outbox.
    pub outbox: String,
    /// Of which kinds.
    pub kinds: Vec<What>,
    /// Of which rooms; nothing of sessions is asked for that.
    pub rooms: Pattern,
    /// Of which namespaces; none for all.
    pub namespaces: Vec<String>,
}

impl Want {
    fn wants(&self, what: What, place: &RoomName) -> bool {
        let is_of = |name: &str| self.namespaces.is_empty() || self.namespaces.iter().any(|one| one == name);
        let fits = || match place.shown() {
            Some(name) => !what.is_of_sessions() && self.rooms.matches(name),
            // Of what the gateway keeps for itself, only who is there at all is told.
            None => what.is_of_sessions(),
        };
        self.kinds.contains(&what) && place.namespace().is_some_and(is_of) && fits()
    }
}

/// Which outboxes there are, what they want and how much they may have. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub struct Wants {
    bounds: Bounds,
    /// What the keys of outboxes begin with, in Redis.
    base: Arc<str>,
    wanted: Arc<ArcSwap<Wanted>>,
}

#[derive(Debug, Default)]
struct Wanted {
    all: Vec<Want>,
    /// For scripts, or nothing if none of it can happen in them.
    spec: String,
}

/// What scripts of presence are told, see `tell.lua`.
#[derive(Serialize)]
struct Spec<'a> {
    entries: usize,
    bytes: usize,
    base: &'a str,
    outboxes: Vec<SpecOfOne<'a>>,
}

#[derive(Serialize)]
struct SpecOfOne<'a> {
    name: &'a str,
    kinds: Vec<&'static str>,
    rooms: &'a Pattern,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespaces: Option<&'a [String]>,
}

impl Wants {
    /// Wants nothing yet. `prefix` is what keys in Redis begin with.
    #[must_use]
    pub fn new(prefix: &str, bounds: Bounds) -> Self {
        Self { bounds, base: format!("{prefix}:outbox:").into(), wanted: Arc::default() }
    }

    /// How much each outbox may have.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// What the keys of outboxes begin with.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// The key of an outbox, and that of its state.
    #[must_use]
    pub fn keys(&self, outbox: &str) -> [String; 2] {
        let key = format!("{}{outbox}", self.base);
        let state = format!("{key}:state");
        [key, state]
    }

    /// From now on this is wanted.
    ///
    /// # Panics
    /// Never: texts and numbers always encode.
    pub fn replace(&self, all: Vec<Want>) {
        let outboxes: Vec<_> = all
            .iter()
            .filter(|want| want.kinds.iter().any(|kind| kind.is_of_members() || kind.is_of_sessions()))
            .map(|want| SpecOfOne {
                name: &want.outbox,
                kinds: want.kinds.iter().map(|kind| kind.as_str()).collect(),
                rooms: &want.rooms,
                namespaces: Some(&want.namespaces[..]).filter(|namespaces| !namespaces.is_empty()),
            })
            .collect();
        let Bounds { entries, bytes } = self.bounds;
        let spec = Spec { entries, bytes, base: &self.base, outboxes };
        let spec = if spec.outboxes.is_empty() {
            String::new()
        } else {
            serde_json::to_string(&spec).expect("texts and numbers always encode")
        };
        self.wanted.store(Arc::new(Wanted { all, spec }));
    }

    /// The outboxes that want something that happens in a place. Where none wants anything this costs next to nothing.
    #[must_use]
    pub fn of(&self, what: What, place: &RoomName) -> Vec<String> {
        let wanted = self.wanted.load();
        wanted.all.iter().filter(|want| want.wants(what, place)).map(|want| want.outbox.clone()).collect()
    }

    /// What scripts of presence are told: their last argument.
    #[must_use]
    pub fn spec(&self) -> String {
        self.wanted.load().spec.clone()
    }

    /// Whether nothing at all is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.load().all.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_and_all_else_for_itself() {
        for (pattern, name, expected) in [
            ("room", "room", true),
            ("room", "rooms", false),
            ("*", "", true),
            ("*", "anything", true),
            ("orders-*", "orders-7", true),
            ("orders-*", "orders-", true),
            ("orders-*", "my-orders-7", false),
            ("*-7", "orders-7", true),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("aba*ba", "aba", false),
            ("a*ab*b", "aab", false),
            ("a**b", "ab", true),
            ("?", "x", false),
            ("ü*", "übung", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn who_wants_what() {
        let wants = Wants::new("gateway", Bounds { entries: 10, bytes: 1000 });
        let joined = RoomName::parse("orders-1").unwrap();
        assert!(wants.of(What::Joined, &joined).is_empty() && wants.spec().is_empty() && wants.is_empty());
        let want = |outbox: &str, kinds: &[What], rooms: &str, namespaces: &[&str]| Want {
            outbox: outbox.into(),
            kinds: kinds.to_vec(),
            rooms: Pattern::new(rooms),
            namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        };
        wants.replace(vec![want("said", &[What::Published], "*", &[])]);
        assert!(wants.spec().is_empty(), "nothing of it happens in presence");
        wants.replace(vec![
            want("said", &[What::Published], "*", &["/x"]),
            want("all", &What::ALL, "orders-*", &[]),
            want("who", &[What::Connected], "*", &["/"]),
        ]);
        assert_eq!(wants.of(What::Joined, &joined), ["all"]);
        assert_eq!(wants.of(What::Published, &RoomName::parse_in("/x", "orders-1").unwrap()), ["said", "all"]);
        assert_eq!(wants.of(What::Published, &RoomName::parse("chat").unwrap()), [""; 0]);
        assert_eq!(wants.of(What::Connected, &RoomName::everybody("/")), ["all", "who"]);
        assert_eq!(wants.of(What::Connected, &RoomName::everybody("/x")), ["all"]);
        assert_eq!(wants.of(What::Published, &RoomName::everybody("/")), [""; 0]);
        let spec: serde_json::Value = serde_json::from_str(&wants.spec()).unwrap();
        assert_eq!(spec["outboxes"][0]["name"], "all");
        assert_eq!(spec["outboxes"][0]["rooms"], serde_json::json!(["orders-", ""]));
        assert_eq!(spec["outboxes"][1]["namespaces"], serde_json::json!(["/"]));
    }
}
