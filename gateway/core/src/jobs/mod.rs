//! PORTS: jobs, which are work for later or elsewhere, and the queues that they wait in. The traits are the contract,
//! `tests/contract/jobs.rs` checks every backend against it.

mod claims;
mod handler;
mod job;
mod memory;
mod names;
mod shift;
mod sqlite;
mod worker;

pub use handler::{Again, Failure, Handler, attempt};
pub use job::{Backoff, Counts, Enqueued, Found, Job, Kept, NewJob, Outcome, Part, Standing, State};
pub use memory::MemoryJobs;
pub use names::{BadName, JobId, QueueName};
pub use sqlite::SqliteJobs;
pub use worker::{Ended, Rate, Worker, Working, lost_too_often};

use std::sync::Arc;

use async_trait::async_trait;

use crate::port::PortError;

/// The kind of the jobs of schedules.
pub const SCHEDULE: &str = "schedule";
/// The kind of the jobs that look after who is away.
pub const ABSENT: &str = "absent";

/// The jobs of a deployment: who makes them, and who does them.
///
/// **At least once.** What was enqueued is done until its handler says so, or has failed as often as it may. A job whose worker
/// is lost in the middle of it comes back when the lease of that worker has run out. Nothing is done twice but what was running
/// when a worker, its process, or the store was lost; a handler has the job's id to know it again.
///
/// **Once by its id.** A job that is enqueued with the id of one that its queue still has is that one, and nothing changes: not
/// even if that one has ended. An id is free again when its job was removed.
///
/// **In order.** Of the jobs that are due, those of the lower priority come first, and of the same priority those that were due
/// first. What has a delay is not begun before. A queue that is paused begins nothing on any node; what runs goes on.
///
/// **Attempts.** A handler that fails, or panics, is tried again after its backoff, or when it says, until the attempts are
/// used up or it says never; then the job has failed. When a job has lost its worker, it is done alone by the next one, so that
/// if it is what ends processes, it takes no other with it. After [`Working::LOST`] such losses it has failed, with that as
/// the reason.
///
/// **Late.** A worker that was away for longer than its lease changes nothing any more of jobs that others have begun since.
///
/// **Kept.** What was done is kept for the time that the store was made with ([`Kept`]), what has failed until somebody acts.
#[async_trait]
pub trait Jobs: Send + Sync + 'static {
    /// Puts a job into a queue. Whether an error means that it is not there is unknown: with an id of its own it can be tried
    /// again.
    async fn enqueue(&self, queue: &QueueName, job: &NewJob) -> Result<Enqueued, PortError>;

    /// Begins to work on a queue, until the worker is stopped or dropped. A store that is away is waited for: what fails here is
    /// what will not heal by itself. The rate is that of the queue on all nodes, the concurrency this worker's own.
    async fn work(&self, queue: &QueueName, working: &Working, handler: Arc<dyn Handler>) -> Result<Worker, PortError>;
}

/// What people see of queues, and do to them. The same backends know it.
#[async_trait]
pub trait Queues: Send + Sync + 'static {
    /// How the queues stand that this deployment has put something into, or worked on; by name.
    async fn survey(&self) -> Result<Vec<Standing>, PortError>;

    /// Jobs of one state: what comes next first, and of what has ended the last first. One that changes its state meanwhile may
    /// be missed, or seen twice.
    async fn list(&self, queue: &QueueName, state: State, part: Part) -> Result<Vec<Found>, PortError>;

    /// One job.
    async fn find(&self, queue: &QueueName, id: &JobId) -> Result<Option<Found>, PortError>;

    /// Has a job done now: one that has ended begins anew with all its attempts, one with a delay waits for it no longer. One
    /// that waits already stays as it is.
    async fn retry(&self, queue: &QueueName, id: &JobId) -> Result<Outcome, PortError>;

    /// Takes a job out, whatever became of it. One that runs stays.
    async fn remove(&self, queue: &QueueName, id: &JobId) -> Result<Outcome, PortError>;

    /// Stops a queue from beginning jobs, or lets it go on.
    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<(), PortError>;
}
