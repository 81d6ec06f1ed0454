//! Peers: how many nodes the cluster has, counted by who listens on a channel that every node listens on, until it drains.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::bus::Bus;
use crate::metrics::Metrics;

const INTERVAL: Duration = Duration::from_secs(2);
/// How long a node that is about to leave waits to be told who stays.
const ANSWER: Duration = Duration::from_millis(500);

/// The nodes that clients may come to, this one among them until it leaves.
pub struct Peers {
    bus: Arc<dyn Bus>,
    channel: String,
    metrics: Arc<Metrics>,
    /// How many there were when the bus told last.
    known: AtomicUsize,
    leaving: AtomicBool,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("known", &self.known).finish_non_exhaustive()
    }
}

impl Peers {
    /// The nodes of the deployment whose channels begin with `prefix`.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, prefix: &str, metrics: Arc<Metrics>) -> Self {
        let channel = format!("{prefix}:nodes");
        Self { bus, channel, metrics, known: AtomicUsize::new(0), leaving: AtomicBool::new(false) }
    }

    /// Counts them for ever. A node that lost Redis counts nobody, not even itself.
    pub async fn count(self: Arc<Self>) {
        // Nothing is ever sent on it; being subscribed is the message.
        let (sink, _messages) = mpsc::channel(1);
        let mut tick = interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut listening = false;
        loop {
            tick.tick().await;
            if !self.leaving.load(Ordering::Acquire) {
                listening = listening || self.bus.subscribe(&self.channel, sink.clone()).await.is_ok();
                if self.leaving.load(Ordering::Acquire) {
                    // It began to leave meanwhile, and might have come back by this.
                    self.bus.unsubscribe(&self.channel).await;
                }
            }
            let nodes = self.ask().await.unwrap_or(0);
            self.metrics.cluster_nodes.set(u32::try_from(nodes).unwrap_or(u32::MAX));
        }
    }

    async fn ask(&self) -> Option<usize> {
        let nodes = self.bus.subscribers(&self.channel).await.ok()?;
        self.known.store(nodes, Ordering::Release);
        Some(nodes)
    }

    /// Counts this node no longer: clients cannot come to it.
    pub async fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        self.bus.unsubscribe(&self.channel).await;
    }

    /// Whether there is no other node to which clients could go. If the bus cannot be asked, what it said last counts.
    pub async fn are_none(&self) -> bool {
        let nodes = match timeout(ANSWER, self.ask()).await {
            Ok(Some(nodes)) => nodes,
            Ok(None) | Err(_) => self.known.load(Ordering::Acquire),
        };
        nodes <= usize::from(!self.leaving.load(Ordering::Acquire))
    }
}
