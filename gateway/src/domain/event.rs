//! An event: a name with JSON arguments and attachments, in the form the log keeps and nodes exchange.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Offset, SessionId};

/// What members of a room hear, before it has a place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The event's name.
    pub name: String,
    /// The arguments: a JSON array, its elements never decoded on the way. Where there are attachments, a
    /// `{"_placeholder":true,"num":N}` stands for the Nth, as on the wire of Socket.IO. [`Event::OFFSET`] stands for the
    /// event's own offset.
    pub args: String,
    /// Binary attachments.
    pub attachments: Vec<Bytes>,
    /// The session that does not hear it, for events that are meant for the others.
    pub except: Option<SessionId>,
    /// When the gateway took it, in milliseconds since 1970 by the clock of the node that took it.
    pub at_ms: u64,
}

impl Event {
    /// What stands among the arguments where the event's own offset belongs, which is not known before the event is in
    /// the log. JSON has no such character, so nothing that a client sends can be taken for it.
    pub const OFFSET: char = '\u{1}';

    /// The arguments of the event at its place in the log: a JSON array.
    #[must_use]
    pub fn args_at(&self, offset: Offset) -> Cow<'_, str> {
        if self.args.contains(Self::OFFSET) {
            self.args.replace(Self::OFFSET, &format!("\"{offset}\"")).into()
        } else {
            Cow::Borrowed(&self.args)
        }
    }

    /// The first byte of the encoded form. A node that meets another one skips the record and logs it instead of
    /// guessing.
    const FORMAT: u8 = 1;

    /// The form for the log and the bus: a format byte, then MessagePack.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.args.len() + 64);
        bytes.push(Self::FORMAT);
        rmp_serde::encode::write(&mut bytes, self).expect("an event always encodes");
        bytes
    }

    /// Reads [`Self::encode`]'s form; nothing if it is of another format or damaged.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (format, body) = bytes.split_first()?;
        (*format == Self::FORMAT).then(|| rmp_serde::from_slice(body).ok()).flatten()
    }

    /// How much it weighs, in bytes: what counts against `limits.message_bytes` and the log.
    #[must_use]
    pub fn size(&self) -> usize {
        self.name.len() + self.args.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            name: "message".into(),
            args: r#"[{"data":{"_placeholder":true,"num":0}}]"#.into(),
            attachments: vec![Bytes::from_static(&[0, 159, 146, 150])],
            except: Some(SessionId::random()),
            at_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn an_event_survives_its_encoded_form() {
        let event = event();
        assert_eq!(Event::decode(&event.encode()), Some(event));
    }

    #[test]
    fn an_event_can_carry_its_own_offset() {
        let event = Event { args: "[\"text\",\u{1},null]".into(), ..event() };
        assert_eq!(event.args_at(Offset(7)), r#"["text","7",null]"#);
    }

    #[test]
    fn damaged_and_foreign_records_are_refused() {
        let mut bytes = event().encode();
        assert_eq!(Event::decode(&bytes[..bytes.len() - 1]), None);
        bytes[0] = 200;
        assert_eq!(Event::decode(&bytes), None);
        assert_eq!(Event::decode(&[]), None);
    }
}
