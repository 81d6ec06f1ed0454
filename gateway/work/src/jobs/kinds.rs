//! The registry of kinds: each has somebody who does it, and every attempt is counted.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::value::RawValue;
use tokio::time::Instant;

use gateway_core::desk::{self, OURS, Unfit};
use gateway_core::jobs::{Again, Failure, Handler, Job};
use gateway_core::metrics::{JOB_KINDS, Metrics};
use gateway_core::traces::{self, Traces};

/// Who does the jobs of one kind.
pub trait Kind: Handler {
    /// Looks whether a job could be done with these data, as far as that can be said before.
    ///
    /// # Errors
    /// What is wrong, in words for whoever enqueues it.
    fn check(&self, data: &RawValue) -> Result<(), String> {
        let _ = data;
        Ok(())
    }
}

/// All kinds that a node does, and who does them.
pub struct Kinds {
    known: HashMap<&'static str, Arc<dyn Kind>>,
    metrics: Arc<Metrics>,
    traces: Traces,
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.known.keys()).finish()
    }
}

impl Kinds {
    /// A registry without any.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { known: HashMap::new(), metrics, traces: Traces::default() }
    }

    /// The same, which goes on with the traces that jobs were enqueued in.
    #[must_use]
    pub fn traced(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// The same with one more.
    ///
    /// # Panics
    /// If the name is none of [`JOB_KINDS`], or is there already: a mistake in the code.
    #[must_use]
    pub fn with(mut self, name: &'static str, kind: Arc<dyn Kind>) -> Self {
        assert!(name != OTHER && JOB_KINDS.contains(&name), "{name} is no kind of the metrics");
        assert!(self.known.insert(name, kind).is_none(), "{name} is there twice");
        self
    }

    /// Those that others may have done.
    fn names(&self) -> String {
        let is_open = |name: &&str| self.known.contains_key(name) && !OURS.contains(name);
        JOB_KINDS.into_iter().filter(is_open).collect::<Vec<_>>().join(", ")
    }
}

/// What metrics call a kind that nobody here does.
const OTHER: &str = "other";

impl desk::Kinds for Kinds {
    fn check(&self, kind: &str, data: &RawValue) -> Result<(), Unfit> {
        match self.known.get(kind) {
            None => Err(Unfit::Kind(format!("there is no kind {kind:?}; there are: {}", self.names()))),
            Some(known) => known.check(data).map_err(Unfit::Data),
        }
    }
}

#[async_trait]
impl Handler for Kinds {
    async fn handle(&self, job: &Job) -> Result<Option<Box<RawValue>>, Failure> {
        let known = self.known.get_key_value(job.kind.as_str());
        let name = known.map_or(OTHER, |(name, _)| *name);
        let mut attempt = Attempt::begin(&self.metrics, name);
        let mut span = self.traces.resume(job.trace.as_ref(), traces::Kind::Consumer, "do");
        if span.is_recorded() {
            span.rename(|| format!("do {name}"));
            span.say("messaging.destination.name", job.queue.as_str().to_owned());
            span.say("messaging.message.id", job.id.as_str().to_owned());
            span.say("gateway.job.attempt", job.attempt);
        }
        let done = match known {
            Some((_, kind)) => span.within(kind.handle(job)).await,
            // Nodes of a newer version may know it, so it is tried again.
            None => {
                let kinds = self.names();
                Err(Failure::not_now(format!("nobody here does the kind {:?}; there are: {kinds}", job.kind)))
            }
        };
        attempt.outcome = match &done {
            Ok(_) => "done",
            Err(failure) if failure.again == Again::Never || job.attempt >= job.attempts => "dead",
            Err(_) => "failed",
        };
        if done.is_err() {
            span.fail(attempt.outcome);
        }
        if let Err(failure) = &done {
            let (queue, id, kind, attempt) = (job.queue.as_str(), job.id.as_str(), &*job.kind, job.attempt);
            let is_dead = attempt >= job.attempts || failure.again == Again::Never;
            if is_dead {
                tracing::warn!(?queue, ?id, ?kind, attempt, why = ?failure.why, "a job is given up");
            } else {
                tracing::debug!(?queue, ?id, ?kind, attempt, why = ?failure.why, "a job failed and is tried again");
            }
        }
        done
    }
}

