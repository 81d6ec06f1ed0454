//! Letters: what a back end reads of what happened.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use gateway_core::domain::Offset;
use gateway_core::outbox::{Happening, What};
use gateway_core::traces::Trace;

#[derive(Serialize)]
struct Letter<'a> {
    hook: &'a str,
    events: Vec<Told<'a>>,
}

/// One thing that happened. What does not belong to its type is left out.
#[derive(Serialize)]
struct Told<'a> {
    id: String,
    r#type: What,
    time: u64,
    namespace: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<&'a str>,
}

impl<'a> Told<'a> {
    fn new(happening: &'a Happening) -> Self {
        let (published, number) = (happening.event.as_ref(), happening.number.to_string());
        let (offset, sequence) = if published.is_some() { (Some(number), None) } else { (None, Some(number)) };
        let args = published.map(|event| match event.args_at(Offset(happening.number)) {
            Cow::Borrowed(args) => args.to_owned(),
            Cow::Owned(args) => args,
        });
        // A session of a namespace is its own member.
        let member = happening.member.as_deref().filter(|_| happening.what.is_of_members());
        Self {
            id: happening.id(),
            r#type: happening.what,
            time: happening.at_ms,
            namespace: happening.place.namespace().unwrap_or("/"),
            room: happening.place.shown(),
            session: happening.session.map(|session| session.to_string()),
            user: happening.user.as_ref().map(|user| user.as_str()),
            member,
            cause: happening.cause.as_deref(),
            sequence,
            offset,
            event: published.map(|event| event.name.as_str()),
            // What the log has is JSON: the gateway has read it before.
            args: args.and_then(|args| RawValue::from_string(args).ok()),
            attachments: published
                .map(|event| event.attachments.iter().map(|bytes| STANDARD.encode(bytes)).collect())
                .unwrap_or_default(),
            traceparent: happening.trace.as_ref().map(Trace::parent),
            tracestate: happening.trace.as_ref().and_then(Trace::state),
        }
    }
}

/// The body of a request: what happened, in its order.
///
/// # Panics
/// Never: texts and numbers always encode.
#[must_use]
pub(super) fn letter<'a>(hook: &'a str, happenings: impl IntoIterator<Item = &'a Happening>) -> Bytes {
    let events = happenings.into_iter().map(Told::new).collect();
    serde_json::to_vec(&Letter { hook, events }).expect("texts and numbers always encode").into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use gateway_core::domain::{Event, RoomName, SessionId, UserId};

    #[test]
    fn each_type_says_what_it_knows() {
        let session = SessionId::parse(&"0a".repeat(16)).unwrap();
        let room = RoomName::parse_in("/shop", "orders-1").unwrap();
        let published = Happening {
            session: Some(session),
            user: UserId::parse("alice"),
            event: Some(Event {
                name: "order".into(),
                args: "[{\"n\":1},\u{1}]".into(),
                attachments: vec![Bytes::from_static(b"\x00\xff")],
                except: None,
                at_ms: 5,
            }),
            trace: Trace::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=1"),
            ..Happening::new(What::Published, room.clone(), 17, 5)
        };
        let mut left = Happening::new(What::Left, room, 18, 6);
        (left.session, left.member, left.cause) = (Some(session), Some("s:x".into()), Some("lease".into()));
        let mut ended = Happening::new(What::Ended, RoomName::everybody("/"), 19, 7);
        (ended.session, ended.member) = (Some(session), Some(session.to_string()));
        let body: Value = serde_json::from_slice(&letter("billing", [&published, &left, &ended])).unwrap();
        let id = "0a".repeat(16);
        assert_eq!(
            body,
            json!({ "hook": "billing", "events": [
                { "id": "publish:17", "type": "publish", "time": 5, "namespace": "/shop", "room": "orders-1",
                  "session": id, "user": "alice", "offset": "17", "event": "order", "args": [{ "n": 1 }, "17"],
                  "attachments": ["AP8="], "tracestate": "a=1",
                  "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
                { "id": "room.left:18", "type": "room.left", "time": 6, "namespace": "/shop", "room": "orders-1",
                  "session": id, "member": "s:x", "cause": "lease", "sequence": "18" },
                { "id": "session.ended:19", "type": "session.ended", "time": 7, "namespace": "/", "session": id,
                  "sequence": "19" },
            ] })
        );
    }
}
