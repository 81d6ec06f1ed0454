//! What a route is read from, and what all of its parts are read with.

use std::sync::Arc;

use super::keys::Keys;
use super::{Emission, Lifecycle};
use crate::routes::names;
use crate::routes::template::{Args, Context, Environment};

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
            counts: false,
            name: false,
            typing: false,
            offset: false,
            refusal: false,
            environment: Some(self.environment),
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
        if emit.fixed().is_some_and(|name| names::check_emitted(&name).is_err()) {
            keys.error("emit", format!("{:?} cannot be emitted: {}", emit.to_string(), names::EVENT));
        }
        Some(Emission { emit, args: args? })
    }
}
