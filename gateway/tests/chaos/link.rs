//! What a client knows of one connection, and forgets with it.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::stall::{Quiet, Watch};
use super::wire::Wire;

pub(super) struct Link {
    pub(super) wire: Wire,
    pub(super) node: usize,
    /// What waits for an answer, since when, and how much quiet there had been by then.
    pub(super) asked: HashMap<u64, (Ask, Instant, Duration)>,
    /// How long nobody has harmed the node or Redis since it began, while the client watched.
    pub(super) quiet: Quiet,
    /// One for each seat.
    pub(super) watches: Vec<Watch>,
    /// When to try an upgrade.
    pub(super) upgrade_at: Option<Instant>,
    next_ask: u64,
    /// Whether the server said what became of the session.
    pub(super) greeted: bool,
    /// The pid with which the client came, and the one that it got.
    pub(super) pids: (Option<String>, Option<String>),
    /// How many rooms the client was in when it came.
    pub(super) rooms_before: usize,
    /// The offset of the last event that was not a replay.
    pub(super) live: u64,
    pub(super) began: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Join { seat: usize, after: Option<u64> },
    Publish,
}

impl Link {
    pub(super) fn new(wire: Wire, node: usize, pid: Option<String>, rooms_before: usize) -> Self {
        Self {
            wire,
            node,
            asked: HashMap::new(),
            quiet: Quiet::new(),
            watches: Vec::new(),
            upgrade_at: None,
            next_ask: 0,
            greeted: false,
            pids: (pid, None),
            rooms_before,
            live: 0,
            began: Instant::now(),
        }
    }

    /// Emits an event and remembers what its answer is for.
    pub(super) async fn ask(&mut self, ask: Ask, event: Value) -> Result<(), String> {
        let id = self.next_ask;
        self.next_ask += 1;
        self.asked.insert(id, (ask, Instant::now(), self.quiet.passed()));
        self.wire.send(format!("42{id}{event}")).await
    }
}

impl Ask {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Join { .. } => "join",
            Self::Publish => "publish",
        }
    }
}
