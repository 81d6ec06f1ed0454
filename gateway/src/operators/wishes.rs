//! What operators say in the namespace: the controls of the official Admin UI, and tails. Those of one operator are done one
//! after the other, and each may have an acknowledgement.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};
use socketioxide::extract::AckSender;
use socketioxide::handler::{FromMessageParts, MessageHandler};
use socketioxide::socket::Socket;
use socketioxide_core::Value;
use tokio::sync::mpsc;

use super::tails::Tails;
use super::{Adapter, Watched};
use crate::audit::{By, Visitor, audit};
use gateway_core::auth::OperatorRole;
use gateway_core::content::{Bounds, may_be_emitted};
use gateway_core::control::{ControlError, Done, These};
use gateway_core::domain::{Event, Refusal, RoomName};
use gateway_core::node::now_ms;

/// Wishes of one operator that wait.
const WAITING: usize = 64;

/// Why something is not done.
pub(super) struct Not(pub(super) &'static str, pub(super) String);

impl Not {
    fn wrong(why: &str) -> Self {
        Self("bad_request", why.to_owned())
    }
}

impl From<ControlError> for Not {
    fn from(error: ControlError) -> Self {
        Self("unavailable", error.to_string())
    }
}

impl From<Refusal> for Not {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.code(), refusal.message())
    }
}

const READ_ONLY: &str = "admin.viewer_token only looks: this needs admin.token";

/// Does what operators wish.
pub(super) struct Desk {
    pub(super) watched: Watched,
    pub(super) name: String,
    pub(super) bounds: Bounds,
    /// Whether operators are told the arguments of events.
    pub(super) payloads: bool,
    /// Held by whoever has all nodes list their sessions.
    pub(super) listing: tokio::sync::Mutex<()>,
}

/// Takes what one operator says.
pub(super) struct Inlet(mpsc::Sender<(String, Option<i64>)>);

impl MessageHandler<Adapter, ()> for Inlet {
    fn call(&self, socket: Arc<Socket<Adapter>>, value: Value, ack: Option<i64>) {
        let refused = match value {
            Value::Str(text, None) => match self.0.try_send((text.to_string(), ack)) {
                Ok(()) => return,
                Err(_) => Not("rate_limited", "what was wished before is not done yet".to_owned()),
            },
            _ => Not::wrong("operators send no binary"),
        };
        reply(&socket, ack, Err(refused));
    }
}

fn reply(socket: &Arc<Socket<Adapter>>, ack: Option<i64>, answer: Result<Json, Not>) {
    let answer = match answer {
        Ok(mut answer) => {
            answer["ok"] = json!(true);
            answer
        }
        Err(Not(code, message)) => json!({ "ok": false, "error": { "code": code, "message": message } }),
    };
    let Ok(sender) = AckSender::<Adapter>::from_message_parts(socket, &mut Value::Str("[]".into(), None), &ack);
    // Whoever is full does not read.
    sender.send(&answer).ok();
}

impl Desk {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Begins to do what an operator says, until it has gone.
    pub(super) fn begin(self: Arc<Self>, socket: &Arc<Socket<Adapter>>, visitor: Visitor) -> Inlet {
        let (sender, wishes) = mpsc::channel(WAITING);
        // The socket has the sender, so this must not have the socket.
        tokio::spawn(self.work(Arc::downgrade(socket), visitor, wishes));
        Inlet(sender)
    }

    /// Notes that an operator is told what clients say.
    pub(super) fn welcome(&self, socket: &Socket<Adapter>) {
        let role = socket.extensions.get::<gateway_core::auth::LetIn>().map(|let_in| let_in.role);
        let peer = socket.req_parts().extensions.get::<axum::extract::ConnectInfo<SocketAddr>>();
        if let (true, Some(OperatorRole::Operator), Some(peer)) = (self.payloads, role, peer) {
            audit(By::Operator(peer.0), "watch", "events with their arguments, as admin.payloads has it", "begun");
        }
    }

    async fn work(
        self: Arc<Self>,
        socket: Weak<Socket<Adapter>>,
        visitor: Visitor,
        mut wishes: mpsc::Receiver<(String, Option<i64>)>,
    ) {
        let mut tails = Tails::new(self.clone(), socket.clone(), visitor);
        while let Some((text, ack)) = wishes.recv().await {
            let answer = self.answer(&text, visitor, &mut tails).await;
            let Some(socket) = socket.upgrade() else { return };
            reply(&socket, ack, answer);
        }
    }

