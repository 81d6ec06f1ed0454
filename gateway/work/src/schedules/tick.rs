//! What a schedule has done at a tick: a job of another kind within one of its own, so that it runs once and its run is kept.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::plan::now_ms;
use super::shown;
use crate::jobs::Kind;
use gateway_core::jobs::{Again, Failure, Handler, Job};
use gateway_core::metrics::Metrics;
use gateway_core::port::PortError;
use gateway_core::ticks::{Run, Ticks};

/// What a job of a schedule is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Scheduled {
    pub(super) schedule: String,
    /// The plan, if it is a tick of one and no wish of somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) plan: Option<String>,
    pub(super) tick: u64,
    pub(super) kind: String,
    pub(super) data: Box<RawValue>,
}

/// The kind `schedule`.
pub struct Tick {
    ticks: Arc<dyn Ticks>,
    node: String,
    /// Does jobs of any kind. It has this one, too, so none of both may keep the other.
    kinds: OnceLock<Weak<dyn Handler>>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tick").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Tick {
    /// One that is told later who does the work.
    #[must_use]
    pub fn new(ticks: Arc<dyn Ticks>, node: &str, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { ticks, node: node.to_owned(), kinds: OnceLock::new(), metrics })
    }

    /// Has the work done by this; to be called once.
    pub fn done_by(&self, kinds: &Arc<dyn Handler>) {
        self.kinds.set(Arc::downgrade(kinds)).ok();
    }

    async fn may_begin(&self, scheduled: &Scheduled) -> Result<bool, PortError> {
        let Some(plan) = &scheduled.plan else { return Ok(true) };
        // By its name: while nodes learn of other times one after the other, what both have is done once.
        let is_new = self.ticks.begin(&scheduled.schedule, scheduled.tick).await?;
        // By its times: what was before them was not missed.
        self.ticks.pass(plan, scheduled.tick).await?;
        Ok(is_new)
    }
}

// Nobody else has it done, so there is nothing to be looked at before.
impl Kind for Tick {}

#[async_trait]
impl Handler for Tick {
    async fn handle(&self, job: &Job) -> Result<Option<Box<RawValue>>, Failure> {
        let scheduled: Scheduled = serde_json::from_str(job.data.get())
            .map_err(|error| Failure::never(format!("the data of this job is no tick: {error}")))?;
        let away = |error: PortError| Failure::not_now(format!("it cannot be looked up what ran: {error}"));
        if !self.may_begin(&scheduled).await.map_err(away)? {
            self.metrics.schedule_runs.with("old").increment(1);
            return Ok(serde_json::value::to_raw_value("a newer tick was begun, or this one was done").ok());
        }
        let kinds = self.kinds.get().and_then(Weak::upgrade);
        let kinds = kinds.ok_or_else(|| Failure::not_now("this node does no jobs now"))?;
        let inner = Job { kind: scheduled.kind.clone(), data: scheduled.data.clone(), ..job.clone() };
        let (began, begun) = (now_ms(), Instant::now());
        let done = AssertUnwindSafe(kinds.handle(&inner)).catch_unwind().await;
        let done = done.unwrap_or_else(|_| Err(Failure::not_now("its handler panicked")));
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let failed = done.as_ref().err();
        let last = failed.is_none_or(|failure| failure.again == Again::Never || job.attempt >= job.attempts);
        let run = Run {
            schedule: scheduled.schedule.clone(),
            tick: scheduled.tick,
            node: self.node.clone(),
            begun: began,
            took,
            attempt: job.attempt,
            failed: failed.map(|failure| failure.why.clone()),
            last,
        };
        let result = if failed.is_none() { "done" } else { "failed" };
        self.metrics.schedule_runs.with(result).increment(1);
        let (name, tick) = (&scheduled.schedule, shown(scheduled.tick));
        match failed {
            None => tracing::info!(schedule = name, tick, ms = took, attempt = job.attempt, "a schedule ran"),
            Some(failure) => {
                tracing::warn!(schedule = name, tick, ms = took, attempt = job.attempt, why = %failure, "a schedule failed");
            }
        }
        if let Err(error) = self.ticks.note(&scheduled.schedule, &run).await {
            error.tell("a run of a schedule is not kept");
        }
        done
    }
}
