//! What `@socket.io/redis-emitter` and its kin publish: events in MessagePack, and requests in JSON.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::packet::{Options, Packet};
use super::{Rules, Unheard, Wish, msgpack};

/// What servers ask each other for, by number.
const REMOTE_JOIN: u64 = 2;
const REMOTE_LEAVE: u64 = 3;
const REMOTE_DISCONNECT: u64 = 4;

/// The channels of these libraries.
#[derive(Clone, Debug)]
pub(in crate::emitters) struct Channels {
    /// `{prefix}#`; what follows is `{namespace}#`, and the room and `#` if there is one. Old libraries have `emitter` there.
    events: String,
    /// `{prefix}-request#`; what follows is `{namespace}#`.
    requests: String,
}

impl Channels {
    /// Those that begin with a prefix: the `key` of the libraries.
    pub(in crate::emitters) fn new(prefix: &str) -> Self {
        Self { events: format!("{prefix}#"), requests: format!("{prefix}-request#") }
    }

    /// The patterns of Redis that match them.
    pub(in crate::emitters) fn patterns(&self) -> [String; 2] {
        [&self.events, &self.requests].map(|channel| {
            let special = ['*', '?', '[', '\\'];
            let escaped: String = channel
                .chars()
                .flat_map(|letter| special.contains(&letter).then_some('\\').into_iter().chain([letter]))
                .collect();
            format!("{escaped}*")
        })
    }

    /// Whether a channel is one of theirs.
    pub(in crate::emitters) fn has(&self, channel: &str) -> bool {
        channel.starts_with(&self.events) || channel.starts_with(&self.requests)
    }
}

/// Reads a message.
pub(in crate::emitters) fn message(
    channels: &Channels,
    channel: &str,
    payload: &[u8],
    rules: &Rules,
) -> Result<Wish, Unheard> {
    if payload.len() > rules.message_bytes() {
        return Err(Unheard::TooLarge);
    }
    if let Some(rest) = channel.strip_prefix(&channels.requests) {
        let (of, _) = rest.split_once('#').unwrap_or((rest, ""));
        return request(of, payload);
    }
    let rest = channel.strip_prefix(&channels.events).ok_or(Unheard::Malformed)?;
    let (json, attachments) = msgpack::to_json(payload)?;
    if json.starts_with('{') {
        // Servers with another adapter speak so among themselves, on channels that are called the same.
        return Err(Unheard::Unsupported);
    }
    let parts: Vec<&RawValue> = serde_json::from_str(&json).map_err(|_| Unheard::Malformed)?;
    // Old libraries do not say who they are.
    let ([_, packet, options] | [packet, options]) = *parts else { return Err(Unheard::Malformed) };
    let packet: Packet<'_> = serde_json::from_str(packet.get()).map_err(|_| Unheard::Malformed)?;
    let options: Options = serde_json::from_str(options.get()).map_err(|_| Unheard::Malformed)?;
    let of = rest.split_once('#').map_or(rest, |(of, _)| of);
    if of.starts_with('/') && packet.nsp.as_deref().unwrap_or("/") != of {
        return Err(Unheard::BadNamespace);
    }
    options.emit(&packet, attachments, rules)
}

/// A request. Since version 4 of Socket.IO it has options; before it meant one socket.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(rename = "type")]
    kind: u64,
    #[serde(default)]
    opts: Option<Options>,
    #[serde(default)]
    rooms: Value,
    #[serde(borrow, default)]
    sid: Option<Cow<'a, str>>,
    #[serde(default)]
    room: Value,
}

