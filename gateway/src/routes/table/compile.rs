//! From a `[[route]]` table to a route: what all routes have. What the actions have is in `actions`.

use std::num::NonZeroU32;
use std::time::Duration;

use super::keys::Keys;
use super::reader::{Reader, Subject};
use super::{Allow, Lifecycle, Rate, Route, Schema, actions, reads};
use crate::routes::names;
use crate::routes::template::{Context, Template};

/// How many bytes a namespace's name may have.
const MAX_NAMESPACE_BYTES: usize = 128;
/// The longest delay of a lifecycle route.
const MAX_AFTER: Duration = Duration::from_secs(3600);
/// The largest rate: one in a millisecond of a thousand sessions is no limit any more.
const MAX_RATE: u64 = 1_000_000;

/// The event of a route and its namespace, if these are right.
pub(super) fn subject(keys: &mut Keys<'_>) -> Option<Subject> {
    let namespace = match keys.text("namespace") {
        None => "/",
        Some(name) => {
            let fits = name.starts_with('/') && name.len() <= MAX_NAMESPACE_BYTES;
            if !fits
                || name.chars().any(|letter| letter.is_control() || letter.is_whitespace() || ",?".contains(letter))
            {
                let expected = "must begin with / and have at most 128 bytes, no spaces, commas or question marks";
                keys.error("namespace", format!("{name:?} {expected}"));
            }
            name
        }
    };
    let Some(event) = keys.text("event") else {
        if !keys.has("event") {
            keys.error("event", "is missing; a route is for the event that clients emit, or $connect and the like");
        }
        return None;
    };
    let lifecycle = Lifecycle::ALL.into_iter().find(|lifecycle| lifecycle.name() == event);
    if lifecycle.is_none() && event.starts_with('$') {
        let known = Lifecycle::ALL.map(Lifecycle::name).join(", ");
        keys.error("event", format!("{event:?} is not a lifecycle event; there are: {known}"));
    } else if lifecycle.is_none() && !names::may_be_routed(event) {
        keys.error("event", format!("{event:?} cannot be routed: {}", names::EVENT));
    }
    Some(Subject { namespace: namespace.into(), event: event.into(), lifecycle })
}

/// Compiles a route; `schema` compiles one from a path. Mistakes are noted, and the route is usable only if there were
/// none.
pub(super) fn route(mut reader: Reader<'_>, schema: impl FnOnce(&mut Keys<'_>) -> Option<Schema>) -> Option<Route> {
    let place = reader.keys.place();
    let after = reader.after();
    let when = reader.condition("when");
    let unless = reader.condition("unless");
    let rate = reader.rate();
    let max_bytes = reader.keys.number("max_bytes", u64::from(u32::MAX));
    let schema = schema(&mut reader.keys);
    let allow = reader.allow();
    reader.check_lifecycle(allow.as_deref());
    let action = actions::compile(&mut reader)?;
    let allow = match allow {
        None => reader.default_allow(&action),
        Some(allow) => {
            let joins_by_it = matches!(action.action, super::Action::Join(_)) || action.room().is_none();
            if allow.contains(&Allow::Member) && joins_by_it {
                let name = action.name();
                reader
                    .keys
                    .error("allow", format!("member has no meaning for {name}: there is no room to be in before"));
            }
            allow
        }
    };
    let mut route = Route {
        event: reader.subject.event,
        number: 0,
        place: place.into(),
        after,
        when,
        unless,
        allow,
        rate,
        max_bytes: max_bytes.and_then(|bytes| usize::try_from(bytes).ok()),
        schema,
        action: action.action,
        refused: action.refused,
        needs: super::Needs::default(),
    };
    route.needs = reads::needs(&route);
    Some(route)
}

impl Reader<'_> {
    fn after(&mut self) -> Duration {
        if self.subject.lifecycle.is_some() {
            if self.keys.has("after") && ["join", "leave"].iter().any(|action| self.keys.is("action", action)) {
                // It would come in between what the client itself joins and leaves.
                self.keys.without_effect("after", "joining and leaving cannot wait");
                self.keys.know("after");
                return Duration::ZERO;
            }
            return self.keys.duration("after", Duration::from_millis(1), MAX_AFTER).unwrap_or_default();
        }
        // To `presence` the word means something else.
        if self.keys.has("after") && !self.keys.is("action", "presence") {
            let why = "only routes of $connect, $join, $leave and $disconnect can wait";
            self.keys.without_effect("after", why);
            self.keys.know("after");
        }
        Duration::ZERO
    }

    fn condition(&mut self, key: &'static str) -> Option<Template> {
        let context = Context { environment: None, ..self.context() };
        let template = self.keys.template(key, &context)?;
        if template.fixed().is_some() {
            self.keys.error(key, "has no placeholder, so it would always be the same");
        }
        Some(template)
    }

    fn rate(&mut self) -> Option<Rate> {
        let mut keys = self.keys.table("rate")?;
        let count = |number: u64| u32::try_from(number).ok().and_then(NonZeroU32::new);
        let per_second = keys.number("per_second", MAX_RATE).and_then(count);
        let burst = keys.number("burst", MAX_RATE).and_then(count);
        if !keys.has("per_second") {
            keys.error("per_second", "is missing; it is how many events a session may send per second");
        }
        keys.finish("rate");
        let per_second = per_second?;
        Some(Rate { per_second, burst: burst.unwrap_or(per_second) })
    }

    fn allow(&mut self) -> Option<Vec<Allow>> {
        const EXPECTED: &str = "is not one of: anyone, user, member, role:NAME";
        let words = self.keys.array("allow")?;
        if words.is_empty() {
            self.keys.error("allow", "is empty, so nobody could use the route");
        }
        let parse = |keys: &Keys<'_>, word: &toml::Spanned<toml::de::DeValue<'_>>| {
            let text = word.get_ref().as_str();
            let allow = text.and_then(Allow::parse);
            if allow.is_none() {
                let shown = text.map_or_else(|| word.get_ref().type_str().to_owned(), |text| format!("{text:?}"));
                keys.error_at(word.span().start, "allow", format!("{shown} {EXPECTED}"));
            }
            allow
        };
        Some(words.into_iter().filter_map(|word| parse(&self.keys, word)).collect())
    }

    /// Members where there is a room that the client chose or the route names; whoever did what came before otherwise.
    fn default_allow(&self, compiled: &actions::Compiled) -> Vec<Allow> {
        let speaks = matches!(compiled.name(), "publish" | "signal" | "history" | "presence" | "typing");
        let is_own_room = compiled.room().is_some_and(|room| room.to_string() != "{room}");
        if self.subject.lifecycle.is_none() && speaks && is_own_room {
            vec![Allow::Member]
        } else {
            vec![Allow::Anyone]
        }
    }

    /// Notes keys that mean nothing here.
    fn check_lifecycle(&self, allow: Option<&[Allow]>) {
        let Some(lifecycle) = self.subject.lifecycle else { return };
        let name = lifecycle.name();
        for key in ["rate", "schema", "max_bytes"] {
            self.keys.without_effect(key, &format!("no client sends {name}"));
        }
        if lifecycle.outlives_session() {
            self.keys.without_effect("refused", &format!("the session is gone when a {name} route runs"));
            if allow.is_some_and(|allow| allow.iter().any(|allow| matches!(allow, Allow::Member | Allow::Role(_)))) {
                self.keys.error("allow", format!("when a {name} route runs only anyone and user are known"));
            }
        }
    }
}
