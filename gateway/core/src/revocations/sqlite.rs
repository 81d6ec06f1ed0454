//! The revocations of one node in a file: they are remembered after the process was ended, too.

use std::path::Path;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use sqlx::SqlitePool;

use super::announcements::Announcements;
use super::{News, Revocation, Revocations, now};
use crate::port::{Port, PortError};
use crate::sqlite::Database;

/// What tells the file from others: `rev`, and the version of its tables.
const KIND: i32 = 0x7265_7601;

/// Revocations in a database file.
#[derive(Debug)]
pub struct SqliteRevocations {
    connection: SqlitePool,
    database: Database,
    announcements: Announcements,
}

impl SqliteRevocations {
    /// Opens a file, or makes it with its directory.
    ///
    /// # Errors
    /// The file cannot be made, opened or read, another process has it, or it is something else.
    pub async fn open(path: &Path) -> Result<Self, PortError> {
        let database = Database::open(path, KIND, include_str!("sqlite.sql")).await;
        let database = database.map_err(|error| Port::Revocations.failed("open", error))?;
        Ok(Self { connection: database.writer(), database, announcements: Announcements::default() })
    }

    /// Lets go of the file. What is asked of the revocations after that fails. Without it, nothing is lost but by a
    /// power cut.
    pub async fn close(&self) {
        self.connection.close().await;
        self.database.unlock();
    }

    fn error(&self, operation: &'static str, error: sqlx::Error) -> PortError {
        Port::Revocations.failed(operation, self.database.error(error))
    }

    async fn try_all(&self) -> Result<Vec<(String, i64, i64)>, sqlx::Error> {
        sqlx::query("DELETE FROM revocations WHERE until <= ?1").bind(whole(now())).execute(&self.connection).await?;
        sqlx::query_as("SELECT subject, issued_before, until FROM revocations").fetch_all(&self.connection).await
    }
}

/// A time as SQLite has numbers.
fn whole(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[async_trait]
impl Revocations for SqliteRevocations {
    async fn add(&self, revocation: &Revocation) -> Result<(), PortError> {
        sqlx::query(
            "INSERT INTO revocations (subject, issued_before, until) VALUES (?1, ?2, ?3)
             ON CONFLICT (subject) DO UPDATE SET issued_before = max(issued_before, ?2), until = max(until, ?3)",
        )
        .bind(revocation.key())
        .bind(whole(revocation.before()))
        .bind(whole(revocation.until))
        .execute(&self.connection)
        .await
        .map_err(|error| self.error("add", error))?;
        self.announcements.announce(revocation);
        Ok(())
    }

    async fn all(&self) -> Result<Vec<Revocation>, PortError> {
        let rows = self.try_all().await.map_err(|error| self.error("load", error))?;
        let read = |(key, before, until): (String, i64, i64)| {
            Revocation::from_parts(&key, before.try_into().ok()?, until.try_into().ok()?)
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    fn changes(&self) -> BoxStream<'static, News> {
        self.announcements.take()
    }
}
