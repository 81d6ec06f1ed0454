//! Who tells somebody something, and what.

use std::net::IpAddr;
use std::time::Duration;

use crate::domain::{SessionId, UserId};
use crate::node::Session;

/// Who tells somebody something.
#[derive(Clone, Debug)]
pub struct Author {
    /// Whose ids and collapse keys are compared with each other.
    pub(super) name: String,
    /// The user, if it is one.
    pub(super) user: Option<UserId>,
    /// Whose allowance it takes; nobody's if a back end has its own.
    pub(super) pays: Option<Payer>,
    /// By which way it came, as metrics have it.
    pub(super) by: &'static str,
}

/// A user that has proved to be one, or else where somebody is.
#[derive(Clone, Debug)]
pub(super) struct Payer {
    pub(super) user: Option<UserId>,
    pub(super) address: IpAddr,
}

impl Author {
    /// A client, by an event.
    #[must_use]
    pub fn session(session: &Session) -> Self {
        let user = session.identity().user.clone();
        // Where anybody can say to be anybody, a new name is no new allowance.
        let proved = user.clone().filter(|_| session.has_token());
        let pays = Some(Payer { user: proved, address: session.address });
        Self { name: session.author(), user, pays, by: "event" }
    }

    /// Somebody whose session is gone.
    #[must_use]
    pub fn gone(session: SessionId, user: Option<UserId>) -> Self {
        let name = user.as_ref().map_or_else(|| format!("s:{session}"), |user| format!("u:{}", user.as_str()));
        Self { name, user, pays: None, by: "event" }
    }

    /// An end user over HTTP.
    #[must_use]
    pub fn over_http(user: Option<UserId>, address: IpAddr) -> Self {
        let name = user.as_ref().map_or_else(|| format!("a:{address}"), |user| format!("u:{}", user.as_str()));
        Self { name, user: user.clone(), pays: Some(Payer { user, address }), by: "http" }
    }

    /// A job of a queue, on whosever behalf.
    #[must_use]
    pub fn job(queue: &str) -> Self {
        Self { name: format!("j:{queue}"), user: None, pays: None, by: "job" }
    }

    /// A back end, by the name of its key.
    #[must_use]
    pub fn back_end(key: &str) -> Self {
        Self { name: format!("k:{key}"), user: None, pays: None, by: "api" }
    }
}

/// What somebody is to be told.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Who.
    pub receiver: UserId,
    /// What: any JSON value, as text.
    pub message: String,
    /// What comes with it, likewise.
    pub data: Option<String>,
    /// For how long it is worth being told.
    pub ttl: Option<Duration>,
    /// By which it is kept once for its author and receiver, however often it comes, as long as it is kept.
    pub id: Option<String>,
    /// It takes the place of an unread one of the same author and receiver with the same of these.
    pub collapse: Option<String>,
}
