//! What clients send: Engine.IO packets, and the Socket.IO packets in them, put together with their attachments.

use bytes::Bytes;

use crate::msgpack;

/// An event, or an answer to one, as a client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The JSON array of the event's name and arguments, not looked at. Where bytes belong stands
    /// `{"_placeholder":true,"num":N}` for the Nth attachment.
    pub text: String,
    /// Its attachments.
    pub attachments: Vec<Bytes>,
    /// Under which number the client waits for an acknowledgement, or answers.
    pub ack: Option<u64>,
}

/// How a client writes Socket.IO packets. Known from its first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Parser {
    /// Text, with attachments in packets of their own.
    #[default]
    Json,
    /// `socket.io-msgpack-parser`: every packet is one binary message.
    Msgpack,
}

/// A Socket.IO packet, whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// Wants in, with what the client has to say about itself: a JSON text.
    Connect {
        namespace: String,
        auth: Option<String>,
    },
    Disconnect {
        namespace: String,
    },
    Event {
        namespace: String,
        event: Event,
    },
    /// An answer to an event that had a number.
    Ack {
        namespace: String,
        answer: Event,
    },
}

/// What is no Socket.IO packet, or none that clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PacketError {
    #[error("not a packet of the protocol")]
    Malformed,
    #[error("more attachments than an event may have")]
    TooManyAttachments,
    #[error("attachments that are larger than an event may be")]
    TooLarge,
    #[error("a packet before the attachments of the last one")]
    Interrupted,
    #[error("bytes that belong to no packet")]
    Stray,
}

/// What bounds an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) attachments: usize,
    /// Of all attachments of an event together.
    pub(crate) bytes: usize,
}

/// Puts the packets of one connection together.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    parser: Option<Parser>,
    /// An event whose attachments are still to come.
    unfinished: Option<Box<Unfinished>>,
}

#[derive(Debug)]
struct Unfinished {
    namespace: String,
    is_event: bool,
    event: Event,
    expected: usize,
    /// Of its attachments.
    bytes: usize,
}

impl Assembler {
    /// How the client writes, as far as that is known.
    pub(crate) fn parser(&self) -> Parser {
        self.parser.unwrap_or_default()
    }

    /// How many bytes it holds.
    pub(crate) fn held(&self) -> usize {
        let held = |one: &Unfinished| one.bytes + one.event.text.len() + one.namespace.len();
        self.unfinished.as_deref().map_or(0, held)
    }

    /// Takes a message that is text; returns the packet if it is whole.
    pub(crate) fn text(&mut self, text: &str, bounds: Bounds) -> Result<Option<Packet>, PacketError> {
        if self.unfinished.is_some() {
            return Err(PacketError::Interrupted);
        }
        if *self.parser.get_or_insert(Parser::Json) != Parser::Json {
            return Err(PacketError::Malformed);
        }
        let head = Head::read(text)?;
        let namespace = head.namespace.to_owned();
        let event = || Event { text: head.data.to_owned(), attachments: Vec::new(), ack: head.id };
        let (is_event, expected) = match head.kind {
            b'0' => {
                let auth = (!head.data.is_empty()).then(|| head.data.to_owned());
                return Ok(Some(Packet::Connect { namespace, auth }));
            }
            b'1' => return Ok(Some(Packet::Disconnect { namespace })),
            b'2' => return Ok(Some(Packet::Event { namespace, event: event() })),
            b'3' => return Ok(Some(Packet::Ack { namespace, answer: event() })),
            b'5' => (true, head.attachments.ok_or(PacketError::Malformed)?),
            b'6' => (false, head.attachments.ok_or(PacketError::Malformed)?),
            // CONNECT_ERROR is the server's.
            _ => return Err(PacketError::Malformed),
        };
        if expected > bounds.attachments {
            return Err(PacketError::TooManyAttachments);
        }
        let unfinished = Unfinished { namespace, is_event, event: event(), expected, bytes: 0 };
        if expected == 0 {
            return Ok(Some(unfinished.finish()));
        }
        self.unfinished = Some(Box::new(unfinished));
        Ok(None)
    }

