//! Payloads: what one request of a polling client carries, and one answer to it.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// What separates packets (Engine.IO 4).
const SEPARATOR: u8 = 0x1E;
/// Packets of one answer. python-engineio reads no more, and ends the connection.
pub(crate) const MAX_PACKETS: usize = 16;
/// Bytes after which an answer takes no further packet.
const ENOUGH: usize = 256 * 1024;

/// Base64 with or without padding: some clients leave it out.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One packet of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Text(&'a str),
    Binary(Vec<u8>),
}

/// The packets of a body, one after the other. Nothing where one cannot be read.
pub(crate) fn parts(body: &str) -> impl Iterator<Item = Option<Part<'_>>> {
    body.split(char::from(SEPARATOR)).map(|part| match part.strip_prefix('b') {
        Some(encoded) => {
            // The Java client's lines end.
            let encoded: Vec<u8> = encoded.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
            LENIENT.decode(encoded).ok().map(Part::Binary)
        }
        None => Some(Part::Text(part)),
    })
}

/// How many packets a body has, without reading them.
pub(crate) fn count(body: &[u8]) -> usize {
    1 + memchr::memchr_iter(SEPARATOR, body).count()
}

/// An answer that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    body: Vec<u8>,
    packets: usize,
}

impl Payload {
    /// Whether another packet fits.
    pub(crate) fn has_room(&self) -> bool {
        self.packets < MAX_PACKETS && self.body.len() < ENOUGH
    }

    pub(crate) fn len(&self) -> usize {
        self.body.len()
    }

    pub(crate) fn push(&mut self, packet: &str) {
        if self.packets > 0 {
            self.body.push(SEPARATOR);
        }
        self.body.extend_from_slice(packet.as_bytes());
        self.packets += 1;
    }

    pub(crate) fn into_body(self) -> Vec<u8> {
        self.body
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bodies_as_clients_write_them() {
        let read = |body| parts(body).collect::<Vec<_>>();
        assert_eq!(read("40"), [Some(Part::Text("40"))]);
        let three = "452-[1]\u{1e}bAQI=\u{1e}bAQI\n";
        let bytes = || Some(Part::Binary(vec![1, 2]));
        assert_eq!(read(three), [Some(Part::Text("452-[1]")), bytes(), bytes()]);
        assert_eq!(read("b"), [Some(Part::Binary(vec![]))]);
        assert_eq!(read("b*"), [None]);
        assert_eq!(read(""), [Some(Part::Text(""))]);
        assert_eq!(count(three.as_bytes()), 3);
    }

    #[test]
    fn an_answer_has_as_many_packets_as_every_client_reads() {
        let mut payload = Payload::default();
        while payload.has_room() {
            payload.push("2");
        }
        let body = payload.into_body();
        assert_eq!(count(&body), MAX_PACKETS);
        assert!(body.starts_with(b"2\x1e2\x1e"));
        let mut large = Payload::default();
        large.push(&"x".repeat(ENOUGH));
        assert!(!large.has_room());
    }

    proptest! {
        #[test]
        fn any_body_has_as_many_parts_as_are_counted(body in "[a-b0-9=\\+\u{1e}\n]{0,80}") {
            prop_assert_eq!(parts(&body).count(), count(body.as_bytes()));
        }
    }
}
