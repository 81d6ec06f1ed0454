//! What is said: the event that receivers hear, and which of them do.

use std::fmt::{self, Display, Formatter};
use std::iter;

use crate::routes::template::{Args, Template};

/// An event to be heard: its name and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emission {
    /// The name. It has to pass [`crate::content::check_emitted`] if it is not [`Template::fixed`].
    pub emit: Template,
    /// The arguments.
    pub args: Args,
}

impl Emission {
    /// Its templates.
    pub(in crate::routes) fn templates(&self) -> impl Iterator<Item = &Template> {
        iter::once(&self.emit).chain(self.args.templates())
    }
}

/// Which of those who could hear an event do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// All, the sender included.
    #[default]
    All,
    /// All but the sender.
    Others,
}

impl Display for Emission {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "emit {} {}", self.emit, self.args)
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Others => "others",
        })
    }
}
