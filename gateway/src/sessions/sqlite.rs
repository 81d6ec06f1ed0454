//! The sessions of one node in a file: they come back after the process was ended, too.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use sqlx::SqlitePool;
use tokio::time::Instant;

use super::announcements::Announcements;
use super::{Lease, Record, Sessions, SessionsError, Whose, holder, owner, time_held};
use crate::domain::UserId;
use crate::sqlite::{Database, milliseconds, now_ms};

/// What tells the file from others: `ses`, and the version of its tables.
const KIND: i32 = 0x7365_7301;
/// Sessions in one renewal: a statement holds up everybody else while it runs.
const BATCH: usize = 500;

/// Sessions in a database file.
#[derive(Debug)]
pub struct SqliteSessions {
    window: Duration,
    /// One connection: each operation is one statement after another, none between them.
    connection: SqlitePool,
    database: Database,
    swept: Mutex<Instant>,
    announcements: Announcements,
}

impl SqliteSessions {
    /// Opens a file, or makes it with its directory. `window` is how long a session may come back after its connection
    /// was lost; the time without the process counts.
    ///
    /// # Errors
    /// The file cannot be made, opened or read, another process has it, or it is something else.
    pub async fn open(path: &Path, window: Duration) -> Result<Self, SessionsError> {
        let database = Database::open(path, KIND, include_str!("sqlite.sql")).await;
        let database = database.map_err(|error| SessionsError::new("open", error))?;
        Ok(Self {
            window,
            connection: database.writer(),
            database,
            swept: Mutex::new(Instant::now()),
            announcements: Announcements::default(),
        })
    }

    /// Lets go of the file. What is asked of the sessions after that fails. Without it, nothing is lost but by a power
    /// cut.
    pub async fn close(&self) {
        self.connection.close().await;
        self.database.unlock();
    }

    fn error(&self, operation: &'static str, error: sqlx::Error) -> SessionsError {
        SessionsError::new(operation, self.database.error(error))
    }

    fn held_until(&self, now: i64) -> i64 {
        now.saturating_add(milliseconds(time_held(self.window)))
    }

    /// Removes what is over, now and then: every statement looks at the time itself.
    async fn sweep(&self, now: i64) -> Result<(), sqlx::Error> {
        {
            let mut swept = self.swept.lock();
            if swept.elapsed() < self.window / 4 {
                return Ok(());
            }
            *swept = Instant::now();
        }
        sqlx::query("DELETE FROM sessions WHERE until <= ?1").bind(now).execute(&self.connection).await?;
        Ok(())
    }

    async fn try_save(&self, lease: Lease, record: &Record) -> Result<bool, sqlx::Error> {
        let now = now_ms();
        self.sweep(now).await?;
        let saved = sqlx::query(
            "INSERT INTO sessions (pid, holder, owner, record, until) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (pid) DO UPDATE SET (holder, owner, record, until) = (?2, ?3, ?4, ?5)
             WHERE holder = ?2 OR until <= ?6",
        )
        .bind(lease.pid.to_string())
        .bind(holder(lease))
        .bind(owner(record.user.as_ref()))
        .bind(record.encode())
        .bind(self.held_until(now))
        .bind(now)
        .execute(&self.connection)
        .await?;
        Ok(saved.rows_affected() == 1)
    }

    async fn try_claim(
        &self,
        lease: Lease,
        namespace: &str,
        user: Option<&UserId>,
    ) -> Result<Option<Record>, sqlx::Error> {
        let now = now_ms();
        let mut connection = self.connection.acquire().await?;
        let found: Option<(String, Vec<u8>)> =
            sqlx::query_as("SELECT holder, record FROM sessions WHERE pid = ?1 AND owner = ?2 AND until > ?3")
                .bind(lease.pid.to_string())
                .bind(owner(user))
                .bind(now)
                .fetch_optional(&mut *connection)
                .await?;
        let found = found.and_then(|(before, bytes)| Some((before, Record::decode(&bytes)?)));
        let Some((before, mut record)) = found.filter(|(_, record)| record.namespace == namespace) else {
            return Ok(None);
        };
        record.term += Record::TERMS;
        sqlx::query("UPDATE sessions SET holder = ?2, until = ?3, record = ?4 WHERE pid = ?1")
            .bind(lease.pid.to_string())
            .bind(holder(lease))
            .bind(self.held_until(now))
            .bind(record.encode())
            .execute(&mut *connection)
            .await?;
        // Nobody, once it was released.
        if let Ok(before) = u64::from_str_radix(&before, 16)
            && before != lease.holder
        {
            self.announcements.tell(Lease { holder: before, ..lease });
        }
        Ok(Some(record))
    }

