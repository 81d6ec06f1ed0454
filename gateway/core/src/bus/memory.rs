//! The bus of embedded mode: channels within this process. Several nodes of one process can share a hub.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Bus, Sink, Sinks};
use crate::port::PortError;

/// What the buses of one process share.
#[derive(Debug, Default)]
pub struct MemoryHub {
    nodes: Mutex<Vec<Weak<Mutex<Sinks>>>>,
    /// When which node last heard, by roll and node.
    rolls: Mutex<HashMap<(String, String), Instant>>,
}

/// One node's end of a [`MemoryHub`].
#[derive(Debug)]
pub struct MemoryBus {
    hub: Arc<MemoryHub>,
    sinks: Arc<Mutex<Sinks>>,
}

impl MemoryBus {
    /// A new end of the hub.
    #[must_use]
    pub fn new(hub: Arc<MemoryHub>) -> Self {
        let sinks = Arc::default();
        hub.nodes.lock().push(Arc::downgrade(&sinks));
        Self { hub, sinks }
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(&self, channel: &str, payload: Bytes) -> Result<(), PortError> {
        // The hub's lock is held over all deliveries, so that every node gets the same order.
        let mut nodes = self.hub.nodes.lock();
        nodes.retain(|node| {
            let Some(sinks) = node.upgrade() else { return false };
            sinks.lock().deliver(channel, payload.clone());
            true
        });
        Ok(())
    }

    async fn subscribe(&self, channel: &str, sink: Sink) -> Result<(), PortError> {
        self.sinks.lock().insert(channel, sink);
        Ok(())
    }

    async fn unsubscribe(&self, channel: &str) {
        self.sinks.lock().remove(channel);
    }

    async fn subscribers(&self, channel: &str) -> Result<usize, PortError> {
        let nodes = self.hub.nodes.lock();
        let hears = |node: &Weak<Mutex<Sinks>>| {
            node.upgrade().is_some_and(|sinks| sinks.lock().by_channel.contains_key(channel))
        };
        Ok(nodes.iter().filter(|node| hears(node)).count())
    }

    async fn attest(&self, roll: &str, node: &str, hears: bool, within: Duration) -> Result<Vec<String>, PortError> {
        let (me, now) = ((roll.to_owned(), node.to_owned()), Instant::now());
        let mut rolls = self.hub.rolls.lock();
        if hears {
            rolls.insert(me.clone(), now);
        } else {
            rolls.remove(&me);
        }
        let others = rolls
            .iter()
            .filter(|(name, heard)| name.0 == roll && name.1 != node && now.duration_since(**heard) <= within);
        Ok(others.map(|(name, _)| name.1.clone()).collect())
    }
}
