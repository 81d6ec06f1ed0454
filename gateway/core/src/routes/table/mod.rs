//! The route table: compiled from a profile and the configuration's files, never changed after.

mod compile;
mod hooks;
mod load;
mod reads;
mod route;
mod schema;
mod show;

pub use route::{Allow, Needs, Rate, Refused, Route};
pub use schema::Schema;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::actions::{Action, Join};
use super::names::Lifecycle;
use super::reader::RouteError;
use super::template::AuthFields;
use crate::auth::Identity;
use crate::config;
use crate::content::json;
use crate::desk::Desk;
use crate::domain::RoomName;
use crate::node::Seat;
use crate::outbox::What;
use crate::routes::Hook;

/// The namespace that is always there.
const MAIN: &str = "/";

/// How much of a CONNECT payload a session remembers, in bytes.
const MAX_AUTH_BYTES: usize = 4096;

/// Routes by namespace and event, and what clients read instead of the standard messages.
#[derive(Debug)]
pub struct RouteTable {
    namespaces: BTreeMap<Arc<str>, Namespace>,
    messages: HashMap<&'static str, String>,
    hooks: Vec<Hook>,
    offset: bool,
}

impl RouteTable {
    /// Compiles a profile and the routes of the configuration file and what it includes. Own routes replace all routes
    /// that the profile has for the same event of the same namespace. `profile` is the name of one that comes with the
    /// gateway, `none`, or the path of a file: something with a `/` in it or `.toml` at its end. Variables are taken
    /// from the environment of the process.
    ///
    /// # Errors
    /// Every mistake that was found, with its file and line.
    pub fn load(profile: &str, file: Option<&Path>) -> Result<Self, RouteError> {
        load::load(profile, load::Own::File(file), &|name| std::env::var(name).ok())
    }

    /// As [`Self::load`], with the text of a file. It cannot include others.
    ///
    /// # Errors
    /// See [`Self::load`].
    pub fn parse(profile: &str, name: &str, text: &str) -> Result<Self, RouteError> {
        load::load(profile, load::Own::Text { name, text }, &|name| std::env::var(name).ok())
    }

    /// The names of the profiles that come with the gateway.
    pub fn profiles() -> impl Iterator<Item = &'static str> {
        load::PROFILES.iter().map(|(name, _)| *name)
    }

    /// A namespace, if clients may connect to it.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name)
    }

    /// The namespace `/`.
    ///
    /// # Panics
    /// Never: it is always there.
    #[must_use]
    pub fn main(&self) -> &Namespace {
        self.namespace(MAIN).expect("it is always there")
    }

    /// All namespaces, by name. `/` is always there.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.values()
    }

    /// What clients read instead of a refusal's standard message.
    #[must_use]
    pub fn message(&self, code: &str) -> Option<&str> {
        self.messages.get(code).map(String::as_str)
    }

    /// Looks whether what routes enqueue has a queue, and somebody who does it.
    ///
    /// # Errors
    /// What is wrong, with the place of the route.
    pub fn check_jobs(&self, settings: &config::Jobs) -> Result<(), String> {
        for route in self.namespaces().flat_map(Namespace::routes) {
            if let Action::Job(job) = &route.action {
                Desk::check(settings, &job.queue, &job.kind).map_err(|why| format!("{}: {why}", route.place))?;
            }
        }
        Ok(())
    }

    /// Which back ends are told what happens.
    #[must_use]
    pub fn hooks(&self) -> &[Hook] {
        &self.hooks
    }

    /// Whether sessions hear events with what makes official clients know their offset. Otherwise all hear them as they
    /// were published, and come back as those that asked for that themselves.
    #[must_use]
    pub fn adds_offsets(&self) -> bool {
        self.offset
    }

    /// How many routes there are. Their numbers are below it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.namespaces().flat_map(|namespace| namespace.routes.values()).map(Vec::len).sum()
    }

    /// Whether there is no route.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn build(layers: Vec<load::Layer>) -> Self {
        let mut groups: BTreeMap<(Arc<str>, Arc<str>), Vec<Route>> = BTreeMap::new();
        let (mut messages, mut hooks, mut offset) = (HashMap::new(), Vec::new(), true);
        for layer in layers {
            offset = layer.offset.unwrap_or(offset);
            groups.extend(layer.groups.into_iter().map(|(key, group)| (key, group.routes)));
            messages.extend(layer.messages);
            hooks.extend(layer.hooks);
        }
        let mut namespaces = BTreeMap::from([(Arc::from(MAIN), Vec::new())]);
        for ((namespace, event), routes) in groups {
            namespaces.entry(namespace).or_insert_with(Vec::new).push((event, routes));
        }
        let mut next = 0;
        let mut number = |route: &mut Route| {
            route.number = next;
            next += 1;
        };
        let namespaces = namespaces.into_iter().map(|(name, mut groups)| {
            groups.iter_mut().flat_map(|(_, routes)| routes).for_each(&mut number);
            (name.clone(), Namespace::new(name, groups, &hooks))
        });
        Self { namespaces: namespaces.collect(), messages, hooks, offset }
    }
}

/// The routes of one namespace.
#[derive(Debug)]
pub struct Namespace {
    /// What it is called, as `/` or `/admin`.
    pub name: Arc<str>,
    /// What its routes need.
    pub facts: Facts,
    routes: BTreeMap<Arc<str>, Vec<Arc<Route>>>,
    /// Joins to whatever room the client names, by event name: those without any condition that only the event could meet.
    ways_in: Vec<Arc<Route>>,
    /// Some route asks who is in rooms, or waits for who comes and goes.
    counts_members: bool,
}

