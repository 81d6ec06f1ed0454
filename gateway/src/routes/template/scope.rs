//! What templates read: the event, its session, and what the routes before found out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::auth::Identity;
use crate::domain::RoomName;

/// The fields of the CONNECT payload that templates of a namespace read, by name.
pub type AuthFields = BTreeMap<String, Box<RawValue>>;

/// An object's fields, as they come.
type FieldList<'a> = Vec<(Cow<'a, [u8]>, &'a RawValue)>;

/// What templates read.
#[derive(Debug)]
pub struct Scope<'a> {
    /// The event's name; of a lifecycle route `$connect` and the like.
    pub event: &'a str,
    /// The namespace.
    pub namespace: &'a str,
    /// The event's arguments; none for lifecycle routes.
    pub args: &'a [&'a RawValue],
    /// Who the session is.
    pub identity: &'a Identity,
    /// The session's public id.
    pub session: &'a str,
    /// What the client said when it connected.
    pub auth: &'a AuthFields,
    /// The room of the route, or of the last join or leave before it.
    pub room: Option<RoomName>,
    /// The number of the auto room that was joined.
    pub number: Option<u64>,
    /// Members of the room, if the route needs to know.
    pub members: Option<u64>,
    /// Sessions in the namespace, if the route needs to know.
    pub connections: Option<u64>,
    /// Milliseconds since 1970.
    pub now_ms: u64,
    /// The name that is claimed.
    pub name: Option<String>,
    /// Whether somebody began to type, or ended.
    pub typing: Option<bool>,
    /// Why the route refused: the code, and the words that clients read.
    pub refusal: Option<(&'static str, String)>,
    /// The fields of the first argument, looked at once.
    first: OnceLock<FieldList<'a>>,
}

impl<'a> Scope<'a> {
    /// A scope in which nothing is known but the event and who sent it. The fields say what else can be known.
    #[must_use]
    pub fn new(
        namespace: &'a str,
        event: &'a str,
        args: &'a [&'a RawValue],
        identity: &'a Identity,
        session: &'a str,
        auth: &'a AuthFields,
        now_ms: u64,
    ) -> Self {
        Self {
            event,
            namespace,
            args,
            identity,
            session,
            auth,
            room: None,
            number: None,
            members: None,
            connections: None,
            now_ms,
            name: None,
            typing: None,
            refusal: None,
            first: OnceLock::new(),
        }
    }

    /// What stands at a path in the first argument.
    pub(super) fn in_first(&self, path: &[Step]) -> Option<&'a RawValue> {
        let first = *self.args.first()?;
        let Some((step, rest)) = path.split_first() else {
            return Some(first);
        };
        if !first.get().starts_with('{') {
            return walk(first, path);
        }
        let fields = self.first.get_or_init(|| fields(first));
        // As in JSON.parse, the last of several fields with one name counts.
        let found = fields.iter().rev().find(|(name, _)| **name == *step.name.as_bytes())?.1;
        walk(found, rest)
    }
}

/// One step of a path: a field, or a place in an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::routes) struct Step {
    name: String,
    index: Option<usize>,
}

impl Step {
    pub(super) fn new(name: &str) -> Self {
        let digits = name.bytes().all(|byte| byte.is_ascii_digit());
        Self { name: name.to_owned(), index: digits.then(|| name.parse().ok()).flatten() }
    }

    pub(super) fn index(&self) -> Option<usize> {
        self.index
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Follows a path; one level at a time is looked at, and what is beside it is skipped.
pub(super) fn walk<'a>(from: &'a RawValue, path: &[Step]) -> Option<&'a RawValue> {
    path.iter().try_fold(from, |at, step| {
        let mut json = serde_json::Deserializer::from_str(at.get());
        match at.get().as_bytes().first()? {
            b'{' => json.deserialize_map(Field(step.name.as_bytes())).ok()?,
            b'[' => json.deserialize_seq(Item(step.index?)).ok()?,
            _ => None,
        }
    })
}

fn fields(object: &RawValue) -> FieldList<'_> {
    let mut json = serde_json::Deserializer::from_str(object.get());
    json.deserialize_map(Fields).unwrap_or_default()
}

/// A field's name as bytes: names may hold halves of surrogate pairs, which are no text here but are for JavaScript.
struct Name<'a>(Cow<'a, [u8]>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(bytes.to_owned())))
            }
            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(bytes)))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// All fields of an object.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = FieldList<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::with_capacity(8);
        while let Some((Name(name), value)) = map.next_entry()? {
            fields.push((name, value));
        }
        Ok(fields)
    }
}

/// The last field of a name.
struct Field<'n>(&'n [u8]);

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<&'de RawValue>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Name(name)) = map.next_key()? {
            if *name == *self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// The element at a place.
struct Item(usize);

impl<'de> Visitor<'de> for Item {
    type Value = Option<&'de RawValue>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut index = 0;
        // To the end: what is left unread would be an error.
        loop {
            if index == self.0 {
                found = seq.next_element()?;
                if found.is_none() {
                    return Ok(None);
                }
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            index += 1;
        }
    }
}
