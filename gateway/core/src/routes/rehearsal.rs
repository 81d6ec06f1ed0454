//! A rehearsal: what would become of an event that a client like this sent. Nothing is done, and nothing is counted.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::actions::Access;
use super::template::AuthFields;
use super::{Route, Router, names, run};
use crate::auth::Identity;
use crate::domain::{Refusal, RoomName};
use crate::routes::context::scope;

/// An event that nobody sent.
#[derive(Debug)]
pub struct Supposed {
    /// The namespace that it is sent in.
    pub namespace: String,
    /// Its name and its arguments, as a client would send them: a JSON array.
    pub text: String,
    /// Who sends it.
    pub identity: Identity,
    /// The rooms that the session is in.
    pub rooms: Vec<String>,
}

/// What would become of it.
#[derive(Debug)]
pub struct Rehearsal {
    /// What the client would be refused with; nothing if all routes that run let it through.
    pub refusal: Option<Refusal>,
    /// The routes of the event, in the order in which they run.
    pub routes: Vec<Rehearsed>,
}

/// What one route would do.
#[derive(Debug)]
pub struct Rehearsed {
    /// Which.
    pub route: Arc<Route>,
    /// Whether it would.
    pub verdict: Verdict,
    /// The room that it is about.
    pub room: Option<RoomName>,
}

/// Whether a route would do what it is for.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its action runs, and may still refuse by itself.
    Runs,
    /// It does not apply: `when` or `unless`, or it is about a room that the client left without having been in it.
    Skipped,
    /// It refuses, and no further route runs.
    Refused(Refusal),
    /// One before it refuses.
    Unreached,
}

impl Router {
    /// What would become of an event. Rates are not looked at: they depend on what was sent before.
    #[must_use]
    pub fn rehearse(&self, supposed: &Supposed) -> Rehearsal {
        self.rehearsed(supposed).unwrap_or_else(|refusal| Rehearsal { refusal: Some(refusal), routes: Vec::new() })
    }

    fn rehearsed(&self, supposed: &Supposed) -> Result<Rehearsal, Refusal> {
        let Supposed { namespace, text, identity, rooms } = supposed;
        let (name, args) = self.parse(text, text.len(), 0)?;
        let name = name.ok_or(Refusal::UnknownEvent)?;
        if name == names::REFRESH {
            return Err(Refusal::bad_request("a new token is looked at by no route"));
        }
        let table = self.table();
        let found = table.namespace(namespace).and_then(|namespace| namespace.find(&name));
        let routes = found.ok_or(Refusal::UnknownEvent)?;
        let rooms: Vec<_> = rooms.iter().filter_map(|room| RoomName::parse_in(namespace, room).ok()).collect();
        let (auth, session) = (AuthFields::new(), "0".repeat(32));
        let mut scope = scope(namespace, &name, &args, identity, &session, &auth);
        let mut rehearsal = Rehearsal { refusal: None, routes: Vec::new() };
        let mut ran = false;
        for route in routes {
            let verdict = if rehearsal.refusal.is_some() {
                Verdict::Unreached
            } else if !run::applies(route, &scope) {
                Verdict::Skipped
            } else {
                ran = true;
                let passed = run::fits(route, &scope, text.len())
                    .and_then(|()| run::aim(route, &mut scope))
                    .and_then(|()| run::admit(route, &scope, |room| rooms.contains(room)));
                match route.action.aim().map(|(_, access)| access) {
                    Some(Access::Leave) => {
                        scope.never_in = scope.room.clone().filter(|room| !rooms.contains(room));
                    }
                    Some(Access::Enter { .. }) => scope.never_in = None,
                    _ => {}
                }
                rehearsal.refusal = passed.clone().err();
                passed.map_or_else(Verdict::Refused, |()| Verdict::Runs)
            };
            let room = scope.room.clone().filter(|_| !matches!(verdict, Verdict::Unreached | Verdict::Skipped));
            rehearsal.routes.push(Rehearsed { route: route.clone(), verdict, room });
        }
        if !ran {
            rehearsal.refusal = Some(Refusal::UnknownEvent);
        }
        Ok(rehearsal)
    }
}

impl Supposed {
    /// The text of an event of a name with arguments.
    #[must_use]
    pub fn text(name: &str, args: &[&RawValue]) -> String {
        let name = serde_json::to_string(name).unwrap_or_default();
        let all = std::iter::once(name.as_str()).chain(args.iter().map(|arg| arg.get()));
        format!("[{}]", all.collect::<Vec<_>>().join(","))
    }
}