/// What the routes of a namespace need from the rest of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Sessions are counted cluster-wide, or their end is waited for: `{connections}` or `$disconnect` is used, or a hook is
    /// told of them.
    pub tracks_connections: bool,
    /// The fields of the CONNECT payload that templates read, by name.
    pub auth_keys: Vec<String>,
}

impl Facts {
    /// What a session has to remember of its CONNECT payload. Left out are fields that would make other clients end
    /// their connections, nest deeper than `json_depth`, have numbers that not all can read, or are too much to remember.
    #[must_use]
    pub fn auth_fields(&self, payload: &RawValue, json_depth: usize) -> AuthFields {
        if self.auth_keys.is_empty() {
            return AuthFields::new();
        }
        let said = json::fields(payload);
        let mut fields = AuthFields::new();
        let mut left = MAX_AUTH_BYTES;
        for key in &self.auth_keys {
            let Some((_, value)) = said.iter().rev().find(|(name, _)| **name == *key.as_bytes()) else { continue };
            let text = value.get();
            if text.len() <= left && json::harmless(text, json_depth) {
                left -= text.len();
                fields.insert(key.clone(), (*value).to_owned());
            }
        }
        fields
    }
}

impl Namespace {
    fn new(name: Arc<str>, mut groups: Vec<(Arc<str>, Vec<Route>)>, hooks: &[Hook]) -> Self {
        let are_told = |is_meant: fn(What) -> bool| {
            hooks.iter().any(|hook| hook.is_for(&name) && hook.events.iter().copied().any(is_meant))
        };
        let tracked = groups.iter().any(|(event, routes)| {
            let lifecycle = [Lifecycle::Join, Lifecycle::Leave].iter().any(|lifecycle| lifecycle.name() == &**event);
            lifecycle || routes.iter().any(|route| route.needs.members || route.action.asks_members())
        });
        let tracked = tracked || are_told(What::is_of_members);
        for route in groups.iter_mut().flat_map(|(_, routes)| routes) {
            if let Action::Join(join) = &mut route.action {
                // What it was set to, or else what is needed.
                join.presence |= tracked && join.presence_by_need;
            }
        }
        let mut facts = reads::facts(&groups);
        facts.tracks_connections |= are_told(What::is_of_sessions);
        let routes: BTreeMap<_, Vec<_>> =
            groups.into_iter().map(|(event, routes)| (event, routes.into_iter().map(Arc::new).collect())).collect();
        let is_way_in = |route: &Route| match &route.action {
            Action::Join(join) => !route.event.starts_with('$') && join.room.to_string() == "{arg.room}",
            _ => false,
        };
        let is_free = |route: &Route| {
            route.when.is_none() && route.unless.is_none() && route.schema.is_none() && route.rate.is_none()
        };
        // Where others run for the same event, one of them may be there to say no.
        let alone = routes.values().filter_map(|routes: &Vec<Arc<Route>>| match &routes[..] {
            [route] if is_way_in(route) && is_free(route) => Some(route.clone()),
            _ => None,
        });
        let ways_in = alone.collect();
        Self { name, facts, routes, ways_in, counts_members: tracked }
    }

    /// How a session is counted in a room that a back end gives to it: as if it had joined by a route that may give it, but
    /// no capacity keeps it out.
    #[must_use]
    pub fn given_seat(&self, identity: &Identity, room: &RoomName) -> Option<Seat> {
        let name = room.shown()?;
        let mut joins = self.routes().filter_map(|route| match &route.action {
            Action::Join(join) if join.room.may_give(name, identity) => Some(join.seat().is_some()),
            _ => None,
        });
        let counts = match joins.next() {
            Some(first) => first || joins.any(|counts| counts),
            None => self.counts_members,
        };
        counts.then_some(Seat { capacity: None })
    }

    /// The routes of an event, in the order in which they run.
    #[must_use]
    pub fn find(&self, event: &str) -> Option<&[Arc<Route>]> {
        if event.starts_with('$') { None } else { self.routes.get(event).map(Vec::as_slice) }
    }

    /// The routes of a lifecycle event, in the order in which they run.
    #[must_use]
    pub fn on(&self, lifecycle: Lifecycle) -> &[Arc<Route>] {
        self.routes.get(lifecycle.name()).map_or(&[], Vec::as_slice)
    }

    /// The route by which a session that once joined a room by an event may come back to it. `via` may be a lifecycle
    /// event.
    #[must_use]
    pub fn admits_back(&self, via: &str, identity: &Identity, room: &RoomName) -> Option<&Join> {
        let name = room.shown()?;
        // Into rooms of the routes' own choice everybody may be put.
        if !via.starts_with('$') && !identity.may_join(name) {
            return None;
        }
        self.routes.get(via)?.iter().find_map(|route| match &route.action {
            Action::Join(join) if route.allows(identity, || false) && join.room.may_give(name, identity) => Some(join),
            _ => None,
        })
    }

    /// The event by which a session may join whatever room it names, if there is one: the first by name.
    #[must_use]
    pub fn way_in(&self, identity: &Identity) -> Option<Arc<str>> {
        self.ways_in.iter().find(|route| route.allows(identity, || false)).map(|route| route.event.clone())
    }

    /// Whether a client of this identity, in no room, may tell users something by some event.
    #[must_use]
    pub fn lets_notify(&self, identity: &Identity) -> bool {
        let mut routes = self.routes().filter(|route| !route.event.starts_with('$'));
        routes.any(|route| matches!(route.action, Action::Notify(_)) && route.allows(identity, || false))
    }

    /// Whether any of its routes tells users something.
    #[must_use]
    pub fn notifies(&self) -> bool {
        self.routes().any(|route| matches!(route.action, Action::Notify(_)))
    }

    /// All routes, by event name, those of one event in the order in which they run.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values().flatten()
    }
}

#[cfg(test)]
mod tests;
