//! What is seen of sessions one by one, in the words of the official Admin UI.

use std::time::SystemTime;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use gateway_core::node::{Seen, Sight};

/// Arguments that are longer than this are not told, in bytes: what is told goes to every node.
const LARGEST: usize = 4096;

/// What operators are told of a sight: a list of arguments.
#[derive(Debug, PartialEq)]
pub(super) struct Told {
    /// What all may see.
    pub(super) plain: Arguments,
    /// What viewers may not, if there is something.
    pub(super) payload: Option<Arguments>,
}

/// The arguments of an event of the namespace, in order.
#[derive(Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub(super) enum Arguments {
    /// One.
    One((Value,)),
    /// Of what a session did.
    Four((Value, Value, Value, Value)),
}

impl Told {
    /// The name of the event, and what is told.
    pub(super) fn of(sight: &Sight, node: &str, payloads: bool) -> (&'static str, Self) {
        let (namespace, id) = (&*sight.namespace, sight.session.to_string());
        let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let plain = |arguments| Self { plain: arguments, payload: None };
        let moved = |room: &gateway_core::domain::RoomName| {
            plain(Arguments::Four((json!(namespace), json!(room.shown()), json!(id), json!(at))))
        };
        let said = |text: &str| {
            let (name, all) = arguments(text);
            let told = |said| Arguments::Four((json!(namespace), json!(id), said, json!(at)));
            Self { plain: told(json!([name])), payload: payloads.then(|| told(all)) }
        };
        match &sight.what {
            Seen::Joined(room) => ("room_joined", moved(room)),
            Seen::Left(room) => ("room_left", moved(room)),
            Seen::Named(user) => {
                let data = json!({ "user": user, "node": node });
                ("socket_updated", plain(Arguments::One((json!({ "id": id, "nsp": namespace, "data": data }),))))
            }
            Seen::Received(text) => ("event_received", said(text)),
            Seen::Sent(text) => ("event_sent", said(text)),
        }
    }
}

/// The name of an event, and the name with its arguments.
fn arguments(text: &str) -> (Value, Value) {
    let parts: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
    let name = parts.first().and_then(|name| serde_json::from_str(name.get()).ok()).unwrap_or(Value::Null);
    let all = if text.len() > LARGEST {
        json!([name, format!("({} bytes)", text.len())])
    } else {
        serde_json::from_str(text).unwrap_or_else(|_| json!([name]))
    };
    (name, all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::domain::{RoomName, SessionId, UserId};

    fn told(what: Seen, payloads: bool) -> (&'static str, Value, Option<Value>) {
        let session = SessionId::parse("00000000000000000000000000000007").unwrap();
        let (event, told) = Told::of(&Sight { session, namespace: "/".into(), what }, "n1", payloads);
        let without_time = |arguments: &Arguments| {
            let mut arguments = serde_json::to_value(arguments).unwrap();
            if let Some(list) = arguments.as_array_mut().filter(|list| list.len() == 4) {
                let at = list.pop().unwrap();
                assert!(at.as_str().unwrap().ends_with('Z'), "{at}");
            }
            arguments
        };
        (event, without_time(&told.plain), told.payload.as_ref().map(without_time))
    }

    #[test]
    fn moves_and_names_are_told_as_the_admin_ui_reads_them() {
        let id = "00000000000000000000000000000007";
        let room = RoomName::parse("lounge").unwrap();
        assert_eq!(told(Seen::Joined(room.clone()), true), ("room_joined", json!(["/", "lounge", id]), None));
        assert_eq!(told(Seen::Left(room), false), ("room_left", json!(["/", "lounge", id]), None));
        let named = json!([{ "id": id, "nsp": "/", "data": { "user": "alice", "node": "n1" } }]);
        assert_eq!(told(Seen::Named(UserId::parse("alice").unwrap()), false), ("socket_updated", named, None));
    }

    #[test]
    fn arguments_are_told_only_if_they_may_be_and_are_not_too_long() {
        let id = "00000000000000000000000000000007";
        let said = || Seen::Received(r#"["publish",{"secret":1},2]"#.into());
        let plain = json!(["/", id, ["publish"]]);
        assert_eq!(told(said(), false), ("event_received", plain.clone(), None));
        let whole = json!(["/", id, ["publish", { "secret": 1 }, 2]]);
        assert_eq!(told(said(), true), ("event_received", plain.clone(), Some(whole)));
        let long = format!(r#"["publish","{}"]"#, "x".repeat(LARGEST));
        let shortened = json!(["/", id, ["publish", format!("({} bytes)", long.len())]]);
        assert_eq!(told(Seen::Sent(long), true), ("event_sent", plain, Some(shortened)));
        assert_eq!(told(Seen::Received("nonsense".into()), true).1, json!(["/", id, [null]]));
    }
}
