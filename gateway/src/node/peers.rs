//! Peers: how many nodes the cluster has, counted by who listens on a channel that every node listens on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::bus::Bus;
use crate::metrics::Metrics;

const INTERVAL: Duration = Duration::from_secs(2);

/// Counts the nodes for ever. A node that lost Redis counts nobody, not even itself.
pub async fn count_peers(bus: Arc<dyn Bus>, prefix: String, metrics: Arc<Metrics>) {
    let channel = format!("{prefix}:nodes");
    // Nothing is ever sent on it; being subscribed is the message.
    let (sink, _messages) = mpsc::channel(1);
    let mut tick = interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut listening = false;
    loop {
        tick.tick().await;
        listening = listening || bus.subscribe(&channel, sink.clone()).await.is_ok();
        let nodes = bus.subscribers(&channel).await.unwrap_or(0);
        metrics.cluster_nodes.set(u32::try_from(nodes).unwrap_or(u32::MAX));
    }
}