    /// There is no index for it: operators do it now and then, and it is read past, not held.
    async fn try_forget(&self, whose: &Whose) -> Result<usize, sqlx::Error> {
        let now = now_ms();
        let mut connection = self.connection.acquire().await?;
        let mut pids: Vec<String> = Vec::new();
        let mut all =
            sqlx::query_as("SELECT pid, record FROM sessions WHERE until > ?1").bind(now).fetch(&mut *connection);
        while let Some((pid, record)) = all.try_next().await? {
            let record: Vec<u8> = record;
            pids.extend(Record::decode(&record).filter(|record| whose.means(record)).map(|_| pid));
        }
        drop(all);
        // A holder that nobody is, and a record that nobody can read: none can be saved in its place, and none is found.
        let ended = sqlx::query(
            "UPDATE sessions SET holder = '-', record = x'', until = ?2 WHERE pid IN (SELECT value FROM json_each(?1))",
        );
        ended
            .bind(serde_json::to_string(&pids).expect("texts always encode"))
            .bind(self.held_until(now))
            .execute(&mut *connection)
            .await?;
        Ok(pids.len())
    }

    async fn try_renew(&self, leases: &[Lease]) -> Result<Vec<Lease>, sqlx::Error> {
        let now = now_ms();
        self.sweep(now).await?;
        let mut lost = Vec::new();
        for batch in leases.chunks(BATCH) {
            let pairs: Vec<_> = batch.iter().map(|lease| (lease.pid.to_string(), holder(*lease))).collect();
            let renewed: Vec<(String, String)> = sqlx::query_as(
                "UPDATE sessions SET until = ?2 FROM json_each(?1) AS lease
                 WHERE pid = lease.value ->> 0 AND holder = lease.value ->> 1 AND until > ?3 RETURNING pid, holder",
            )
            .bind(serde_json::to_string(&pairs).expect("texts always encode"))
            .bind(self.held_until(now))
            .bind(now)
            .fetch_all(&self.connection)
            .await?;
            let renewed: HashSet<_> = renewed.into_iter().collect();
            lost.extend(batch.iter().zip(pairs).filter(|(_, pair)| !renewed.contains(pair)).map(|(lease, _)| *lease));
        }
        Ok(lost)
    }
}

#[async_trait]
impl Sessions for SqliteSessions {
    async fn save(&self, lease: Lease, record: &Record) -> Result<bool, SessionsError> {
        self.try_save(lease, record).await.map_err(|error| self.error("save", error))
    }

    async fn claim(
        &self,
        lease: Lease,
        namespace: &str,
        user: Option<&UserId>,
    ) -> Result<Option<Record>, SessionsError> {
        self.try_claim(lease, namespace, user).await.map_err(|error| self.error("claim", error))
    }

    async fn release(&self, lease: Lease, keep: bool) -> Result<(), SessionsError> {
        let until = now_ms().saturating_add(milliseconds(self.window));
        let released = if keep {
            sqlx::query("UPDATE sessions SET holder = '', until = ?3 WHERE pid = ?1 AND holder = ?2 AND until > ?4")
                .bind(lease.pid.to_string())
                .bind(holder(lease))
                .bind(until)
                .bind(now_ms())
        } else {
            sqlx::query("DELETE FROM sessions WHERE pid = ?1 AND holder = ?2")
                .bind(lease.pid.to_string())
                .bind(holder(lease))
        };
        released.execute(&self.connection).await.map_err(|error| self.error("release", error))?;
        Ok(())
    }

    async fn renew(&self, leases: &[Lease]) -> Result<Vec<Lease>, SessionsError> {
        self.try_renew(leases).await.map_err(|error| self.error("renew", error))
    }

    async fn forget(&self, whose: &Whose) -> Result<usize, SessionsError> {
        self.try_forget(whose).await.map_err(|error| self.error("forget", error))
    }

    fn superseded(&self) -> BoxStream<'static, Lease> {
        self.announcements.take()
    }
}
