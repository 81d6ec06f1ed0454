//! The archive in a file.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gateway_core::archive::{Archive, Gap, Page, Part, Place, Record, Taken, Written};
use gateway_core::dates::now_ms;
use gateway_core::domain::{Offset, RoomName, UserId};
use gateway_core::log::Range;
use gateway_core::port::{Port, PortError};
use sqlx::{Connection, QueryBuilder, Sqlite, SqliteConnection};

use super::row::{Row, entries, number, offset};
use super::{
    ALL_ROOMS, Followed, Known, count, gap, gaps_to_note, is_forgotten, old_places, place, rooms_of, taken_back,
};
use crate::sqlite::DatabaseFile;

/// How many rows one statement inserts at the most. Statements are prepared once for each power of two up to this.
const ROWS: usize = 256;

/// An archive in a file of this process.
#[derive(Debug)]
pub struct SqliteArchive {
    file: Arc<DatabaseFile>,
    log: Followed,
}

impl SqliteArchive {
    /// That of a file.
    #[must_use]
    pub fn new(file: Arc<DatabaseFile>) -> Self {
        Self { file, log: Followed::default() }
    }

    fn error(&self, operation: &'static str) -> impl Fn(sqlx::Error) -> PortError {
        move |error| self.file.error(Port::Archive, operation, error)
    }

    async fn try_read(&self, room: &RoomName, part: Part) -> Result<Result<Page, PortError>, sqlx::Error> {
        let (from, to) = part.bounds();
        let (from, to) = (number(from.unwrap_or_default()), to.map_or(i64::MAX, number));
        // Whatever has the last number is before the end that is none.
        let sizes = if part.is_backwards() {
            "SELECT log_offset, bytes FROM gateway_archive WHERE room = ?1 AND log_offset > ?2 AND log_offset < ?3
             ORDER BY log_offset DESC LIMIT ?4"
        } else {
            "SELECT log_offset, bytes FROM gateway_archive WHERE room = ?1 AND log_offset > ?2 AND log_offset < ?3
             ORDER BY log_offset LIMIT ?4"
        };
        let mut connection = self.file.readers().acquire().await?;
        let sizes: Vec<(i64, i64)> = sqlx::query_as(sizes)
            .bind(room.as_str())
            .bind(from)
            .bind(to)
            .bind(count(part.look()))
            .fetch_all(&mut *connection)
            .await?;
        let (fitting, more) = part.fit(sizes.iter().map(|(_, bytes)| usize::try_from(*bytes).unwrap_or_default()));
        let ends = sizes[..fitting].iter().map(|(offset, _)| *offset);
        let mut rows = Vec::new();
        if let (Some(first), Some(last)) = (ends.clone().min(), ends.max()) {
            rows = sqlx::query_as(
                "SELECT log_offset, epoch, at_ms, user_id, event, data, apart, bytes FROM gateway_archive
                 WHERE room = ?1 AND log_offset BETWEEN ?2 AND ?3 ORDER BY log_offset",
            )
            .bind(room.as_str())
            .bind(first)
            .bind(last)
            .fetch_all(&mut *connection)
            .await?;
        }
        let entries = match entries(rows) {
            Ok(entries) => entries,
            Err(damaged) => return Ok(Err(damaged)),
        };
        let (from, to) = part.span(&entries, more, None);
        let mut gaps = Vec::new();
        for name in [Some(room), None] {
            let found: Vec<(i64, i64, String)> = sqlx::query_as(
                "SELECT after_offset, through_offset, why FROM gateway_archive_gaps
                 WHERE room = ?1 AND through_offset > ?2 AND after_offset < ?3",
            )
            .bind(name.map_or(&*self.log.all_rooms, RoomName::as_str))
            .bind(number(from))
            .bind(number(to))
            .fetch_all(&mut *connection)
            .await?;
            gaps.extend(found.into_iter().map(|(after, through, why)| gap(name, after, through, &why)));
        }
        // Last: what went meanwhile is not missing.
        let forgotten: Option<Option<i64>> =
            sqlx::query_scalar("SELECT forgotten FROM gateway_archive_rooms WHERE room = ?1")
                .bind(room.as_str())
                .fetch_optional(&mut *connection)
                .await?;
        let forgotten = forgotten.flatten().map(offset);
        let gaps = Part::touching(gaps, part.span(&entries, more, forgotten));
        Ok(Ok(Page { entries, gaps, more, forgotten }))
    }
}

