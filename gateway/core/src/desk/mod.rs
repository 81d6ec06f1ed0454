//! The desk: where jobs are handed in, within limits, and where it is seen how queues stand and decided what becomes of jobs.

mod deciding;
mod handing_in;
mod standing;

pub use deciding::{Listed, QueueStanding, Wanted};
pub use handing_in::{Hand, NotTaken, Wish};

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::config::{self, Config};
use crate::content::Bounds;
use crate::domain::Refusal;
use crate::jobs::{ABSENT, Jobs, QueueName, Queues, SCHEDULE};
use crate::metrics::{JOB_KINDS, Metrics};
use crate::node::SenderLimiter;
use crate::port::PortError;
use crate::recurring::Recurring;

/// What kinds of jobs the gateway does itself.
pub trait Kinds: Send + Sync + 'static {
    /// Looks whether a job of a kind can be done with these data, as far as that can be said before.
    ///
    /// # Errors
    /// What is wrong, in words for whoever enqueues it.
    fn check(&self, kind: &str, data: &RawValue) -> Result<(), Unfit>;
}

/// Why nobody could do a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// There is no such kind; the text says which there are.
    Kind(String),
    /// It needs other data.
    Data(String),
}

/// A queue that is configured.
#[derive(Debug)]
struct Queue {
    name: QueueName,
    /// Whether nodes work on it, and not others alone.
    is_ours: bool,
    /// How many of its jobs this node does at the same time.
    concurrency: usize,
}

/// How full queues are.
#[derive(Debug, Default)]
struct Levels {
    /// Jobs that wait, now or for later, by the name of the queue.
    waiting: HashMap<QueueName, u64>,
    /// When that was asked.
    asked: Option<Instant>,
}

/// The jobs of a deployment, as far as this node has to do with them.
pub struct Desk {
    jobs: Arc<dyn Jobs>,
    queues: Arc<dyn Queues>,
    kinds: Arc<dyn Kinds>,
    settings: config::Jobs,
    configured: Vec<Queue>,
    bounds: Bounds,
    limiter: SenderLimiter,
    levels: Mutex<Levels>,
    failing: Recurring,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("configured", &self.configured).finish_non_exhaustive()
    }
}

impl Desk {
    /// How often it is looked how queues stand.
    const LOOK: Duration = Duration::from_secs(5);
    /// How long what was seen is good enough to refuse by.
    const FRESH: Duration = Duration::from_secs(1);

    /// One over a store of jobs, for the queues that are configured.
    ///
    /// # Panics
    /// If the configuration was not validated.
    #[must_use]
    pub fn new(
        jobs: Arc<dyn Jobs>,
        queues: Arc<dyn Queues>,
        kinds: Arc<dyn Kinds>,
        config: &Config,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let settings = config.jobs.clone();
        let queue = |queue: config::JobQueue| Queue {
            name: QueueName::new(&*queue.name).expect("names of queues are validated"),
            is_ours: queue.concurrency != Some(0),
            concurrency: settings.concurrency(&queue),
        };
        Arc::new(Self {
            configured: settings.queues().into_iter().map(queue).collect(),
            jobs,
            queues,
            kinds,
            bounds: Bounds::new(&config.limits),
            limiter: SenderLimiter::new(settings.of_sender()),
            levels: Mutex::default(),
            failing: Recurring::new("the store of jobs failed"),
            settings,
            metrics,
        })
    }

    /// Looks whether what a route enqueues has a queue, and somebody who does it.
    ///
    /// # Errors
    /// What is wrong, in words that begin with the key of the route.
    pub fn check(settings: &config::Jobs, queue: &str, kind: &str) -> Result<(), String> {
        let queues = settings.queues();
        let Some(found) = queues.iter().find(|known| known.name == queue) else {
            let known: Vec<_> = queues.iter().map(|queue| &*queue.name).collect();
            return Err(format!("queue: there is no queue {queue:?}; there are: {}", known.join(", ")));
        };
        if found.concurrency != Some(0) {
            if OURS.contains(&kind) {
                return Err(format!("kind: {}", ours(kind)));
            }
            if !known_kinds().any(|known| known == kind) {
                let known = known_kinds().collect::<Vec<_>>().join(", ");
                return Err(format!("kind: there is no kind {kind:?}; there are: {known}"));
            }
        }
        Ok(())
    }

    /// How many jobs an answer lists at the most.
    #[must_use]
    pub fn page(&self) -> usize {
        self.settings.page
    }

    /// Forgets what limits need no longer, and publishes how much that is; to be called every few seconds.
    pub fn upkeep(&self) {
        let keys = u32::try_from(self.limiter.forget_idle()).unwrap_or(u32::MAX);
        self.metrics.rate_limit_keys.with("job_sender").set(keys);
    }

    fn configured(&self, name: &str) -> Option<&Queue> {
        self.configured.iter().find(|queue| queue.name.as_str() == name)
    }

    /// The one place where a failing store becomes what is read of it; it is logged here and only here.
    fn unavailable(&self, error: &PortError) -> Refusal {
        self.metrics.job_errors.with(error.operation).increment(1);
        self.failing.note(|what| error.tell(what));
        Refusal::Unavailable
    }
}

/// Kinds that the gateway has done for itself. From others they would be a way round what they may, and past what was done once.
pub const OURS: [&str; 2] = [ABSENT, SCHEDULE];

/// The kinds that others may have done.
fn known_kinds() -> impl Iterator<Item = &'static str> {
    JOB_KINDS.into_iter().filter(|kind| *kind != "other" && !OURS.contains(kind))
}

/// Why nobody else makes jobs of a kind.
fn ours(kind: &str) -> String {
    format!("nobody but the gateway makes jobs of the kind {kind:?}")
}
