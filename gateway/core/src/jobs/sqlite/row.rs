//! A job as a row of the file.

use std::time::Duration;

use serde_json::value::RawValue;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};

use super::super::{Backoff, Found, Job, JobId, QueueName, State};
use crate::dates::milliseconds;
use crate::traces::Trace;

/// The columns that [`Read`] wants.
pub(super) const COLUMNS: &str = "queue, id, state, priority, run_at, attempt, attempts, doubles, backoff, lost, \
                                  enqueued_at, begun_at, ended_at, kind, why, trace, data, result";

/// A job that was read.
pub(super) struct Read(pub(super) Found);

impl FromRow<'_, SqliteRow> for Read {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let state = state(row.try_get("state")?)?;
        let delay = Duration::from_millis(row.try_get::<i64, _>("backoff")?.unsigned_abs());
        let doubles: bool = row.try_get("doubles")?;
        let job = Job {
            id: JobId::known(row.try_get::<String, _>("id")?).map_err(decode)?,
            queue: QueueName::new(row.try_get::<String, _>("queue")?).map_err(decode)?,
            kind: row.try_get("kind")?,
            data: raw(row.try_get("data")?)?,
            attempt: row.try_get("attempt")?,
            attempts: row.try_get("attempts")?,
            backoff: if doubles { Backoff::Exponential(delay) } else { Backoff::Fixed(delay) },
            lost: row.try_get("lost")?,
            priority: row.try_get("priority")?,
            enqueued_at_ms: row.try_get::<i64, _>("enqueued_at")?.unsigned_abs(),
            trace: row.try_get::<Option<String>, _>("trace")?.and_then(|kept| Trace::of_kept(&kept)),
        };
        let at = |column| row.try_get::<Option<i64>, _>(column).map(|at| at.map(i64::unsigned_abs));
        Ok(Self(Found {
            job,
            state,
            due_at_ms: if state == State::Delayed { at("run_at")? } else { None },
            begun_at_ms: at("begun_at")?,
            ended_at_ms: at("ended_at")?,
            why: row.try_get("why")?,
            result: row.try_get::<Option<String>, _>("result")?.map(raw).transpose()?,
        }))
    }
}

/// What the file has for a state.
pub(super) fn number(state: State) -> i64 {
    match state {
        State::Waiting => 0,
        State::Delayed => 1,
        State::Active => 2,
        State::Completed => 3,
        State::Failed => 4,
    }
}

/// The state that the file has so.
pub(super) fn state(number: i64) -> Result<State, sqlx::Error> {
    let at = usize::try_from(number).ok().and_then(|place| State::ALL.get(place).copied());
    at.ok_or_else(|| decode(format!("{number} is no state of a job")))
}

/// A backoff as the file has it: whether it doubles, and its time.
pub(super) fn backoff(backoff: Backoff) -> (bool, i64) {
    match backoff {
        Backoff::Fixed(delay) => (false, milliseconds(delay)),
        Backoff::Exponential(delay) => (true, milliseconds(delay)),
    }
}

fn raw(text: String) -> Result<Box<RawValue>, sqlx::Error> {
    RawValue::from_string(text).map_err(decode)
}

fn decode(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