async fn write(
    connection: &mut SqliteConnection,
    log: &Followed,
    records: &[Record],
    cursor: Offset,
) -> Result<Written, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if let Some(name) = log.may_begin(cursor) {
        take_over(&mut transaction, log, name).await?;
    }
    let (known, all) = known(&mut transaction, log, records).await?;
    let rooms = serde_json::json!(rooms_of(records)).to_string();
    sqlx::query(
        "INSERT INTO gateway_archive_rooms (room) SELECT value FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING",
    )
    .bind(rooms)
    .execute(&mut *transaction)
    .await?;
    let mut new_gaps = Vec::new();
    for gap in gaps_to_note(records, &known, all) {
        if note(&mut transaction, log, &gap).await? {
            new_gaps.push(gap);
        }
    }
    let fresh = |record: &&Record| match record {
        Record::Event { room, position, .. } => !is_forgotten(&known, room, position.offset),
        Record::Gap(_) => false,
    };
    let fresh: Vec<&Record> = records.iter().filter(fresh).collect();
    let (mut events, mut rest) = (0, &fresh[..]);
    while !rest.is_empty() {
        let (some, others) = rest.split_at(ROWS.min(1 << rest.len().ilog2()));
        events += insert(&mut transaction, some).await?;
        rest = others;
    }
    for (room, taken) in taken_back(records) {
        bury(&mut transaction, room.as_str(), number(taken)).await?;
    }
    advance(&mut transaction, log, number(cursor)).await?;
    transaction.commit().await?;
    log.began(cursor);
    Ok(Written { events, gaps: new_gaps })
}

/// Gives a log that was never archived the gaps of all rooms of the others.
async fn take_over(connection: &mut SqliteConnection, log: &Followed, name: &str) -> Result<(), sqlx::Error> {
    let statement = sqlx::query(
        "INSERT INTO gateway_archive_gaps (room, after_offset, through_offset, why, noted_ms)
         SELECT ?1, after_offset, through_offset, why, noted_ms FROM gateway_archive_gaps
         WHERE (room = '' OR (room >= ?2 AND room < ?3))
           AND NOT EXISTS (SELECT 1 FROM gateway_archive_cursors WHERE log = ?4)
         ON CONFLICT DO NOTHING",
    );
    let [from, to] = ALL_ROOMS;
    statement.bind(&log.all_rooms).bind(from).bind(to).bind(name).execute(connection).await.map(drop)
}

async fn advance(connection: &mut SqliteConnection, log: &Followed, cursor: i64) -> Result<(), sqlx::Error> {
    let statement = match &log.name {
        None => {
            sqlx::query("UPDATE gateway_archive_cursor SET log_offset = max(ifnull(log_offset, 0), ?1)").bind(cursor)
        }
        Some(name) => sqlx::query(
            "INSERT INTO gateway_archive_cursors (log_offset, log) VALUES (?1, ?2)
             ON CONFLICT (log) DO UPDATE SET log_offset = max(log_offset, ?1)",
        )
        .bind(cursor)
        .bind(name),
    };
    statement.execute(connection).await.map(drop)
}

async fn take_back(connection: &mut SqliteConnection, what: &Taken, most: usize) -> Result<u64, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let found: Vec<(String, i64)> = match what {
        Taken::One { room, offset } => vec![(room.as_str().to_owned(), number(*offset))],
        Taken::User(user) => {
            sqlx::query_as("SELECT room, log_offset FROM gateway_archive WHERE user_id = ?1 LIMIT ?2")
                .bind(&*crate::text::kept(user.as_str()))
                .bind(count(most))
                .fetch_all(&mut *transaction)
                .await?
        }
    };
    let mut taken = 0;
    for (room, offset) in found.iter().take(most) {
        taken += bury(&mut transaction, room, *offset).await?;
    }
    transaction.commit().await?;
    Ok(taken)
}

