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
    archived: Option<Arc<Archived>>,
}

/// What the archive wants, whatever hooks want.
#[derive(Debug)]
struct Archived {
    rooms: Vec<Pattern>,
    bounds: Bounds,
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
    /// The outbox of the archive: no hook can have this name.
    pub const ARCHIVE: &'static str = "=archive";

    /// Wants nothing yet. `prefix` is what keys in Redis begin with.
    #[must_use]
    pub fn new(prefix: &str, bounds: Bounds) -> Self {
        Self { bounds, base: format!("{prefix}:outbox:").into(), wanted: Arc::default(), archived: None }
    }

    /// Wants what is published in these rooms for the archive as well, for good, in an outbox with bounds of its own.
    #[must_use]
    pub fn with_archive(self, rooms: Vec<Pattern>, bounds: Bounds) -> Self {
        let archived = (!rooms.is_empty()).then(|| Arc::new(Archived { rooms, bounds }));
        Self { archived, ..self }
    }

    /// How much an outbox may have.
    #[must_use]
    pub fn bounds(&self, outbox: &str) -> Bounds {
        match &self.archived {
            Some(archived) if outbox == Self::ARCHIVE => archived.bounds,
            _ => self.bounds,
        }
    }

    /// Whether what is published in a room is wanted for the archive. Rooms that the gateway keeps for itself never are: what
    /// is said to a user or to everybody.
    #[must_use]
    pub fn is_archived(&self, room: &RoomName) -> bool {
        let Some(archived) = &self.archived else { return false };
        room.shown().is_some_and(|name| archived.rooms.iter().any(|pattern| pattern.matches(name)))
    }

    /// The names of all outboxes that are wanted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let hooks = self.wanted.load();
        let archive = self.archived.iter().map(|_| Self::ARCHIVE.to_owned());
        hooks.all.iter().map(|want| want.outbox.clone()).chain(archive).collect()
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

    /// The outboxes that want something that happens in a place, the archive's last. Where none wants anything this costs next
    /// to nothing.
    #[must_use]
    pub fn of(&self, what: What, place: &RoomName) -> Vec<String> {
        let wanted = self.wanted.load();
        let is_archived = what == What::Published && self.is_archived(place);
        let hooks = wanted.all.iter().filter(|want| want.wants(what, place)).map(|want| want.outbox.clone());
        hooks.chain(is_archived.then(|| Self::ARCHIVE.to_owned())).collect()
    }

    /// What scripts of presence are told: their last argument.
    #[must_use]
    pub fn spec(&self) -> String {
        self.wanted.load().spec.clone()
    }

    /// Whether nothing at all is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.archived.is_none() && self.wanted.load().all.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UserId;

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
    fn the_archive_wants_what_is_said_in_its_rooms_whatever_hooks_want() {
        let few = Bounds { entries: 10, bytes: 1000 };
        let many = Bounds { entries: 20, bytes: 2000 };
        let wants = Wants::new("gateway", few).with_archive(vec![Pattern::new("chat"), Pattern::new("o-*")], many);
        assert!(!wants.is_empty() && wants.spec().is_empty());
        assert_eq!((wants.bounds(Wants::ARCHIVE), wants.bounds("all")), (many, few));
        let all = Want { outbox: "all".into(), kinds: What::ALL.into(), rooms: Pattern::new("*"), namespaces: vec![] };
        wants.replace(vec![all]);
        let elsewhere = RoomName::parse_in("/x", "chat").unwrap();
        for room in [RoomName::parse("chat").unwrap(), RoomName::parse("o-1").unwrap(), elsewhere] {
            assert_eq!(wants.of(What::Published, &room), ["all", Wants::ARCHIVE]);
            assert_eq!(wants.of(What::Joined, &room), ["all"]);
        }
        assert_eq!(wants.of(What::Published, &RoomName::parse("chats").unwrap()), ["all"]);
        let user = UserId::parse("chat").unwrap();
        assert!(!wants.is_archived(&RoomName::personal("/", &user)) && !wants.is_archived(&RoomName::everybody("/")));
        wants.replace(Vec::new());
        assert_eq!(wants.names(), [Wants::ARCHIVE]);
        let none = Wants::new("gateway", few).with_archive(Vec::new(), many);
        assert!(none.is_empty() && none.names().is_empty());
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
