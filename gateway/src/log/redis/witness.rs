//! What a node knows of the log's writes, to notice that some were lost.

use crate::domain::Offset;

/// What this node knows of what was appended. A log that does not have it has lost writes.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// The highest offset of an event that it appended or heard.
    pub(super) known: Offset,
    /// The same when a connection was lost, since it last vouched: what another process of Redis must have.
    pub(super) knew: Option<Offset>,
    /// How many connections had been lost by then.
    losses: u64,
}

impl Witness {
    /// Notes an event. Whatever comes after a connection was lost may be another process' doing.
    pub(super) fn saw(&mut self, offset: Offset, losses: u64) {
        self.note(losses);
        self.known = self.known.max(offset);
    }

    /// Notes how many connections were lost.
    pub(super) fn note(&mut self, losses: u64) {
        if losses != self.losses {
            self.losses = losses;
            self.lost();
        }
    }

    pub(super) fn lost(&mut self) {
        self.knew.get_or_insert(self.known);
    }
}
