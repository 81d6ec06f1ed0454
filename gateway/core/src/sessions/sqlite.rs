//! The sessions of one node in a file: they come back after the process was ended, too.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use sqlx::SqlitePool;
use tokio::time::Instant;

use super::announcements::Announcements;
use super::{Claimed, Lease, Record, Sessions, Whose, holder, owner, time_held};
use crate::dates::{milliseconds, now_ms};
use crate::domain::{PidHash, UserId};
use crate::formats::Format;
use crate::port::{Port, PortError};
use crate::sqlite::Database;

/// What tells the file from others: `ses`, and the version of its tables.
const KIND: i32 = 0x7365_7301;
/// Sessions in one renewal: a statement holds up everybody else while it runs.
const BATCH: usize = 500;
/// Connections for reading: each is a thread.
const READERS: u32 = 2;

/// Sessions in a database file.
#[derive(Debug)]
pub struct SqliteSessions {
    window: Duration,
    /// One connection: each operation is one statement after another.
    connection: SqlitePool,
    /// Claiming only reads: who comes back must not wait for a disk that is slow, full or locked.
    readers: SqlitePool,
    /// Who claimed a session, and until when that holds, where the file does not know of it yet; whatever is written next
    /// begins with that.
    claimed: Mutex<HashMap<PidHash, Claim>>,
    database: Database,
    swept: Mutex<Instant>,
    announcements: Announcements,
}

/// What a claim changes of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    holder: u64,
    /// In ms since 1970.
    until: i64,
    term: u32,
}

impl SqliteSessions {
    /// Opens a file, or makes it with its directory. `window` is how long a session may come back after its connection
    /// was lost; the time without the process counts.
    ///
    /// # Errors
    /// The file cannot be made, opened or read, another process has it, or it is something else.
    pub async fn open(path: &Path, window: Duration) -> Result<Self, PortError> {
        let database = Database::open(path, KIND, include_str!("sqlite.sql")).await;
        let database = database.map_err(|error| Port::Sessions.failed("open", error))?;
        Ok(Self {
            window,
            connection: database.writer(),
            readers: database.readers(READERS),
            claimed: Mutex::default(),
            database,
            swept: Mutex::new(Instant::now()),
            announcements: Announcements::default(),
        })
    }

    /// Lets go of the file. What is asked of the sessions after that fails. Without it, nothing is lost but by a power
    /// cut.
    pub async fn close(&self) {
        // What cannot be written is claimed anew by whoever comes back.
        self.settle_all().await.ok();
        self.readers.close().await;
        self.connection.close().await;
        self.database.unlock();
    }

    fn error(&self, operation: &'static str, error: sqlx::Error) -> PortError {
        Port::Sessions.failed(operation, self.database.error(error))
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
        // Of those whose holders could not even say that they let go.
        self.settle_all().await?;
        sqlx::query("DELETE FROM sessions WHERE until <= ?1").bind(now).execute(&self.connection).await?;
        Ok(())
    }

    /// Writes who has claimed sessions. Who holds one in the file afterwards does so by the order of claims.
    async fn settle(&self, pids: impl IntoIterator<Item = PidHash> + Send) -> Result<(), sqlx::Error> {
        let claims: Vec<_> = {
            let claimed = self.claimed.lock();
            pids.into_iter().filter_map(|pid| Some((pid, *claimed.get(&pid)?))).collect()
        };
        for (pid, claim) in claims {
            let stored: Option<(Vec<u8>,)> = sqlx::query_as("SELECT record FROM sessions WHERE pid = ?1")
                .bind(pid.to_string())
                .fetch_optional(&self.connection)
                .await?;
            let stored = stored.map(|(record,)| record).unwrap_or_default();
            let begun = Record::decode(&stored).map(|record| Record { term: claim.term.max(record.term), ..record });
            // Not where it was ended for good meanwhile; and what was saved meanwhile has its own term.
            sqlx::query(
                "UPDATE sessions SET holder = ?2, until = ?3, record = CASE record WHEN ?4 THEN ?5 ELSE record END
                 WHERE pid = ?1 AND holder <> '-'",
            )
            .bind(pid.to_string())
            .bind(holder(Lease { pid, holder: claim.holder }))
            .bind(claim.until)
            .bind(&stored)
            .bind(begun.map_or_else(|| stored.clone(), |record| record.encode(Format::NEWEST)))
            .execute(&self.connection)
            .await?;
            let mut claimed = self.claimed.lock();
            if claimed.get(&pid) == Some(&claim) {
                claimed.remove(&pid);
            }
        }
        Ok(())
    }

    async fn settle_all(&self) -> Result<(), sqlx::Error> {
        let pids: Vec<_> = self.claimed.lock().keys().copied().collect();
        self.settle(pids).await
    }

    /// Whether somebody else has claimed a session since this was last settled.
    fn is_claimed_from(&self, lease: Lease) -> bool {
        self.claimed.lock().get(&lease.pid).is_some_and(|claim| claim.holder != lease.holder)
    }