/// An attempt under way. What came of it is counted when it ends, however it ends.
struct Attempt<'a> {
    metrics: &'a Metrics,
    kind: &'static str,
    since: Instant,
    outcome: &'static str,
}

impl<'a> Attempt<'a> {
    fn begin(metrics: &'a Metrics, kind: &'static str) -> Self {
        metrics.jobs_running.increment(1.0);
        Self { metrics, kind, since: Instant::now(), outcome: "cut_off" }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // A handler that panics has failed.
        let outcome = if std::thread::panicking() { "failed" } else { self.outcome };
        self.metrics.jobs_running.decrement(1.0);
        self.metrics.jobs_done.with(self.kind, outcome).increment(1);
        self.metrics.job_duration.record(self.since.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gateway_core::jobs::{Backoff, JobId, QueueName};

    use super::*;

    /// Does what the data say.
    struct Scripted;

    #[async_trait]
    impl Handler for Scripted {
        async fn handle(&self, job: &Job) -> Result<Option<Box<RawValue>>, Failure> {
            match job.data.get() {
                "\"fail\"" => Err(Failure::not_now("away")),
                "\"never\"" => Err(Failure::never("no")),
                "\"hang\"" => std::future::pending().await,
                _ => Ok(None),
            }
        }
    }

    impl Kind for Scripted {
        fn check(&self, data: &RawValue) -> Result<(), String> {
            if data.get() == "0" { Err("not 0".into()) } else { Ok(()) }
        }
    }

    fn job(kind: &str, data: &str, attempt: u32) -> Job {
        Job {
            id: JobId::random(),
            queue: QueueName::new("q").unwrap(),
            kind: kind.into(),
            data: RawValue::from_string(data.to_owned()).unwrap(),
            attempt,
            attempts: 2,
            backoff: Backoff::Fixed(Duration::ZERO),
            lost: 0,
            priority: 0,
            enqueued_at_ms: 0,
            trace: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_attempt_is_counted_however_it_ends() {
        let metrics = Arc::new(Metrics::new());
        let kinds = Kinds::new(metrics.clone()).with("http", Arc::new(Scripted));
        kinds.handle(&job("http", "1", 1)).await.unwrap();
        assert_eq!(kinds.handle(&job("http", "\"fail\"", 1)).await.unwrap_err().why, "away");
        kinds.handle(&job("http", "\"fail\"", 2)).await.unwrap_err();
        kinds.handle(&job("http", "\"never\"", 1)).await.unwrap_err();
        let stopped = tokio::time::timeout(Duration::from_secs(1), kinds.handle(&job("http", "\"hang\"", 1))).await;
        assert!(stopped.is_err());
        let unknown = kinds.handle(&job("from elsewhere", "1", 1)).await.unwrap_err();
        assert!(unknown.why.contains("from elsewhere") && unknown.again == Again::ByBackoff, "{unknown:?}");
        let text = metrics.render();
        for (kind, outcome, count) in [
            ("http", "done", 1),
            ("http", "failed", 1),
            ("http", "dead", 2),
            ("http", "cut_off", 1),
            ("other", "failed", 1),
        ] {
            let line = format!("gateway_jobs_done_total{{kind=\"{kind}\",outcome=\"{outcome}\"}} {count}\n");
            assert!(text.contains(&line), "{line} in\n{text}");
        }
        assert!(text.contains("gateway_jobs_running 0\n") && text.contains("gateway_job_duration_seconds_count 6\n"));
    }

    #[test]
    fn what_cannot_be_done_is_said_before() {
        use desk::Kinds as _;
        let kinds = Kinds::new(Arc::default()).with("http", Arc::new(Scripted));
        let check = |kind: &str, data: &str| kinds.check(kind, &RawValue::from_string(data.to_owned()).unwrap());
        assert_eq!(check("http", "1"), Ok(()));
        assert_eq!(check("http", "0"), Err(Unfit::Data("not 0".into())));
        let Err(Unfit::Kind(words)) = check("mail", "1") else { panic!("nobody does it") };
        assert_eq!(words, "there is no kind \"mail\"; there are: http");
    }
}
