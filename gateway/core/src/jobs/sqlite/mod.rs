//! The jobs of one node in a file: they go on after the process was ended in any way, or the power was cut.

mod arrivals;
mod claiming;
mod row;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::SqlitePool;
use tokio::sync::Mutex;

use self::arrivals::Arrivals;
use self::row::{COLUMNS, Read, number, state};
use super::claims::Stirring;
use super::shift::Shift;
use super::{
    Counts, Enqueued, Found, Handler, JobId, Jobs, Kept, NewJob, Outcome, Part, QueueName, Queues, Standing, State,
    Worker, Working,
};
use crate::dates::now_ms;
use crate::port::{Port, PortError};
use crate::sqlite::Database;

/// What tells the file from others: `job`, and the version of its tables.
const KIND: i32 = 0x6a6f_6201;
/// Connections for reading: each is a thread.
const READERS: u32 = 1;

/// Jobs in a database file.
#[derive(Clone, Debug)]
pub struct SqliteJobs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    kept: Kept,
    /// For what was promised: it survives a power cut.
    arrivals: Arrivals,
    /// For what is only repeated if a power cut undoes it: claims, and what came of them.
    connection: SqlitePool,
    readers: SqlitePool,
    /// Who writes: two who meet in the file would wait there for much longer than it takes.
    turn: Mutex<()>,
    stirring: Stirring,
    database: Database,
}

impl SqliteJobs {
    /// Opens a file, or makes it with its directory. What somebody did when the last process ended was lost with it, and comes
    /// back at once. The time without the process counts.
    ///
    /// # Errors
    /// The file cannot be made, opened or read, another process has it, or it is something else.
    pub async fn open(path: &Path, kept: Kept) -> Result<Self, PortError> {
        let database = Database::open(path, KIND, include_str!("schema.sql")).await;
        let database = database.map_err(|error| Port::Jobs.failed("open", error))?;
        let shared = Shared {
            kept,
            arrivals: Arrivals::new(database.durable_writer()),
            connection: database.writer(),
            readers: database.readers(READERS),
            turn: Mutex::default(),
            stirring: Stirring::default(),
            database,
        };
        // A version that knows of no traces leaves the column empty, and goes on with the same file.
        let traced = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pragma_table_info('jobs') WHERE name = 'trace')");
        let traced: bool = traced.fetch_one(&shared.connection).await.map_err(|error| shared.error("open", error))?;
        if !traced {
            let added = sqlx::query("ALTER TABLE jobs ADD COLUMN trace TEXT").execute(&shared.connection).await;
            added.map_err(|error| shared.error("open", error))?;
        }
        // The file is this process's alone, so nobody does anything any more.
        let lost = sqlx::query("UPDATE jobs SET lock_until = 0 WHERE state = 2").execute(&shared.connection).await;
        lost.map_err(|error| shared.error("open", error))?;
        Ok(Self(Arc::new(shared)))
    }

    /// Lets go of the file. What is asked after that fails. Without it, nothing is lost.
    pub async fn close(&self) {
        self.0.readers.close().await;
        self.0.connection.close().await;
        self.0.arrivals.close().await;
        self.0.database.unlock();
    }
}

impl Shared {
    fn error(&self, operation: &'static str, error: sqlx::Error) -> PortError {
        Port::Jobs.failed(operation, self.database.error(error))
    }

    async fn try_list(&self, queue: &QueueName, of: State, part: Part) -> Result<Vec<Read>, sqlx::Error> {
        let order = match of {
            State::Waiting => "priority, run_at, seq",
            State::Delayed => "run_at, seq",
            State::Active => "seq",
            State::Completed | State::Failed => "ended_at DESC, seq DESC",
        };
        // A parameter would keep SQLite from using the index of the state.
        let (state, most) = (number(of), i64::try_from(part.most).unwrap_or(i64::MAX));
        let text = format!(
            "SELECT {COLUMNS} FROM jobs WHERE queue = ?1 AND state = {state} ORDER BY {order} LIMIT ?2 OFFSET ?3"
        );
        sqlx::query_as(sqlx::AssertSqlSafe(text))
            .bind(queue.as_str())
            .bind(most)
            .bind(i64::try_from(part.skip).unwrap_or(i64::MAX))
            .fetch_all(&self.readers)
            .await
    }

    /// Which state a job is in, for those who could not change it.
    async fn outcome(&self, queue: &QueueName, id: &JobId, changed: u64) -> Result<Outcome, sqlx::Error> {
        if changed > 0 {
            return Ok(Outcome::Done);
        }
        let found: Option<i64> = sqlx::query_scalar("SELECT state FROM jobs WHERE queue = ?1 AND id = ?2")
            .bind(queue.as_str())
            .bind(id.as_str())
            .fetch_optional(&self.connection)
            .await?;
        Ok(match found.map(state).transpose()? {
            None => Outcome::Unknown,
            Some(State::Active) => Outcome::Active,
            Some(_) => Outcome::Done,
        })
    }

