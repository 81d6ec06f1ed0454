//! How jobs come into the file: those that come at the same time share a commit, because each waits for the disk.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::{Sqlite, SqlitePool, Transaction};
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::super::{Job, State};
use super::row::{backoff, number};
use crate::dates::{milliseconds, now_ms};
use crate::port::{Port, PortError};
use crate::sqlite::{Database, DatabaseError};
use crate::traces::Trace;

/// Jobs in one commit.
const BATCH: usize = 500;

/// Those that are to be added.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// What it commits survives a power cut.
    connection: SqlitePool,
    waiting: Mutex<Vec<Arrival>>,
}

#[derive(Debug)]
struct Arrival {
    job: Job,
    delay: Duration,
    /// Whether it was added; it was there already if not.
    told: oneshot::Sender<Result<bool, Arc<DatabaseError>>>,
}

impl Arrivals {
    pub(super) fn new(connection: SqlitePool) -> Self {
        Self { connection, waiting: Mutex::default() }
    }

    pub(super) async fn close(&self) {
        self.connection.close().await;
    }

    /// Adds a job, when it is its turn to write. False if its queue has one of this id already.
    pub(super) async fn add(
        &self,
        (turn, database): (&AsyncMutex<()>, &Database),
        job: Job,
        delay: Duration,
    ) -> Result<bool, PortError> {
        let (told, mut answer) = oneshot::channel();
        self.waiting.lock().push(Arrival { job, delay, told });
        loop {
            let _turn = turn.lock().await;
            match answer.try_recv() {
                // Somebody had the turn before, and wrote this as well.
                Ok(added) => return added.map_err(|error| Port::Jobs.failed("enqueue", error)),
                // Who wrote for all was dropped in the middle of it.
                Err(TryRecvError::Closed) => {
                    return Err(Port::Jobs.not_now("enqueue", "it is not known whether the job was written"));
                }
                Err(TryRecvError::Empty) => self.write(database).await,
            }
        }
    }

    /// Writes those that wait, the oldest first.
    async fn write(&self, database: &Database) {
        let batch = {
            let mut waiting = self.waiting.lock();
            let most = waiting.len().min(BATCH);
            let rest = waiting.split_off(most);
            mem::replace(&mut *waiting, rest)
        };
        match self.try_write(&batch).await {
            Ok(added) => {
                for (arrival, added) in batch.into_iter().zip(added) {
                    arrival.told.send(Ok(added)).ok();
                }
            }
            Err(error) => {
                let error = Arc::new(database.error(error));
                for arrival in batch {
                    arrival.told.send(Err(error.clone())).ok();
                }
            }
        }
    }

    async fn try_write(&self, batch: &[Arrival]) -> Result<Vec<bool>, sqlx::Error> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let mut added = Vec::with_capacity(batch.len());
        let mut queue = None;
        for arrival in batch {
            if queue != Some(&arrival.job.queue) {
                queue = Some(&arrival.job.queue);
                sqlx::query("INSERT INTO queues (queue) VALUES (?1) ON CONFLICT DO NOTHING")
                    .bind(arrival.job.queue.as_str())
                    .execute(&mut *transaction)
                    .await?;
            }
            added.push(insert(&mut transaction, arrival).await?);
        }
        transaction.commit().await?;
        Ok(added)
    }
}

async fn insert(transaction: &mut Transaction<'_, Sqlite>, arrival: &Arrival) -> Result<bool, sqlx::Error> {
    let Arrival { job, delay, .. } = arrival;
    let state = if delay.is_zero() { State::Waiting } else { State::Delayed };
    let (doubles, backoff) = backoff(job.backoff);
    let inserted = sqlx::query(
        "INSERT INTO jobs (queue, id, state, priority, run_at, attempts, doubles, backoff, enqueued_at, kind, data, trace)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (queue, id) DO NOTHING",
    )
    .bind(job.queue.as_str())
    .bind(job.id.as_str())
    .bind(number(state))
    .bind(job.priority)
    .bind(now_ms().saturating_add(milliseconds(*delay)))
    .bind(job.attempts)
    .bind(doubles)
    .bind(backoff)
    .bind(i64::try_from(job.enqueued_at_ms).unwrap_or(i64::MAX))
    .bind(&job.kind)
    .bind(job.data.get())
    .bind(job.trace.as_ref().map(Trace::kept))
    .execute(&mut **transaction)
    .await?;
    Ok(inserted.rows_affected() > 0)
}
