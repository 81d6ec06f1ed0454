//! What people see of queues, and do to them.

use async_trait::async_trait;
use bullmq::{Job as Theirs, Queue, RetryOptions};
use gateway_core::jobs::{Counts, Found, JobId, Outcome, Part, QueueName, Queues, Standing, State};
use gateway_core::port::{Port, PortError};

use super::{BullJobs, Shared, names, shown};

/// How BullMQ marks the time of a delayed job: above the milliseconds are twelve bits for the order.
const DUE_BITS: f64 = 4096.0;

impl Shared {
    /// Whether there is a queue: who asks for one that is not there would make it.
    async fn is_there(&self, queue: &QueueName) -> Result<bool, PortError> {
        let mut exists = redis::cmd("EXISTS");
        exists.arg(format!("{}:{}:meta", self.link.prefix, names::of_queue(queue)));
        let exists: Result<u8, _> = self.link.commands.query(&exists).await;
        Ok(exists.map_err(|error| Port::Jobs.failed("find", error))? > 0)
    }

    /// When jobs with a delay are due.
    async fn due(&self, queue: &QueueName, jobs: &[Theirs]) -> Result<Vec<Option<u64>>, PortError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let mut scores = redis::cmd("ZMSCORE");
        scores.arg(format!("{}:{}:delayed", self.link.prefix, names::of_queue(queue)));
        for job in jobs {
            scores.arg(job.id());
        }
        let scores: Result<Vec<Option<f64>>, _> = self.link.commands.query(&scores).await;
        let scores = scores.map_err(|error| Port::Jobs.failed("list", error))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "milliseconds fit, and are none below 0"
        )]
        let at = |score: f64| (score / DUE_BITS) as u64;
        Ok(scores.into_iter().map(|score| score.map(at)).collect())
    }

    async fn with_times(&self, queue: &QueueName, jobs: Vec<Theirs>, state: State) -> Result<Vec<Found>, PortError> {
        let due = if state == State::Delayed { self.due(queue, &jobs).await? } else { vec![None; jobs.len()] };
        Ok(jobs.iter().zip(due).map(|(job, due)| shown::found(queue, job, state, due)).collect())
    }

    /// A job and its state, if it is there and somewhere.
    async fn look_up(&self, queue: &QueueName, id: &JobId) -> Result<Option<(Theirs, State)>, PortError> {
        let Some(written) = names::of_job(id) else { return Ok(None) };
        if !self.is_there(queue).await? {
            return Ok(None);
        }
        let looked = self.ask("find", queue, async |theirs| {
            // In this order: what is read of a job that goes on meanwhile is no less than what its state wants.
            let state = theirs.get_job_state(&written).await?;
            Ok(theirs.get_job(&written).await?.map(|job| (job, state)))
        });
        Ok(looked.await?.and_then(|(job, state)| Some((job, shown::state(&state)?))))
    }
}

/// Jobs of a state, in the order that we promise.
async fn part_of(queue: &Queue, state: State, part: Part) -> Result<Vec<Theirs>, bullmq::Error> {
    let Some(last) = part.most.checked_sub(1) else { return Ok(Vec::new()) };
    let at = |place: usize| i64::try_from(place).unwrap_or(i64::MAX);
    let (first, last) = (part.skip, part.skip.saturating_add(last));
    match state {
        State::Delayed => queue.get_jobs(&["delayed"], at(first), at(last), true).await,
        State::Active => queue.get_jobs(&["active"], at(first), at(last), true).await,
        State::Completed => queue.get_jobs(&["completed"], at(first), at(last), false).await,
        State::Failed => queue.get_jobs(&["failed"], at(first), at(last), false).await,
        // First those without a priority, then those with one.
        State::Waiting => {
            let counts = queue.get_job_counts().await?;
            let plain = usize::try_from(counts.waiting + counts.paused).unwrap_or(usize::MAX);
            let mut jobs = Vec::new();
            if first < plain {
                jobs = queue.get_jobs(&["waiting"], at(first), at(last), true).await?;
                jobs.truncate(part.most);
            }
            let (more, skip) = (part.most - jobs.len(), first.saturating_sub(plain));
            if more > 0 {
                jobs.extend(queue.get_jobs(&["prioritized"], at(skip), at(skip + more - 1), true).await?);
            }
            Ok(jobs)
        }
    }
}

