//! Dialects: the forms in which the emitters of Socket.IO write what they wish for. Pure: a message comes in, a wish or the
//! reason why it is none comes out.

mod entry;
mod manager;
mod message;
mod msgpack;
mod packet;

pub(super) use entry::entry;
pub(super) use manager::manager;
pub(super) use message::{Channels, message};

use std::sync::Arc;

use crate::content::json::{Unreadable, check_readable};
use crate::content::{Bounds, check_emitted, check_placeholders};
use crate::domain::{Event, RoomName, SessionId};

/// Rooms and sessions that one wish may name. Of an emit to many rooms each keeps the rooms before it, so that everybody
/// hears it once: a thousand would be a megabyte for each event.
const MAX_TARGETS: usize = 256;
/// Bytes of a message beyond four times what an event may weigh: names of rooms, and what is around the event.
const ENVELOPE_BYTES: usize = 128 * 1024;

/// What an emitter wishes for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// Whom it is about.
    pub(super) audience: Audience,
    /// What is to be done.
    pub(super) what: What,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// They are to hear an event. `volatile`: it may be lost.
    Emit { event: Event, volatile: bool },
    /// They are to be put into rooms.
    Join(Vec<RoomName>),
    /// They are to be taken out of rooms.
    Leave(Vec<RoomName>),
    /// Their sessions are to be ended.
    Disconnect,
}

impl What {
    /// As a label of metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Emit { .. } => "emit",
            Self::Join(_) => "join",
            Self::Leave(_) => "leave",
            Self::Disconnect => "disconnect",
        }
    }
}

/// Whom a wish is about: sessions of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Audience {
    /// The namespace.
    pub(super) namespace: Arc<str>,
    /// The members of these rooms, and these sessions. Without any: everybody.
    pub(super) to: Targets,
    /// But not the members of these rooms, and not these sessions.
    pub(super) except: Targets,
}

/// Rooms and sessions. In Socket.IO each socket has a room that is called like it; here that is a session, by its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Targets {
    /// Rooms, each once.
    pub(super) rooms: Vec<RoomName>,
    /// Sessions, each once.
    pub(super) sessions: Vec<SessionId>,
}

impl Targets {
    /// Rooms of a namespace and sessions by their names.
    fn of(namespace: &str, names: Vec<String>) -> Result<Self, Unheard> {
        let mut targets = Self::default();
        for name in names {
            match SessionId::parse(&name).filter(|id| id.to_string() == name) {
                Some(session) if !targets.sessions.contains(&session) => targets.sessions.push(session),
                Some(_) => {}
                None => {
                    let room = RoomName::parse_in(namespace, &name).map_err(|_| Unheard::BadRoom)?;
                    if !targets.rooms.contains(&room) {
                        targets.rooms.push(room);
                    }
                }
            }
            if targets.rooms.len() + targets.sessions.len() > MAX_TARGETS {
                return Err(Unheard::TooManyTargets);
            }
        }
        Ok(targets)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.sessions.is_empty()
    }
}

/// Why a message was not heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unheard {
    #[error("it is not in the form of its library")]
    Malformed,
    #[error("it is larger than an event may be")]
    TooLarge,
    #[error("it nests more deeply than an event may")]
    TooDeep,
    #[error("a room in it has no name that rooms may have")]
    BadRoom,
    #[error("its namespace has no name that namespaces may have")]
    BadNamespace,
    #[error("its event has no name that clients may be told")]
    BadEvent,
    #[error("its arguments or attachments are more or other than an event may have")]
    BadArguments,
    #[error("it names more than {MAX_TARGETS} rooms")]
    TooManyTargets,
    #[error(
        "it is a pickle, as python-socketio wrote them before 5.14; those are never read, as reading one runs what is in it"
    )]
    Pickle,
    #[error("it asks for something that only servers of Socket.IO do for each other")]
    Unsupported,
}

impl Unheard {
    /// As a label of metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
            Self::BadRoom => "bad_room",
            Self::BadNamespace => "bad_namespace",
            Self::BadEvent => "bad_event",
            Self::BadArguments => "bad_arguments",
            Self::TooManyTargets => "too_many_rooms",
            Self::Pickle => "pickle",
            Self::Unsupported => "unsupported",
        }
    }
}

/// What an event may be: as for those that come over HTTP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) bounds: Bounds,
    pub(super) attachments: usize,
}

impl Rules {
    /// The largest message that is looked at, in bytes: with room for base64, escapes and what is around the event.
    pub(super) fn message_bytes(&self) -> usize {
        self.bounds.message_bytes.saturating_mul(4).saturating_add(ENVELOPE_BYTES)
    }

    /// An event of the JSON texts of its arguments.
    fn event(&self, name: String, args: &[&str], attachments: Vec<bytes::Bytes>) -> Result<Event, Unheard> {
        check_emitted(&name).map_err(|_| Unheard::BadEvent)?;
        if self.bounds.check_arguments(args.len()).is_err() || attachments.len() > self.attachments {
            return Err(Unheard::BadArguments);
        }
        let args = format!("[{}]", args.join(","));
        let event = Event { name, args, attachments, except: None, at_ms: 0 };
        if event.size() > self.bounds.message_bytes {
            return Err(Unheard::TooLarge);
        }
        check_readable(&event.args, self.bounds.json_depth).map_err(|why| match why {
            Unreadable::Depth => Unheard::TooDeep,
            Unreadable::Number => Unheard::BadArguments,
        })?;
        check_placeholders(&event.args, event.attachments.len()).map_err(|_| Unheard::BadArguments)?;
        Ok(event)
    }
}

/// A namespace by its name.
fn namespace(name: &str) -> Result<Arc<str>, Unheard> {
    let fits = name.starts_with('/') && name.len() <= RoomName::MAX_BYTES && !name.chars().any(char::is_control);
    if fits { Ok(name.into()) } else { Err(Unheard::BadNamespace) }
}

/// The names in a list, or the one that is there instead of one. Numbers are names, too: most languages have them so.
fn names(list: &serde_json::Value) -> Result<Vec<String>, Unheard> {
    use serde_json::Value;
    let name = |value: &Value| match value {
        Value::String(name) => Ok(name.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
        _ => Err(Unheard::BadRoom),
    };
    match list {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list.iter().map(name).collect(),
        one => Ok(vec![name(one)?]),
    }
}

#[cfg(test)]
fn rules() -> Rules {
    Rules { bounds: Bounds { message_bytes: 1000, json_depth: 8, arguments: 4 }, attachments: 2 }
}
