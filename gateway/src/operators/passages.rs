//! Who comes and leaves, in the words of the official Admin UI; so many of them, and how many more there were.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

use super::sockets::Shown;
use gateway_core::node::{CloseReason, RosterChange, Stage};

/// How many comings and leavings of a node are told between two of its figures. A storm of thousands a second must
/// not become as many messages to every node and every operator.
const TOLD: usize = 100;

/// What is left to be told until the next figures.
#[derive(Debug, Default)]
pub(super) struct Passages {
    told: usize,
    left_out: u64,
}

/// What operators are told of one session.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Passage {
    /// `socket_connected`: the session and when.
    Connected(Box<Value>, String),
    /// `socket_disconnected`: namespace, session, reason and when.
    Disconnected(String, String, &'static str, String),
}

impl Passage {
    /// The name of the event.
    pub(super) fn event(&self) -> &'static str {
        match self {
            Self::Connected(..) => "socket_connected",
            Self::Disconnected(..) => "socket_disconnected",
        }
    }
}

impl Passages {
    /// Notes that so many are not told of.
    pub(super) fn leave_out(&mut self, count: u64) {
        self.left_out += count;
    }

    /// What operators are told of a change; nothing if it is one too many, or none to them.
    pub(super) fn note(&mut self, change: &RosterChange, node: &str) -> Option<Passage> {
        let passage = passage(change, node)?;
        if self.told >= TOLD {
            self.leave_out(1);
            return None;
        }
        self.told += 1;
        Some(passage)
    }

    /// Begins anew; returns how many were left out since the last time.
    pub(super) fn turn(&mut self) -> u64 {
        std::mem::take(self).left_out
    }
}

fn passage(change: &RosterChange, node: &str) -> Option<Passage> {
    let id = change.session.to_string();
    let at = humantime::format_rfc3339_millis(change.at).to_string();
    match change.stage {
        // It is on another connection already, and was told of there.
        Stage::Left { reason: Some(CloseReason::Replaced), .. } => None,
        Stage::Left { reason, may_return } => {
            Some(Passage::Disconnected(change.namespace.to_string(), id, word(reason, may_return), at))
        }
        Stage::Came => {
            let came = change.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
            let shown = Shown {
                id: &id,
                namespace: &change.namespace,
                user: change.user.as_ref().map(|user| user.as_str()),
                node,
                address: change.address.to_string(),
                transport: change.transport,
                came_ms: u64::try_from(came).unwrap_or(u64::MAX),
                rooms: &[],
            };
            Some(Passage::Connected(Box::new(shown.json()), at))
        }
    }
}

/// Socket.IO's word for why a session left where it has one, ours elsewhere.
fn word(reason: Option<CloseReason>, may_return: bool) -> &'static str {
    match reason {
        Some(CloseReason::Kicked) => "server namespace disconnect",
        Some(CloseReason::Slow) => "slow",
        Some(CloseReason::Draining) => "draining",
        Some(CloseReason::Balanced) => "balanced",
        Some(CloseReason::Aged) => "aged",
        Some(CloseReason::Expired) => "expired",
        Some(CloseReason::Revoked) => "revoked",
        Some(CloseReason::Flooding) => "flooding",
        Some(CloseReason::Replaced) | None if may_return => "transport close",
        Some(CloseReason::Replaced) | None => "client namespace disconnect",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use gateway_core::domain::{SessionId, UserId};

    fn change(stage: Stage) -> RosterChange {
        RosterChange {
            mail: None,
            session: SessionId::parse("00000000000000000000000000000007").unwrap(),
            namespace: "/chat".into(),
            user: UserId::parse("alice"),
            address: [192, 0, 2, 1].into(),
            transport: "polling",
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
            stage,
        }
    }

    #[test]
    fn whoever_comes_is_told_with_what_the_admin_ui_reads() {
        let told = Passages::default().note(&change(Stage::Came), "n1").unwrap();
        assert_eq!(told.event(), "socket_connected");
        let id = "00000000000000000000000000000007";
        let expected = json!([{
            "id": id,
            "clientId": id,
            "transport": "polling",
            "nsp": "/chat",
            "data": { "user": "alice", "node": "n1" },
            "handshake": {
                "address": "192.0.2.1", "headers": {}, "query": {}, "issued": 1500, "time": "1970-01-01T00:00:01.500Z"
            },
            "rooms": [id]
        }, "1970-01-01T00:00:01.500Z"]);
        assert_eq!(serde_json::to_value(&told).unwrap(), expected);
    }

    #[test]
    fn whoever_leaves_is_told_with_the_reason_unless_it_only_moved() {
        let tell = |reason, may_return| Passages::default().note(&change(Stage::Left { reason, may_return }), "n1");
        let told = tell(Some(CloseReason::Kicked), false).unwrap();
        assert_eq!(told.event(), "socket_disconnected");
        let expected = json!([
            "/chat",
            "00000000000000000000000000000007",
            "server namespace disconnect",
            "1970-01-01T00:00:01.500Z"
        ]);
        assert_eq!(serde_json::to_value(&told).unwrap(), expected);
        for (may_return, word) in [(true, "transport close"), (false, "client namespace disconnect")] {
            assert_eq!(serde_json::to_value(tell(None, may_return)).unwrap()[2], word);
        }
        assert_eq!(tell(Some(CloseReason::Replaced), true), None);
    }

    #[test]
    fn of_a_storm_some_are_told_and_the_rest_is_counted() {
        let mut passages = Passages::default();
        let told = (0..5_000).filter_map(|_| passages.note(&change(Stage::Came), "n1")).count();
        passages.leave_out(10);
        assert_eq!((told, passages.turn()), (TOLD, 4_910));
        assert!(passages.note(&change(Stage::Came), "n1").is_some(), "and some again after it");
        assert_eq!(passages.turn(), 0);
    }
}
