//! The workers of a node: one for each queue that it works on, until the node stops.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use gateway_core::config;
use gateway_core::jobs::{Handler, Jobs, QueueName, Rate, Worker, Working};
use gateway_core::metrics::Metrics;

/// How soon a queue is tried again that could not be worked on.
const AGAIN: Duration = Duration::from_secs(10);
/// What workers may take beyond their time to hand back what they have.
const GRACE: Duration = Duration::from_secs(5);

/// The workers of a node.
pub struct Workers {
    jobs: Arc<dyn Jobs>,
    handler: Arc<dyn Handler>,
    queues: Vec<(QueueName, Working)>,
    metrics: Arc<Metrics>,
    runs: AtomicBool,
    /// How long jobs may still take, once the workers are to stop.
    end: watch::Sender<Option<Duration>>,
    /// How many jobs were handed back, once all have stopped.
    ended: watch::Sender<Option<usize>>,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("queues", &self.queues).finish_non_exhaustive()
    }
}

impl Workers {
    /// Those that the configuration wants; [`Self::run`] has them work.
    ///
    /// # Panics
    /// If the configuration was not validated.
    #[must_use]
    pub fn new(jobs: Arc<dyn Jobs>, handler: Arc<dyn Handler>, settings: &config::Jobs, metrics: Arc<Metrics>) -> Self {
        let worker = |queue: config::JobQueue| {
            let concurrency = settings.concurrency(&queue);
            let rate = (queue.rate > 0).then_some(Rate { jobs: queue.rate, per: queue.per });
            let name = QueueName::new(queue.name).expect("names of queues are validated");
            (concurrency > 0).then_some((name, Working { concurrency, rate, lease: settings.lease }))
        };
        let queues = settings.queues().into_iter().filter_map(worker).collect();
        let (end, ended) = (watch::Sender::new(None), watch::Sender::new(None));
        Self { jobs, handler, queues, metrics, runs: AtomicBool::new(false), end, ended }
    }

    /// Works until [`Self::stop`], or until `stop` if that comes first: then at once. Returns after `stop`; before that only if
    /// a worker does not do its work any more.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        self.runs.store(true, Ordering::Release);
        let mut working: FuturesUnordered<_> = self.queues.iter().map(|(queue, how)| self.tend(queue, how)).collect();
        let all = async {
            let mut handed_back = 0;
            while let Some(ended) = working.next().await {
                handed_back += ended?;
            }
            Ok(handed_back)
        };
        let at_once = async {
            stop.cancelled().await;
            self.end.send_if_modified(|end| end.replace(Duration::ZERO).is_none());
            std::future::pending().await
        };
        let ended: Result<usize, String> = tokio::select! {
            ended = all => ended,
            never = at_once => never,
        };
        match ended {
            Ok(handed_back) => {
                self.metrics.jobs_handed_back.increment(handed_back as u64);
                self.ended.send_replace(Some(handed_back));
                // Where no queue is worked on, there is nothing to end.
                stop.cancelled().await;
            }
            Err(why) => tracing::error!(why, "a queue is not worked on any more"),
        }
    }

    /// Takes no more jobs. Those that run may go on for some time, and are handed back then. Returns how many were.
    pub async fn stop(&self, within: Duration) -> usize {
        self.end.send_if_modified(|end| end.replace(within).is_none());
        if !self.runs.load(Ordering::Acquire) {
            return 0;
        }
        let mut ended = self.ended.subscribe();
        let ended = timeout(within + GRACE, ended.wait_for(Option::is_some)).await;
        ended.ok().and_then(|ended| ended.ok().and_then(|count| *count)).unwrap_or(0)
    }

    /// Works on one queue. Returns how many jobs were handed back, or why nobody works on it any more.
    async fn tend(&self, queue: &QueueName, working: &Working) -> Result<usize, String> {
        let mut end = self.end.subscribe();
        let mut worker = tokio::select! {
            worker = self.begin(queue, working) => worker,
            _ = told(&mut end) => return Ok(0),
        };
        tracing::debug!(?queue, concurrency = working.concurrency, "works on a queue");
        let within = tokio::select! {
            why = worker.failed() => return Err(format!("{queue:?}: {why}")),
            within = told(&mut end) => within,
        };
        Ok(worker.stop(within).await.handed_back)
    }

    /// Begins to work on a queue. What does not heal by itself somebody may heal.
    async fn begin(&self, queue: &QueueName, working: &Working) -> Worker {
        loop {
            match self.jobs.work(queue, working, self.handler.clone()).await {
                Ok(worker) => return worker,
                Err(error) => {
                    self.metrics.job_errors.with(error.operation).increment(1);
                    error.tell("a queue is not worked on by this node");
                }
            }
            sleep(AGAIN).await;
        }
    }
}

/// Waits until the workers are to stop; returns how long their jobs may still take.
async fn told(end: &mut watch::Receiver<Option<Duration>>) -> Duration {
    end.wait_for(Option::is_some).await.ok().and_then(|within| *within).unwrap_or_default()
}
