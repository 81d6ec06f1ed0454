//! What the manager of `python-socketio` publishes: methods in JSON. Versions before 5.14 wrote pickles.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::packet::Options;
use super::{Audience, Rules, Targets, Unheard, What, Wish, names, namespace};

/// What all pickles begin with that this library wrote.
const PICKLE: u8 = 0x80;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    binary: Option<bool>,
    #[serde(default)]
    room: Value,
    #[serde(default)]
    skip_sid: Value,
    #[serde(borrow, default)]
    sid: Option<Cow<'a, str>>,
}

/// Reads a message.
pub(in crate::emitters) fn manager(payload: &[u8], rules: &Rules) -> Result<Wish, Unheard> {
    if payload.len() > rules.message_bytes() {
        return Err(Unheard::TooLarge);
    }
    if payload.first() == Some(&PICKLE) {
        return Err(Unheard::Pickle);
    }
    let text = std::str::from_utf8(payload).map_err(|_| Unheard::Malformed)?;
    let message: Message<'_> = serde_json::from_str(text).map_err(|_| Unheard::Malformed)?;
    let of = message.namespace.as_deref().unwrap_or("/");
    let sid = || message.sid.as_deref().map(Options::to).ok_or(Unheard::Malformed);
    match &*message.method {
        "emit" => emit(&message, of, rules),
        "enter_room" => sid()?.join(of, &message.room),
        "leave_room" => sid()?.leave(of, &message.room),
        "disconnect" => sid()?.disconnect(of),
        "close_room" => {
            let room = message.room.as_str().ok_or(Unheard::BadRoom)?;
            Options::to(room).leave(of, &message.room)
        }
        // What servers tell each other, and what is not known.
        _ => Err(Unheard::Unsupported),
    }
}

fn emit(message: &Message<'_>, of: &str, rules: &Rules) -> Result<Wish, Unheard> {
    let name = message.event.as_deref().ok_or(Unheard::BadEvent)?;
    let data = message.data.ok_or(Unheard::Malformed)?;
    let data: Vec<&RawValue> = serde_json::from_str(data.get()).map_err(|_| Unheard::Malformed)?;
    let (args, attachments) = if message.binary.unwrap_or_default() {
        let (args, attachments) = data.split_first().ok_or(Unheard::Malformed)?;
        let attachments: Option<_> = attachments.iter().map(|attachment| bytes(attachment)).collect();
        let args = serde_json::from_str(args.get()).map_err(|_| Unheard::Malformed)?;
        (args, attachments.ok_or(Unheard::Malformed)?)
    } else {
        (data, Vec::new())
    };
    // So it writes an event without data.
    let args: Vec<_> = if let [nothing] = &*args
        && nothing.get() == "null"
    {
        Vec::new()
    } else {
        args.iter().map(|arg| arg.get()).collect()
    };
    let event = rules.event(name.to_owned(), &args, attachments)?;
    let namespace = namespace(of)?;
    let to = Targets::of(&namespace, names(&message.room)?)?;
    let except = Targets::of(&namespace, names(&message.skip_sid)?)?;
    Ok(Wish { audience: Audience { namespace, to, except }, what: What::Emit { event, volatile: false } })
}

