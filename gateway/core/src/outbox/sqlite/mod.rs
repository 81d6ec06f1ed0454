//! The outboxes of one node, in the file of its log: what is appended is told in the same transaction.

mod counts;
mod pending;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use sqlx::SqlitePool;

use self::counts::Counts;
use self::pending::{Row, Taken};
use super::claims::Claims;
use super::{
    Batch, By, Claim, Decision, Fate, GivenUp, Happening, Lost, Most, Outbox, Place, Scribe, Standing, Waiting, Wants,
    What,
};
use crate::dates::{milliseconds, now_ms};
use crate::domain::{Event, RoomName};
use crate::port::{Port, PortError};
use crate::recurring::Recurring;
use crate::sqlite::Database;

/// The statement by which an append tells what it appended, in its own transaction.
pub const TELL: &str = include_str!("tell.sql");
/// The one by which it notes what found no room for the archive.
pub const LOSE: &str = include_str!("lose.sql");
const SCHEMA: &str = include_str!("schema.sql");

/// Outboxes in a database file.
pub struct SqliteOutbox {
    database: Arc<Database>,
    connection: SqlitePool,
    wants: Wants,
    claims: Claims,
    counts: Counts,
    /// What happened in this process and is yet to be written, in its order.
    pending: Mutex<Vec<Row>>,
    /// Held while that is written: what comes later is not written first.
    writing: tokio::sync::Mutex<()>,
    trouble: Recurring,
}

/// What an append tells, and whom.
#[derive(Clone, Debug)]
pub struct Telling {
    /// The names of the outboxes of hooks.
    pub outboxes: Vec<String>,
    /// For the archive: whether it is told, or has no room.
    pub archive: Option<bool>,
    /// What they are told, but for its number.
    pub happening: Happening,
}

impl std::fmt::Debug for SqliteOutbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteOutbox").field("database", &self.database).finish_non_exhaustive()
    }
}

