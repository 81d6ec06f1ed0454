//! What a route is read from, and what all of its parts are read with.

mod emission;
mod error;
mod keys;

pub use emission::{Emission, Target};
pub use error::RouteError;

pub(super) use error::{Errors, Source};
pub(super) use keys::Keys;

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::names::Lifecycle;
use super::template::{Args, Context, Environment, Template};
use crate::content::{EVENT_NAME, may_be_emitted};

/// The room that the client names.
const ROOM: &str = "{arg.room}";
const ALL: (&str, Target) = ("all", Target::All);
const OTHERS: (&str, Target) = ("others", Target::Others);

/// What the routes before one for the same event leave for it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    /// A join or a leave: there is a room.
    pub(super) room: bool,
    /// An auto join: there is a number.
    pub(super) number: bool,
}

/// What a route is for.
pub(super) struct Subject {
    pub(super) namespace: Arc<str>,
    pub(super) event: Arc<str>,
    pub(super) lifecycle: Option<Lifecycle>,
}

/// What a route is read from.
pub(super) struct Reader<'a> {
    pub(super) keys: Keys<'a>,
    pub(super) subject: Subject,
    pub(super) before: Before,
    pub(super) environment: Environment<'a>,
}

impl<'a> Reader<'a> {
    /// What templates know in this route outside of what it says: no room of its own, nothing counted.
    pub(super) fn context(&self) -> Context<'a> {
        Context {
            lifecycle: self.subject.lifecycle,
            room: self.before.room || self.subject.lifecycle.is_some_and(Lifecycle::has_room),
            number: self.before.number,
            ..Context::of_nothing(Some(self.environment))
        }
    }

    /// What is heard, in a table of its own or among the keys of the route. `args` is what is heard if it does not say.
    pub(super) fn emission(
        keys: &mut Keys<'_>,
        context: &Context<'_>,
        emit: Option<&str>,
        args: impl FnOnce() -> Args,
    ) -> Option<Emission> {
        // Names are no arguments.
        let named = Context { offset: false, ..*context };
        let emit = match emit {
            Some(default) => keys.template_or("emit", default, &named),
            None => keys.required("emit", "it is the event that is heard", &named),
        };
        let args = if keys.has("args") { keys.args("args", context) } else { Some(args()) };
        keys.know("args");
        let emit = emit?;
        if emit.fixed().is_some_and(|name| !may_be_emitted(&name)) {
            keys.error("emit", format!("{:?} cannot be emitted: {}", emit.to_string(), EVENT_NAME));
        }
        Some(Emission { emit, args: args? })
    }
    /// The room of the route.
    pub(super) fn room(&mut self) -> Option<Template> {
        self.room_in(&self.context())
    }

    pub(super) fn room_in(&mut self, context: &Context<'_>) -> Option<Template> {
        // Where a lifecycle event is about a room it is the one that is meant.
        let has_room = self.subject.lifecycle.is_some_and(Lifecycle::has_room);
        self.keys.template_or("room", if has_room { "{room}" } else { ROOM }, context)
    }

    /// Who hears it.
    pub(super) fn target(&mut self) -> Target {
        let gone = self.subject.lifecycle.is_some_and(Lifecycle::outlives_session);
        let words: &[_] = if gone { &[ALL] } else { &[ALL, OTHERS] };
        self.keys.word("to", words).unwrap_or_default()
    }
}

/// Arguments that the gateway itself says, from a line of TOML.
pub(super) fn default_args(text: &str, context: &Context<'_>) -> Args {
    with_default(text, |value| {
        let items: Vec<_> = value.get_ref().as_array().into_iter().flatten().collect();
        Args::compile(&items, context).expect("the defaults fit where they are used")
    })
}

/// Hands over the one value of a line of TOML.
pub(super) fn with_default<T>(text: &str, take: impl FnOnce(&Spanned<DeValue<'_>>) -> T) -> T {
    let table = DeTable::parse(text).expect("the defaults are TOML");
    take(table.get_ref().values().next().expect("the defaults have one key"))
}
