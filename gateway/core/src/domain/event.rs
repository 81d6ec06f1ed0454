//! An event: a name with JSON arguments and attachments, in the form the log keeps and nodes exchange.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Except, Excepted, Offset, SessionId};
use bytes::Bytes;

/// What members of a room hear, before it has a place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event's name.
    pub name: String,
    /// The arguments: a JSON array, its elements never decoded on the way. Where there are attachments, a
    /// `{"_placeholder":true,"num":N}` stands for the Nth, as on the wire of Socket.IO. [`Event::OFFSET`] stands for the
    /// event's own offset.
    pub args: String,
    /// Binary attachments.
    pub attachments: Vec<Bytes>,
    /// Who does not hear it. Several may be in events that are written when all nodes read
    /// [`crate::formats::Format::Excepting`].
    pub except: Option<Except>,
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

    /// The first byte of the encoded form, and that of one that several do not hear. A node that meets another one skips the
    /// record and logs it instead of guessing.
    const FORMAT: u8 = 1;
    const EXCEPTING: u8 = 2;

    /// The form for the log and the bus: a format byte, then MessagePack.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { name, args, attachments, except, at_ms } = self;
        let mut bytes = Vec::with_capacity(args.len() + 64);
        let encoded = match except {
            Some(Except::These(these)) => {
                bytes.push(Self::EXCEPTING);
                rmp_serde::encode::write(&mut bytes, &(name, args, attachments, &**these, at_ms))
            }
            None => {
                bytes.push(Self::FORMAT);
                rmp_serde::encode::write(&mut bytes, &(name, args, attachments, None::<SessionId>, at_ms))
            }
            Some(Except::Session(session)) => {
                bytes.push(Self::FORMAT);
                rmp_serde::encode::write(&mut bytes, &(name, args, attachments, Some(session), at_ms))
            }
        };
        encoded.expect("an event always encodes");
        bytes
    }

    /// Reads [`Self::encode`]'s forms; nothing if it is of another one or damaged.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (format, body) = bytes.split_first()?;
        let (name, args, attachments, except, at_ms) = match *format {
            Self::FORMAT => {
                let (name, args, attachments, one, at_ms) = rmp_serde::from_slice(body).ok()?;
                (name, args, attachments, Option::<SessionId>::map(one, Except::Session), at_ms)
            }
            Self::EXCEPTING => {
                let (name, args, attachments, these, at_ms) = rmp_serde::from_slice(body).ok()?;
                (name, args, attachments, Some(Except::These(Arc::<Excepted>::new(these))), at_ms)
            }
            _ => return None,
        };
        Some(Self { name, args, attachments, except, at_ms })
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
            except: Some(Except::Session(SessionId::random())),
            at_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn an_event_survives_its_encoded_form() {
        let event = event();
        assert_eq!(Event::decode(&event.encode()), Some(event.clone()));
        let these = Excepted { busy: true, ..Excepted::default() };
        let volatile = Event { except: Some(Except::These(these.into())), ..event };
        assert_eq!(Event::decode(&volatile.encode()), Some(volatile));
    }

    /// Nodes of other versions read and write it: a change here needs another format.
    #[test]
    fn the_form_of_an_event_stays() {
        let session = SessionId::parse("000102030405060708090a0b0c0d0e0f").unwrap();
        let plain = Event {
            name: "e".into(),
            args: "[1]".into(),
            attachments: vec![Bytes::from_static(&[7])],
            except: None,
            at_ms: 9,
        };
        let written = [1, 0x95, 0xa1, b'e', 0xa3, b'[', b'1', b']', 0x91, 0xc4, 1, 7, 0xc0, 9];
        assert_eq!(plain.encode(), written);
        let others = Event { except: Some(Except::Session(session)), ..plain.clone() };
        assert_eq!(others.encode()[..2], [1, 0x95]);
        let rooms = vec![crate::domain::RoomName::parse("r").unwrap()];
        let these = Excepted { sessions: vec![session], rooms, busy: false };
        let excepting = Event { except: Some(Except::These(these.into())), ..plain.clone() };
        assert_eq!(excepting.encode()[..2], [2, 0x95]);
        for event in [plain, others, excepting] {
            assert_eq!(Event::decode(&event.encode()), Some(event));
        }
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
