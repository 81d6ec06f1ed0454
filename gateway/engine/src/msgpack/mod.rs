//! MessagePack, as `socket.io-msgpack-parser` writes it: between its packets and JSON texts with attachments, which is
//! what everything else works with.

mod read;
mod write;

pub(crate) use read::decode;
pub(crate) use write::encode;

/// How deep a packet may nest: everything here calls itself once for each level.
const MAX_DEPTH: usize = 128;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::inbound::{Bounds, Event, Packet as Inbound, Parser};
    use crate::packet::Packet;

    const BOUNDS: Bounds = Bounds { attachments: 4, bytes: 1000 };

    /// A packet of ours, as the payload of its frame.
    fn payload(packet: &Packet) -> Vec<u8> {
        let frames = packet.frames(Parser::Msgpack);
        let header = match frames[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        frames[header..].to_vec()
    }

    fn round_trip(json: &str, attachments: &[Bytes]) -> Event {
        let packet = Packet::event("/n", json, attachments);
        match decode(&payload(&packet), BOUNDS).unwrap() {
            Inbound::Event { namespace, event } if namespace == "/n" => event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_clients_can_hold_comes_back_as_it_was() {
        for json in [
            r#"["a",{"b":[1,-1,255,65536,4294967296,-2147483649,9007199254740993],"c":null,"d":true,"e":1.5}]"#,
            r#"["é😀","\"\\\n",{"":[],"x":{}}]"#,
            "[]",
        ] {
            assert_eq!(round_trip(json, &[]).text, json);
        }
        assert_eq!(round_trip(r#" [ "a" , { "b" : 1e2 } ] "#, &[]).text, r#"["a",{"b":100.0}]"#);
        assert_eq!(round_trip("[\"\\u00e9\\/\\ud83d\\ude00\"]", &[]).text, "[\"é/😀\"]");
        // There is no half a character in MessagePack.
        assert_eq!(round_trip("[\"a\\ud83d\"]", &[]).text, "[\"a\u{FFFD}\"]");
        let long = format!("[\"{}\",{}]", "x".repeat(70_000), vec!["1"; 70_000].join(",").replacen('1', "[1", 1) + "]");
        assert_eq!(round_trip(&long, &[]).text, long);
    }

    #[test]
    fn attachments_stand_where_their_placeholders_are() {
        let attachments = [Bytes::from_static(b"one"), Bytes::new()];
        let json = r#"["a",{"_placeholder":true,"num":1},{"x":{"num":0,"_placeholder":true}}]"#;
        let event = round_trip(json, &attachments);
        // Numbered anew, in the order in which they are met.
        assert_eq!(event.text, r#"["a",{"_placeholder":true,"num":0},{"x":{"_placeholder":true,"num":1}}]"#);
        assert_eq!(event.attachments, [Bytes::new(), Bytes::from_static(b"one")]);
    }

    #[test]
    fn packets_of_the_official_parser() {
        // {type: 0, data: {token: "t"}, nsp: "/"} as notepack.io writes it.
        let connect = b"\x83\xa4type\x00\xa4data\x81\xa5token\xa1t\xa3nsp\xa1/";
        let expected = Inbound::Connect { namespace: "/".into(), auth: Some("{\"token\":\"t\"}".into()) };
        assert_eq!(decode(connect, BOUNDS), Ok(expected));
        // {type: 2, data: ["e", <undefined>], options: {compress: true}, id: 7, nsp: "/"}
        let event =
            b"\x85\xa4type\x02\xa4data\x92\xa1e\xd4\x00\x00\xa7options\x81\xa8compress\xc3\xa2id\x07\xa3nsp\xa1/";
        let expected = Event { text: "[\"e\",null]".into(), attachments: vec![], ack: Some(7) };
        assert_eq!(decode(event, BOUNDS), Ok(Inbound::Event { namespace: "/".into(), event: expected }));
        let leave = b"\x82\xa4type\x01\xa3nsp\xa2/n";
        assert_eq!(decode(leave, BOUNDS), Ok(Inbound::Disconnect { namespace: "/n".into() }));
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        let deep = [b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data".to_vec(), vec![0x91; 5000], vec![0xc0]].concat();
        let claims = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\xdd\xff\xff\xff\xff\xc0".to_vec();
        for bytes in [
            b"".to_vec(),
            b"\xc1".to_vec(),
            b"\x80".to_vec(),
            b"\x82\xa4type\x09\xa3nsp\xa1/".to_vec(),
            b"\x81\xa4type\x00".to_vec(),
            b"\x82\xa4type\x02\xa3nsp\xa1/".to_vec(),
            b"\x82\xa4type\x01\xa3nsp\xa1/ trailing".to_vec(),
            b"\x83\xa4type\x02\xa3nsp\xa1/\xa2id\xa1x".to_vec(),
            deep,
            claims,
        ] {
            assert!(decode(&bytes, BOUNDS).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            _ = decode(&bytes, BOUNDS);
            _ = decode(&[b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data".to_vec(), bytes].concat(), BOUNDS);
        }

        #[test]
        fn any_text_is_written_or_left_out(text in "\\PC{0,60}") {
            _ = payload(&Packet::event("/", &text, &[]));
        }
    }
}