    async fn try_survey(&self) -> Result<Vec<Standing>, sqlx::Error> {
        let queues: Vec<(String, bool)> =
            sqlx::query_as("SELECT queue, paused FROM queues ORDER BY queue").fetch_all(&self.readers).await?;
        let counted: Vec<(String, i64, i64)> =
            sqlx::query_as("SELECT queue, state, count(*) FROM jobs GROUP BY queue, state")
                .fetch_all(&self.readers)
                .await?;
        let mut standings = Vec::new();
        for (name, paused) in queues {
            let mut counts = Counts::default();
            for (_, number, count) in counted.iter().filter(|(queue, ..)| *queue == name) {
                *counts.of_mut(state(*number)?) = count.unsigned_abs();
            }
            let queue = QueueName::new(name).map_err(|error| sqlx::Error::Decode(error.into()))?;
            standings.push(Standing { queue, paused, counts });
        }
        Ok(standings)
    }

    /// Notes that there is a queue.
    async fn note(&self, queue: &QueueName) -> Result<(), sqlx::Error> {
        let _turn = self.turn.lock().await;
        sqlx::query("INSERT INTO queues (queue) VALUES (?1) ON CONFLICT DO NOTHING")
            .bind(queue.as_str())
            .execute(&self.connection)
            .await?;
        Ok(())
    }
}

#[async_trait]
impl Jobs for SqliteJobs {
    async fn enqueue(&self, queue: &QueueName, job: &NewJob) -> Result<Enqueued, PortError> {
        let id = job.id.clone().unwrap_or_else(JobId::random);
        let added = job.at(queue, &id, now_ms().unsigned_abs());
        let known = !self.0.arrivals.add((&self.0.turn, &self.0.database), added, job.delay).await?;
        self.0.stirring.stir(queue);
        Ok(Enqueued { id, known })
    }

    async fn work(&self, queue: &QueueName, working: &Working, handler: Arc<dyn Handler>) -> Result<Worker, PortError> {
        self.0.note(queue).await.map_err(|error| self.0.error("work", error))?;
        Ok(Shift::begin(self.0.clone(), queue, working, handler))
    }
}

#[async_trait]
impl Queues for SqliteJobs {
    async fn survey(&self) -> Result<Vec<Standing>, PortError> {
        self.0.try_survey().await.map_err(|error| self.0.error("survey", error))
    }

    async fn list(&self, queue: &QueueName, state: State, part: Part) -> Result<Vec<Found>, PortError> {
        let listed = self.0.try_list(queue, state, part).await.map_err(|error| self.0.error("list", error))?;
        Ok(listed.into_iter().map(|read| read.0).collect())
    }

    async fn find(&self, queue: &QueueName, id: &JobId) -> Result<Option<Found>, PortError> {
        let text = format!("SELECT {COLUMNS} FROM jobs WHERE queue = ?1 AND id = ?2");
        let found: Option<Read> = sqlx::query_as(sqlx::AssertSqlSafe(text))
            .bind(queue.as_str())
            .bind(id.as_str())
            .fetch_optional(&self.0.readers)
            .await
            .map_err(|error| self.0.error("find", error))?;
        Ok(found.map(|read| read.0))
    }

    async fn retry(&self, queue: &QueueName, id: &JobId) -> Result<Outcome, PortError> {
        let retry = async {
            let _turn = self.0.turn.lock().await;
            // What has only a delay keeps the attempts that it has left.
            let changed = sqlx::query(
                "UPDATE jobs SET run_at = ?3, attempt = CASE state WHEN 1 THEN attempt ELSE 0 END,
                 lost = CASE state WHEN 1 THEN lost ELSE 0 END, state = 0, ended_at = NULL, result = NULL
                 WHERE queue = ?1 AND id = ?2 AND state IN (1, 3, 4)",
            )
            .bind(queue.as_str())
            .bind(id.as_str())
            .bind(now_ms())
            .execute(&self.0.connection)
            .await?;
            self.0.outcome(queue, id, changed.rows_affected()).await
        };
        let outcome = retry.await.map_err(|error| self.0.error("retry", error))?;
        self.0.stirring.stir(queue);
        Ok(outcome)
    }

    async fn remove(&self, queue: &QueueName, id: &JobId) -> Result<Outcome, PortError> {
        let remove = async {
            let _turn = self.0.turn.lock().await;
            let removed = sqlx::query("DELETE FROM jobs WHERE queue = ?1 AND id = ?2 AND state <> 2")
                .bind(queue.as_str())
                .bind(id.as_str())
                .execute(&self.0.connection)
                .await?;
            self.0.outcome(queue, id, removed.rows_affected()).await
        };
        remove.await.map_err(|error| self.0.error("remove", error))
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<(), PortError> {
        let turn = self.0.turn.lock().await;
        sqlx::query("INSERT INTO queues (queue, paused) VALUES (?1, ?2) ON CONFLICT (queue) DO UPDATE SET paused = ?2")
            .bind(queue.as_str())
            .bind(paused)
            .execute(&self.0.connection)
            .await
            .map_err(|error| self.0.error("pause", error))?;
        drop(turn);
        self.0.stirring.stir(queue);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::jobs::claims;

    #[tokio::test]
    async fn who_was_away_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept { time: Duration::from_secs(60), most: 10 };
        let store = SqliteJobs::open(&folder.path().join("jobs.sqlite"), kept).await.unwrap();
        claims::who_was_away_changes_nothing(&store, &*store.0).await;
    }
}