    async fn try_save(&self, lease: Lease, record: &Record) -> Result<bool, sqlx::Error> {
        let now = now_ms();
        self.settle([lease.pid]).await?;
        self.sweep(now).await?;
        let saved = sqlx::query(
            "INSERT INTO sessions (pid, holder, owner, record, until) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (pid) DO UPDATE SET (holder, owner, record, until) = (?2, ?3, ?4, ?5)
             WHERE holder = ?2 OR until <= ?6",
        )
        .bind(lease.pid.to_string())
        .bind(holder(lease))
        .bind(owner(record.user.as_ref()))
        .bind(record.encode(Format::NEWEST))
        .bind(self.held_until(now))
        .bind(now)
        .execute(&self.connection)
        .await?;
        // Claimed while it was saved: the new holder may have read what was there before, and saves its own.
        Ok(saved.rows_affected() == 1 && !self.is_claimed_from(lease))
    }

    async fn try_claim(
        &self,
        lease: Lease,
        namespace: &str,
        user: Option<&UserId>,
    ) -> Result<Option<Record>, sqlx::Error> {
        let Some((_, stored)) = self.find(lease.pid, namespace, user).await? else { return Ok(None) };
        // From here on whoever held it saves nothing that this one does not read.
        let (claim, before) = {
            let mut claimed = self.claimed.lock();
            let before = claimed.get(&lease.pid).copied();
            let term = before.map_or(0, |before| before.term).max(stored.term) + Record::TERMS;
            let claim = Claim { holder: lease.holder, until: self.held_until(now_ms()), term };
            claimed.insert(lease.pid, claim);
            (claim, before)
        };
        let found = self.find(lease.pid, namespace, user).await;
        let Ok(Some((written, record))) = found else {
            // Forgotten meanwhile, or not to be read: then it is whose it was.
            let mut claimed = self.claimed.lock();
            if claimed.get(&lease.pid) == Some(&claim) {
                match before {
                    Some(before) => _ = claimed.insert(lease.pid, before),
                    None => _ = claimed.remove(&lease.pid),
                }
            }
            return found.map(|_| None);
        };
        // What was saved meanwhile has an earlier term, unless this claim is not the last one any more.
        let mut term = claim.term;
        if let Some(mine) = self.claimed.lock().get_mut(&lease.pid).filter(|now| **now == claim) {
            term = term.max(record.term + Record::TERMS);
            mine.term = term;
        }
        // Nobody, once it was released.
        let before = before.map(|before| before.holder).or_else(|| u64::from_str_radix(&written, 16).ok());
        if let Some(before) = before.filter(|before| *before != lease.holder) {
            self.announcements.announce(Lease { holder: before, ..lease });
        }
        Ok(Some(Record { term, ..record }))
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
        // Who has claimed one and not written it yet has lost it.
        self.claimed.lock().retain(|pid, _| !pids.contains(&pid.to_string()));
        Ok(pids.len())
    }

    /// A session as the file has it, with its holder.
    async fn find(
        &self,
        pid: PidHash,
        namespace: &str,
        user: Option<&UserId>,
    ) -> Result<Option<(String, Record)>, sqlx::Error> {
        let found: Option<(String, Vec<u8>)> =
            sqlx::query_as("SELECT holder, record FROM sessions WHERE pid = ?1 AND owner = ?2 AND until > ?3")
                .bind(pid.to_string())
                .bind(owner(user))
                .bind(now_ms())
                .fetch_optional(&self.readers)
                .await?;
        let found = found.and_then(|(holder, bytes)| Some((holder, Record::decode(&bytes)?)));
        Ok(found.filter(|(_, record)| record.namespace == namespace))
    }

    async fn try_renew(&self, leases: &[Lease]) -> Result<Vec<Lease>, sqlx::Error> {
        let now = now_ms();
        self.settle(leases.iter().map(|lease| lease.pid)).await?;
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
    async fn save(&self, lease: Lease, record: &Record) -> Result<bool, PortError> {
        self.try_save(lease, record).await.map_err(|error| self.error("save", error))
    }

    async fn claim(&self, lease: Lease, namespace: &str, user: Option<&UserId>) -> Result<Option<Claimed>, PortError> {
        let claimed = self.try_claim(lease, namespace, user).await;
        Ok(claimed.map_err(|error| self.error("claim", error))?.map(Claimed::from))
    }

    async fn release(&self, lease: Lease, keep: bool) -> Result<(), PortError> {
        let now = now_ms();
        self.settle([lease.pid]).await.map_err(|error| self.error("release", error))?;
        let until = now.saturating_add(milliseconds(self.window));
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

    async fn renew(&self, leases: &[Lease]) -> Result<Vec<Lease>, PortError> {
        self.try_renew(leases).await.map_err(|error| self.error("renew", error))
    }

    async fn forget(&self, whose: &Whose) -> Result<usize, PortError> {
        self.try_forget(whose).await.map_err(|error| self.error("forget", error))
    }

    fn superseded(&self) -> BoxStream<'static, Lease> {
        self.announcements.take()
    }
}
