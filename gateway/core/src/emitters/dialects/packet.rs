//! What the libraries for Node and their kin have in common: a packet of Socket.IO, and the options with which it is sent.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Audience, Rules, Targets, Unheard, What, Wish, names, namespace};

/// A packet with an event, and one with an event and attachments.
const EVENTS: [u64; 2] = [2, 5];
const ROOT: &str = "/";

/// A packet as JSON.
#[derive(Deserialize)]
pub(super) struct Packet<'a> {
    #[serde(rename = "type")]
    kind: u64,
    /// The event's name and its arguments.
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) nsp: Option<Cow<'a, str>>,
}

/// To whom.
#[derive(Deserialize, Default)]
pub(super) struct Options {
    #[serde(default)]
    rooms: Value,
    #[serde(default)]
    except: Value,
    #[serde(default)]
    flags: Option<Flags>,
}

/// How. What else there is says nothing to a gateway: whether it is compressed is between it and its clients, and what is
/// for one server only (`local`) is not said to others.
#[derive(Deserialize, Default)]
struct Flags {
    #[serde(default)]
    volatile: Option<bool>,
}

impl Options {
    fn audience(&self, of: &str) -> Result<Audience, Unheard> {
        let namespace = namespace(of)?;
        let targets = |list| Targets::of(&namespace, names(list)?);
        let (to, except) = (targets(&self.rooms)?, targets(&self.except)?);
        Ok(Audience { namespace, to, except })
    }

    /// The wish that an event is sent with these options.
    pub(super) fn emit(&self, packet: &Packet<'_>, attachments: Vec<Bytes>, rules: &Rules) -> Result<Wish, Unheard> {
        if !EVENTS.contains(&packet.kind) {
            return Err(Unheard::Unsupported);
        }
        let (name, args) = packet.data.split_first().ok_or(Unheard::BadEvent)?;
        let name = serde_json::from_str(name.get()).map_err(|_| Unheard::BadEvent)?;
        let args: Vec<_> = args.iter().map(|arg| arg.get()).collect();
        let event = rules.event(name, &args, attachments)?;
        let audience = self.audience(packet.nsp.as_deref().unwrap_or(ROOT))?;
        let volatile = self.flags.as_ref().and_then(|flags| flags.volatile).unwrap_or_default();
        Ok(Wish { audience, what: What::Emit { event, volatile } })
    }

    /// The wish that sockets are put into rooms.
    pub(super) fn join(&self, of: &str, rooms: &Value) -> Result<Wish, Unheard> {
        let audience = self.audience(of)?;
        Ok(Wish { what: What::Join(rooms_of(&audience, rooms)?), audience })
    }

    /// The wish that sockets are taken out of rooms.
    pub(super) fn leave(&self, of: &str, rooms: &Value) -> Result<Wish, Unheard> {
        let audience = self.audience(of)?;
        Ok(Wish { what: What::Leave(rooms_of(&audience, rooms)?), audience })
    }

    /// The wish that sockets are disconnected.
    pub(super) fn disconnect(&self, of: &str) -> Result<Wish, Unheard> {
        Ok(Wish { audience: self.audience(of)?, what: What::Disconnect })
    }

    /// The options that mean one socket, or one room.
    pub(super) fn to(name: &str) -> Self {
        Self { rooms: Value::String(name.to_owned()), ..Self::default() }
    }
}

/// Rooms that are entered or left. A session's own cannot be: nobody else may be in it.
fn rooms_of(audience: &Audience, rooms: &Value) -> Result<Vec<crate::domain::RoomName>, Unheard> {
    let targets = Targets::of(&audience.namespace, names(rooms)?)?;
    if targets.rooms.is_empty() || !targets.sessions.is_empty() { Err(Unheard::BadRoom) } else { Ok(targets.rooms) }
}
