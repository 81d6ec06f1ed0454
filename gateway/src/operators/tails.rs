//! Tails: what a room says, as one operator hears it: so much in a second, and how much more there was.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};
use socketioxide::socket::Socket;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Adapter;
use super::wishes::{Desk, Not};
use crate::audit::{Visitor, audit};
use gateway_core::auth::OperatorRole;
use gateway_core::domain::RoomName;
use gateway_core::node::{CloseReason, Heard, Tap, now_ms};

/// Tails of one operator.
const TAILS: usize = 8;
/// Events of one tail that are told in a second.
const PER_SECOND: usize = 20;

/// Which room.
#[derive(Deserialize)]
pub(super) struct Wanted {
    room: String,
    namespace: Option<String>,
    #[serde(default)]
    payloads: bool,
}

/// Which tail.
#[derive(Deserialize)]
pub(super) struct Which {
    tail: u64,
}

/// The tails of one operator. They end with it.
pub(super) struct Tails {
    desk: Arc<Desk>,
    socket: Weak<Socket<Adapter>>,
    visitor: Visitor,
    last: u64,
    open: BTreeMap<u64, (CancellationToken, DropGuard)>,
}

/// What is told of an event.
#[derive(Serialize)]
struct Told<'a> {
    tail: u64,
    room: &'a str,
    namespace: &'a str,
    event: &'a RawValue,
    offset: Option<String>,
    user: Option<String>,
    node: &'a str,
    bytes: usize,
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a [&'a RawValue]>,
}

impl Tails {
    pub(super) fn new(desk: Arc<Desk>, socket: Weak<Socket<Adapter>>, visitor: Visitor) -> Self {
        Self { desk, socket, visitor, last: 0, open: BTreeMap::new() }
    }

    /// Begins one; the answer has its number.
    pub(super) async fn begin(&mut self, wanted: Wanted) -> Result<Json, Not> {
        let Wanted { room: name, namespace, payloads } = wanted;
        let namespace = namespace.unwrap_or_else(|| "/".to_owned());
        let room = RoomName::parse_in(&namespace, &name)?;
        let what = if payloads { "tail with payloads" } else { "tail" };
        let subject = format!("room {name} of {namespace}");
        if payloads && self.visitor.role == OperatorRole::Viewer {
            audit(self.visitor.by(), what, &subject, "refused");
            return Err(Not("not_allowed", "payloads are for admin.token alone".to_owned()));
        }
        // Those that have ended by themselves have no place any more.
        self.open.retain(|_, (ended, _)| !ended.is_cancelled());
        if self.open.len() >= TAILS {
            return Err(Not("rate_limited", format!("an operator has {TAILS} tails at the most: end one first")));
        }
        let opened = self.desk.watched.taps.open(&room, None, self.visitor.peer.ip()).await;
        audit(self.visitor.by(), what, &subject, if opened.is_ok() { "begun" } else { "failed" });
        let (tap, _) = opened?;
        self.last += 1;
        let ended = CancellationToken::new();
        let tail =
            Tail { number: self.last, room: name, namespace, payloads, desk: self.desk.clone(), ended: ended.clone() };
        tokio::spawn(tail.run(tap, self.socket.clone()));
        self.open.insert(self.last, (ended.clone(), ended.drop_guard()));
        Ok(json!({ "tail": self.last }))
    }

    /// Ends one.
    pub(super) fn end(&mut self, Which { tail }: Which) -> Result<Json, Not> {
        let ended = self.open.remove(&tail);
        ended.map(|_| json!({})).ok_or_else(|| Not("bad_request", "there is no such tail, or no more".to_owned()))
    }
}

struct Tail {
    number: u64,
    room: String,
    namespace: String,
    payloads: bool,
    desk: Arc<Desk>,
    /// Cancelled when nobody hears it any more, or it has ended.
    ended: CancellationToken,
}

impl Tail {
    async fn run(self, tap: Tap, socket: Weak<Socket<Adapter>>) {
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut told, mut left_out) = (0, 0_u64);
        let reason = loop {
            let heard = tokio::select! {
                () = self.ended.cancelled() => return,
                _ = second.tick() => {
                    if left_out > 0 {
                        let summary = json!({ "tail": self.number, "room": self.room, "count": left_out });
                        if !emit(&socket, "tail_left_out", &summary) {
                            break "slow";
                        }
                    }
                    (told, left_out) = (0, 0);
                    continue;
                }
                heard = tap.next() => heard,
            };
            let Some(heard) = heard else {
                break if tap.ended() == Some(CloseReason::Draining) { "draining" } else { "slow" };
            };
            if told >= PER_SECOND {
                left_out += 1;
            } else if self.tell(&socket, &heard) {
                told += 1;
            } else {
                break "slow";
            }
        };
        self.ended.cancel();
        emit(&socket, "tail_ended", &json!({ "tail": self.number, "room": self.room, "reason": reason }));
    }

    /// False if the operator does not take it.
    fn tell(&self, socket: &Weak<Socket<Adapter>>, heard: &Heard) -> bool {
        let Ok(parts) = serde_json::from_str::<Vec<&RawValue>>(&heard.text) else { return true };
        let Some((event, args)) = parts.split_first() else { return true };
        let bytes = heard.text.len() + heard.attachments.iter().map(|bytes| bytes.len()).sum::<usize>();
        let told = Told {
            tail: self.number,
            room: &self.room,
            namespace: &self.namespace,
            event,
            offset: heard.offset.map(|offset| offset.to_string()),
            user: args.first().and_then(|first| user(first)),
            node: self.desk.name(),
            bytes,
            at: now_ms(),
            data: self.payloads.then_some(args),
        };
        emit(socket, "tail_event", &told)
    }
}

/// False if the operator has gone, or does not read.
fn emit<T: Serialize>(socket: &Weak<Socket<Adapter>>, event: &str, told: &T) -> bool {
    socket.upgrade().is_some_and(|socket| socket.emit(event, told).is_ok())
}

/// Who said it, as far as the event says so.
fn user(first: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        user: Option<String>,
    }
    first.get().starts_with('{').then(|| serde_json::from_str::<Said>(first.get()).ok()?.user)?
}
