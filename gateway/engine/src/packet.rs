//! What clients are sent: a packet is encoded once, for websockets with its frames' headers, and shared by all who
//! receive it.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::budget::{Budget, Charge};
use crate::frame::{self, Opcode};
use crate::inbound::Parser;
use crate::msgpack;

/// A packet for clients, encoded as websockets take it; other encodings are made when the first client needs them.
pub struct Packet {
    /// All frames of the packet: its text, then its attachments.
    websocket: Box<[u8]>,
    /// Where the text is in there, from the Engine.IO type on.
    text: Range<usize>,
    attachments: Box<[Range<usize>]>,
    /// None for what is Engine.IO's own.
    message: Option<Message>,
    /// For polling: the attachments as texts.
    encoded_attachments: OnceLock<Box<[String]>>,
    /// For clients with the MessagePack parser: one frame.
    msgpack: OnceLock<Box<[u8]>>,
    /// The same for polling.
    encoded_msgpack: OnceLock<String>,
    /// Its part of the budget, from when it first waits for a client until nobody needs it.
    charge: OnceLock<Charge>,
}

/// What a Socket.IO packet is about.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) namespace: Box<str>,
    pub(crate) id: Option<u64>,
    /// Where its JSON begins in the text.
    data: usize,
}

/// The types of Socket.IO packets that servers send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Connect = 0,
    Disconnect = 1,
    Event = 2,
    Ack = 3,
    ConnectError = 4,
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packet").field("text", &self.text()).finish_non_exhaustive()
    }
}

impl Packet {
    /// An event: `args` is the JSON array of its name and arguments, in which `{"_placeholder":true,"num":N}` stands for
    /// the Nth attachment.
    #[must_use]
    pub fn event(namespace: &str, args: &str, attachments: &[Bytes]) -> Arc<Self> {
        Self::message(Kind::Event, namespace, None, args, attachments)
    }

    /// The same for an event that the client is to answer, under a number below 2^53 that its session was not asked before.
    #[must_use]
    pub fn question(namespace: &str, id: u64, args: &str, attachments: &[Bytes]) -> Arc<Self> {
        Self::message(Kind::Event, namespace, Some(id), args, attachments)
    }

    /// The answer to an event that a client sent with a number: `args` is a JSON array.
    #[must_use]
    pub fn ack(namespace: &str, id: u64, args: &str, attachments: &[Bytes]) -> Arc<Self> {
        Self::message(Kind::Ack, namespace, Some(id), args, attachments)
    }

    pub(crate) fn message(
        kind: Kind,
        namespace: &str,
        id: Option<u64>,
        json: &str,
        attachments: &[Bytes],
    ) -> Arc<Self> {
        let mut text = String::with_capacity(json.len() + namespace.len() + 16);
        // Binary events and acks have types of their own in text.
        let digit = kind as u8 + if attachments.is_empty() { 0 } else { 3 };
        write!(text, "4{digit}").expect("a String takes everything");
        if !attachments.is_empty() {
            write!(text, "{}-", attachments.len()).expect("a String takes everything");
        }
        if namespace != "/" {
            text.push_str(namespace);
            text.push(',');
        }
        if let Some(id) = id {
            write!(text, "{id}").expect("a String takes everything");
        }
        let data = text.len();
        text.push_str(json);
        let message = Message { kind, namespace: namespace.into(), id, data };
        Arc::new(Self::new(&text, attachments, Some(message)))
    }

    /// A packet of Engine.IO's own: its type and what follows.
    pub(crate) fn engine(text: &str) -> Arc<Self> {
        Arc::new(Self::new(text, &[], None))
    }

    /// The answer to a websocket's ping.
    pub(crate) fn pong(payload: &[u8]) -> Arc<Self> {
        let mut pong = Self::new("", &[], None);
        pong.websocket = frame::frame(Opcode::Pong, payload).into();
        Arc::new(pong)
    }

    fn new(text: &str, attachments: &[Bytes], message: Option<Message>) -> Self {
        let size: usize = attachments.iter().map(|bytes| bytes.len() + frame::MAX_HEADER).sum();
        let mut websocket = Vec::with_capacity(frame::MAX_HEADER + text.len() + size);
        let mut add = |opcode, payload: &[u8]| {
            frame::write_header(&mut websocket, opcode, payload.len());
            websocket.extend_from_slice(payload);
            websocket.len() - payload.len()..websocket.len()
        };
        let text = add(Opcode::Text, text.as_bytes());
        let attachments = attachments.iter().map(|bytes| add(Opcode::Binary, bytes)).collect();
        Self {
            websocket: websocket.into(),
            text,
            attachments,
            message,
            encoded_attachments: OnceLock::new(),
            msgpack: OnceLock::new(),
            encoded_msgpack: OnceLock::new(),
            charge: OnceLock::new(),
        }
    }

