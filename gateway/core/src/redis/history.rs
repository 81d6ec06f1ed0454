//! The history that offsets count in, as all scripts share it that keep something: what was kept and then lost by Redis is
//! noticed by its place in it.

use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::Script;
use parking_lot::Mutex;

use super::witness::{Known, Witness};
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

    /// The arguments that all its scripts begin with. Whoever only keeps something by a script need not vouch with it.
    #[must_use]
    pub fn arguments(&self) -> (String, u64, u64) {
        (Epoch::random().to_string(), self.witness.lock().known().0, milliseconds(self.retention))
    }

    /// The same for scripts that hand something out, or settle what was [told](Self::told) with them.
    #[must_use]
    pub fn arguments_vouching(&self, knowledge: &Knowledge) -> (String, String, u64) {
        (Epoch::random().to_string(), knowledge.to_string(), milliseconds(self.retention))
    }

    /// Notes the place of what a process of Redis kept for this node.
    pub fn kept(&self, offset: Offset, process: &Arc<str>) {
        self.witness.lock().kept(offset, process);
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

    /// What this node has to vouch for: another process of Redis must have it.
    #[must_use]
    pub fn knowledge(&self) -> Knowledge {
        let mut witness = self.witness.lock();
        witness.note(self.commands.losses());
        Knowledge { highest: witness.known(), kept: witness.knowledge() }
    }

    /// Notes that a process was told of it.
    pub fn told(&self, knowledge: &Knowledge, process: &Arc<str>) {
        self.witness.lock().told(&knowledge.kept, process);
    }
}

/// What a node knows and vouches for, as text: the highest offset, and ` {process}:{offset}` of each process.
#[derive(Debug, Default)]
pub struct Knowledge {
    highest: Offset,
    kept: Vec<Known>,
}

impl std::fmt::Display for Knowledge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.highest)?;
        self.kept.iter().try_for_each(|Known { offset, process }| write!(f, " {process}:{offset}"))
    }
}
