//! Routes: what a client event may do. An event that no route names does nothing.

mod actions;
mod context;
mod hook;
mod later;
mod lifecycle;
mod names;
mod reader;
mod rehearsal;
mod run;
mod table;
mod tally;
mod template;
mod tokens;

pub use actions::{
    Action, Broadcast, Call, Claim, Direct, History, Identify, Job, Join, Leave, Log, LogLevel, Notifications, Notify,
    Presence, Publish, Read, Signal, Typing,
};
pub use hook::Hook;
pub use names::Lifecycle;
pub use reader::{Emission, RouteError, Target};
pub use rehearsal::{Rehearsal, Rehearsed, Supposed, Verdict};
pub use table::{Allow, Facts, Namespace, Needs, Rate, Refused, Route, RouteTable, Schema};
pub use tally::Tallied;
pub use template::{Args, AuthFields, Json, Scope, Template};

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::auth::{Entry, Tokens};
use crate::calls::Caller;
use crate::config::Config;
use crate::content::{Bounds, check_placeholders, json};
use crate::desk::Desk;
use crate::domain::{Refusal, Worded};
use crate::inbox::Inbox;
use crate::metrics::Metrics;
use crate::node::{Node, RouteLimiter, Seen, Session, Sight};
use crate::recurring::Recurring;
use context::Run;
use later::Later;
use tally::Tally;

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

/// The answer that needs no words.
#[derive(Serialize)]
struct Done {
    ok: bool,
}

impl Answer {
    fn new(body: &impl Serialize) -> Self {
        let body = serde_json::value::to_raw_value(body).expect("answers are plain structs");
        Self { body, attachments: Vec::new() }
    }

    fn done() -> Self {
        Self::new(&Done { ok: true })
    }
}

/// An event that was not done.
#[derive(Debug)]
pub struct NotDone {
    /// Why.
    pub refusal: Refusal,
    /// Which route refused, if one did.
    pub route: Option<Arc<Route>>,
    /// Whether the client was told by an event of the route's own, so that the usual one would be too much.
    pub told: bool,
}

impl From<Refusal> for NotDone {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, route: None, told: false }
    }
}

/// A table with what is counted for its routes: replaced together.
#[derive(Debug)]
struct Current {
    table: Arc<RouteTable>,
    limiter: RouteLimiter,
}

impl Current {
    fn new(table: RouteTable) -> Self {
        let mut rates = vec![None; table.len()];
        for route in table.namespaces().flat_map(Namespace::routes) {
            rates[route.number] = route.rate.map(|rate| (rate.per_second, rate.burst));
        }
        Self { table: Arc::new(table), limiter: RouteLimiter::new(&rates) }
    }
}

/// What routes do things through that are not the node's.
#[derive(Clone, Debug)]
pub struct Through {
    /// Asks back ends.
    pub caller: Arc<Caller>,
    /// Tells users what they may read later.
    pub inbox: Arc<Inbox>,
    /// Has things done later.
    pub desk: Arc<Desk>,
}

/// Finds the routes of every event and runs their actions.
#[derive(Debug)]
pub struct Router {
    current: ArcSwap<Current>,
    node: Arc<Node>,
    entry: Arc<Entry>,
    caller: Arc<Caller>,
    inbox: Arc<Inbox>,
    desk: Arc<Desk>,
    bounds: Bounds,
    later: Later,
    /// Routes of lifecycle events that refused.
    refusals: Recurring,
    /// What routes refuse, while somebody watches.
    tally: Tally,
    metrics: Arc<Metrics>,
}

impl Router {
    /// A router over a compiled table.
    #[must_use]
    pub fn new(
        table: RouteTable,
        node: Arc<Node>,
        entry: Arc<Entry>,
        through: Through,
        config: &Config,
        metrics: Arc<Metrics>,
    ) -> Self {
        let current = ArcSwap::from_pointee(Current::new(table));
        let (bounds, later) = (Bounds::new(&config.limits), Later::new(metrics.clone()));
        let refusals = Recurring::new("a route of a lifecycle event refused");
        let Through { caller, inbox, desk } = through;
        let tally = Tally::default();
        Self { current, node, entry, caller, inbox, desk, bounds, later, refusals, tally, metrics }
    }

