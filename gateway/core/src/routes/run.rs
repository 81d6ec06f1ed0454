//! A run: one event on its way through its routes.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::actions::{Access, Action};
use super::context::Run;
use super::reader::Target;
use super::table::{Allow, Route};
use super::template::Scope;
use super::{Answer, NotDone};
use crate::domain::{Frame, Refusal, RoomName};
use crate::node::{CloseReason, RouteLimiter, Verdict, now_ms};
use crate::traces::Kind;

/// Whether a route runs. Who left a room that it was not in has no say there, although whoever does what comes before
/// usually may do the rest.
pub(super) fn applies(route: &Route, scope: &Scope<'_>) -> bool {
    if scope.never_in.is_some() && scope.never_in == scope.room && route.action.follows() {
        return false;
    }
    route.when.as_ref().is_none_or(|when| when.holds(scope))
        && !route.unless.as_ref().is_some_and(|unless| unless.holds(scope))
}

/// Finds the room of a route, unless only coming in tells which one it is.
pub(super) fn aim(route: &Route, scope: &mut Scope<'_>) -> Result<(), Refusal> {
    let aim = route.action.aim().filter(|(_, access)| *access != Access::Enter { numbered: true });
    if let Some((room, _)) = aim {
        let room = room.text(scope)?;
        scope.room = Some(RoomName::parse_in(scope.namespace, &room)?);
    }
    Ok(())
}

/// Whether who a session is, and where, lets it use a route.
pub(super) fn admit(route: &Route, scope: &Scope<'_>, is_in: impl FnOnce(&RoomName) -> bool) -> Result<(), Refusal> {
    let room = scope.room.as_ref();
    if !route.allows(scope.identity, || room.is_some_and(is_in)) {
        let member = route.allow.contains(&Allow::Member);
        return Err(if member { Refusal::NotInRoom } else { Refusal::NotAllowed });
    }
    // Into rooms of the routes' own choice everybody may be put.
    if route.event.starts_with('$') {
        return Ok(());
    }
    if let Action::Join(join) = &route.action {
        join.check_numbered(scope)?;
    }
    let Some(room) = room.and_then(RoomName::shown) else { return Ok(()) };
    let identity = scope.identity;
    let may = match route.action.aim().map(|(_, access)| access) {
        Some(Access::Enter { .. } | Access::Read) => identity.may_join(room),
        Some(Access::Speak) => identity.may_publish(room),
        Some(Access::Leave) | None => true,
    };
    if may { Ok(()) } else { Err(Refusal::NotAllowed) }
}

/// Whether an event has the form that a route wants.
pub(super) fn fits(route: &Route, scope: &Scope<'_>, size: usize) -> Result<(), Refusal> {
    if let Some(limit) = route.max_bytes.filter(|limit| size > *limit) {
        return Err(Refusal::TooLarge { limit });
    }
    match &route.schema {
        Some(schema) => schema.check(scope.args.first().copied().unwrap_or(RawValue::NULL)),
        None => Ok(()),
    }
}

/// What matters of events that clients sent, and not of what happened to them.
pub(super) struct Client<'a> {
    pub(super) size: usize,
    pub(super) received: Instant,
    pub(super) limiter: &'a RouteLimiter,
    pub(super) attachments: Vec<Bytes>,
}