fn request(of: &str, payload: &[u8]) -> Result<Wish, Unheard> {
    let converted;
    let json = if payload.starts_with(b"{") {
        std::str::from_utf8(payload).map_err(|_| Unheard::Malformed)?
    } else {
        converted = msgpack::to_json(payload)?.0;
        &converted
    };
    let request: Request<'_> = serde_json::from_str(json).map_err(|_| Unheard::Malformed)?;
    let Request { kind, opts, rooms, sid, room } = request;
    if ![REMOTE_JOIN, REMOTE_LEAVE, REMOTE_DISCONNECT].contains(&kind) {
        return Err(Unheard::Unsupported);
    }
    let (options, rooms) = match (opts, sid) {
        (Some(options), _) => (options, rooms),
        (None, Some(sid)) => (Options::to(&sid), room),
        (None, None) => return Err(Unheard::Malformed),
    };
    match kind {
        REMOTE_JOIN => options.join(of, &rooms),
        REMOTE_LEAVE => options.leave(of, &rooms),
        _ => options.disconnect(of),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::{RoomName, SessionId};
    use crate::emitters::dialects::{Audience, What, rules};

    fn read(channel: &str, message: &Value) -> Result<Wish, Unheard> {
        message_of(channel, &rmp_serde::to_vec_named(message).unwrap())
    }

    fn message_of(channel: &str, payload: &[u8]) -> Result<Wish, Unheard> {
        super::message(&Channels::new("socket.io"), channel, payload, &rules())
    }

    fn emit(data: &Value, options: &Value) -> Result<Wish, Unheard> {
        read("socket.io#/#", &json!(["emitter", {"type": 2, "data": data, "nsp": "/"}, options]))
    }

    fn ask(request: &Value) -> Result<Wish, Unheard> {
        message_of("socket.io-request#/n#", request.to_string().as_bytes())
    }

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    #[test]
    fn what_the_library_for_node_writes_is_read() {
        // new Emitter(client).to(["a", "b"]).except("c").volatile.emit("hello", 1, Buffer.from([7])), as 5.1.0 writes it.
        let bytes = b"\x93\xa7emitter\x83\xa4type\x02\xa4data\x93\xa5hello\x01\xc4\x01\x07\xa3nsp\xa1/\x83\xa5rooms\x92\xa1a\xa1b\
                      \xa5flags\x81\xa8volatile\xc3\xa6except\x91\xa1c";
        let Wish { audience, what } = message_of("socket.io#/#", bytes).unwrap();
        let Audience { namespace, to, except } = audience;
        assert_eq!((&*namespace, to.rooms, except.rooms), ("/", vec![room("a"), room("b")], vec![room("c")]));
        assert!(to.sessions.is_empty() && except.sessions.is_empty());
        let What::Emit { event, volatile: true } = what else { panic!("{what:?}") };
        assert_eq!(event.name, "hello");
        assert_eq!(event.args, r#"[1,{"_placeholder":true,"num":0}]"#);
        assert_eq!(event.attachments, [&b"\x07"[..]]);
    }

    #[test]
    fn what_its_kin_write_is_read() {
        let packet = |nsp: Value| json!({"type": 2, "data": ["e"], "nsp": nsp});
        // Without a name, on the channel of all old ones; with a room in the channel, without an end; with nothing for rooms.
        for (channel, message, of, rooms) in [
            (
                "socket.io#emitter",
                json!([packet(json!("/old")), {"rooms": ["r"], "flags": {"nsp": "/old"}}]),
                "/old",
                1,
            ),
            ("socket.io#/n#r", json!(["emitter", packet(json!("/n")), {"rooms": ["r"], "flags": null}]), "/n", 1),
            ("socket.io#/#", json!(["", packet(json!(null)), {"rooms": null, "except": null}]), "/", 0),
            ("socket.io#/#7#", json!(["", {"type": 5, "data": ["e"]}, {"rooms": [7]}]), "/", 1),
        ] {
            let Wish { audience, what } = read(channel, &message).unwrap();
            assert_eq!((&*audience.namespace, audience.to.rooms.len()), (of, rooms), "{message}");
            assert!(matches!(what, What::Emit { volatile: false, .. }));
        }
    }

    #[test]
    fn a_room_that_is_called_like_a_session_is_that_session() {
        let session = SessionId::random();
        let wish =
            emit(&json!(["e"]), &json!({"rooms": [session.to_string(), "r", "r"], "except": [session.to_string()]}));
        let Audience { to, except, .. } = wish.unwrap().audience;
        assert_eq!((to.rooms, to.sessions, except.sessions), (vec![room("r")], vec![session], vec![session]));
        let upper = session.to_string().to_uppercase();
        let wish = emit(&json!(["e"]), &json!({"rooms": [format!("A{}", &upper[1..])]})).unwrap();
        assert_eq!(wish.audience.to.sessions.len(), 0, "that is not how it is written");
    }

    #[test]
    fn requests_are_read() {
        let rooms = |names: [&str; 2]| names.map(|name| RoomName::parse_in("/n", name).unwrap()).to_vec();
        let options = json!({"rooms": ["r"], "except": []});
        let join = ask(&json!({"type": 2, "opts": options, "rooms": ["a", "b"]})).unwrap();
        assert_eq!(join.what, What::Join(rooms(["a", "b"])));
        assert_eq!(&*join.audience.namespace, "/n");
        let leave = ask(&json!({"type": 3, "opts": options, "rooms": ["a", "b"]})).unwrap();
        assert_eq!((leave.what, leave.audience), (What::Leave(rooms(["a", "b"])), join.audience));
        let disconnect = ask(&json!({"type": 4, "opts": {"rooms": [], "except": ["r"]}, "close": true})).unwrap();
        assert_eq!(disconnect.what, What::Disconnect);
        assert!(disconnect.audience.to.is_empty() && disconnect.audience.except.rooms.len() == 1);
        let session = SessionId::random();
        let old = ask(&json!({"type": 2, "sid": session.to_string(), "room": "a", "requestId": "x"})).unwrap();
        assert_eq!((old.audience.to.sessions, old.what), (vec![session], What::Join(rooms(["a", "a"])[..1].to_vec())));
        for kind in [0, 1, 5, 6, 7, 8, 99] {
            assert_eq!(ask(&json!({"type": kind, "requestId": "x"})), Err(Unheard::Unsupported), "{kind}");
        }
        for bad in [json!({}), json!({"type": 2}), json!({"type": "2"}), json!({"type": 2, "opts": 3})] {
            assert_eq!(ask(&bad), Err(Unheard::Malformed), "{bad}");
        }
        for bad in [json!(null), json!([]), json!([""]), json!([session.to_string()]), json!([{}]), json!(["\u{1}"])] {
            assert_eq!(ask(&json!({"type": 2, "opts": {}, "rooms": bad})), Err(Unheard::BadRoom), "{bad}");
        }
    }

    #[test]
    fn each_reason_has_its_word() {
        let many: Vec<_> = (0..257).collect();
        let nested = |depth| (0..depth).fold(json!(1), |inner, _| json!([inner]));
        for (result, expected) in [
            (emit(&json!([]), &json!({})), Unheard::BadEvent),
            (emit(&json!([7]), &json!({})), Unheard::BadEvent),
            (emit(&json!(["connect_error"]), &json!({})), Unheard::BadEvent),
            (emit(&json!(["gateway:gap"]), &json!({})), Unheard::BadEvent),
            (emit(&json!(["e", 1, 2, 3, 4, 5]), &json!({})), Unheard::BadArguments),
            (emit(&json!(["e", {"_placeholder": true, "num": 0}]), &json!({})), Unheard::BadArguments),
            (emit(&json!(["e", "x".repeat(1000)]), &json!({})), Unheard::TooLarge),
            (emit(&json!(["e", "x".repeat(200_000)]), &json!({})), Unheard::TooLarge),
            (emit(&json!(["e", nested(8)]), &json!({})), Unheard::TooDeep),
            (emit(&json!(["e"]), &json!({"rooms": [""]})), Unheard::BadRoom),
            (emit(&json!(["e"]), &json!({"rooms": ["x".repeat(256)]})), Unheard::BadRoom),
            (emit(&json!(["e"]), &json!({"rooms": [1.5]})), Unheard::BadRoom),
            (emit(&json!(["e"]), &json!({"except": [null]})), Unheard::BadRoom),
            (emit(&json!(["e"]), &json!({"rooms": many})), Unheard::TooManyTargets),
            (emit(&json!(["e"]), &json!(7)), Unheard::Malformed),
            (read("socket.io#/#", &json!(["emitter"])), Unheard::Malformed),
            (read("socket.io#/#", &json!("text")), Unheard::Malformed),
            (read("socket.io#/#", &json!({"uid": "x", "type": 9})), Unheard::Unsupported),
            (read("socket.io#/#", &json!(["", {"type": 3, "data": ["e"]}, {}])), Unheard::Unsupported),
            (read("socket.io#/#", &json!(["", {"type": 2, "data": ["e"], "nsp": "/n"}, {}])), Unheard::BadNamespace),
            (read("socket.io#x", &json!(["", {"type": 2, "data": ["e"], "nsp": "n"}, {}])), Unheard::BadNamespace),
            (read("socket.io#x", &json!(["", {"type": 2, "data": ["e"], "nsp": "/\n"}, {}])), Unheard::BadNamespace),
            (message_of("socket.io#/#", b"\xc1"), Unheard::Malformed),
        ] {
            assert_eq!(result, Err(expected));
        }
        assert!(emit(&json!(["e", nested(7)]), &json!({})).is_ok());
    }

    #[test]
    fn a_prefix_is_no_pattern() {
        let [events, requests] = Channels::new("a*[b]?").patterns();
        assert_eq!((&*events, &*requests), ("a\\*\\[b]\\?#*", "a\\*\\[b]\\?-request#*"));
        // As rights are given for it.
        assert_eq!(Channels::new("socket.io").patterns(), ["socket.io#*", "socket.io-request#*"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200), channel in "socket.io(-request)?#.{0,9}",
        ) {
            _ = message_of(&channel, &bytes);
            let wrapped = [&b"\x93\xa1e\x83\xa4type\x02\xa3nsp\xa1/\xa4data"[..], &bytes, b"\x80"].concat();
            _ = message_of(&channel, &wrapped);
        }

        #[test]
        fn what_is_read_is_what_clients_may_be_told(name in "\\PC{0,20}", args: Vec<String>, rooms: Vec<String>) {
            let data: Vec<_> = [name.clone()].into_iter().chain(args.clone()).collect();
            if let Ok(Wish { what: What::Emit { event, .. }, .. }) = emit(&json!(data), &json!({"rooms": rooms})) {
                prop_assert_eq!(&event.name, &name);
                prop_assert_eq!(serde_json::from_str::<Vec<String>>(&event.args).unwrap(), args);
                prop_assert!(event.size() <= 1000);
            }
        }
    }
}