/// The oldest entries of a room and its oldest gaps, so many of each, in their order. One of each shows whether anything is old.
async fn oldest(connection: &mut SqliteConnection, room: &RoomName, look: usize) -> Result<Vec<Place>, sqlx::Error> {
    let rows: Vec<(i64, i64, bool)> = sqlx::query_as(
        "SELECT place, at, is_gap FROM (
           SELECT * FROM (SELECT log_offset AS place, at_ms AS at, 0 AS is_gap FROM gateway_archive
             WHERE room = ?1 ORDER BY log_offset LIMIT ?2)
           UNION ALL
           SELECT * FROM (SELECT through_offset, noted_ms, 1 FROM gateway_archive_gaps
             WHERE room = ?1 ORDER BY through_offset LIMIT ?2)
         ) ORDER BY place, is_gap",
    )
    .bind(room.as_str())
    .bind(count(look))
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(number, at, is_gap)| place(number, at, is_gap)).collect())
}

async fn forget(
    connection: &mut SqliteConnection,
    room: &RoomName,
    older_than: Duration,
    most: usize,
) -> Result<u64, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let places = oldest(&mut transaction, room, most.saturating_add(1)).await?;
    let Some((_, last)) = old_places(&places, older_than, most) else { return Ok(0) };
    let mut went = 0;
    for statement in [
        "DELETE FROM gateway_archive WHERE room = ?1 AND log_offset <= ?2",
        "DELETE FROM gateway_archive_gaps WHERE room = ?1 AND through_offset <= ?2",
    ] {
        went += sqlx::query(statement).bind(room.as_str()).bind(last).execute(&mut *transaction).await?.rows_affected();
    }
    sqlx::query("UPDATE gateway_archive_rooms SET forgotten = max(ifnull(forgotten, 0), ?2) WHERE room = ?1")
        .bind(room.as_str())
        .bind(last)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(went)
}

/// What is known of the rooms of a batch, by their names, and up to where gaps of all rooms reach.
async fn known(
    connection: &mut SqliteConnection,
    log: &Followed,
    records: &[Record],
) -> Result<(Vec<Known>, Offset), sqlx::Error> {
    let rows: Vec<(String, i64, Option<i64>)> = sqlx::query_as(
        "SELECT rooms.room,
           max(ifnull((SELECT max(log_offset) FROM gateway_archive AS entries WHERE entries.room = rooms.room), 0),
               ifnull((SELECT max(through_offset) FROM gateway_archive_gaps AS gaps WHERE gaps.room = rooms.room), 0),
               ifnull(rooms.forgotten, 0)),
           rooms.forgotten
         FROM json_each(?1) AS named JOIN gateway_archive_rooms AS rooms ON rooms.room = named.value ORDER BY rooms.room",
    )
    .bind(serde_json::json!(rooms_of(records)).to_string())
    .fetch_all(&mut *connection)
    .await?;
    let all: Option<i64> = sqlx::query_scalar("SELECT max(through_offset) FROM gateway_archive_gaps WHERE room = ?1")
        .bind(&log.all_rooms)
        .fetch_one(&mut *connection)
        .await?;
    Ok((rows.into_iter().map(Known::from).collect(), all.map_or(Offset::START, offset)))
}

/// Whether the gap was not known.
async fn note(connection: &mut SqliteConnection, log: &Followed, gap: &Gap) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "INSERT INTO gateway_archive_gaps (room, after_offset, through_offset, why, noted_ms) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO NOTHING",
    )
    .bind(log.room(gap))
    .bind(number(gap.after))
    .bind(number(gap.through))
    .bind(gap.why.as_str())
    .bind(now_ms())
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// How many of them were not there.
async fn insert(connection: &mut SqliteConnection, records: &[&Record]) -> Result<u64, sqlx::Error> {
    let mut statement: QueryBuilder<Sqlite> = QueryBuilder::new(
        "INSERT INTO gateway_archive (room, log_offset, epoch, at_ms, user_id, event, data, apart, bytes) ",
    );
    let rows = records.iter().filter_map(|record| match record {
        Record::Event { room, .. } => Row::of(record).map(|row| (room, row)),
        Record::Gap(_) => None,
    });
    statement.push_values(rows, |mut values, (room, row)| {
        values.push_bind(room.as_str()).push_bind(row.offset).push_bind(row.epoch).push_bind(row.at_ms);
        values.push_bind(row.user).push_bind(row.event).push_bind(row.data).push_bind(row.apart).push_bind(row.bytes);
    });
    statement.push(" ON CONFLICT DO NOTHING");
    Ok(statement.build().execute(connection).await?.rows_affected())
}

