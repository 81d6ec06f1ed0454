//! Who was chosen to be moved, evenly over a time.

use std::sync::Arc;

use rand::seq::SliceRandom;

use crate::node::Session;

/// Connections that are to be moved, each as its sessions.
#[derive(Debug, Default)]
pub(super) struct Moving {
    connections: Vec<Vec<Arc<Session>>>,
    slots: usize,
}

impl Moving {
    /// So many of those that could be, each as likely as the others, in so many slots.
    pub(super) fn of(mut movable: Vec<Vec<Arc<Session>>>, count: usize, slots: usize) -> Self {
        // Not by age: neighbours in time are neighbours behind the same network or release.
        movable.shuffle(&mut rand::rng());
        movable.truncate(count);
        Self { connections: movable, slots }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    pub(super) fn left(&self) -> usize {
        self.connections.len()
    }

    /// Those of the next slot.
    pub(super) fn next(&mut self) -> Vec<Vec<Arc<Session>>> {
        let count = self.connections.len().div_ceil(self.slots.max(1));
        self.slots = self.slots.saturating_sub(1);
        self.connections.split_off(self.connections.len() - count)
    }
}
