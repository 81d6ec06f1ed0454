//! A job of BullMQ as ours.

use std::time::Duration;

use bullmq::types::BackoffStrategy;
use bullmq::{Job as Theirs, JobState};
use gateway_core::jobs::{Backoff, Found, Job, JobId, QueueName, State};
use serde_json::value::{RawValue, to_raw_value};

use super::names;

/// What it is. `lost` is how often its worker was, if that is known already.
pub(super) fn job(queue: &QueueName, theirs: &Theirs, running: bool) -> Job {
    Job {
        // What cannot be an id was not made by anybody: it is shown as far as it can be.
        id: names::job_of(theirs.id()).unwrap_or_else(JobId::random),
        queue: queue.clone(),
        kind: theirs.name().to_owned(),
        data: raw(theirs.data()),
        attempt: theirs.attempts_made() + u32::from(running),
        attempts: theirs.opts().attempts.unwrap_or(1).max(1),
        backoff: backoff(theirs.opts().backoff.as_ref()),
        lost: lost(theirs),
        priority: theirs.priority(),
        enqueued_at_ms: theirs.timestamp(),
        trace: None,
    }
}

/// What became of it. `due_at_ms` is when it is due, if it has a delay.
pub(super) fn found(queue: &QueueName, theirs: &Theirs, state: State, due_at_ms: Option<u64>) -> Found {
    let ended = matches!(state, State::Completed | State::Failed);
    let why = Some(theirs.failed_reason()).filter(|why| !why.is_empty() && state != State::Completed);
    let result = Some(theirs.returnvalue()).filter(|result| state == State::Completed && *result != "null");
    Found {
        job: job(queue, theirs, state == State::Active),
        state,
        due_at_ms: due_at_ms.filter(|_| state == State::Delayed),
        begun_at_ms: theirs.processed_on(),
        ended_at_ms: theirs.finished_on().filter(|_| ended),
        why: why.map(str::to_owned),
        result: result.and_then(|result| RawValue::from_string(result.to_owned()).ok()),
    }
}

/// Where it is; nothing if it is nowhere.
pub(super) fn state(theirs: &JobState) -> Option<State> {
    match theirs {
        JobState::Waiting | JobState::Prioritized | JobState::WaitingChildren => Some(State::Waiting),
        JobState::Active => Some(State::Active),
        JobState::Delayed => Some(State::Delayed),
        JobState::Completed => Some(State::Completed),
        JobState::Failed => Some(State::Failed),
        JobState::Unknown => None,
    }
}

/// A backoff as BullMQ knows it.
pub(super) fn strategy(backoff: Backoff) -> BackoffStrategy {
    let ms = |delay: Duration| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX >> 12);
    match backoff {
        Backoff::Fixed(delay) => BackoffStrategy::Fixed(ms(delay)),
        Backoff::Exponential(delay) => BackoffStrategy::Exponential(ms(delay)),
    }
}

/// Strategies of other workers are theirs alone: without one, it is tried again at once.
fn backoff(strategy: Option<&BackoffStrategy>) -> Backoff {
    match strategy {
        Some(BackoffStrategy::Fixed(ms)) => Backoff::Fixed(Duration::from_millis(*ms)),
        Some(BackoffStrategy::Exponential(ms)) => Backoff::Exponential(Duration::from_millis(*ms)),
        Some(BackoffStrategy::Custom(_)) | None => Backoff::Fixed(Duration::ZERO),
    }
}

/// How often its worker was lost. Only its own form of a hash tells, which costs a copy of it: so it is asked for only if the job
/// was begun more often than it ended.
fn lost(theirs: &Theirs) -> u32 {
    if theirs.attempts_started() <= theirs.attempts_made() {
        return 0;
    }
    let fields = theirs.to_redis_hash();
    fields.iter().find(|(name, _)| name == "stc").and_then(|(_, count)| count.parse().ok()).unwrap_or_default()
}

fn raw(value: &serde_json::Value) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
