//! What every kind of action says of itself.

use std::fmt;
use std::sync::Arc;

use crate::domain::Refusal;
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::names::Lifecycle;
use crate::routes::reader::Reader;
use crate::routes::template::Template;

/// A kind of action: the struct that implements it is a route's own, as it was compiled.
pub(in crate::routes) trait Kind: Sized {
    /// The word in configuration and metrics.
    const NAME: &'static str;
    /// The lifecycle events that it has a meaning for.
    const ON: &'static [Lifecycle] = &[];
    /// What `after` is to it.
    const AFTER: After = After::Delay;
    /// It asks who is in rooms, so that joins have to tell.
    const ASKS_MEMBERS: bool = false;
    /// Its refusals may be told with `{name}`.
    const HAS_NAME: bool = false;

    /// Reads what its route may say, in the order in which mistakes name the keys. Nothing if it is not usable; why was
    /// noted.
    fn compile(reader: &mut Reader<'_>) -> Option<Self>;

    /// The room that it is about, and what the session wants with it.
    fn room(&self) -> Option<(&Template, Access)> {
        None
    }

    /// All templates but the room's.
    fn templates(&self) -> impl Iterator<Item = &Template>;

    /// Writes, for `gateway check`, what stands behind its word and its room.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Does it. Whoever may not was refused, the room is filled in, and what the templates count is counted. `via` is the
    /// event of the route. Nothing if others may have an answer instead.
    ///
    /// # Errors
    /// The refusal that the client reads.
    async fn run(&self, run: &mut Run<'_>, via: &Arc<str>) -> Result<Option<Answer>, Refusal>;
}

/// What a session wants with a room: who may do it follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::routes) enum Access {
    /// Come in; `numbered` if only by doing so it is known into which of several.
    Enter { numbered: bool },
    /// Go.
    Leave,
    /// Learn what was said or who is there.
    Read,
    /// Say something.
    Speak,
}

/// What the key `after` is to a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::routes) enum After {
    /// How long after its lifecycle event it happens.
    Delay,
    /// Nothing: it would come in between what the client itself joins and leaves.
    Never,
    /// A key of its own with another meaning.
    Own,
}