impl SqliteOutbox {
    /// The outboxes of a file, which are made in it if it has none.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub async fn open(database: Arc<Database>, wants: Wants) -> Result<Self, PortError> {
        let connection = database.writer();
        let open = async {
            sqlx::raw_sql(SCHEMA).execute(&connection).await?;
            let counted: Vec<(String, i64, i64)> =
                sqlx::query_as("SELECT name, count(*), sum(weight) FROM outbox WHERE why IS NULL GROUP BY name")
                    .fetch_all(&connection)
                    .await?;
            Ok(counted)
        };
        let counted = open.await.map_err(|error| Port::Outbox.failed("open", database.error(error)))?;
        let counts = Counts::new(wants.clone());
        counted.iter().for_each(|(name, entries, bytes)| counts.set(name, whole(*entries), whole(*bytes)));
        let (claims, pending, writing) = (Claims::default(), Mutex::default(), tokio::sync::Mutex::default());
        let trouble = Recurring::new("what happened cannot be written into the outboxes, and waits");
        Ok(Self { database, connection, wants, claims, counts, pending, writing, trouble })
    }

    /// Lets go of the file. What is asked of the outboxes after that fails.
    pub async fn close(&self) {
        self.written().await;
        self.connection.close().await;
    }

    /// What an append is to tell, if somebody wants it; the archive must be told of one that takes something back. Counts it as
    /// being there: one that fails after all is counted until the next survey.
    #[must_use]
    pub fn telling(&self, room: &RoomName, event: &Event, by: Option<By<'_>>, takes_back: bool) -> Option<Telling> {
        let outboxes = self.wants.of(What::Published, room);
        if outboxes.is_empty() {
            return None;
        }
        let happening = Happening {
            session: by.map(|by| by.session),
            user: by.and_then(|by| by.user.cloned()),
            event: Some(event.clone()),
            trace: crate::traces::current(),
            ..Happening::new(What::Published, room.clone(), 0, event.at_ms)
        };
        let weight = happening.weight();
        let (mut hooks, mut archive) = (Vec::new(), None);
        for name in outboxes {
            let is_archive = name == Wants::ARCHIVE;
            let is_admitted = self.counts.admit(&name, weight, is_archive && takes_back);
            if is_archive {
                archive = Some(is_admitted);
            } else if is_admitted {
                hooks.push(name);
            }
        }
        (!hooks.is_empty() || archive.is_some()).then_some(Telling { outboxes: hooks, archive, happening })
    }

    fn error(&self, operation: &'static str, error: sqlx::Error) -> PortError {
        Port::Outbox.failed(operation, self.database.error(error))
    }

    async fn write(&self, rows: &[Row]) -> Result<(), sqlx::Error> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        for Row { outbox, at, weight, happening } in rows {
            sqlx::query("INSERT INTO outbox (name, at, weight, happening) VALUES (?1, ?2, ?3, ?4)")
                .bind(outbox)
                .bind(at)
                .bind(whole_number(*weight))
                .bind(happening)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await
    }

    async fn try_read(&self, name: &str, most: Most) -> Result<Batch, sqlx::Error> {
        // What weighs too much is left out before it is read.
        let rows: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(
            "WITH near AS MATERIALIZED (
               SELECT id, weight FROM outbox WHERE name = ?1 AND why IS NULL ORDER BY id LIMIT ?2
             ), page AS MATERIALIZED (
               SELECT id FROM (SELECT id, weight, sum(weight) OVER (ORDER BY id) AS total FROM near)
               WHERE total <= ?3 OR total = weight
             )
             SELECT id, at, happening FROM outbox WHERE id IN (SELECT id FROM page) ORDER BY id",
        )
        .bind(name)
        .bind(whole_number(most.entries))
        .bind(whole_number(most.bytes))
        .fetch_all(&self.connection)
        .await?;
        let dropped = self.counts.tell_dropped(name);
        if dropped > 0 {
            sqlx::query("UPDATE outboxes SET dropped = dropped + ?2 WHERE name = ?1")
                .bind(name)
                .bind(i64::try_from(dropped).unwrap_or(i64::MAX))
                .execute(&self.connection)
                .await?;
        }
        let now = now_ms();
        let waiting = |(id, at, happening): (i64, i64, Vec<u8>)| Waiting {
            place: Place(id.to_string()),
            age: age(now, at),
            happening: Happening::decode(&happening),
        };
        let entries = rows.into_iter().map(waiting).collect();
        let lost: Option<(i64, i64)> = sqlx::query_as("SELECT first, last FROM outbox_lost WHERE name = ?1")
            .bind(name)
            .fetch_optional(&self.connection)
            .await?;
        let lost = lost.map(|(first, last)| Lost::new(first.cast_unsigned(), last.cast_unsigned()));
        Ok(Batch { entries, waiting: self.counts.entries(name), dropped, lost })
    }

    async fn try_settle(&self, name: &str, places: &[Place], fate: Fate<'_>) -> Result<(), sqlx::Error> {
        let (sql, why) = match fate {
            Fate::Delivered => (
                "DELETE FROM outbox
                 WHERE name = ?1 AND why IS NULL AND id IN (SELECT value FROM json_each(?2)) AND ?3 IS NULL
                 RETURNING weight",
                None,
            ),
            Fate::GivenUp { why, .. } => (
                "UPDATE outbox SET why = ?3
                 WHERE name = ?1 AND why IS NULL AND id IN (SELECT value FROM json_each(?2)) RETURNING weight",
                Some(why),
            ),
        };
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let settled: Vec<i64> =
            sqlx::query_scalar(sql).bind(name).bind(ids(places)).bind(why).fetch_all(&mut *transaction).await?;
        for (first, last) in places.iter().filter_map(Lost::at) {
            sqlx::query("DELETE FROM outbox_lost WHERE name = ?1 AND first = ?2 AND last = ?3")
                .bind(name)
                .bind(first.cast_signed())
                .bind(last.cast_signed())
                .execute(&mut *transaction)
                .await?;
        }
        if let Fate::GivenUp { kept, .. } = fate {
            sqlx::query(
                "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE name = ?1 AND why IS NOT NULL
                 ORDER BY id DESC LIMIT -1 OFFSET ?2)",
            )
            .bind(name)
            .bind(whole_number(kept))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        self.counts.take_out(name, settled.len(), settled.into_iter().map(whole).sum());
        Ok(())
    }

    async fn try_survey(&self, wanted: &[String], keep: Duration) -> Result<Vec<Standing>, sqlx::Error> {
        let now = now_ms();
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        for name in wanted {
            sqlx::query("INSERT INTO outboxes (name, wanted) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET wanted = ?2")
                .bind(name)
                .bind(now)
                .execute(&mut *transaction)
                .await?;
        }
        for sql in [
            "DELETE FROM outbox WHERE name IN (SELECT name FROM outboxes WHERE wanted < ?1 AND wanted <= ?2)",
            "DELETE FROM outbox_lost WHERE name IN (SELECT name FROM outboxes WHERE wanted < ?1 AND wanted <= ?2)",
            "DELETE FROM outboxes WHERE wanted < ?1 AND wanted <= ?2",
        ] {
            sqlx::query(sql).bind(now).bind(now - milliseconds(keep)).execute(&mut *transaction).await?;
        }
        type Row = (String, i64, i64, Option<i64>, i64, i64);
        let rows: Vec<Row> = sqlx::query_as(include_str!("survey.sql")).fetch_all(&mut *transaction).await?;
        transaction.commit().await?;
        self.counts.forget_others(&rows.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>());
        let standing = |(name, waiting, bytes, oldest, given_up, dropped): Row| {
            self.counts.set(&name, whole(waiting), whole(bytes));
            let dropped = u64::try_from(dropped).unwrap_or_default() + self.counts.dropped(&name);
            let oldest = oldest.map(|at| age(now, at));
            let (waiting, bytes) = (whole(waiting), whole(bytes));
            Standing { name, waiting, bytes, oldest, given_up: whole(given_up), dropped }
        };
        Ok(rows.into_iter().map(standing).collect())
    }

    async fn try_decide(&self, name: &str, places: &[Place], decision: Decision) -> Result<usize, sqlx::Error> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let mut done = 0;
        for Place(id) in places {
            if decision == Decision::Again {
                let weight: Option<i64> =
                    sqlx::query_scalar("SELECT weight FROM outbox WHERE id = ?1 AND name = ?2 AND why IS NOT NULL")
                        .bind(id.parse::<i64>().unwrap_or_default())
                        .bind(name)
                        .fetch_optional(&mut *transaction)
                        .await?;
                let Some(weight) = weight.map(whole).filter(|weight| self.counts.has_room(name, *weight)) else {
                    continue;
                };
                sqlx::query(
                    "INSERT INTO outbox (name, at, weight, happening)
                     SELECT name, ?2, weight, happening FROM outbox WHERE id = ?1",
                )
                .bind(id.parse::<i64>().unwrap_or_default())
                .bind(now_ms())
                .execute(&mut *transaction)
                .await?;
                self.counts.admit(name, weight, false);
            }
            let deleted = sqlx::query("DELETE FROM outbox WHERE id = ?1 AND name = ?2 AND why IS NOT NULL")
                .bind(id.parse::<i64>().unwrap_or_default())
                .bind(name)
                .execute(&mut *transaction)
                .await?;
            done += usize::try_from(deleted.rows_affected()).unwrap_or_default();
        }
        transaction.commit().await?;
        Ok(done)
    }
}

