//! Reads Engine.IO v4 / Socket.IO v5 text frames of the main namespace, without JSON where it can.

use serde::Deserialize;

/// One text frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// Engine.IO open with its JSON
    Open(&'a str),
    /// Engine.IO close
    Close,
    /// Engine.IO ping, to be answered with [`PONG`]
    Ping,
    /// Socket.IO CONNECT: the session exists; with its JSON
    Connect(&'a str),
    /// Socket.IO CONNECT_ERROR with its JSON
    ConnectError(&'a str),
    /// Socket.IO DISCONNECT: official clients would not come back
    Disconnect,
    /// Socket.IO EVENT: a JSON array of the name and the arguments
    Event(&'a str),
    /// Socket.IO ACK: a JSON array of the arguments
    Ack { id: u64, arguments: &'a str },
    /// Noops, binary events, other namespaces
    Other,
}

pub(crate) const PONG: &str = "3";

impl<'a> Packet<'a> {
    pub(crate) fn parse(frame: &'a str) -> Self {
        let Some((kind, rest)) = split_kind(frame) else {
            return Self::Other;
        };
        match kind {
            b'0' => Self::Open(rest),
            b'1' => Self::Close,
            b'2' => Self::Ping,
            b'4' => Self::parse_message(rest),
            _ => Self::Other,
        }
    }

    fn parse_message(message: &'a str) -> Self {
        let Some((kind, rest)) = split_kind(message) else {
            return Self::Other;
        };
        if rest.starts_with('/') {
            return Self::Other;
        }
        match kind {
            b'0' => Self::Connect(rest),
            b'1' => Self::Disconnect,
            b'2' => Self::Event(split_id(rest).1),
            b'3' => match split_id(rest) {
                (Some(id), arguments) => Self::Ack { id, arguments },
                (None, _) => Self::Other,
            },
            b'4' => Self::ConnectError(rest),
            _ => Self::Other,
        }
    }
}

/// The one byte that says what a packet is; `None` for a frame that is empty or no packet.
fn split_kind(frame: &str) -> Option<(u8, &str)> {
    let kind = *frame.as_bytes().first()?;
    Some((kind, frame.get(1..)?))
}

fn split_id(rest: &str) -> (Option<u64>, &str) {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (id, rest) = rest.split_at(digits);
    (id.parse().ok(), rest)
}

/// What an ack of the native profile says: the offset, if there is one, or the refusal's code.
pub(crate) type Answer = Result<Option<u64>, String>;

/// An ack that does not look like one of the native profile counts as a refusal of this code.
pub(crate) const UNREADABLE_ACK: &str = "unreadable_ack";

pub(crate) fn read_answer(arguments: &str) -> Answer {
    #[derive(Deserialize)]
    struct Reply {
        ok: bool,
        offset: Option<String>,
        error: Option<Refusal>,
    }
    #[derive(Deserialize)]
    struct Refusal {
        code: String,
    }

    match serde_json::from_str::<(Reply,)>(arguments) {
        Ok((Reply { ok: true, offset, .. },)) => match offset.map(|offset| offset.parse()) {
            None => Ok(None),
            Some(Ok(offset)) => Ok(Some(offset)),
            Some(Err(_)) => Err(UNREADABLE_ACK.to_owned()),
        },
        Ok((Reply { error: Some(refusal), .. },)) => Err(refusal.code),
        _ => Err(UNREADABLE_ACK.to_owned()),
    }
}

/// The code in a `refused` event: how an event that wanted no ack is refused. `None` for any other event.
pub(crate) fn read_refusal(event: &str) -> Option<String> {
    let argument = event.strip_prefix(r#"["refused","#)?;
    read_answer(&format!("[{argument}")).err()
}

#[cfg(test)]
mod tests {
    use super::{Packet, UNREADABLE_ACK, read_answer, read_refusal};

    #[test]
    fn reads_refusals_of_events_without_an_ack() {
        let refused = r#"["refused",{"ok":false,"error":{"code":"rate_limited","message":"slow","retryAfterMs":50}}]"#;
        assert_eq!(read_refusal(refused).as_deref(), Some("rate_limited"));
        assert_eq!(read_refusal(r#"["refused"]"#), None);
        assert_eq!(read_refusal(r#"["message",{"ok":false,"error":{"code":"x"}}]"#), None);
    }

    #[test]
    fn reads_every_kind_that_a_server_sends() {
        for (frame, expected) in [
            (r#"0{"sid":"a"}"#, Packet::Open(r#"{"sid":"a"}"#)),
            ("1", Packet::Close),
            ("2", Packet::Ping),
            (r#"40{"sid":"b"}"#, Packet::Connect(r#"{"sid":"b"}"#)),
            ("41", Packet::Disconnect),
            (r#"42["message",1]"#, Packet::Event(r#"["message",1]"#)),
            (r#"4217["ask"]"#, Packet::Event(r#"["ask"]"#)),
            (r#"4312[{"ok":true}]"#, Packet::Ack { id: 12, arguments: r#"[{"ok":true}]"# }),
            (r#"44{"message":"no"}"#, Packet::ConnectError(r#"{"message":"no"}"#)),
            (r#"451-["blob",{"_placeholder":true,"num":0}]"#, Packet::Other),
            (r#"42/admin,["message"]"#, Packet::Other),
            ("6", Packet::Other),
        ] {
            assert_eq!(Packet::parse(frame), expected, "{frame}");
        }
    }

    #[test]
    fn survives_frames_that_are_no_packets() {
        for frame in ["", "4", "43", "43[]", "é", "4é", "9x", "4399999999999999999999999[]"] {
            assert_eq!(Packet::parse(frame), Packet::Other, "{frame}");
        }
    }

    #[test]
    fn reads_acks_of_the_native_profile() {
        assert_eq!(read_answer(r#"[{"ok":true,"room":"r","offset":"123"}]"#), Ok(Some(123)));
        assert_eq!(read_answer(r#"[{"ok":true}]"#), Ok(None));
        assert_eq!(
            read_answer(r#"[{"ok":false,"error":{"code":"rate_limited","message":"slow","retryAfterMs":50}}]"#),
            Err("rate_limited".to_owned())
        );
        for unreadable in ["[]", "[1]", r#"[{"ok":true,"offset":"x"}]"#, r#"[{"ok":false}]"#] {
            assert_eq!(read_answer(unreadable), Err(UNREADABLE_ACK.to_owned()), "{unreadable}");
        }
    }
}
