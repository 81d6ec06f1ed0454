//! Routes: what a client event may do. An event that no route names does nothing.

mod actions;
mod json;
mod names;
mod table;
mod template;

pub use names::check_emitted;
pub use table::{
    Action, Allow, Breaker, Broadcast, Call, Claim, Direct, Emission, Facts, History, Identify, Join, Leave, Lifecycle,
    Log, LogLevel, Namespace, Needs, Presence, Publish, Rate, Refused, Route, RouteError, RouteTable, Schema, Signal,
    Target, Typing,
};
pub use template::{Args, AuthFields, Json, RenderedArgs, Scope, Template};

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::config::Limits;
use crate::domain::Refusal;
use crate::metrics::Metrics;
use crate::node::{Node, Session};

/// An event as a client sent it.
#[derive(Debug)]
pub struct Inbound {
    /// The JSON array of the event's name and arguments, not yet looked at.
    pub text: String,
    /// Binary attachments.
    pub attachments: Vec<Bytes>,
    /// When it was read from the connection.
    pub received: Instant,
}

impl Inbound {
    /// How much it weighs, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.text.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }
}

/// What a client gets in answer to an event that was done: one JSON object with `"ok": true`.
#[derive(Debug)]
pub struct Answer {
    /// The object.
    pub body: Box<RawValue>,
    /// Binary attachments that the object refers to by placeholder.
    pub attachments: Vec<Bytes>,
}

impl Answer {
    fn new(body: &impl Serialize) -> Self {
        let body = serde_json::value::to_raw_value(body).expect("answers are plain structs");
        Self { body, attachments: Vec::new() }
    }
}

/// The answer that needs no words.
#[derive(Serialize)]
struct Done {
    ok: bool,
}

impl Answer {
    fn done() -> Self {
        Self::new(&Done { ok: true })
    }
}

/// Finds the route of every event and runs its action.
#[derive(Debug)]
pub struct Router {
    table: RouteTable,
    node: Arc<Node>,
    message_bytes: usize,
    json_depth: usize,
    metrics: Arc<Metrics>,
}

/// What an action works on.
struct Request<'a> {
    node: &'a Node,
    session: &'a Arc<Session>,
    route: &'a Route,
    args: Vec<&'a RawValue>,
    attachments: Vec<Bytes>,
    /// How large an answer may be, in bytes, unless one event alone is larger.
    answer_bytes: usize,
}

impl Router {
    /// A router over a compiled table.
    #[must_use]
    pub fn new(table: RouteTable, node: Arc<Node>, limits: &Limits, metrics: Arc<Metrics>) -> Self {
        Self { table, node, message_bytes: limits.message_bytes, json_depth: limits.json_depth, metrics }
    }

    /// The node behind the routes.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &RouteTable {
        &self.table
    }

    /// Handles one event of a session. Events of one session must be handed over one after the other.
    ///
    /// # Errors
    /// The refusal that the client reads.
    pub async fn handle(&self, session: &Arc<Session>, inbound: Inbound) -> Result<Answer, Refusal> {
        let result = self.dispatch(session, inbound).await;
        if let Err(refusal) = &result {
            self.metrics.refusals.with(refusal.code()).increment(1);
        }
        result
    }

    async fn dispatch(&self, session: &Arc<Session>, inbound: Inbound) -> Result<Answer, Refusal> {
        if inbound.size() > self.message_bytes {
            return Err(Refusal::TooLarge { limit: self.message_bytes });
        }
        if json::depth(&inbound.text) > self.json_depth {
            return Err(Refusal::bad_request("its JSON nests too deeply"));
        }
        if !json::placeholders_fit(&inbound.text, inbound.attachments.len()) {
            return Err(Refusal::bad_request("its placeholders do not match its attachments"));
        }
        let mut args: Vec<&RawValue> = serde_json::from_str(&inbound.text)
            .map_err(|_| Refusal::bad_request("an array of a name and arguments"))?;
        let event = match args.first() {
            Some(_) => args.remove(0),
            None => return Err(Refusal::bad_request("an event has a name")),
        };
        let event: String =
            serde_json::from_str(event.get()).map_err(|_| Refusal::bad_request("an event's name is a text"))?;
        let route = self.table.main().find(&event).and_then(|routes| routes.first());
        let Some(route) = route else {
            self.metrics.events_received.with("unknown").increment(1);
            return Err(Refusal::UnknownEvent);
        };
        self.metrics.events_received.with(route.action.name()).increment(1);
        if !route.allows(&session.identity, || true) {
            return Err(Refusal::NotAllowed);
        }
        let call = Request {
            node: &self.node,
            session,
            route,
            args,
            attachments: inbound.attachments,
            answer_bytes: self.message_bytes,
        };
        match &route.action {
            Action::Join(_) => actions::join(call).await,
            Action::Leave(_) => actions::leave(&call).await,
            Action::Signal(_) => actions::signal(call).await,
            Action::History(_) => actions::history(call).await,
            Action::Publish(_) => {
                let answer = actions::publish(call).await;
                self.metrics.publish_duration.record(inbound.received.elapsed().as_secs_f64());
                answer
            }
            _ => Err(Refusal::UnknownEvent),
        }
    }
}
