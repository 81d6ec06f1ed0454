//! What templates read: the event, its session, and what the routes before found out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use serde_json::value::RawValue;

use crate::auth::Identity;
use crate::content::json::{self, Fields};
use crate::domain::RoomName;

/// The fields of the CONNECT payload that templates of a namespace read, by name.
pub type AuthFields = BTreeMap<String, Box<RawValue>>;

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
    /// The room that the last leave found the client not to be in, unless a join came after it.
    pub never_in: Option<RoomName>,
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
    /// A notification that is about to be told: what clients read of it.
    pub notification: Option<Box<RawValue>>,
    /// How many notifications the user has not read.
    pub unread: Option<u64>,
    /// Why the route refused: the code, and the words that clients read.
    pub refusal: Option<(&'static str, String)>,
    /// The fields of the first argument, looked at once.
    first: OnceLock<Fields<'a>>,
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
            never_in: None,
            number: None,
            members: None,
            connections: None,
            now_ms,
            name: None,
            typing: None,
            notification: None,
            unread: None,
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
        let fields = self.first.get_or_init(|| json::fields(first));
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
    path.iter().try_fold(from, |at, step| match at.get().as_bytes().first()? {
        b'{' => json::field(at, &step.name),
        b'[' => json::item(at, step.index?),
        _ => None,
    })
}
