//! What `@socket.io/redis-streams-emitter` adds to its stream, and servers with the adapter of that name as well: entries of
//! four fields.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::packet::{Options, Packet};
use super::{Rules, Unheard, Wish, msgpack};

/// Kinds of messages, by number.
const BROADCAST: u8 = 3;
const SOCKETS_JOIN: u8 = 4;
const SOCKETS_LEAVE: u8 = 5;
const DISCONNECT_SOCKETS: u8 = 6;
/// What servers ask each other for, and events that they send each other.
const FETCH_SOCKETS: u8 = 7;
const SERVER_SIDE_EMIT: u8 = 9;
/// The last kind that there is. The others tell servers of each other, and answer them.
const LAST: u8 = 13;

#[derive(Deserialize)]
struct Broadcast<'a> {
    #[serde(borrow)]
    packet: Packet<'a>,
    opts: Options,
}

#[derive(Deserialize)]
struct About {
    opts: Options,
    #[serde(default)]
    rooms: Value,
}

/// Reads an entry by its fields; nothing if it is of no concern to anybody but servers of Socket.IO. One that is too large
/// has none.
pub(in crate::emitters) fn entry(fields: &[(Bytes, Bytes)], rules: &Rules) -> Result<Option<Wish>, Unheard> {
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value);
    let text = |name| field(name).map_or(Some(""), |value| std::str::from_utf8(value).ok()).ok_or(Unheard::Malformed);
    if fields.is_empty() || fields.iter().map(|(_, value)| value.len()).sum::<usize>() > rules.message_bytes() {
        return Err(Unheard::TooLarge);
    }
    let (of, data) = (text("nsp")?, text("data")?);
    let kind: u8 = text("type")?.parse().map_err(|_| Unheard::Malformed)?;
    match kind {
        BROADCAST | SOCKETS_JOIN | SOCKETS_LEAVE | DISCONNECT_SOCKETS => {}
        FETCH_SOCKETS | SERVER_SIDE_EMIT => return Err(Unheard::Unsupported),
        1..=LAST => return Ok(None),
        _ => return Err(Unheard::Malformed),
    }
    let (json, attachments) = json(data)?;
    if kind == BROADCAST {
        let Broadcast { mut packet, opts } = serde_json::from_str(&json).map_err(|_| Unheard::Malformed)?;
        packet.nsp = Some(of.into());
        return opts.emit(&packet, attachments, rules).map(Some);
    }
    let About { opts, rooms } = serde_json::from_str(&json).map_err(|_| Unheard::Malformed)?;
    match kind {
        SOCKETS_JOIN => opts.join(of, &rooms),
        SOCKETS_LEAVE => opts.leave(of, &rooms),
        _ => opts.disconnect(of),
    }
    .map(Some)
}

/// The data of an entry: JSON, or MessagePack in base64 where there are bytes in it.
fn json(data: &str) -> Result<(Cow<'_, str>, Vec<Bytes>), Unheard> {
    if data.starts_with('{') {
        return Ok((data.into(), Vec::new()));
    }
    let bytes = BASE64_STANDARD.decode(data).map_err(|_| Unheard::Malformed)?;
    let (json, attachments) = msgpack::to_json(&bytes)?;
    Ok((json.into(), attachments))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::RoomName;
    use crate::emitters::dialects::{What, rules};

    fn read(kind: &str, data: &str) -> Result<Option<Wish>, Unheard> {
        let fields = [("uid", "emitter"), ("nsp", "/n"), ("type", kind), ("data", data)];
        let fields = fields.map(|(name, value)| (Bytes::from(name), Bytes::from(value.to_owned())));
        entry(&fields, &rules())
    }

    #[test]
    fn what_the_library_adds_is_read() {
        let options = json!({"rooms": ["r"], "flags": {"volatile": true}, "except": []});
        let data = json!({"packet": {"type": 2, "data": ["e", {"n": 1}], "nsp": "/n"}, "opts": options});
        let room = RoomName::parse_in("/n", "r").unwrap();
        for data in [data.to_string(), BASE64_STANDARD.encode(rmp_serde::to_vec_named(&data).unwrap())] {
            let Wish { audience, what } = read("3", &data).unwrap().unwrap();
            assert_eq!((&*audience.namespace, audience.to.rooms), ("/n", vec![room.clone()]));
            let What::Emit { event, volatile: true } = what else { panic!("{what:?}") };
            assert_eq!((&*event.name, &*event.args), ("e", r#"[{"n":1}]"#));
        }
        let about = json!({"opts": options, "rooms": ["a"], "close": true}).to_string();
        let a = RoomName::parse_in("/n", "a").unwrap();
        for (kind, expected) in
            [("4", What::Join(vec![a.clone()])), ("5", What::Leave(vec![a.clone()])), ("6", What::Disconnect)]
        {
            assert_eq!(read(kind, &about).unwrap().unwrap().what, expected);
        }
    }

    #[test]
    fn what_servers_tell_each_other_is_of_no_concern_and_what_is_none_is_refused() {
        for kind in ["1", "2", "8", "10", "11", "12", "13"] {
            assert_eq!(read(kind, ""), Ok(None), "{kind}");
        }
        for kind in ["7", "9"] {
            assert_eq!(read(kind, "{}"), Err(Unheard::Unsupported), "{kind}");
        }
        for (kind, data) in [
            ("3", ""),
            ("3", "{}"),
            ("3", "gA=="),
            ("3", "not base64"),
            ("4", "{}"),
            ("6", "[]"),
            ("0", "{}"),
            ("14", "{}"),
            ("", ""),
            ("-3", "{}"),
        ] {
            assert_eq!(read(kind, data), Err(Unheard::Malformed), "{kind} {data}");
        }
        assert_eq!(entry(&[], &rules()), Err(Unheard::TooLarge));
        assert_eq!(read("3", &"x".repeat(200_000)), Err(Unheard::TooLarge));
    }

    proptest! {
        #[test]
        fn any_fields_are_read_or_refused(kind in "[0-9]{0,2}", data in "\\PC{0,60}", bytes: Vec<u8>) {
            _ = read(&kind, &data);
            _ = read(&kind, &BASE64_STANDARD.encode(&bytes));
            let bytes = Bytes::from(bytes);
            _ = entry(&[(bytes.clone(), bytes.clone()), (Bytes::from("type"), bytes)], &rules());
        }
    }
}
