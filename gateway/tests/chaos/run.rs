//! What all clients of a run share.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::audit::Audit;
use super::cluster::Cluster;
use super::plan::Settings;

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Come together, or finish what was begun.
    Quiet,
    /// Publish, and lose connections.
    Chaos,
    /// Publish the last event of each room, for the so-manieth time.
    Markers(usize),
    Over,
}

pub(crate) struct Run {
    pub(crate) settings: Settings,
    pub(crate) cluster: Cluster,
    pub(crate) audit: Mutex<Audit>,
    pub(crate) phase: watch::Sender<Phase>,
    /// Per client whether it is connected, in all its rooms, and waits for nothing.
    pub(crate) calm: Vec<AtomicBool>,
    /// Last events of rooms that were acknowledged.
    pub(crate) markers: AtomicUsize,
}

impl Run {
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// The rooms of a client. Each room's first member publishes its last event.
    pub(crate) fn rooms_of(&self, client: u32) -> Vec<usize> {
        let Settings { rooms, rooms_each, .. } = self.settings;
        // Neighbours share one room and differ in the others.
        let step = 1 + client as usize / rooms;
        let mut own: Vec<usize> = (0..rooms_each).map(|number| (client as usize + number * step) % rooms).collect();
        own.sort_unstable();
        own.dedup();
        own
    }

    /// The rooms whose last event is a client's to publish.
    pub(crate) fn owned_by(&self, client: u32) -> Vec<usize> {
        let is_first = |room: &usize| !(0..client).any(|other| self.rooms_of(other).contains(room));
        self.rooms_of(client).into_iter().filter(is_first).collect()
    }

    /// The rooms that have a member.
    pub(crate) fn rooms_in_use(&self) -> usize {
        let rooms: BTreeSet<usize> = (0..self.settings.clients).flat_map(|client| self.rooms_of(client)).collect();
        rooms.len()
    }

    pub(crate) fn restless(&self) -> Vec<usize> {
        (0..self.calm.len()).filter(|client| !self.calm[*client].load(Ordering::Acquire)).collect()
    }
}