#[async_trait]
impl Queues for BullJobs {
    async fn survey(&self) -> Result<Vec<Standing>, PortError> {
        let all = &self.0;
        let mut members = redis::cmd("SMEMBERS");
        members.arg(&all.registry);
        let names: Result<Vec<String>, _> = all.link.commands.query(&members).await;
        let names = names.map_err(|error| Port::Jobs.failed("survey", error))?;
        let mut queues: Vec<_> = names.into_iter().filter_map(|name| QueueName::new(name).ok()).collect();
        queues.sort();
        let mut standings = Vec::with_capacity(queues.len());
        for queue in queues {
            let asked = all
                .ask("survey", &queue, async |theirs| Ok((theirs.get_job_counts().await?, theirs.is_paused().await?)));
            let (counts, paused) = asked.await?;
            let counts = Counts {
                waiting: counts.waiting + counts.paused + counts.prioritized + counts.waiting_children,
                delayed: counts.delayed,
                active: counts.active,
                completed: counts.completed,
                failed: counts.failed,
            };
            standings.push(Standing { queue, paused, counts });
        }
        Ok(standings)
    }

    async fn list(&self, queue: &QueueName, state: State, part: Part) -> Result<Vec<Found>, PortError> {
        if !self.0.is_there(queue).await? {
            return Ok(Vec::new());
        }
        let jobs = self.0.ask("list", queue, async |theirs| part_of(theirs, state, part).await).await?;
        self.0.with_times(queue, jobs, state).await
    }

    async fn find(&self, queue: &QueueName, id: &JobId) -> Result<Option<Found>, PortError> {
        let Some((job, state)) = self.0.look_up(queue, id).await? else { return Ok(None) };
        Ok(self.0.with_times(queue, vec![job], state).await?.pop())
    }

    async fn retry(&self, queue: &QueueName, id: &JobId) -> Result<Outcome, PortError> {
        let Some((mut job, state)) = self.0.look_up(queue, id).await? else { return Ok(Outcome::Unknown) };
        let word = match state {
            State::Waiting => return Ok(Outcome::Done),
            State::Active => return Ok(Outcome::Active),
            State::Delayed => {
                self.0.ask("retry", queue, async |_| job.promote().await).await?;
                return Ok(Outcome::Done);
            }
            State::Completed => "completed",
            State::Failed => "failed",
        };
        // How often its worker was lost is forgotten, too, and what of it has it fail at once.
        let mut forget = redis::cmd("HDEL");
        let key = format!("{}:{}:{}", self.0.link.prefix, names::of_queue(queue), job.id());
        forget.arg(key).arg("stc").arg("defa");
        let forgotten: Result<u8, _> = self.0.link.commands.query(&forget).await;
        forgotten.map_err(|error| Port::Jobs.failed("retry", error))?;
        let anew = RetryOptions { reset_attempts_made: true, reset_attempts_started: true };
        self.0.ask("retry", queue, async |_| job.retry(word, Some(anew)).await).await?;
        Ok(Outcome::Done)
    }

    async fn remove(&self, queue: &QueueName, id: &JobId) -> Result<Outcome, PortError> {
        let Some((job, state)) = self.0.look_up(queue, id).await? else { return Ok(Outcome::Unknown) };
        if state == State::Active {
            return Ok(Outcome::Active);
        }
        let removed = self.0.ask("remove", queue, async |theirs| theirs.remove(job.id()).await).await?;
        Ok(if removed { Outcome::Done } else { Outcome::Active })
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<(), PortError> {
        self.0.register(queue).await?;
        let change = async |theirs: &Queue| if paused { theirs.pause().await } else { theirs.resume().await };
        self.0.ask("pause", queue, change).await
    }
}
