//! What a client says in the `auth` of its Socket.IO CONNECT. People put all kinds of things there: whatever is wrong
//! with one field says nothing about the others.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use gateway_core::content::json::{self, Fields};
use gateway_core::domain::{Mark, Offset, Pid, RoomName};
use gateway_core::node::Unrecovered;

/// The `auth` object, as far as the gateway reads it.
#[derive(Clone, Debug)]
pub(super) struct Auth {
    token: Said,
    /// Official clients send this and the offset by themselves.
    pid: Said,
    offset: Said,
    /// For clients that keep the offset of each room themselves.
    offsets: Option<Box<RawValue>>,
    /// Whether what the client hears shall end with offsets: not so if its `offset` is `false`. Then it cannot say by
    /// one of them what it heard, and only comes back to rooms.
    pub(super) wants_offsets: bool,
    /// All of it, for routes to read.
    pub(super) payload: Box<RawValue>,
}

/// What a field says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Said {
    /// It is not there, or `null`.
    #[default]
    Nothing,
    /// A text, with U+FFFD for what is none here.
    Text(String),
    /// A number, an object or the like.
    Otherwise,
}

/// What a client wants back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// It is new.
    Nothing,
    /// The session that it had, and what it heard last.
    Session { pid: Pid, heard: Mark },
    /// Rooms, with the offset up to which it knows each.
    Rooms(Vec<(RoomName, Offset)>),
    /// What cannot be had.
    Nonsense(Unrecovered),
}

impl Auth {
    /// Reads the JSON text of an `auth`. What is no JSON object says nothing, but it is not nothing: a token may have been
    /// meant.
    pub(super) fn read(text: &str) -> Self {
        let payload = serde_json::from_str::<&RawValue>(text).unwrap_or(RawValue::NULL);
        let fields = json::fields(payload);
        let offset = field(&fields, "offset");
        let is_odd = !["", "null"].contains(&text.trim()) && !payload.get().starts_with('{');
        Self {
            token: if is_odd { Said::Otherwise } else { Said::of(field(&fields, "token")) },
            pid: Said::of(field(&fields, "pid")),
            offset: Said::of(offset),
            offsets: field(&fields, "offsets").map(ToOwned::to_owned),
            wants_offsets: offset.is_none_or(|offset| offset.get() != "false"),
            payload: payload.to_owned(),
        }
    }

    /// The token, if there is a text where it should be. An empty one is none.
    pub(super) fn token(&self) -> Option<&str> {
        match &self.token {
            Said::Text(token) => Some(token.as_str()).filter(|token| !token.is_empty()),
            Said::Nothing | Said::Otherwise => None,
        }
    }

    /// Whether something else than a text stands where the token should be. It lets nobody in where there are keys, even if
    /// none is needed.
    pub(super) fn has_odd_token(&self) -> bool {
        self.token == Said::Otherwise
    }

    /// The session that the client wants back, if it wants one and not rooms.
    pub(super) fn session(&self, namespace: &str) -> Option<Pid> {
        match self.wish(namespace) {
            Wish::Session { pid, .. } => Some(pid),
            Wish::Nothing | Wish::Rooms(_) | Wish::Nonsense(_) => None,
        }
    }

