//! Refusals: why something was not done, in words and codes that a client can act on.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

/// Why the gateway did not do what it was asked. [`Refusal::code`] and [`Refusal::message`] are the one table
/// from reasons to what clients read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}", code = self.code(), message = self.message())]
pub enum Refusal {
    /// The arguments are not what the event takes; the text says what is expected.
    BadRequest(Cow<'static, str>),
    /// The room name cannot be one.
    BadRoom,
    /// No route names the event.
    UnknownEvent,
    /// The route does not allow this session.
    NotAllowed,
    /// The event needs membership of the room.
    NotInRoom,
    /// The event weighs more than `limits.message_bytes`.
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The session is in as many rooms as it may be.
    TooManyRooms {
        /// The limit, in rooms.
        limit: usize,
    },
    /// A rate limit; the same request is welcome after the wait.
    RateLimited {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The session sent faster than the gateway could work through its queue.
    Overloaded,
    /// A service behind the gateway did not answer. Nothing was done, but for a publish whose answer got lost.
    Unavailable,
    /// The node holds as many connections as it may.
    Capacity,
    /// The node takes new connections at a limited rate.
    Busy,
    /// The node is leaving the cluster.
    Draining,
    /// The node has its share of the clients, and others have room.
    Elsewhere,
    /// There is no token, and without one nobody comes in.
    TokenRequired,
    /// The token does not prove who the client is.
    Unauthorized,
    /// The token's time is over.
    TokenExpired,
    /// The token, or its user's tokens of that time, were revoked.
    TokenRevoked,
    /// The connection asked too often for a session.
    TooManyConnects,
    /// The connection has a session in as many namespaces as it may.
    TooManyNamespaces {
        /// The limit, in namespaces.
        limit: usize,
    },
    /// The address has as many connections to this node as it may.
    TooManyConnections,
    /// The user has as many sessions on this node as it may.
    TooManySessions {
        /// The limit, in sessions.
        limit: usize,
    },
    /// The page's origin is not on the list.
    ForbiddenOrigin,
    /// Somebody else holds the name.
    Taken,
    /// The room has as many members as it may.
    RoomFull {
        /// The limit, in members.
        limit: usize,
    },
    /// The log keeps as much as it may, or what it is kept in does.
    LogFull,
    /// As much was kept for the user, or for an address without users, as may be; the same is welcome after the wait.
    TooMuchKept {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The user, or an address without users, began as many rooms as it may; the same is welcome after the wait.
    TooManyNewRooms {
        /// How long to wait.
        retry_after: Duration,
    },
    /// It takes a database, and the deployment has none.
    NoDatabase,
    /// As many jobs wait in the queue as may.
    QueueFull,
    /// The back end that was asked said no, in these words.
    Rejected(String),
}

impl Refusal {
    /// What front ends are told over HTTP that ask too often, in the words that they know.
    pub const TOO_MANY_REQUESTS: &str = "Too many requests. Please try again later.";

    /// The arguments are not valid; `expected` says what is.
    #[must_use]
    pub fn bad_request(expected: impl Into<Cow<'static, str>>) -> Self {
        Self::BadRequest(expected.into())
    }

    /// The stable, machine-readable reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::BadRoom => "bad_room",
            Self::UnknownEvent => "unknown_event",
            Self::NotAllowed => "not_allowed",
            Self::NotInRoom => "not_in_room",
            Self::TooLarge { .. } => "too_large",
            Self::TooManyRooms { .. } => "too_many_rooms",
            Self::RateLimited { .. } => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Capacity => "capacity",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Elsewhere => "elsewhere",
            Self::TokenRequired => "token_required",
            Self::Unauthorized => "unauthorized",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::TooManyConnects => "too_many_connects",
            Self::TooManyNamespaces { .. } => "too_many_namespaces",
            Self::TooManyConnections => "too_many_connections",
            Self::TooManySessions { .. } => "too_many_sessions",
            Self::ForbiddenOrigin => "forbidden_origin",
            Self::Taken => "taken",
            Self::RoomFull { .. } => "room_full",
            Self::LogFull => "log_full",
            Self::TooMuchKept { .. } => "too_much_kept",
            Self::TooManyNewRooms { .. } => "too_many_new_rooms",
            Self::NoDatabase => "no_database",
            Self::QueueFull => "queue_full",
            Self::Rejected(_) => "rejected",
        }
    }

    /// Every code, so that metrics can start each series at 0.
    pub const CODES: [&'static str; 31] = [
        "bad_request",
        "bad_room",
        "unknown_event",
        "not_allowed",
        "not_in_room",
        "too_large",
        "too_many_rooms",
        "rate_limited",
        "overloaded",
        "unavailable",
        "capacity",
        "busy",
        "draining",
        "elsewhere",
        "token_required",
        "unauthorized",
        "token_expired",
        "token_revoked",
        "too_many_connects",
        "too_many_namespaces",
        "too_many_connections",
        "too_many_sessions",
        "forbidden_origin",
        "taken",
        "room_full",
        "log_full",
        "too_much_kept",
        "too_many_new_rooms",
        "no_database",
        "queue_full",
        "rejected",
    ];

    /// What happened and what to do about it, for people.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::BadRequest(expected) => format!("the arguments are not valid: {expected}"),
            Self::BadRoom => "a room name has 1 to 255 bytes and no control characters".into(),
            Self::UnknownEvent => "no route accepts this event".into(),
            Self::NotAllowed => "this session may not send this event".into(),
            Self::NotInRoom => "join the room first".into(),
            Self::TooLarge { limit } => format!("the event is larger than {limit} bytes"),
            Self::TooManyRooms { limit } => format!("a session may be in {limit} rooms; leave one first"),
            Self::RateLimited { .. } => "too fast; try again after the wait".into(),
            Self::Overloaded => "events arrive faster than they can be handled; slow down".into(),
            Self::Unavailable => "what this needs cannot be reached; try again".into(),
            Self::Capacity => "this node is full; try again".into(),
            Self::Busy => "this node takes new connections at a limited rate; try again".into(),
            Self::Draining => "this node is leaving; connect again".into(),
            Self::Elsewhere => "others have room; connect again".into(),
            Self::TokenRequired => {
                "unauthorized: a token is required, in auth.token or the Authorization header".into()
            }
            Self::Unauthorized => "unauthorized: the token is not valid here".into(),
            Self::TokenExpired => "unauthorized: the token has expired; come back with a new one".into(),
            Self::TokenRevoked => "unauthorized: the token was revoked".into(),
            Self::TooManyConnects => "too many attempts on one connection".into(),
            Self::TooManyNamespaces { limit } => format!("a connection may be in {limit} namespaces"),
            Self::TooManyConnections => "too many connections from this address; close one first".into(),
            Self::TooManySessions { limit } => format!("a user may have {limit} sessions on a node; close one first"),
            Self::ForbiddenOrigin => "pages of this origin may not connect".into(),
            Self::Taken => "somebody else holds this name".into(),
            Self::RoomFull { limit } => format!("the room has its {limit} members"),
            Self::LogFull => "no more can be kept at the moment; try again".into(),
            Self::TooMuchKept { .. } => "too much was kept for you; try again after the wait".into(),
            Self::TooManyNewRooms { .. } => "too many rooms were new; try again after the wait".into(),
            Self::NoDatabase => "this deployment has no database, so that is not kept here".into(),
            Self::QueueFull => "as many jobs wait in this queue as may; try again".into(),
            Self::Rejected(message) => message.clone(),
        }
    }

    /// How long to wait before the same request may succeed, where waiting helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after }
            | Self::TooMuchKept { retry_after }
            | Self::TooManyNewRooms { retry_after } => Some(*retry_after),
            // It takes what is old to go: asking sooner helps nobody.
            Self::LogFull | Self::QueueFull => Some(Duration::from_secs(5)),
            Self::Overloaded
            | Self::Unavailable
            | Self::Capacity
            | Self::Busy
            | Self::Draining
            | Self::Elsewhere
            | Self::TooManyConnections => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