    /// Takes a message that is bytes; returns the packet if it is whole.
    pub(crate) fn bytes(&mut self, bytes: &[u8], bounds: Bounds) -> Result<Option<Packet>, PacketError> {
        if *self.parser.get_or_insert(Parser::Msgpack) == Parser::Msgpack {
            return msgpack::decode(bytes, bounds).map(Some);
        }
        let Some(unfinished) = &mut self.unfinished else { return Err(PacketError::Stray) };
        unfinished.bytes += bytes.len();
        if unfinished.bytes > bounds.bytes {
            return Err(PacketError::TooLarge);
        }
        unfinished.event.attachments.push(Bytes::copy_from_slice(bytes));
        if unfinished.event.attachments.len() < unfinished.expected {
            return Ok(None);
        }
        Ok(self.unfinished.take().map(|unfinished| unfinished.finish()))
    }
}

impl Unfinished {
    fn finish(self) -> Packet {
        let Self { namespace, is_event, event, .. } = self;
        if is_event { Packet::Event { namespace, event } } else { Packet::Ack { namespace, answer: event } }
    }
}

/// The parts of a packet's text: `<type>[<attachments>-][<namespace>,][<id>][<data>]`.
#[derive(Debug, PartialEq, Eq)]
struct Head<'a> {
    kind: u8,
    attachments: Option<usize>,
    namespace: &'a str,
    id: Option<u64>,
    data: &'a str,
}

impl<'a> Head<'a> {
    fn read(text: &'a str) -> Result<Self, PacketError> {
        let (kind, mut rest) = text.split_at_checked(1).ok_or(PacketError::Malformed)?;
        let kind = kind.as_bytes()[0];
        let mut attachments = None;
        if matches!(kind, b'5' | b'6') {
            let (count, after) = rest.split_once('-').ok_or(PacketError::Malformed)?;
            attachments = Some(number(count).ok_or(PacketError::Malformed)? as usize);
            rest = after;
        }
        let mut namespace = "/";
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (id, data) = rest.split_at(digits);
        let id = if id.is_empty() { None } else { Some(number(id).ok_or(PacketError::Malformed)?) };
        Ok(Self { kind, attachments, namespace, id, data })
    }
}