    /// How much it weighs, in bytes: what counts against what may wait for a client.
    #[must_use]
    pub fn size(&self) -> usize {
        self.websocket.len()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.websocket[self.text.clone()]).expect("it was made from a text")
    }

    /// The whole packet for a websocket.
    pub(crate) fn frames(&self, parser: Parser) -> &[u8] {
        match &self.message {
            Some(message) if parser == Parser::Msgpack => {
                self.msgpack.get_or_init(|| frame::frame(Opcode::Binary, &self.encode_msgpack(message)).into())
            }
            _ => &self.websocket,
        }
    }

    /// In how many packets of a poll's answer it goes out.
    pub(crate) fn parts(&self, parser: Parser) -> usize {
        if parser == Parser::Msgpack { 1 } else { 1 + self.attachments.len() }
    }

    /// One of these packets.
    pub(crate) fn part(&self, parser: Parser, part: usize) -> &str {
        match &self.message {
            Some(message) if parser == Parser::Msgpack => {
                self.encoded_msgpack.get_or_init(|| as_text(&self.encode_msgpack(message)))
            }
            _ if part == 0 => self.text(),
            _ => {
                let encode = |range: &Range<usize>| as_text(&self.websocket[range.clone()]);
                &self.encoded_attachments.get_or_init(|| self.attachments.iter().map(encode).collect())[part - 1]
            }
        }
    }

    /// Where in the frames a part begins, for a packet of which polls had some.
    pub(crate) fn start_of_part(&self, parser: Parser, part: usize) -> usize {
        match part {
            0 => 0,
            _ if parser == Parser::Msgpack => self.frames(parser).len(),
            1 => self.text.end,
            _ => self.attachments[part - 2].end,
        }
    }

    fn encode_msgpack(&self, message: &Message) -> Vec<u8> {
        let attachments: Vec<&[u8]> = self.attachments.iter().map(|range| &self.websocket[range.clone()]).collect();
        msgpack::encode(message, &self.text()[message.data..], &attachments)
    }

    /// Whether it is Engine.IO's own, like a ping: small, and not for anybody to refuse.
    pub(crate) fn is_own(&self) -> bool {
        self.message.is_none()
    }

    /// Counts it against the budget, once however many clients it waits for; false if there is not enough left now.
    pub(crate) fn charge(&self, budget: &Arc<Budget>) -> bool {
        // One ping serves all clients for ever.
        if self.is_own() || self.charge.get().is_some() {
            return true;
        }
        let charge = budget.charge(self.websocket.len());
        // Of two at the same time one gives it back.
        charge.map(|charge| self.charge.set(charge).ok()).is_some()
    }
}

/// Bytes as polling carries them.
fn as_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(1 + bytes.len().div_ceil(3) * 4);
    text.push('b');
    STANDARD.encode_string(bytes, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_read_as_the_protocol_says() {
        let bytes = [Bytes::from_static(b"\x01\x02"), Bytes::new()];
        let cases = [
            (Packet::event("/", "[\"a\"]", &[]), "42[\"a\"]"),
            (Packet::event("/n", "[\"a\"]", &[]), "42/n,[\"a\"]"),
            (Packet::ack("/", 0, "[1]", &[]), "430[1]"),
            (Packet::ack("/n", 12, "[1]", &bytes), "462-/n,12[1]"),
            (Packet::message(Kind::Connect, "/", None, "{}", &[]), "40{}"),
            (Packet::message(Kind::ConnectError, "/n", None, "{}", &[]), "44/n,{}"),
            (Packet::message(Kind::Disconnect, "/n", None, "", &[]), "41/n,"),
            (Packet::engine("2"), "2"),
        ];
        for (packet, text) in cases {
            assert_eq!(packet.part(Parser::Json, 0), text);
        }
    }

    #[test]
    fn a_websocket_gets_attachments_in_frames_and_a_poll_as_texts() {
        let packet = Packet::event("/", "[1]", &[Bytes::from_static(&[0xFB, 0xFF]), Bytes::new()]);
        assert_eq!(packet.frames(Parser::Json), b"\x81\x07452-[1]\x82\x02\xFB\xFF\x82\x00");
        let parts: Vec<_> = (0..packet.parts(Parser::Json)).map(|part| packet.part(Parser::Json, part)).collect();
        assert_eq!(parts, ["452-[1]", "b+/8=", "b"]);
        let starts: Vec<_> = (0..=3).map(|part| packet.start_of_part(Parser::Json, part)).collect();
        assert_eq!(starts, [0, 9, 13, 15]);
    }

    #[test]
    fn it_counts_once_however_many_wait_for_it() {
        let budget = Budget::new(1000);
        let packet = Packet::event("/", "[1]", &[]);
        assert!(packet.charge(&budget) && packet.charge(&budget));
        assert_eq!(budget.used(), packet.size());
        drop(packet);
        assert_eq!(budget.used(), 0);
        let large = Packet::event("/", &"x".repeat(900), &[]);
        let other = budget.charge(500).unwrap();
        assert!(!large.charge(&budget));
        drop(other);
        assert!(large.charge(&budget), "what was too much once is not for ever");
    }
}
