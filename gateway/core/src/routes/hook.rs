//! A hook: which back end is told what.

use std::fmt;

use crate::calls::Endpoint;
use crate::config::Secret;
use crate::outbox::{Pattern, Want, What};

/// What the configuration says of a hook.
#[derive(Clone)]
pub struct Hook {
    /// What it is called, in `/hooks`, in what is delivered, and in the store: 1 to 64 letters, digits, `-` and `_`.
    pub name: String,
    /// Where, and for how long an attempt may take.
    pub endpoint: Endpoint,
    /// What it is told.
    pub events: Vec<What>,
    /// Of which rooms, as it was written.
    pub rooms: String,
    /// Of which namespaces; none for all.
    pub namespaces: Vec<String>,
    /// By which what it is told is signed: each makes a signature.
    pub secrets: Vec<Secret>,
    /// Where it was written.
    pub place: String,
}

/// The same, but for where it was written.
impl PartialEq for Hook {
    fn eq(&self, other: &Self) -> bool {
        let parts = |hook: &Self| {
            let Endpoint { url, timeout, .. } = &hook.endpoint;
            (hook.name.clone(), url.clone(), *timeout, hook.events.clone(), hook.rooms.clone())
        };
        parts(self) == parts(other) && self.namespaces == other.namespaces && self.secrets == other.secrets
    }
}

impl Hook {
    /// What its outbox takes.
    #[must_use]
    pub fn want(&self) -> Want {
        Want {
            outbox: self.name.clone(),
            kinds: self.events.clone(),
            rooms: Pattern::new(&self.rooms),
            namespaces: self.namespaces.clone(),
        }
    }

    /// Whether it is for a namespace.
    #[must_use]
    pub fn is_for(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|name| name == namespace)
    }
}

/// Secrets and what could be one in the URL stay hidden.
impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// As people read it, for `gateway check`.
impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, events, rooms, namespaces, secrets, .. } = self;
        let events: Vec<_> = events.iter().map(|what| what.as_str()).collect();
        let timeout = humantime::format_duration(self.endpoint.timeout);
        write!(f, "hook {name} to {}: {} of rooms {rooms}", self.endpoint.shown(), events.join(", "))?;
        if !namespaces.is_empty() {
            write!(f, " in {}", namespaces.join(", "))?;
        }
        write!(f, "; timeout {timeout}, secrets: {}; {}", secrets.len(), self.place)
    }
}