/// Makes a tombstone of an entry, if it is there and none yet.
async fn bury(connection: &mut SqliteConnection, room: &str, offset: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE gateway_archive SET user_id = NULL, event = NULL, data = NULL, apart = NULL, bytes = 0
         WHERE room = ?1 AND log_offset = ?2 AND event IS NOT NULL",
    )
    .bind(room)
    .bind(offset)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

#[async_trait]
impl Archive for SqliteArchive {
    async fn write(&self, records: &[Record], cursor: Offset) -> Result<Written, PortError> {
        let mut lease = self.file.lease(Port::Archive, "write").await?;
        let done = write(&mut lease, &self.log, records, cursor).await;
        self.file.settle(Port::Archive, "write", lease, done).await
    }

    async fn read(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Page, PortError> {
        self.try_read(room, Part::new(range, bytes)).await.map_err(self.error("read"))?
    }

    async fn cursor(&self) -> Result<Option<Offset>, PortError> {
        let statement = match &self.log.name {
            None => sqlx::query_scalar("SELECT log_offset FROM gateway_archive_cursor"),
            Some(name) => {
                sqlx::query_scalar("SELECT log_offset FROM gateway_archive_cursors WHERE log = ?1").bind(name)
            }
        };
        let cursor: Option<Option<i64>> =
            statement.fetch_optional(self.file.readers()).await.map_err(self.error("cursor"))?;
        Ok(cursor.flatten().map(offset))
    }

    fn of_log(&self, name: &str) -> Arc<dyn Archive> {
        Arc::new(Self { file: self.file.clone(), log: Followed::named(name) })
    }

    async fn rooms(&self, after: Option<&RoomName>, most: usize) -> Result<Vec<RoomName>, PortError> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT room FROM gateway_archive_rooms AS rooms WHERE room > ?1
               AND (EXISTS (SELECT 1 FROM gateway_archive AS entries WHERE entries.room = rooms.room)
                 OR EXISTS (SELECT 1 FROM gateway_archive_gaps AS gaps WHERE gaps.room = rooms.room))
             ORDER BY room LIMIT ?2",
        )
        .bind(after.map_or("", RoomName::as_str))
        .bind(count(most))
        .fetch_all(self.file.readers())
        .await
        .map_err(self.error("rooms"))?;
        Ok(names.iter().map(|name| RoomName::trusted(name)).collect())
    }

    async fn rooms_of(&self, user: &UserId, after: Option<&RoomName>, most: usize) -> Result<Vec<RoomName>, PortError> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT room FROM gateway_archive WHERE user_id = ?1 AND room > ?2 ORDER BY room LIMIT ?3",
        )
        .bind(&*crate::text::kept(user.as_str()))
        .bind(after.map_or("", RoomName::as_str))
        .bind(count(most))
        .fetch_all(self.file.readers())
        .await
        .map_err(self.error("rooms_of"))?;
        Ok(names.iter().map(|name| RoomName::trusted(name)).collect())
    }

    async fn take_back(&self, what: &Taken, most: usize) -> Result<u64, PortError> {
        let mut lease = self.file.lease(Port::Archive, "take_back").await?;
        let done = take_back(&mut lease, what, most).await;
        self.file.settle(Port::Archive, "take_back", lease, done).await
    }

    async fn forget(&self, room: &RoomName, older_than: Duration, most: usize) -> Result<u64, PortError> {
        // Most rooms have nothing that is old: to see that needs no lock.
        let look = async { oldest(&mut *self.file.readers().acquire().await?, room, 1).await };
        if old_places(&look.await.map_err(self.error("forget"))?, older_than, most).is_none() {
            return Ok(0);
        }
        let mut lease = self.file.lease(Port::Archive, "forget").await?;
        let done = forget(&mut lease, room, older_than, most).await;
        self.file.settle(Port::Archive, "forget", lease, done).await
    }
}
