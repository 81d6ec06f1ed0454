//! The outlet: hands frames and answers to socketioxide, which queues them for the client.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, SerializeTuple, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use socketioxide::adapter::LocalAdapter;
use socketioxide::socket::Socket;
use socketioxide::{SendError, SocketError};

use super::link::Link;
use crate::domain::Frame;
use crate::node::{CloseReason, Outlet, Undelivered};

/// The way to the client of one socket.
pub(super) struct SocketOutlet {
    /// Weak: the socket's handlers hold the session and with it this outlet.
    pub(super) socket: Weak<Socket<LocalAdapter>>,
    pub(super) link: Arc<Link>,
}

impl Outlet for SocketOutlet {
    fn deliver(&self, frame: &Frame) -> Result<(), Undelivered> {
        let socket = self.socket.upgrade().ok_or(Undelivered::Gone)?;
        let args = Args { args: &frame.args, attachments: &frame.attachments };
        socket.emit(&frame.name, &args).map_err(|error| undelivered(&error))
    }

    fn close(&self, reason: CloseReason) {
        match reason {
            CloseReason::Slow => self.link.kill("slow"),
            CloseReason::Draining => self.link.close_softly("draining"),
            CloseReason::Aged => self.link.close_softly("aged"),
            // It comes back by itself, with a new token if its page has one.
            CloseReason::Expired => self.link.close_softly("expired"),
            // So that it reads why; nothing of it is read any more.
            CloseReason::Revoked => self.link.close_softly("revoked"),
            CloseReason::Flooding => self.link.kill("flooding"),
            // Softly too. It may be the rightful one: a claim that was given up may arrive late, and a failover of Redis
            // may forget the last ones. Then its client comes back and claims again.
            CloseReason::Replaced => self.link.close_softly("replaced"),
            CloseReason::Kicked => {
                let socket = self.socket.upgrade().filter(|socket| socket.connected());
                // Who does not read the DISCONNECT may come back, but not to this session.
                if socket.is_none_or(|socket| socket.disconnect().is_err()) {
                    self.link.kill("kicked");
                }
            }
        }
    }
}

/// Why socketioxide did not take something for the client.
pub(super) fn undelivered(error: &SendError) -> Undelivered {
    match error {
        SendError::Socket(SocketError::InternalChannelFull) => Undelivered::Full,
        // What cannot be encoded cannot be sent again either; it was checked when it came in.
        SendError::Socket(SocketError::Closed) | SendError::Serialize(_) => Undelivered::Gone,
    }
}

/// Arguments as socketioxide's serializer takes them: texts pass unchanged, attachments stand where their
/// placeholders are.
struct Args<'a> {
    args: &'a [Box<RawValue>],
    attachments: &'a [Bytes],
}

impl Serialize for Args<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A tuple becomes arguments; a sequence would become one argument that is an array.
        let mut list = serializer.serialize_tuple(self.args.len())?;
        for arg in self.args {
            list.serialize_element(&WithAttachments { json: arg, attachments: self.attachments })?;
        }
        list.end()
    }
}

/// One JSON text with the attachments that it refers to.
pub(super) struct WithAttachments<'a> {
    pub(super) json: &'a RawValue,
    pub(super) attachments: &'a [Bytes],
}

impl Serialize for WithAttachments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.attachments.is_empty() {
            return self.json.serialize(serializer);
        }
        let value: Value = serde_json::from_str(self.json.get()).map_err(serde::ser::Error::custom)?;
        Part { value: &value, attachments: self.attachments }.serialize(serializer)
    }
}

/// A part of a decoded text.
struct Part<'a> {
    value: &'a Value,
    attachments: &'a [Bytes],
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let part = |value| Part { value, attachments: self.attachments };
        match self.value {
            Value::Object(fields) if fields.get("_placeholder") == Some(&Value::Bool(true)) => {
                let number = fields.get("num").and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
                let attachment = number.and_then(|number| self.attachments.get(number));
                serializer.serialize_bytes(attachment.ok_or_else(|| serde::ser::Error::custom("no such attachment"))?)
            }
            Value::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, &part(value))?;
                }
                map.end()
            }
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&part(item))?;
                }
                list.end()
            }
            other => other.serialize(serializer),
        }
    }
}