fn bytes(attachment: &RawValue) -> Option<Bytes> {
    let text: Cow<'_, str> = serde_json::from_str(attachment.get()).ok()?;
    BASE64_STANDARD.decode(&*text).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::{RoomName, SessionId};
    use crate::emitters::dialects::rules;

    fn read(message: &Value) -> Result<Wish, Unheard> {
        manager(message.to_string().as_bytes(), &rules())
    }

    fn message(event: &str, data: &Value, binary: bool) -> Value {
        json!({"method": "emit", "event": event, "data": data, "binary": binary, "namespace": "/", "room": null,
               "skip_sid": null, "callback": null, "host_id": "x"})
    }

    #[test]
    fn what_the_library_writes_is_read() {
        let session = SessionId::random();
        let mut wished = message("hello", &json!(["é", {"n": 1}]), false);
        (wished["namespace"], wished["room"]) = (json!("/n"), json!("r"));
        wished["skip_sid"] = json!([session.to_string()]);
        let Wish { audience, what } = read(&wished).unwrap();
        assert_eq!(audience.to.rooms, [RoomName::parse_in("/n", "r").unwrap()]);
        assert_eq!((&*audience.namespace, audience.except.sessions), ("/n", vec![session]));
        let What::Emit { event, volatile: false } = what else { panic!("{what:?}") };
        assert_eq!((&*event.name, &*event.args), ("hello", r#"["é",{"n":1}]"#));
        // Texts are as Python writes them, and stay so.
        let escaped =
            br#"{"method": "emit", "event": "e", "data": ["\ud83d \u00e9"], "room": ["a", 7], "namespace": null}"#;
        let Wish { audience, what } = manager(escaped, &rules()).unwrap();
        assert_eq!(audience.to.rooms.len(), 2);
        let What::Emit { event, .. } = what else { panic!("{what:?}") };
        assert_eq!(event.args, r#"["\ud83d \u00e9"]"#);
        let What::Emit { event, .. } = read(&message("e", &json!([null]), false)).unwrap().what else { panic!() };
        assert_eq!(event.args, "[]", "nothing was said");
    }

    #[test]
    fn bytes_are_attachments() {
        let data = json!([[{"x": {"_placeholder": true, "num": 0}}], "AP8="]);
        let What::Emit { event, .. } = read(&message("e", &data, true)).unwrap().what else { panic!() };
        assert_eq!(event.attachments, [&b"\x00\xff"[..]]);
        for (bad, expected) in [
            (json!([]), Unheard::Malformed),
            (json!([[1], "not base64"]), Unheard::Malformed),
            (json!([[1], 7]), Unheard::Malformed),
            (json!([[{"_placeholder": true, "num": 1}], "AP8="]), Unheard::BadArguments),
            (json!([[1], "", "", ""]), Unheard::BadArguments),
        ] {
            assert_eq!(read(&message("e", &bad, true)), Err(expected), "{bad}");
        }
    }

    #[test]
    fn other_methods_are_read() {
        let session = SessionId::random();
        let sid = session.to_string();
        let room = RoomName::parse("r").unwrap();
        let enter = read(&json!({"method": "enter_room", "sid": sid, "room": "r", "namespace": "/"})).unwrap();
        assert_eq!((enter.audience.to.sessions, enter.what), (vec![session], What::Join(vec![room.clone()])));
        let leave = read(&json!({"method": "leave_room", "sid": sid, "room": "r"})).unwrap();
        assert_eq!((leave.audience.to.sessions, leave.what), (vec![session], What::Leave(vec![room.clone()])));
        let close = read(&json!({"method": "close_room", "room": "r"})).unwrap();
        assert_eq!((close.audience.to.rooms, close.what), (vec![room.clone()], What::Leave(vec![room])));
        let end = read(&json!({"method": "disconnect", "sid": sid})).unwrap();
        assert_eq!((end.audience.to.sessions, end.what), (vec![session], What::Disconnect));
        for (bad, expected) in [
            (json!({"method": "disconnect"}), Unheard::Malformed),
            (json!({"method": "close_room"}), Unheard::BadRoom),
            (json!({"method": "callback"}), Unheard::Unsupported),
            (json!({"method": 7}), Unheard::Malformed),
            (json!({}), Unheard::Malformed),
            (json!([]), Unheard::Malformed),
            (json!({"method": "emit", "data": []}), Unheard::BadEvent),
            (json!({"method": "emit", "event": "e"}), Unheard::Malformed),
            (message("disconnect", &json!([]), false), Unheard::BadEvent),
        ] {
            assert_eq!(read(&bad), Err(expected), "{bad}");
        }
    }

    #[test]
    fn pickles_are_not_opened() {
        // pickle.dumps({"method": "emit"})
        let pickle = b"\x80\x04\x95\x13\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x06method\x94\x8c\x04emit\x94s.";
        assert_eq!(manager(pickle, &rules()), Err(Unheard::Pickle));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,60}") {
            _ = manager(&bytes, &rules());
            _ = manager(text.as_bytes(), &rules());
            _ = manager(format!(r#"{{"method":"emit","event":"e","data":{text}}}"#).as_bytes(), &rules());
        }
    }
}