    /// The node behind the routes.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Who may come in.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    fn tokens(&self) -> &Tokens {
        self.entry.tokens()
    }

    /// The table as it is now.
    #[must_use]
    pub fn table(&self) -> Arc<RouteTable> {
        self.current.load().table.clone()
    }

    /// Replaces the table. Events that are on their way finish by the old one.
    pub fn replace(&self, table: RouteTable) {
        self.current.store(Arc::new(Current::new(table)));
    }

    /// Forgets the rates of sessions that have paused; returns how many are remembered.
    pub fn forget_idle(&self) -> usize {
        self.current.load().limiter.forget_idle()
    }

    /// A refusal in the words that clients read.
    #[must_use]
    pub fn worded<'a>(&self, refusal: &'a Refusal) -> Worded<'a> {
        let message = self.current.load().table.message(refusal.code()).map(str::to_owned);
        Worded { refusal, message: message.unwrap_or_else(|| refusal.message()) }
    }

    /// Handles one event of a session. Events of one session must be handed over one after the other.
    ///
    /// # Errors
    /// The refusal that the client reads.
    pub async fn handle(self: &Arc<Self>, session: &Arc<Session>, inbound: Inbound) -> Result<Answer, NotDone> {
        let Inbound { text, attachments, received } = inbound;
        self.node.sights().tell_event(|| {
            let (namespace, what) = (session.namespace.clone(), Seen::Received(text.clone()));
            Some(Sight { session: session.id, namespace, what })
        });
        let result = self.dispatch(session, &text, attachments, received).await;
        if let Err(NotDone { refusal, route, .. }) = &result {
            self.metrics.refusals.with(refusal.code()).increment(1);
            let name = route.as_ref().map_or_else(|| name_of(&text), |route| route.event.as_ref().into());
            session.note_refused(&name, refusal.code());
            if self.node.sights().are_watched() {
                self.tally.note(&session.namespace, route.as_ref(), refusal.code());
            }
        }
        result
    }

    async fn dispatch(
        self: &Arc<Self>,
        session: &Arc<Session>,
        text: &str,
        attachments: Vec<Bytes>,
        received: Instant,
    ) -> Result<Answer, NotDone> {
        let size = text.len() + attachments.iter().map(Bytes::len).sum::<usize>();
        let (name, args) = self.parse(text, size, attachments.len())?;
        let Some(name) = name else {
            return Err(self.unknown());
        };
        if name == names::REFRESH {
            self.metrics.events_received.with("refresh").increment(1);
            return Ok(self.refresh(session, &args).await?);
        }
        let current = self.current.load_full();
        let namespace = current.table.namespace(&session.namespace).ok_or(Refusal::UnknownEvent)?;
        let Some(routes) = namespace.find(&name) else {
            return Err(self.unknown());
        };
        let identity = session.identity();
        let id = session.id.to_string();
        let scope = context::scope(&namespace.name, &name, &args, &identity, &id, &session.auth);
        let event = run::Client { size, received, limiter: &current.limiter, attachments };
        Run::new(self, Some(session), scope).events(routes, event).await
    }

    /// What routes refused since this was last asked, while somebody watched, and how much is not in it.
    pub fn take_refusals(&self) -> (Vec<Tallied>, u64) {
        self.tally.take()
    }

    fn unknown(&self) -> NotDone {
        self.metrics.events_received.with("unknown").increment(1);
        Refusal::UnknownEvent.into()
    }

    /// The event's name and its arguments, each still as its text. Nothing for a name with half a character in it, which
    /// no route can have.
    fn parse<'a>(
        &self,
        text: &'a str,
        size: usize,
        attachments: usize,
    ) -> Result<(Option<Cow<'a, str>>, Vec<&'a RawValue>), Refusal> {
        let bounds = &self.bounds;
        bounds.check_text(text, size)?;
        let mut args: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|_| Refusal::bad_request("an array of a name and arguments"))?;
        check_placeholders(text, attachments)?;
        if args.is_empty() {
            return Err(Refusal::bad_request("an event has a name"));
        }
        let name = args.remove(0);
        if !json::is_text(name) {
            return Err(Refusal::bad_request("an event's name is a text"));
        }
        bounds.check_arguments(args.len())?;
        let name = json::text(name);
        Ok((name, args))
    }
}

/// The name of an event that no route was found for, or nothing if it has none.
fn name_of(text: &str) -> Cow<'_, str> {
    let args = serde_json::from_str::<Vec<&RawValue>>(text).unwrap_or_default();
    let name = args.first().filter(|name| json::is_text(name)).and_then(|name| serde_json::from_str(name.get()).ok());
    name.map_or(Cow::Borrowed(""), Cow::Owned)
}
