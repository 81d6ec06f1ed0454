//! The jobs of a deployment in Redis, as BullMQ has them: its libraries for Node and Python, and its dashboards, work with the
//! same queues.
//!
//! All keys of a queue begin with `{prefix}:{queue}:`, and are BullMQ's own; a job has a field more, `gatewayBy`, if it came with an
//! id. The set `{the gateway's prefix}:queues` has the names of the queues that the gateway knows.

mod crew;
mod duty;
mod link;
mod names;
mod seen;
mod shown;
mod trace;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bullmq::types::{KeepJobs, RemoveOnFinish};
use bullmq::{JobOptions, Queue};
use gateway_core::jobs::{Enqueued, Handler, JobId, Jobs, Kept, NewJob, QueueName, Worker, Working};
use gateway_core::port::{Port, PortError};
use gateway_core::redis::{Commands, milliseconds};
use parking_lot::Mutex;
use redis::Script;
use tokio::time::timeout;

use self::duty::Duty;
use self::link::Link;
use self::trace::HOLD;

/// Jobs that all nodes of a deployment share, and all that speak BullMQ.
#[derive(Clone)]
pub struct BullJobs(Arc<Shared>);

struct Shared {
    link: Link,
    kept: Kept,
    /// Where the names of queues are.
    registry: String,
    /// Those that are in it for sure.
    registered: Mutex<HashSet<QueueName>>,
    first: Script,
    note: Script,
    trace: Script,
    /// Whether jobs have the traces with them that they are in.
    traced: bool,
}

impl std::fmt::Debug for BullJobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BullJobs").field("prefix", &self.0.link.prefix).finish_non_exhaustive()
    }
}

impl BullJobs {
    /// What all keys of queues begin with, in a deployment whose own keys begin with `prefix`. BullMQ has no colons there.
    #[must_use]
    pub fn prefix(prefix: &str) -> String {
        format!("{}-jobs", prefix.replace(':', "-"))
    }

    /// Jobs in queues whose keys begin with `queues`: [`BullJobs::prefix`], or what others use who share them. The gateway's own
    /// keys begin with `prefix`. Nothing is connected yet.
    ///
    /// # Errors
    /// `queues` is empty, or has a colon.
    pub fn new(commands: Commands, prefix: &str, queues: &str, kept: Kept) -> Result<Self, PortError> {
        if queues.is_empty() || queues.contains(':') {
            let why =
                format!("keys of queues cannot begin with {queues:?}: BullMQ wants some text there, without colons");
            return Err(Port::Jobs.broken("open", why));
        }
        let (first, note) = (include_str!("first.lua"), include_str!("note.lua"));
        Ok(Self(Arc::new(Shared {
            first: commands.script(first),
            note: commands.script(note),
            trace: commands.script(include_str!("trace.lua")),
            traced: false,
            link: Link::new(commands, queues.to_owned()),
            kept,
            registry: format!("{prefix}:queues"),
            registered: Mutex::default(),
        })))
    }
}

impl BullJobs {
    /// The same, and jobs have the traces with them that they are in. It costs two commands more for each that is in one, and one for
    /// each that is done.
    #[must_use]
    pub fn traced(mut self) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.traced = true;
        }
        self
    }
}

impl Shared {
    /// What of the finished is kept, as BullMQ is told with each job: in seconds, whatever its documentation says.
    fn keep(&self) -> RemoveOnFinish {
        let age = self.kept.time.as_secs().max(1);
        RemoveOnFinish::Options(KeepJobs { age: Some(age), count: Some(self.kept.most), limit: None })
    }

    /// Notes that there is a queue.
    async fn register(&self, queue: &QueueName) -> Result<(), PortError> {
        if self.registered.lock().contains(queue) {
            return Ok(());
        }
        let mut add = redis::cmd("SADD");
        add.arg(&self.registry).arg(queue.as_str());
        let added: Result<u64, _> = self.link.commands.query(&add).await;
        added.map_err(|error| Port::Jobs.failed("register", error))?;
        self.registered.lock().insert(queue.clone());
        Ok(())
    }

    /// Asks BullMQ for something, within the time of a command.
    async fn ask<T>(
        &self,
        operation: &'static str,
        queue: &QueueName,
        ask: impl AsyncFnOnce(&Queue) -> Result<T, bullmq::Error>,
    ) -> Result<T, PortError> {
        let (tied, queue) = self.link.queue(queue).await?;
        match timeout(self.link.commands.timeout(), ask(&queue)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.link.failed(&tied, operation, error).await),
            Err(_) => {
                self.link.judge(tied.generation, &tied.address, "").await;
                Err(Port::Jobs.not_now(operation, "Redis did not answer in time"))
            }
        }
    }

    /// The options of a job.
    fn options(&self, job: &NewJob, id: &JobId, delay: Duration) -> Result<JobOptions, PortError> {
        let unfit = || Port::Jobs.broken("enqueue", format!("{id} cannot be the id of a new job"));
        Ok(JobOptions {
            delay: Some(milliseconds(delay)).filter(|delay| *delay > 0),
            priority: Some(job.priority.min(NewJob::LAST)).filter(|priority| *priority > 0),
            attempts: Some(job.attempts.max(1)),
            backoff: Some(shown::strategy(job.backoff)),
            remove_on_complete: Some(self.keep()),
            job_id: Some(names::of_job(id).ok_or_else(unfit)?.into_owned()),
            ..JobOptions::default()
        })
    }

    /// Whether a job that came with an id is this one's, and not that of somebody who was quicker.
    async fn is_first(&self, queue: &Queue, written: &str) -> Result<bool, PortError> {
        let (key, who) = (queue.keys().job_key(written), format!("{:032x}", rand::random::<u128>()));
        let answer = self.link.commands.run(&self.first, |script| {
            script.key(key).arg(who);
        });
        let answer: u8 = answer.await.map_err(|error| Port::Jobs.failed("enqueue", error))?;
        Ok(answer == 1)
    }
}

#[async_trait]
impl Jobs for BullJobs {
    async fn enqueue(&self, queue: &QueueName, job: &NewJob) -> Result<Enqueued, PortError> {
        let all = &self.0;
        all.register(queue).await?;
        let id = job.id.clone().unwrap_or_else(JobId::random);
        let trace = job.trace.as_ref().filter(|_| all.traced);
        let is_held = trace.is_some() && job.delay.is_zero();
        let options = all.options(job, &id, if is_held { HOLD } else { job.delay })?;
        let written = options.job_id.clone().unwrap_or_default();
        let (_, theirs) = all.link.queue(queue).await?;
        if job.id.is_some() {
            let mut exists = redis::cmd("EXISTS");
            exists.arg(theirs.keys().job_key(&written));
            let exists: Result<u8, _> = all.link.commands.query(&exists).await;
            if exists.map_err(|error| Port::Jobs.failed("enqueue", error))? > 0 {
                return Ok(Enqueued { id, known: true });
            }
        }
        let add = async |theirs: &Queue| theirs.add(&job.kind, &job.data).options(options).await;
        let added = all.ask("enqueue", queue, add).await?;
        let known = job.id.is_some() && !all.is_first(&theirs, &written).await?;
        if let Some(trace) = trace.filter(|_| !known) {
            all.note_trace(&theirs, &added, trace, is_held).await;
        }
        Ok(Enqueued { id, known })
    }

    async fn work(&self, queue: &QueueName, working: &Working, handler: Arc<dyn Handler>) -> Result<Worker, PortError> {
        let duty = Duty::new(self.0.clone(), queue, working, handler);
        Ok(Worker::begin(|stop| duty.work(stop)))
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