    async fn answer(&self, text: &str, visitor: Visitor, tails: &mut Tails) -> Result<Json, Not> {
        let wrong = || Not::wrong("an event is an array of a name and arguments");
        let parts: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| wrong())?;
        let (name, args) = parts.split_first().ok_or_else(wrong)?;
        let name: String = serde_json::from_str(name.get()).map_err(|_| wrong())?;
        let is_control = matches!(&*name, "emit" | "join" | "leave" | "_disconnect");
        if is_control && visitor.role == OperatorRole::Viewer {
            return Err(Not("not_allowed", READ_ONLY.to_owned()));
        }
        let words: Vec<Option<String>> = args.iter().map(|arg| serde_json::from_str(arg.get()).ok()).collect();
        let word = |at: usize| words.get(at).and_then(|word| word.as_deref()).filter(|word| !word.is_empty());
        let namespace = || word(0).filter(|name| name.starts_with('/')).ok_or_else(|| Not::wrong("name a namespace"));
        match &*name {
            "emit" => {
                let (event, filter) = (word(2).ok_or_else(|| Not::wrong("name an event"))?, word(1));
                self.emit(visitor, namespace()?, filter, event, args.get(3..).unwrap_or_default()).await
            }
            "join" | "leave" => {
                let (namespace, room) = (namespace()?, word(1).ok_or_else(|| Not::wrong("name a room"))?);
                let (these, room) = (These::of(namespace, word(2)), RoomName::parse_in(namespace, room)?);
                let is_join = name == "join";
                let control = &self.watched.control;
                let done = if is_join { control.put(these, &room).await } else { control.take(these, &room).await };
                let whom = format!("{}, room {}", whom(namespace, word(2)), word(1).unwrap_or_default());
                told(visitor, if is_join { "put in" } else { "take out" }, &whom, done)
            }
            "_disconnect" => {
                // Whether the transport is closed as well makes no difference: there is one namespace on it that matters.
                let done = self.watched.control.end(These::of(namespace()?, word(2))).await;
                told(visitor, "end", &whom(namespace()?, word(2)), done)
            }
            "tail" => tails.begin(read(args)?).await,
            "untail" => tails.end(read(args)?),
            _ => Err(Not("unknown_event", format!("there is no {name:?} for operators"))),
        }
    }

    async fn emit(
        &self,
        visitor: Visitor,
        namespace: &str,
        filter: Option<&str>,
        name: &str,
        args: &[&RawValue],
    ) -> Result<Json, Not> {
        if !may_be_emitted(name) {
            return Err(Not::wrong("no server may emit an event of this name"));
        }
        let args = format!("[{}]", args.iter().map(|arg| arg.get()).collect::<Vec<_>>().join(","));
        self.bounds.check_text(&args, args.len())?;
        let event = Event { name: name.to_owned(), args, attachments: Vec::new(), except: None, at_ms: now_ms() };
        let done = self.watched.control.say(namespace, filter, &event).await;
        told(visitor, "emit", &format!("{name:?} to {}", whom(namespace, filter)), done)
    }
}

fn whom(namespace: &str, filter: Option<&str>) -> String {
    match filter {
        Some(filter) => format!("{filter} of {namespace}"),
        None => format!("everybody of {namespace}"),
    }
}

/// Leaves a line about what was done, and says it.
fn told(visitor: Visitor, what: &'static str, whom: &str, done: Result<Done, ControlError>) -> Result<Json, Not> {
    let outcome = match &done {
        Ok(Done { sessions, failed, missing }) => {
            format!("{sessions} sessions, {failed} failed, {missing} nodes did not answer")
        }
        Err(error) => format!("failed: {error}"),
    };
    audit(visitor.by(), what, whom, outcome);
    let Done { sessions, failed, missing } = done?;
    Ok(json!({ "sessions": sessions, "failed": failed, "missing": missing }))
}

/// The first argument, an object.
fn read<'a, T: Deserialize<'a>>(args: &[&'a RawValue]) -> Result<T, Not> {
    let first = args.first().ok_or_else(|| Not::wrong("an object is missing"))?;
    serde_json::from_str(first.get()).map_err(|error| Not("bad_request", error.to_string()))
}
