//! A route: what all of them have, whatever their action.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::Schema;
use crate::auth::Identity;
use crate::domain::Refusal;
use crate::routes::actions::Action;
use crate::routes::reader::Emission;
use crate::routes::template::Template;

/// One entry of the table.
#[derive(Debug)]
pub struct Route {
    /// What the client emits, or `$connect` and the like.
    pub event: Arc<str>,
    /// Unique in the table.
    pub number: usize,
    /// Where it was written, as `gateway.toml:12`.
    pub place: Arc<str>,
    /// How long after its lifecycle event it runs; zero for events of clients.
    pub after: Duration,
    /// It runs only if this [`Template::holds`].
    pub when: Option<Template>,
    /// It runs only if this does not hold.
    pub unless: Option<Template>,
    /// Who may emit it: any of these.
    pub allow: Vec<Allow>,
    /// How often a session may emit it.
    pub rate: Option<Rate>,
    /// How large the event may be, in bytes.
    pub max_bytes: Option<usize>,
    /// What the first argument must look like.
    pub schema: Option<Schema>,
    /// What it does.
    pub action: Action,
    /// What the client hears instead of the usual refusal.
    pub refused: Option<Refused>,
    /// What has to be counted before its templates are filled in.
    pub needs: Needs,
}

impl Route {
    /// Whether a session may send the event. `is_member` is asked only if it matters: whether the session is in the
    /// route's room.
    #[must_use]
    pub fn allows(&self, identity: &Identity, is_member: impl FnOnce() -> bool) -> bool {
        self.allow.iter().any(|allow| allow.admits(identity)) || (self.allow.contains(&Allow::Member) && is_member())
    }
}

/// Who may send an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allow {
    /// Every session.
    Anyone,
    /// Sessions with a user.
    User,
    /// Sessions that are in the route's room.
    Member,
    /// Sessions whose token names the role.
    Role(String),
}

impl Allow {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "anyone" => Some(Self::Anyone),
            "user" => Some(Self::User),
            "member" => Some(Self::Member),
            _ => text.strip_prefix("role:").filter(|role| !role.is_empty()).map(|role| Self::Role(role.to_owned())),
        }
    }

    /// Whether who the session is suffices.
    #[must_use]
    pub fn admits(&self, identity: &Identity) -> bool {
        match self {
            Self::Anyone => true,
            Self::User => identity.user.is_some(),
            Self::Member => false,
            Self::Role(role) => identity.roles.contains(role),
        }
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::User => f.write_str("user"),
            Self::Member => f.write_str("member"),
            Self::Role(role) => write!(f, "role:{role}"),
        }
    }
}

/// How often a session may emit an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Sustained.
    pub per_second: NonZeroU32,
    /// At once after a pause.
    pub burst: NonZeroU32,
}

/// What a client hears instead of the usual refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// For these codes; empty for all.
    pub codes: Vec<&'static str>,
    /// What is heard. If it cannot be filled in, the client gets the usual refusal after all.
    pub emission: Emission,
}

impl Refused {
    /// Whether it is for a refusal.
    #[must_use]
    pub fn applies(&self, refusal: &Refusal) -> bool {
        self.codes.is_empty() || self.codes.contains(&refusal.code())
    }
}

/// What has to be counted before a route's templates are filled in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Members of the room.
    pub members: bool,
    /// Sessions in the namespace.
    pub connections: bool,
}