impl Run<'_> {
    /// Runs the routes of a client's event in their order, until one refuses. The answer is that of the first route
    /// that has one.
    pub(super) async fn events(self, routes: &[Arc<Route>], event: Client<'_>) -> Result<Answer, NotDone> {
        let mut span = self.router.caller.traces().begin(None, Kind::Server, "event");
        if span.is_recorded() {
            // Events that have a route are named by whoever configured it.
            span.rename(|| format!("event {}", routes.first().map_or("", |route| &*route.event)));
            span.say("gateway.namespace", self.scope.namespace.to_owned());
        }
        // What is not recorded began here and is nobody's part: most events, which should not carry room for both.
        let done = match span.is_recorded() {
            true => Box::pin(span.within(self.one_by_one(routes, event))).await,
            false => self.one_by_one(routes, event).await,
        };
        if let Err(NotDone { refusal, .. }) = &done {
            if matches!(refusal, Refusal::Unavailable | Refusal::Overloaded) {
                span.fail(refusal.code());
            } else {
                span.say("gateway.refusal", refusal.code());
            }
        }
        done
    }

    async fn one_by_one(mut self, routes: &[Arc<Route>], event: Client<'_>) -> Result<Answer, NotDone> {
        self.attachments = event.attachments;
        let mut answer = None;
        let mut ran = false;
        for route in routes.iter() {
            if !self.applies(route) {
                continue;
            }
            ran = true;
            let metrics = &self.router.metrics;
            metrics.events_received.with(route.action.name()).increment(1);
            let done = match self.check(route, event.size, event.limiter) {
                Ok(()) => self.act(route).await,
                Err(refusal) => Err(refusal),
            };
            if matches!(route.action, Action::Publish(_)) {
                metrics.publish_duration.record(event.received.elapsed().as_secs_f64());
            }
            match done {
                Ok(said) => answer = answer.or(said),
                Err(refusal) => return Err(self.refuse(route, refusal).await),
            }
        }
        if ran { Ok(answer.unwrap_or_else(Answer::done)) } else { Err(Refusal::UnknownEvent.into()) }
    }

    fn applies(&self, route: &Route) -> bool {
        applies(route, &self.scope)
    }

    /// What costs nothing to find out comes first.
    fn check(&self, route: &Route, size: usize, limiter: &RouteLimiter) -> Result<(), Refusal> {
        if let Some(limit) = route.max_bytes.filter(|limit| size > *limit) {
            return Err(Refusal::TooLarge { limit });
        }
        if let Some(session) = self.session {
            let allowed = limiter.check(route.number, session.id);
            if let Some(allowed) = &allowed {
                let decision = if allowed.is_ok() { "allow" } else { "deny" };
                self.router.metrics.rate_limit_decisions.with("route_events", decision).increment(1);
            }
            if let Some(Err(refusal)) = allowed {
                if session.allowance.refuse(refusal.clone()) == Verdict::Close {
                    session.close(CloseReason::Flooding);
                }
                return Err(refusal);
            }
        }
        fits(route, &self.scope, size)
    }

    /// Runs a route of something that happened, if it applies.
    pub(super) async fn happened(&mut self, route: &Arc<Route>) -> Result<(), NotDone> {
        if !self.applies(route) {
            return Ok(());
        }
        // A delay may have passed.
        self.scope.now_ms = now_ms();
        match self.act(route).await {
            Ok(_) => Ok(()),
            Err(refusal) => Err(self.refuse(route, refusal).await),
        }
    }

    async fn act(&mut self, route: &Route) -> Result<Option<Answer>, Refusal> {
        aim(route, &mut self.scope)?;
        self.admit(route)?;
        self.count(route).await?;
        route.action.run(self, &route.event).await
    }

    fn admit(&self, route: &Route) -> Result<(), Refusal> {
        admit(route, &self.scope, |room| self.session.is_some_and(|session| session.is_in(room)))
    }

    /// Counts what the route's templates want to tell.
    async fn count(&mut self, route: &Route) -> Result<(), Refusal> {
        let node = &self.router.node;
        if route.needs.connections {
            let everybody = RoomName::everybody(self.scope.namespace);
            self.scope.connections = node.count_members(&[everybody]).await?.first().copied();
        }
        if let Some(room) = self.scope.room.clone().filter(|_| route.needs.members) {
            self.scope.members = node.count_members(&[room]).await?.first().copied();
        }
        Ok(())
    }

    /// The client hears the route's own words, if it has some.
    async fn refuse(&mut self, route: &Arc<Route>, refusal: Refusal) -> NotDone {
        self.scope.refusal = Some((refusal.code(), self.router.worded(&refusal).message));
        let own = route.refused.as_ref().filter(|refused| refused.applies(&refusal)).zip(self.session);
        let event = own.and_then(|(refused, _)| self.event(&refused.emission, Target::All).ok());
        let frame = event.and_then(|event| Frame::signalled(&event));
        let told = frame.is_some();
        if let (Some(frame), Some((_, session))) = (frame, own) {
            session.say(&frame).await;
        }
        NotDone { refusal, route: Some(route.clone()), told }
    }
}