    /// What of all this a back end is told: all but the token, which it is told anyway, and what brings a session back, which is
    /// nobody's but the gateway's. `null` if others could not read it. For half a character stands U+FFFD.
    pub(super) fn for_back_ends(&self, json_depth: usize) -> Box<RawValue> {
        const OURS: [&str; 4] = ["token", "pid", "offset", "offsets"];
        if !self.payload.get().starts_with('{') || !json::harmless(self.payload.get(), json_depth) {
            return RawValue::NULL.to_owned();
        }
        let fields = json::fields(&self.payload).into_iter().filter_map(|(name, value)| {
            let name = String::from_utf8(name.into_owned()).ok().filter(|name| !OURS.contains(&name.as_str()))?;
            Some((name, value))
        });
        let fields: BTreeMap<_, _> = fields.collect();
        let text = serde_json::to_string(&fields).unwrap_or_default();
        RawValue::from_string(json::mended(&text).into_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
    }

    /// What the client wants back in a namespace. Never an error: who asks for nonsense is told so, and comes in.
    pub(super) fn wish(&self, namespace: &str) -> Wish {
        let heard = match &self.offset {
            Said::Nothing => Some(Mark::default()),
            Said::Text(offset) => Mark::parse(offset),
            Said::Otherwise => None,
        };
        let heard = heard.filter(|_| self.wants_offsets);
        match (&self.pid, heard, &self.offsets) {
            (Said::Nothing, _, None) => Wish::Nothing,
            (pid, _, Some(offsets)) if *pid == Said::Nothing || !self.wants_offsets => {
                rooms(namespace, offsets).map_or(Wish::Nonsense(Unrecovered::Offset), Wish::Rooms)
            }
            (Said::Nothing | Said::Otherwise, ..) => Wish::Nonsense(Unrecovered::Unknown),
            (Said::Text(pid), heard, _) => match (Pid::parse(pid), heard) {
                (None, _) => Wish::Nonsense(Unrecovered::Unknown),
                (_, None) => Wish::Nonsense(Unrecovered::Offset),
                (Some(pid), Some(heard)) => Wish::Session { pid, heard },
            },
        }
    }
}

impl Said {
    fn of(value: Option<&RawValue>) -> Self {
        match value {
            None => Self::Nothing,
            Some(value) if json::is_text(value) => {
                serde_json::from_str(&json::mended(value.get())).map_or(Self::Otherwise, Self::Text)
            }
            Some(_) => Self::Otherwise,
        }
    }
}

/// The last field of a name, unless it is `null`.
fn field<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a RawValue> {
    let (_, value) = fields.iter().rev().find(|(found, _)| **found == *name.as_bytes())?;
    (value.get() != "null").then_some(*value)
}

/// `offsets`: an object, or its JSON text, as some clients' `auth` is a map of texts.
fn rooms(namespace: &str, offsets: &RawValue) -> Option<Vec<(RoomName, Offset)>> {
    let text = if json::is_text(offsets) { json::text(offsets)? } else { offsets.get().into() };
    let object = serde_json::from_str::<&RawValue>(&text).ok().filter(|object| object.get().starts_with('{'))?;
    let mut rooms = BTreeMap::new();
    for (name, offset) in json::fields(object) {
        rooms.insert(String::from_utf8(name.into_owned()).ok()?, Mark::parse(&json::text(offset)?)?.offset);
    }
    rooms.into_iter().map(|(name, offset)| Some((RoomName::parse_in(namespace, &name).ok()?, offset))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn wish(auth: &Value) -> Wish {
        Auth::read(&auth.to_string()).wish("/")
    }

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    #[test]
    fn what_official_clients_send_is_a_wish_for_the_session() {
        let pid = Pid::random();
        let heard = Mark { offset: Offset(12), replay: 1 };
        assert_eq!(wish(&json!({ "pid": pid.to_string(), "offset": "12.1" })), Wish::Session { pid, heard });
        let without_offset = wish(&json!({ "pid": pid.to_string(), "offsets": { "r": "1" } }));
        assert_eq!(without_offset, Wish::Session { pid, heard: Mark::default() });
        assert_eq!(wish(&json!({ "pid": null, "offset": "12", "offsets": null })), Wish::Nothing);
    }

    #[test]
    fn nonsense_is_told_and_never_an_error() {
        let pid = Pid::random().to_string();
        for offset in
            [json!("-1"), json!(-1), json!(7), json!(true), json!("NaN"), json!({}), json!("9".repeat(60_000))]
        {
            let wish = wish(&json!({ "pid": pid, "offset": offset }));
            assert_eq!(wish, Wish::Nonsense(Unrecovered::Offset), "{offset}");
        }
        for pid in [json!(""), json!(7), json!([]), json!(false), json!("x".repeat(32))] {
            assert_eq!(wish(&json!({ "pid": pid })), Wish::Nonsense(Unrecovered::Unknown), "{pid}");
        }
        for offsets in [
            json!([]),
            json!(1),
            json!("r"),
            json!("[]"),
            json!("null"),
            json!(r#""{}""#),
            json!({ "": "1" }),
            json!({ "r": 1 }),
            json!({ "r": "x" }),
            json!(r#"{"r":1}"#),
        ] {
            assert_eq!(wish(&json!({ "offsets": offsets })), Wish::Nonsense(Unrecovered::Offset), "{offsets}");
        }
        let half = Auth::read(r#"{"offsets":{"\ud83d":"1"}}"#);
        assert_eq!(half.wish("/"), Wish::Nonsense(Unrecovered::Offset));
    }

    #[test]
    fn offsets_are_an_object_or_its_text() {
        let expected = Wish::Rooms(vec![(room("a"), Offset(1)), (room("é"), Offset(u64::MAX))]);
        for offsets in [
            json!({ "é": u64::MAX.to_string(), "a": "1" }),
            json!(r#"{"\u00e9":"18446744073709551615","a":"7", "\u0061" : "1"}"#),
        ] {
            assert_eq!(wish(&json!({ "offsets": offsets })), expected, "{offsets}");
        }
        assert_eq!(wish(&json!({ "offsets": {} })), Wish::Rooms(vec![]));
        assert_eq!(wish(&json!({ "offsets": " {} " })), Wish::Rooms(vec![]));
    }

    #[test]
    fn a_token_is_a_text_or_none() {
        for (auth, token, is_odd) in [
            (r#"{"token":"abc"}"#, Some("abc"), false),
            (r#"{"t\u006fken":"a\/b"}"#, Some("a/b"), false),
            (r#"{"token":""}"#, None, false),
            (r#"{"token":"cut \ud83d"}"#, Some("cut \u{fffd}"), false),
            (r#"{"token":1,"token":"last"}"#, Some("last"), false),
            (r#"{"token":null}"#, None, false),
            (r#"{"token":1234}"#, None, true),
            (r#"{"token":false}"#, None, true),
            (r#"{"token":{"jwt":"x"}}"#, None, true),
            (r#"{"token":["x"]}"#, None, true),
            (r#"{"Token":"x"}"#, None, false),
        ] {
            let auth_read = Auth::read(auth);
            assert_eq!((auth_read.token(), auth_read.has_odd_token()), (token, is_odd), "{auth}");
        }
    }

    #[test]
    fn a_back_end_is_told_what_is_not_the_gateway_s() {
        let told = |auth: &str| Auth::read(auth).for_back_ends(3).get().to_owned();
        let auth =
            r#"{"token":"t","pid":"p","offset":"1","offsets":{},"b":[1],"a":"x\ud83d","a":"y\ud83d","\ud83d":2}"#;
        assert_eq!(told(auth), r#"{"a":"y\ufffd","b":[1]}"#);
        assert_eq!(told("{}"), "{}");
        for none in ["", "null", "7", r#"["a"]"#, r#"{"a":[[[1]]]}"#, r#"{"a":1e999}"#, "{"] {
            assert_eq!(told(none), "null", "{none}");
        }
    }

    #[test]
    fn what_is_odd_about_one_field_leaves_the_others_alone() {
        let pid = Pid::random();
        let odd = [
            r#""name":"Bob \ud83d""#,
            r#""\ud83d":1"#,
            r#""user":{"\ud83d":["\udc00"]}"#,
            r#""count":123456789012345678901234567890"#,
            r#""small":1e-999999,"large":1e999999"#,
            r#""token":7,"token":"t""#,
            r#""offset":{},"offset":"3""#,
        ];
        for odd in odd {
            let text = format!(r#"{{"pid":"{pid}","offset":"3","token":"t",{odd}}}"#);
            let auth = Auth::read(&text);
            let heard = Mark { offset: Offset(3), replay: 0 };
            assert_eq!((auth.token(), auth.wish("/")), (Some("t"), Wish::Session { pid, heard }), "{text}");
            assert_eq!(auth.payload.get(), text);
        }
    }

    #[test]
    fn offset_false_is_no_offset_and_a_wish_for_none() {
        let pid = Pid::random();
        let auth = Auth::read(&json!({ "pid": pid.to_string(), "offset": false }).to_string());
        assert!(!auth.wants_offsets);
        assert_eq!(auth.wish("/"), Wish::Nonsense(Unrecovered::Offset));
        let auth = json!({ "pid": pid.to_string(), "offset": false, "offsets": { "a": "7" } });
        assert_eq!(wish(&auth), Wish::Rooms(vec![(room("a"), Offset(7))]), "what it says itself counts");
        assert_eq!(wish(&json!({ "offset": false })), Wish::Nothing);
        for offset in ["null", "true", "0", r#""0""#, r#""false""#] {
            assert!(Auth::read(&format!(r#"{{"offset":{offset}}}"#)).wants_offsets, "{offset}");
        }
        assert!(Auth::read("{}").wants_offsets);
    }

    #[test]
    fn what_is_no_object_says_nothing() {
        for text in ["", "null", "1", r#""token""#, r#"["token","x"]"#, "{", r#"{"token":"x""#, "\u{feff}{}"] {
            let auth = Auth::read(text);
            let said = (auth.token(), auth.has_odd_token(), auth.session("/"), auth.wish("/"));
            let is_odd = !["", "null"].contains(&text);
            assert_eq!(said, (None, is_odd, None, Wish::Nothing), "{text}");
        }
    }
}