/// A refusal as clients read it: `{ok: false, error: {code, message, retryAfterMs?}}`, with the deployment's own words
/// if it has some.
#[derive(Clone, Debug)]
pub struct Worded<'a> {
    /// What was refused.
    pub refusal: &'a Refusal,
    /// What people read.
    pub message: String,
}

impl Serialize for Worded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut answer = serializer.serialize_struct("refused", 2)?;
        answer.serialize_field("ok", &false)?;
        answer.serialize_field("error", &Reason { refusal: self.refusal, message: &self.message })?;
        answer.end()
    }
}

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Reason { refusal: self, message: &self.message() }.serialize(serializer)
    }
}

/// The `error` object of an ack: `{code, message, retryAfterMs?}`.
struct Reason<'a> {
    refusal: &'a Refusal,
    message: &'a str,
}

impl Serialize for Reason<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wait = self.refusal.retry_after();
        let mut object = serializer.serialize_struct("error", 2 + usize::from(wait.is_some()))?;
        object.serialize_field("code", self.refusal.code())?;
        object.serialize_field("message", self.message)?;
        if let Some(wait) = wait {
            // Rounded up: a client that waits exactly this long must not be a fraction too early.
            let ms = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
            object.serialize_field("retryAfterMs", &ms)?;
        }
        object.end()
    }
}

#[cfg(test)]
mod tests;
