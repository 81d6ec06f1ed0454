//! The open connections of a server, by their ids.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::connection::Inner;
use crate::handshake::Id;
use crate::heartbeat::Due;

/// Parts of the table that are locked apart.
const SHARDS: usize = 16;

/// Bytes of connections, without the heads of HTTP requests and answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Read from clients.
    pub received: u64,
    /// Written to clients.
    pub sent: u64,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.sent += other.sent;
    }
}

/// The open connections.
#[derive(Default)]
pub(crate) struct Connections {
    shards: [Mutex<HashMap<Id, Arc<Inner>>>; SHARDS],
    /// Of those that are over.
    past: Mutex<Traffic>,
}

impl Connections {
    fn shard(&self, id: Id) -> &Mutex<HashMap<Id, Arc<Inner>>> {
        &self.shards[id.spread() % SHARDS]
    }

    pub(crate) fn insert(&self, connection: &Arc<Inner>) {
        self.shard(connection.id).lock().insert(connection.id, connection.clone());
    }

    pub(crate) fn find(&self, id: Id) -> Option<Arc<Inner>> {
        self.shard(id).lock().get(&id).cloned()
    }

    /// Takes out one that is over.
    pub(crate) fn forget(&self, connection: &Inner) {
        let mut past = self.past.lock();
        let mut shard = self.shard(connection.id).lock();
        shard.remove(&connection.id);
        if shard.len() * 4 < shard.capacity() {
            // A crowd that has gone must not stay in memory.
            shard.shrink_to_fit();
        }
        *past += connection.take_traffic();
    }

    /// What all have sent and received so far.
    pub(crate) fn traffic(&self) -> Traffic {
        // Held throughout: a connection that ends meanwhile is counted on one side or the other, and once.
        let mut sum = self.past.lock();
        for shard in &self.shards {
            for connection in shard.lock().values() {
                *sum += connection.take_traffic();
            }
        }
        *sum
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Those for which something is due, and what. Where it is nothing of the heart, something takes too long.
    pub(crate) fn due(&self, now: u64, timeout: Duration) -> Vec<(Arc<Inner>, Due)> {
        let mut due = Vec::new();
        for shard in &self.shards {
            for connection in shard.lock().values() {
                let what = connection.heart.look(now, timeout);
                if what != Due::Nothing || connection.is_late(now) {
                    due.push((connection.clone(), what));
                }
            }
        }
        due
    }
}
