//! Holds: what keeps a gate shut, for as long as it is there.

use std::sync::Arc;

use super::Gate;
use crate::domain::{Offset, RoomName};

/// Keeps a gate shut to what is live. Dropped, it lets it pass again as well: whatever it was held for was given up.
#[must_use = "the gate opens when this is dropped"]
pub struct Hold {
    gate: Arc<Gate>,
    handed: Offset,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Held,
    /// It holds nothing any more, but what waited is not handed over yet.
    Opening,
    Open,
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("handed", &self.handed).finish_non_exhaustive()
    }
}

impl Hold {
    pub(super) fn new(gate: &Arc<Gate>, handed: Offset) -> Self {
        Self { gate: gate.clone(), handed, stage: Stage::Held }
    }

    /// The newest offset that the client had been handed when the gate was shut.
    pub(in crate::node) fn handed(&self) -> Offset {
        self.handed
    }

    /// Lets what is live pass again. Returns when all that waited was handed over.
    pub async fn release(self) {
        self.release_after(&[], Offset::START).await;
    }

    /// The same; what waited of the given rooms and is not newer than `upto` was replayed and is dropped.
    pub(in crate::node) async fn release_after(mut self, rooms: &[RoomName], upto: Offset) {
        self.open(rooms, upto);
        if self.stage == Stage::Opening {
            self.gate.drain().await;
            self.stage = Stage::Open;
        }
    }

    fn open(&mut self, rooms: &[RoomName], upto: Offset) {
        let mut state = self.gate.state.lock();
        state.waiting.retain(|wait| wait.offset.is_none_or(|offset| offset > upto) || !rooms.contains(&wait.room));
        state.bytes = state.waiting.iter().map(|wait| wait.frame.size()).sum();
        state.held -= 1;
        // Otherwise it is another hold's to hand over what waits.
        self.stage = if state.held == 0 && !state.waiting.is_empty() { Stage::Opening } else { Stage::Open };
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.stage == Stage::Held {
            self.open(&[], Offset::START);
        }
        if self.stage == Stage::Opening {
            // Nobody waits for it any more, and it must not stay.
            let gate = self.gate.clone();
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(async move { gate.drain().await })),
                Err(_) => gate.give_up(&mut gate.state.lock()),
            }
        }
    }
}
