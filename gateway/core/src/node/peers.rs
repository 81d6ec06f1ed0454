//! Peers: how many nodes the cluster has, counted by who listens on channels that every node listens on, and what they read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::bus::{Bus, BusMessage, Sink};
use crate::formats::{Format, Formats};
use crate::metrics::Metrics;
use crate::port::PortError;

const INTERVAL: Duration = Duration::from_secs(2);
/// How long a node that is about to leave waits to be told who stays.
const ANSWER: Duration = Duration::from_millis(500);
/// How many drains that overran may wait to be counted.
const OVERRUNS: usize = 64;
/// How often in a row all nodes must be seen to read a newer format before it is written: a node that just connects to
/// Redis again is not counted for a moment.
const SURE: u32 = 3;

/// The nodes of a deployment, this one among them, and those of them that clients may come to.
pub struct Peers {
    bus: Arc<dyn Bus>,
    /// What the names of all channels begin with.
    channel: String,
    formats: Formats,
    metrics: Arc<Metrics>,
    /// How many others clients could come to when the bus told last.
    others: AtomicUsize,
    /// How many nodes clients can come to, this one included if they can; 0 while the bus does not tell.
    open: AtomicUsize,
    leaving: AtomicBool,
    /// Nothing is ever sent on these channels: being subscribed is the message.
    sink: Sink,
    _silent: mpsc::Receiver<BusMessage>,
    /// By which it knows what it said itself.
    mark: Bytes,
}

/// How many nodes there are.
struct Nodes {
    /// Those that leave as well.
    all: usize,
    /// Those that clients may come to.
    open: usize,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("others", &self.others).finish_non_exhaustive()
    }
}

impl Peers {
    /// The nodes of the deployment whose channels begin with `prefix`. What all of them read is written to `formats`.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, prefix: &str, formats: Formats, metrics: Arc<Metrics>) -> Self {
        let channel = format!("{prefix}:nodes");
        metrics.format.set(formats.written().number());
        let (sink, silent) = mpsc::channel(1);
        let (others, open, leaving) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        let mark = Bytes::copy_from_slice(&rand::random::<[u8; 16]>());
        Self { bus, channel, formats, metrics, others, open, leaving, sink, _silent: silent, mark }
    }

    /// Where nodes listen that read a format.
    fn readers(&self, format: Format) -> String {
        format!("{}:{}", self.channel, format.number())
    }

    /// Where nodes listen that clients cannot come to any more.
    fn leavers(&self) -> String {
        format!("{}:leaving", self.channel)
    }

    /// Where nodes say that the time for their drain was over before it was done.
    fn overruns(&self) -> String {
        format!("{}:overran", self.channel)
    }

    /// Counts a drain of this node that overran, and has the others count it: who ends is not asked for its metrics any more.
    pub async fn overran(&self) {
        self.metrics.drain_overruns.increment(1);
        let told = timeout(ANSWER, self.bus.publish(&self.overruns(), self.mark.clone())).await;
        if !matches!(told, Ok(Ok(()))) {
            tracing::debug!("the other nodes could not be told that the drain overran");
        }
    }

    /// Counts what another node says about its drain.
    fn hear(&self, message: &BusMessage) {
        if matches!(message, BusMessage::Message { payload, .. } if *payload != self.mark) {
            self.metrics.drain_overruns.increment(1);
        }
    }

    /// Counts them for ever. A node that lost Redis counts nobody, not even itself.
    pub async fn count(self: Arc<Self>) {
        let mut tick = interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut listening, mut agreed) = (false, 0);
        let (overruns, mut told) = mpsc::channel(OVERRUNS);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                Some(message) = told.recv() => {
                    self.hear(&message);
                    continue;
                }
            }
            listening = listening || self.listen(&overruns).await.is_ok();
            let nodes = self.ask().await;
            let open = nodes.as_ref().map_or(0, |nodes| nodes.open);
            self.open.store(open, Ordering::Release);
            self.metrics.cluster_nodes.set(u32::try_from(open).unwrap_or(u32::MAX));
            let Ok(nodes) = nodes else { continue };
            if let Ok(format) = self.newest_of(nodes.all).await {
                agreed = if format > self.formats.written() { agreed + 1 } else { 0 };
                if format < self.formats.written() || agreed >= SURE {
                    tracing::info!(
                        format = format.number(),
                        "what is written for other nodes is what all of them read"
                    );
                    self.formats.write(format);
                    self.metrics.format.set(format.number());
                }
            }
        }
    }

    async fn listen(&self, overruns: &Sink) -> Result<(), PortError> {
        self.bus.subscribe(&self.overruns(), overruns.clone()).await?;
        // What it reads first: it must not be taken for a node that does not.
        for format in Format::ALL {
            self.bus.subscribe(&self.readers(format), self.sink.clone()).await?;
        }
        self.bus.subscribe(&self.channel, self.sink.clone()).await
    }

    /// The newest format that all nodes read, those that leave too. Those of a version before formats do not say so.
    async fn newest_of(&self, nodes: usize) -> Result<Format, PortError> {
        for format in Format::ALL.into_iter().rev() {
            if nodes > 0 && self.bus.subscribers(&self.readers(format)).await? >= nodes {
                return Ok(format);
            }
        }
        Ok(Format::OLDEST)
    }

    async fn ask(&self) -> Result<Nodes, PortError> {
        let leaving = self.bus.subscribers(&self.leavers()).await?;
        let all = self.bus.subscribers(&self.channel).await?;
        let open = all.saturating_sub(leaving);
        let this = usize::from(!self.leaving.load(Ordering::Acquire));
        self.others.store(open.saturating_sub(this), Ordering::Release);
        Ok(Nodes { all, open })
    }

    /// How many nodes clients can come to, as it was counted last; 0 if it could not be.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Counts this node no longer among those that clients may come to.
    pub async fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        // Where it cannot be said, others see it when this node has ended.
        self.bus.subscribe(&self.leavers(), self.sink.clone()).await.ok();
    }

    /// Counts it again: clients may come to it after all.
    pub async fn stay(&self) {
        self.leaving.store(false, Ordering::Release);
        self.bus.unsubscribe(&self.leavers()).await;
    }

    /// Whether there is no other node to which clients could go. If the bus cannot be asked, what it said last counts.
    pub async fn are_none(&self) -> bool {
        timeout(ANSWER, self.ask()).await.ok();
        self.others.load(Ordering::Acquire) == 0
    }
}
