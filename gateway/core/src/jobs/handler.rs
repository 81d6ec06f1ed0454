//! Who does jobs, and what it says of those that it could not do.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use serde_json::value::RawValue;

use super::Job;

/// Does the jobs of a queue.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Does a job; what it answers is kept with it. It may be dropped at any await: when the worker stops and its time is over,
    /// and when the lease was lost. The same job may come again, even if it was done, so whatever must not happen twice needs
    /// the job's id. One that panics has failed, and is tried again by its backoff.
    async fn handle(&self, job: &Job) -> Result<Option<Box<RawValue>>, Failure>;
}

/// Has a job done by its handler, for backends: one that panics has failed like any other, and whoever works goes on.
///
/// # Errors
/// The handler has failed, or panicked.
pub async fn attempt(handler: &dyn Handler, job: &Job) -> Result<Option<Box<RawValue>>, Failure> {
    // The handler is not used again for this job, and must be fit for others after an error as well.
    AssertUnwindSafe(handler.handle(job)).catch_unwind().await.unwrap_or_else(|panic| {
        tracing::error!(queue = %job.queue, id = %job.id, kind = ?job.kind, "a handler of jobs panicked: this is a mistake in it");
        Err(Failure::not_now(format!("its handler panicked: {}", words(&*panic))))
    })
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

/// Why a job was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In words for people: it is kept with the job.
    pub why: String,
    /// Whether it is tried again.
    pub again: Again,
}

/// When a job that has failed is tried again, if it has attempts left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Never: it has failed for good, whatever attempts it has left.
    Never,
    /// As the job says.
    ByBackoff,
    /// After this time: whoever refused has said so.
    After(Duration),
}

impl Failure {
    /// It may work another time.
    pub fn not_now(why: impl Into<String>) -> Self {
        Self { why: why.into(), again: Again::ByBackoff }
    }

    /// It may work after this time.
    pub fn after(delay: Duration, why: impl Into<String>) -> Self {
        Self { why: why.into(), again: Again::After(delay) }
    }

    /// It will not work until somebody changes something.
    pub fn never(why: impl Into<String>) -> Self {
        Self { why: why.into(), again: Again::Never }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Failure {}
