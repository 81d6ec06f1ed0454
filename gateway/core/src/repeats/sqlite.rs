//! The repeats of one node in a file: they are known after the process was ended, too.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::SqlitePool;

use super::{Begun, LEASE, Repeat, Repeats, run};
use crate::dates::{milliseconds, now_ms};
use crate::port::{Port, PortError};
use crate::sqlite::Database;

/// What tells the file from others: `rep`, and the version of its tables.
const KIND: i32 = 0x7265_7001;
/// How many that are over are removed when one begins: more than one, so that they become fewer.
const SWEPT: i64 = 8;

/// What a file has of a request: print, answer.
type Row = (String, Option<Vec<u8>>);

/// Repeats in a database file.
#[derive(Debug)]
pub struct SqliteRepeats {
    kept: Duration,
    /// One connection: each operation is one statement after another.
    connection: SqlitePool,
    database: Database,
}

impl SqliteRepeats {
    /// Opens a file, or makes it with its directory. Answers are kept for `kept`; the time without the process counts.
    ///
    /// # Errors
    /// The file cannot be made, opened or read, another process has it, or it is something else.
    pub async fn open(path: &Path, kept: Duration) -> Result<Self, PortError> {
        let database = Database::open(path, KIND, include_str!("sqlite.sql")).await;
        let database = database.map_err(|error| Port::Repeats.failed("open", error))?;
        Ok(Self { kept, connection: database.writer(), database })
    }

    /// Lets go of the file. What is asked after that fails. Without it, nothing is lost but by a power cut.
    pub async fn close(&self) {
        self.connection.close().await;
        self.database.unlock();
    }

    fn error(&self, operation: &'static str, error: sqlx::Error) -> PortError {
        Port::Repeats.failed(operation, self.database.error(error))
    }

    async fn try_begin(&self, repeat: &Repeat) -> Result<Begun, sqlx::Error> {
        let now = now_ms();
        // Whose time is over goes first, its own entry too.
        sqlx::query(
            "DELETE FROM repeats WHERE (name = ?1 AND until <= ?2)
             OR name IN (SELECT name FROM repeats WHERE until <= ?2 ORDER BY until LIMIT ?3)",
        )
        .bind(&repeat.name)
        .bind(now)
        .bind(SWEPT)
        .execute(&self.connection)
        .await?;
        let inserted = sqlx::query(
            "INSERT INTO repeats (name, print, run, until) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO NOTHING",
        )
        .bind(&repeat.name)
        .bind(&repeat.print)
        .bind(run(repeat))
        .bind(now.saturating_add(milliseconds(LEASE)))
        .execute(&self.connection)
        .await?;
        if inserted.rows_affected() > 0 {
            return Ok(Begun::New);
        }
        let row: Option<Row> = sqlx::query_as("SELECT print, answer FROM repeats WHERE name = ?1")
            .bind(&repeat.name)
            .fetch_optional(&self.connection)
            .await?;
        Ok(match row {
            Some((print, _)) if print != repeat.print => Begun::Different,
            Some((_, Some(answer))) => Begun::Done(answer),
            // It was given up just now; the next attempt finds it so.
            Some((_, None)) | None => Begun::Running,
        })
    }
}

#[async_trait]
impl Repeats for SqliteRepeats {
    async fn begin(&self, repeat: &Repeat) -> Result<Begun, PortError> {
        self.try_begin(repeat).await.map_err(|error| self.error("begin", error))
    }

    async fn finish(&self, repeat: &Repeat, answer: &[u8]) -> Result<(), PortError> {
        let now = now_ms();
        sqlx::query(
            "INSERT INTO repeats (name, print, run, answer, until) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (name) DO UPDATE SET print = ?2, run = ?3, answer = ?4, until = ?5 WHERE run = ?3 OR until <= ?6",
        )
        .bind(&repeat.name)
        .bind(&repeat.print)
        .bind(run(repeat))
        .bind(answer)
        .bind(now.saturating_add(milliseconds(self.kept)))
        .bind(now)
        .execute(&self.connection)
        .await
        .map_err(|error| self.error("finish", error))?;
        Ok(())
    }

    async fn give_up(&self, repeat: &Repeat) -> Result<(), PortError> {
        sqlx::query("DELETE FROM repeats WHERE name = ?1 AND run = ?2 AND answer IS NULL")
            .bind(&repeat.name)
            .bind(run(repeat))
            .execute(&self.connection)
            .await
            .map_err(|error| self.error("give_up", error))?;
        Ok(())
    }
}
