//! What routes can do: one file per kind of action, and here the list of them.

mod broadcast;
mod call;
mod claim;
mod direct;
mod history;
mod identify;
mod job;
mod join;
mod kind;
mod leave;
mod log;
mod notifications;
mod notify;
mod presence;
mod publish;
mod read;
mod signal;
mod speech;
mod typing;
mod values;

pub use broadcast::Broadcast;
pub use call::Call;
pub use claim::Claim;
pub use direct::Direct;
pub use history::History;
pub use identify::Identify;
pub use job::Job;
pub use join::Join;
pub use leave::Leave;
pub use log::{Log, LogLevel};
pub use notifications::Notifications;
pub use notify::Notify;
pub use presence::Presence;
pub use publish::Publish;
pub use read::Read;
pub use signal::Signal;
pub use typing::Typing;

pub(super) use kind::{Access, After};

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use kind::Kind;

use super::Answer;
use super::context::Run;
use super::names::Lifecycle;
use super::reader::Reader;
use super::template::Template;
use crate::domain::Refusal;

/// What is known of a kind by its word.
pub(super) struct Word {
    pub(super) name: &'static str,
    pub(super) on: &'static [Lifecycle],
    pub(super) after: After,
    pub(super) has_name: bool,
    pub(super) compile: fn(&mut Reader<'_>) -> Option<Action>,
}

/// Makes the enum of the kinds and hands over to them: what `Kind` has, each for the action that it is.
macro_rules! kinds {
    ($($kind:ident)*) => {
        /// What a route makes the node do.
        #[derive(Debug)]
        #[expect(missing_docs, reason = "each carries the struct of the same name")]
        pub enum Action {
            $($kind($kind),)*
        }

        const WORDS: &[Word] = &[$(Word {
            name: $kind::NAME,
            on: $kind::ON,
            after: $kind::AFTER,
            has_name: $kind::HAS_NAME,
            compile: |reader| $kind::compile(reader).map(Action::$kind),
        }),*];

        impl Action {
            /// Every action's word, in the order of the documentation.
            pub const NAMES: [&'static str; WORDS.len()] = [$($kind::NAME),*];

            /// The word in configuration and metrics.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$kind(_) => $kind::NAME,)* }
            }

            /// The template of the room that it is about, if it is about one.
            #[must_use]
            pub fn room_template(&self) -> Option<String> {
                self.aim().map(|(room, _)| room.to_string())
            }

            pub(super) fn asks_members(&self) -> bool {
                match self { $(Self::$kind(_) => $kind::ASKS_MEMBERS,)* }
            }

            /// The room that it is about, and what the session wants with it.
            pub(super) fn aim(&self) -> Option<(&Template, Access)> {
                match self { $(Self::$kind(action) => action.room(),)* }
            }

            pub(super) fn each_template(&self, take: &mut dyn FnMut(&Template)) {
                self.room().into_iter().for_each(&mut *take);
                match self { $(Self::$kind(action) => action.templates().for_each(take),)* }
            }

            pub(super) async fn run(&self, run: &mut Run<'_>, via: &Arc<str>) -> Result<Option<Answer>, Refusal> {
                match self { $(Self::$kind(action) => action.run(run, via).await,)* }
            }

            fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
                match self { $(Self::$kind(action) => action.show(f),)* }
            }
        }
    };
}

kinds! {
    Join Leave Publish Signal Direct Broadcast History Presence Claim Typing Call Log Identify Notify Notifications Read Job
}

impl Action {
    /// The room that it is about. Of an auto join it takes a number to fill it in.
    #[must_use]
    pub fn room(&self) -> Option<&Template> {
        self.aim().map(|(room, _)| room)
    }

    /// Whether it speaks or reads in the room of a route before it.
    pub(super) fn follows(&self) -> bool {
        self.aim().is_some_and(|(room, access)| {
            matches!(access, Access::Read | Access::Speak) && room.to_string() == "{room}"
        })
    }

    /// A kind, if there is one of this word.
    pub(super) fn find(word: &str) -> Option<&'static Word> {
        WORDS.iter().find(|known| known.name == word)
    }

    /// The words of what may be done when something happens.
    pub(super) fn on(lifecycle: Lifecycle) -> impl Iterator<Item = &'static str> {
        WORDS.iter().filter(move |word| word.on.contains(&lifecycle)).map(|word| word.name)
    }
}

/// The word, the room, and what its kind has to say.
impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if let Some(room) = self.room() {
            write!(f, " room {room}")?;
        }
        self.show(f)
    }
}