/// A number as clients count: no sign, and JavaScript can hold it.
fn number(digits: &str) -> Option<u64> {
    const LARGEST: u64 = (1 << 53) - 1;
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten().filter(|number| *number <= LARGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { attachments: 2, bytes: 10 };

    fn event(namespace: &str, text: &str, ack: Option<u64>, attachments: &[&'static [u8]]) -> Packet {
        let attachments = attachments.iter().map(|bytes| Bytes::from_static(bytes)).collect();
        Packet::Event { namespace: namespace.into(), event: Event { text: text.into(), attachments, ack } }
    }

    fn answer(namespace: &str, text: &str, ack: Option<u64>, attachments: &[&'static [u8]]) -> Packet {
        let Packet::Event { namespace, event } = event(namespace, text, ack, attachments) else { unreachable!() };
        Packet::Ack { namespace, answer: event }
    }

    fn text(text: &str) -> Result<Option<Packet>, PacketError> {
        Assembler::default().text(text, BOUNDS)
    }

    #[test]
    fn packets_as_clients_write_them() {
        let connect = |namespace: &str, auth: Option<&str>| Packet::Connect {
            namespace: namespace.into(),
            auth: auth.map(Into::into),
        };
        let cases = [
            ("0", connect("/", None)),
            ("0{\"token\":1}", connect("/", Some("{\"token\":1}"))),
            ("0/,{}", connect("/", Some("{}"))),
            ("0/n", connect("/n", None)),
            ("0/n,", connect("/n", None)),
            ("1", Packet::Disconnect { namespace: "/".into() }),
            ("1/n,", Packet::Disconnect { namespace: "/n".into() }),
            ("2[\"a\"]", event("/", "[\"a\"]", None, &[])),
            ("212[\"a\"]", event("/", "[\"a\"]", Some(12), &[])),
            ("2/n,0[\"a,b\"]", event("/n", "[\"a,b\"]", Some(0), &[])),
            ("2[\"\\u00e9\\/\\ud83d\"]", event("/", "[\"\\u00e9\\/\\ud83d\"]", None, &[])),
            ("2", event("/", "", None, &[])),
            ("31[]", answer("/", "[]", Some(1), &[])),
            ("3/n,12[\"a\"]", answer("/n", "[\"a\"]", Some(12), &[])),
            ("3[]", answer("/", "[]", None, &[])),
            ("50-[\"a\"]", event("/", "[\"a\"]", None, &[])),
        ];
        for (packet, expected) in cases {
            assert_eq!(text(packet), Ok(Some(expected)), "{packet}");
        }
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for packet in ["", "4{}", "7", "x", "\u{e9}", "5[\"a\"]", "5x-[]", "5-1-[]", "6[]", "299999999999999999[\"a\"]"]
        {
            assert_eq!(text(packet), Err(PacketError::Malformed), "{packet}");
        }
        assert_eq!(text("53-[]"), Err(PacketError::TooManyAttachments));
    }

    #[test]
    fn an_event_waits_for_its_attachments_and_nothing_comes_between() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.text("52-/n,7[1]", BOUNDS), Ok(None));
        assert_eq!(assembler.bytes(b"", BOUNDS), Ok(None));
        assert_eq!(assembler.text("2[]", BOUNDS), Err(PacketError::Interrupted));
        let whole = event("/n", "[1]", Some(7), &[b"", b"xy"]);
        assert_eq!(assembler.bytes(b"xy", BOUNDS), Ok(Some(whole)));
        assert_eq!(assembler.held(), 0);
        assert_eq!(assembler.bytes(b"xy", BOUNDS), Err(PacketError::Stray));
        assert_eq!(assembler.text("61-1[1]", BOUNDS), Ok(None));
        assert_eq!(assembler.bytes(b"xy", BOUNDS), Ok(Some(answer("/", "[1]", Some(1), &[b"xy"]))));
    }

    #[test]
    fn attachments_are_bounded_together() {
        let mut assembler = Assembler::default();
        assembler.text("52-[1]", BOUNDS).unwrap();
        assembler.bytes(&[0; 6], BOUNDS).unwrap();
        assert_eq!(assembler.bytes(&[0; 5], BOUNDS), Err(PacketError::TooLarge));
    }

    #[test]
    fn all_that_is_held_of_an_event_counts() {
        let mut assembler = Assembler::default();
        assembler.text(&format!("52-/{},7[1]", "n".repeat(50)), BOUNDS).unwrap();
        assert_eq!(assembler.held(), 51 + 3);
        assembler.bytes(b"xy", BOUNDS).unwrap();
        assert_eq!(assembler.held(), 51 + 3 + 2);
    }

    #[test]
    fn the_first_packet_tells_the_parser() {
        let mut assembler = Assembler::default();
        assembler.text("0", BOUNDS).unwrap();
        assert_eq!(assembler.parser(), Parser::Json);
        assert_eq!(assembler.bytes(b"x", BOUNDS), Err(PacketError::Stray));
        let mut assembler = Assembler::default();
        assembler.bytes(b"\x81", BOUNDS).unwrap_err();
        assert_eq!(assembler.parser(), Parser::Msgpack);
        assert_eq!(assembler.text("0", BOUNDS), Err(PacketError::Malformed));
    }

    proptest! {
        /// Whatever comes, the assembler answers and holds no more than it may.
        #[test]
        fn any_texts_and_bytes(messages in prop::collection::vec(("[0-6]{0,2}[-/,0-9a\\[\\]{}\"]{0,12}", any::<bool>()), 0..12)) {
            let mut assembler = Assembler::default();
            for (message, is_text) in messages {
                let packet = if is_text { assembler.text(&message, BOUNDS) } else { assembler.bytes(message.as_bytes(), BOUNDS) };
                if packet.is_err() { break }
                prop_assert!(assembler.held() <= 14 + BOUNDS.bytes);
            }
        }
    }
}
