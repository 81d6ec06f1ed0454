//! What a job is, before it is in a queue and in it.

use std::time::Duration;

use serde_json::value::RawValue;

use super::{JobId, QueueName};
use crate::traces::Trace;

/// A job that is to be done.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// By what it is known again; without one it gets one.
    pub id: Option<JobId>,
    /// What kind of work it is: by it a handler is chosen. Any text; official clients call it the job's name.
    pub kind: String,
    /// What its handler is given: any JSON.
    pub data: Box<RawValue>,
    /// How long it waits at least.
    pub delay: Duration,
    /// How often it is tried at the most: once at least.
    pub attempts: u32,
    /// How long it waits before it is tried again.
    pub backoff: Backoff,
    /// Lower comes first; 0 is before all others. What is above [`NewJob::LAST`] is as that.
    pub priority: u32,
    /// In which trace it is wanted.
    pub trace: Option<Trace>,
}

impl NewJob {
    /// The priority that comes last.
    pub const LAST: u32 = 2_097_152;

    /// What it is in a queue, before anybody has done it.
    #[must_use]
    pub fn at(&self, queue: &QueueName, id: &JobId, now_ms: u64) -> Job {
        Job {
            id: id.clone(),
            queue: queue.clone(),
            kind: self.kind.clone(),
            data: self.data.clone(),
            attempt: 0,
            attempts: self.attempts.max(1),
            backoff: self.backoff,
            lost: 0,
            priority: self.priority.min(Self::LAST),
            trace: self.trace.clone(),
            enqueued_at_ms: now_ms,
        }
    }

    /// A job that is done as soon as may be, and tried once.
    #[must_use]
    pub fn new(kind: impl Into<String>, data: Box<RawValue>) -> Self {
        Self {
            id: None,
            kind: kind.into(),
            data,
            delay: Duration::ZERO,
            attempts: 1,
            backoff: Backoff::Fixed(Duration::ZERO),
            priority: 0,
            trace: None,
        }
    }
}

/// How long a job that has failed waits before it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// For the same time always.
    Fixed(Duration),
    /// For this time after the first attempt, and after each further one for twice as long as after the one before.
    Exponential(Duration),
}

impl Backoff {
    /// How long to wait after so many attempts.
    #[must_use]
    pub fn after(self, attempts: u32) -> Duration {
        match self {
            Self::Fixed(delay) => delay,
            Self::Exponential(delay) => delay.saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1))),
        }
    }
}

/// Where a job that was enqueued is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// Its id: the one that it came with, or the one that it was given.
    pub id: JobId,
    /// Whether the queue had a job of this id already; then that one stays as it was.
    pub known: bool,
}

/// A job as its handler gets it.
#[derive(Clone, Debug)]
pub struct Job {
    /// By what it is known in its queue, and what tells a repetition from another job.
    pub id: JobId,
    /// Where it is.
    pub queue: QueueName,
    /// What kind of work it is.
    pub kind: String,
    /// What it is about.
    pub data: Box<RawValue>,
    /// Which attempt this is, from 1; of one that does not run, how many there were.
    pub attempt: u32,
    /// How many there are at the most.
    pub attempts: u32,
    /// How long it waits before it is tried again.
    pub backoff: Backoff,
    /// How often a worker was lost that did it.
    pub lost: u32,
    /// Its priority: lower comes first.
    pub priority: u32,
    /// When it was enqueued, in milliseconds since 1970.
    pub enqueued_at_ms: u64,
    /// In which trace it was enqueued.
    pub trace: Option<Trace>,
}

/// Where in its life a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is due.
    Waiting,
    /// It is not due yet: it came with a delay, or has failed and will be tried again.
    Delayed,
    /// Somebody does it.
    Active,
    /// It was done.
    Completed,
    /// It was given up.
    Failed,
}

impl State {
    /// All of them, in the order of a job's life.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Delayed, Self::Active, Self::Completed, Self::Failed];

    /// The word for it: in the API, in metrics, in the dashboard.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delayed => "delayed",
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// A job with what became of it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The job.
    pub job: Job,
    /// Where in its life it is.
    pub state: State,
    /// When it is due, in milliseconds since 1970; of one with a delay.
    pub due_at_ms: Option<u64>,
    /// When it was last begun, in milliseconds since 1970.
    pub begun_at_ms: Option<u64>,
    /// When it ended, in milliseconds since 1970.
    pub ended_at_ms: Option<u64>,
    /// Why it failed the last time, if it did.
    pub why: Option<String>,
    /// What its handler answered, if it was done.
    pub result: Option<Box<RawValue>>,
}

/// Which jobs of a list: so many, after so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// How many are passed over.
    pub skip: usize,
    /// How many are told at the most.
    pub most: usize,
}

/// What came of wanting something of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is so now.
    Done,
    /// There is no such job.
    Unknown,
    /// Somebody does it just now, so nothing changes.
    Active,
}

/// How a queue stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub queue: QueueName,
    /// Whether it is paused.
    pub paused: bool,
    /// How many jobs it has.
    pub counts: Counts,
}

/// How many jobs of each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Those that are due.
    pub waiting: u64,
    /// Those that are not due yet.
    pub delayed: u64,
    /// Those that somebody does.
    pub active: u64,
    /// Those that were done, and are kept.
    pub completed: u64,
    /// Those that were given up.
    pub failed: u64,
}

impl Counts {
    /// Of one state.
    #[must_use]
    pub fn of(&self, state: State) -> u64 {
        match state {
            State::Waiting => self.waiting,
            State::Delayed => self.delayed,
            State::Active => self.active,
            State::Completed => self.completed,
            State::Failed => self.failed,
        }
    }

    /// The same, to be counted.
    pub fn of_mut(&mut self, state: State) -> &mut u64 {
        match state {
            State::Waiting => &mut self.waiting,
            State::Delayed => &mut self.delayed,
            State::Active => &mut self.active,
            State::Completed => &mut self.completed,
            State::Failed => &mut self.failed,
        }
    }
}

/// What of jobs that were done is kept, in each queue. Their ids are known as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// For how long, about.
    pub time: Duration,
    /// How many at the most: the last ones.
    pub most: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_or_stays() {
        let second = Duration::from_secs(1);
        let after = |backoff: Backoff| [1, 2, 3, 40].map(|attempts| backoff.after(attempts).as_secs());
        assert_eq!(after(Backoff::Fixed(second)), [1, 1, 1, 1]);
        assert_eq!(after(Backoff::Exponential(second)), [1, 2, 4, u64::from(u32::MAX)]);
    }
}