#[async_trait]
impl Scribe for SqliteOutbox {
    fn is_wanted(&self) -> bool {
        !self.wants.is_empty()
    }

    fn put(&self, happenings: Vec<Happening>) {
        let mut pending = self.pending.lock();
        for happening in happenings {
            let (weight, at) = (happening.weight(), now_ms());
            for outbox in self.wants.of(happening.what, &happening.place) {
                // What waits here is counted as well, and so bounded.
                if self.counts.admit(&outbox, weight, false) {
                    pending.push(Row { outbox, at, weight, happening: happening.encode() });
                }
            }
        }
    }

    async fn written(&self) {
        if self.pending.lock().is_empty() {
            return;
        }
        let _writing = self.writing.lock().await;
        let mut taken = Taken::all(&self.pending);
        if taken.rows.is_empty() {
            return;
        }
        match self.write(&taken.rows).await {
            Ok(()) => taken.rows.clear(),
            Err(error) => {
                let error = self.error("put", error);
                self.trouble.note(|what| error.tell(what));
            }
        }
    }
}

#[async_trait]
impl Outbox for SqliteOutbox {
    async fn read(&self, name: &str, claim: &Claim, most: Most) -> Result<Option<Batch>, PortError> {
        if !self.claims.take(name, claim) {
            return Ok(None);
        }
        // What could not be written when it happened.
        self.written().await;
        self.try_read(name, most).await.map(Some).map_err(|error| self.error("read", error))
    }

    async fn settle(&self, name: &str, claim: &Claim, places: &[Place], fate: Fate<'_>) -> Result<bool, PortError> {
        if !self.claims.renew(name, claim) {
            return Ok(false);
        }
        self.try_settle(name, places, fate).await.map_err(|error| self.error("settle", error))?;
        Ok(true)
    }

    async fn let_go(&self, name: &str, claim: &Claim) -> Result<(), PortError> {
        self.claims.let_go(name, claim);
        Ok(())
    }

    async fn survey(&self, wanted: &[String], keep: Duration) -> Result<Vec<Standing>, PortError> {
        self.written().await;
        self.try_survey(wanted, keep).await.map_err(|error| self.error("survey", error))
    }

    async fn given_up(&self, name: &str, after: Option<&Place>, most: usize) -> Result<Vec<GivenUp>, PortError> {
        let after = after.and_then(|Place(id)| id.parse::<i64>().ok()).unwrap_or(0);
        let rows: Vec<(i64, Vec<u8>, String)> = sqlx::query_as(
            "SELECT id, happening, why FROM outbox
             WHERE name = ?1 AND why IS NOT NULL AND id > ?2 ORDER BY id LIMIT ?3",
        )
        .bind(name)
        .bind(after)
        .bind(whole_number(most))
        .fetch_all(&self.connection)
        .await
        .map_err(|error| self.error("given_up", error))?;
        let told = |(id, happening, why): (i64, Vec<u8>, String)| GivenUp {
            place: Place(id.to_string()),
            happening: Happening::decode(&happening),
            why,
        };
        Ok(rows.into_iter().map(told).collect())
    }

    async fn decide(&self, name: &str, places: &[Place], decision: Decision) -> Result<usize, PortError> {
        self.try_decide(name, places, decision).await.map_err(|error| self.error("decide", error))
    }
}

fn ids(places: &[Place]) -> String {
    let ids: Vec<_> = places.iter().filter_map(|Place(id)| id.parse::<i64>().ok()).collect();
    serde_json::to_string(&ids).expect("numbers always encode")
}

fn age(now: i64, at: i64) -> Duration {
    Duration::from_millis(u64::try_from(now.saturating_sub(at)).unwrap_or_default())
}

/// A number as SQLite has it.
fn whole_number(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn whole(number: i64) -> usize {
    usize::try_from(number).unwrap_or_default()
}
