//! What bringing a database up to date came to.

use std::fmt;

/// From which version of its tables a database was brought to which. Equal if there was nothing to do; 0 is an empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// What it was of.
    pub from: u32,
    /// What it is of now.
    pub to: u32,
}

impl fmt::Display for Migrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        match (from, to) {
            (0, to) => write!(f, "made version {to}"),
            (from, to) if from == to => write!(f, "is of version {to} already"),
            (from, to) => write!(f, "went from version {from} to version {to}"),
        }
    }
}
