//! From a `[[route]]` table to a route: what all routes have. What an action has is in its file.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{Allow, Needs, Rate, Refused, Route, Schema, reads};
use crate::content::EVENT_NAME;
use crate::domain::Refusal;
use crate::routes::actions::{Access, Action, After, Word};
use crate::routes::names::{self, Lifecycle};
use crate::routes::reader::{Keys, Reader, Subject, default_args};
use crate::routes::template::{Context, Template};

const REFUSED: &str = "args = [{ code = \"{refusal.code}\", message = \"{refusal.message}\" }]";

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
        keys.error("event", format!("{event:?} cannot be routed: {EVENT_NAME}"));
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
    let word = reader.action()?;
    let action = (word.compile)(&mut reader);
    let refused = reader.refused(word.has_name);
    reader.keys.finish(&format!("a route with the action {}", word.name));
    let action = action?;
    let allow = match allow {
        None => reader.default_allow(&action),
        Some(allow) => {
            let comes_by_it = matches!(action.aim(), None | Some((_, Access::Enter { .. })));
            if allow.contains(&Allow::Member) && comes_by_it {
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
        action,
        refused,
        needs: Needs::default(),
    };
    route.needs = reads::needs(&route);
    Some(route)
}

impl Reader<'_> {
    /// The kind of its action, if it is one that has a meaning here.
    fn action(&mut self) -> Option<&'static Word> {
        let Some(name) = self.keys.text("action") else {
            if !self.keys.has("action") {
                self.keys.error("action", format!("is missing; there are: {}", Action::NAMES.join(", ")));
            }
            return None;
        };
        let Some(word) = Action::find(name) else {
            let known = Action::NAMES.join(", ");
            self.keys.error("action", format!("{name:?} is not an action; there are: {known}"));
            return None;
        };
        if let Some(lifecycle) = self.subject.lifecycle.filter(|lifecycle| !word.on.contains(lifecycle)) {
            let (happened, known) = (lifecycle.name(), Action::on(lifecycle).collect::<Vec<_>>().join(", "));
            self.keys.error("action", format!("{name:?} has no meaning for {happened}; there it can be: {known}"));
            return None;
        }
        Some(word)
    }

    /// What the client hears instead of a refusal; `has_name` if there may be a name to tell.
    fn refused(&mut self, has_name: bool) -> Option<Refused> {
        let mut keys = self.keys.table("refused")?;
        let context = Context { refusal: true, name: has_name, ..self.context() };
        let emission = Self::emission(&mut keys, &context, None, || default_args(REFUSED, &context));
        let codes = keys.words("codes", &Refusal::CODES.map(|code| (code, code)));
        keys.finish("refused");
        Some(Refused { codes: codes.unwrap_or_default(), emission: emission? })
    }

    fn after(&mut self) -> Duration {
        let means = self.keys.peek("action").and_then(Action::find).map_or(After::Delay, |word| word.after);
        if self.subject.lifecycle.is_some() {
            if self.keys.has("after") && means == After::Never {
                self.keys.without_effect("after", "joining and leaving cannot wait");
                self.keys.know("after");
                return Duration::ZERO;
            }
            return self.keys.duration("after", Duration::from_millis(1), MAX_AFTER).unwrap_or_default();
        }
        if self.keys.has("after") && means != After::Own {
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
    fn default_allow(&self, action: &Action) -> Vec<Allow> {
        let is_about = action.aim().is_some_and(|(_, access)| matches!(access, Access::Read | Access::Speak));
        let is_for_members = is_about && !action.follows();
        if self.subject.lifecycle.is_none() && is_for_members { vec![Allow::Member] } else { vec![Allow::Anyone] }
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
