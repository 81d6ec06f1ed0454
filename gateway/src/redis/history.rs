//! The history that offsets count in, as all scripts share it that keep something: what was kept and then lost by Redis is
//! noticed by its place in it.

use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::Script;
use parking_lot::Mutex;

use super::witness::Witness;
use super::{Commands, milliseconds};
use crate::domain::{Epoch, Offset};

/// A deployment's history in Redis, and what this node knows of it. `history.lua` stands before each script that goes by it.
pub struct History {
    commands: Commands,
    prefix: String,
    retention: Duration,
    witness: Mutex<Witness>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl History {
    /// The history whose keys start with `{prefix}:log:`; for `retention` it is known when which offset was given.
    #[must_use]
    pub fn new(commands: Commands, prefix: &str, retention: Duration) -> Arc<Self> {
        Arc::new(Self { commands, prefix: prefix.to_owned(), retention, witness: Mutex::default() })
    }

    /// A script that goes by the history. It must be told which process of Redis it runs in.
    #[must_use]
    pub fn script(&self, text: &str) -> Script {
        self.commands.script(&format!("{}{text}", include_str!("history.lua")))
    }

    /// A key of it.
    #[must_use]
    pub fn key(&self, what: &str) -> String {
        format!("{}:log:{what}", self.prefix)
    }

    /// The keys that all its scripts begin with; `about` is what the script is about.
    #[must_use]
    pub fn keys(&self, about: String) -> Vec<String> {
        let [clock, offset, epoch, tick, writers, vouching] =
            ["clock", "offset", "epoch", "tick", "writers", "vouching"].map(|what| self.key(what));
        vec![clock, about, offset, epoch, tick, writers, vouching]
    }

    /// The arguments that all its scripts begin with.
    #[must_use]
    pub fn arguments(&self) -> (String, u64, u64) {
        (Epoch::random().to_string(), self.witness.lock().known().0, milliseconds(self.retention))
    }

    /// Notes the place of what this node had kept, by an answer on a connection that was made after so many
    /// [losses](Commands::losses).
    pub fn kept(&self, offset: Offset, losses: u64) {
        self.witness.lock().kept(offset, losses);
    }

    /// Notes the place of something that others had kept, and this node heard of.
    pub fn heard(&self, offset: Offset) {
        let mut witness = self.witness.lock();
        witness.note(self.commands.losses());
        witness.heard(offset);
    }

    /// Notes that something may not have been heard.
    pub fn missed(&self) {
        self.witness.lock().missed();
    }

    /// Takes what this node has to vouch for: another process of Redis must have it.
    #[must_use]
    pub fn take_knowledge(&self) -> Vec<Offset> {
        let mut witness = self.witness.lock();
        witness.note(self.commands.losses());
        witness.take()
    }

    /// Puts it back: nobody was told.
    pub fn put_back(&self, knew: &[Offset]) {
        self.witness.lock().put_back(knew);
    }
}
