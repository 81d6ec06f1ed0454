//! The archive in PostgreSQL.

mod gone;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gateway_core::archive::{Archive, Page, Part, Record, Taken, Written};
use gateway_core::dates::now_ms;
use gateway_core::domain::{Offset, RoomName, UserId};
use gateway_core::log::Range;
use gateway_core::port::{Port, PortError};
use sqlx::{Connection, PgConnection};

use super::row::{Columns, Row, entries, number, offset};
use super::{ALL_ROOMS, Followed, Known, count, gap, gaps_to_note, is_forgotten, rooms_of, taken_back};
use crate::postgres::PostgresServer;

/// An archive on a PostgreSQL server.
#[derive(Debug)]
pub struct PostgresArchive {
    server: Arc<PostgresServer>,
    log: Followed,
}

impl PostgresArchive {
    /// That of a server.
    #[must_use]
    pub fn new(server: Arc<PostgresServer>) -> Self {
        Self { server, log: Followed::default() }
    }
}

/// Has everybody else who writes wait for the end of the transaction.
async fn lock(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT 1 FROM gateway_archive_cursor FOR UPDATE").execute(connection).await.map(drop)
}

async fn write(
    connection: &mut PgConnection,
    log: &Followed,
    records: &[Record],
    cursor: Offset,
) -> Result<Written, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    lock(&mut transaction).await?;
    if let Some(name) = log.may_begin(cursor) {
        take_over(&mut transaction, log, name).await?;
    }
    let rooms = rooms_of(records);
    let (known, all) = known(&mut transaction, log, &rooms).await?;
    if known.len() < rooms.len() {
        sqlx::query("INSERT INTO gateway_archive_rooms (room) SELECT * FROM unnest($1) ON CONFLICT DO NOTHING")
            .bind(&rooms)
            .execute(&mut *transaction)
            .await?;
    }
    let mut new_gaps = Vec::new();
    for gap in gaps_to_note(records, &known, all) {
        let noted = sqlx::query(
            "INSERT INTO gateway_archive_gaps (room, after_offset, through_offset, why, noted_ms)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        )
        .bind(log.room(&gap))
        .bind(number(gap.after))
        .bind(number(gap.through))
        .bind(gap.why.as_str())
        .bind(now_ms())
        .execute(&mut *transaction)
        .await?;
        if noted.rows_affected() > 0 {
            new_gaps.push(gap);
        }
    }
    let events = insert(&mut transaction, records, &known).await?;
    for (room, taken) in taken_back(records) {
        bury(&mut transaction, &[room.as_str()], &[number(taken)]).await?;
    }
    advance(&mut transaction, log, number(cursor)).await?;
    transaction.commit().await?;
    log.began(cursor);
    Ok(Written { events, gaps: new_gaps })
}

/// Gives a log that was never archived the gaps of all rooms of the others.
async fn take_over(connection: &mut PgConnection, log: &Followed, name: &str) -> Result<(), sqlx::Error> {
    let statement = sqlx::query(
        "INSERT INTO gateway_archive_gaps (room, after_offset, through_offset, why, noted_ms)
         SELECT $1, after_offset, through_offset, why, noted_ms FROM gateway_archive_gaps
         WHERE (room = '' OR (room >= $2 AND room < $3))
           AND NOT EXISTS (SELECT 1 FROM gateway_archive_cursors WHERE log = $4)
         ON CONFLICT DO NOTHING",
    );
    let [from, to] = ALL_ROOMS;
    statement.bind(&log.all_rooms).bind(from).bind(to).bind(name).execute(connection).await.map(drop)
}

async fn advance(connection: &mut PgConnection, log: &Followed, cursor: i64) -> Result<(), sqlx::Error> {
    let statement = match &log.name {
        None => sqlx::query("UPDATE gateway_archive_cursor SET log_offset = greatest(log_offset, $1)").bind(cursor),
        Some(name) => sqlx::query(
            "INSERT INTO gateway_archive_cursors (log_offset, log) VALUES ($1, $2)
             ON CONFLICT (log) DO UPDATE SET log_offset = greatest(gateway_archive_cursors.log_offset, $1)",
        )
        .bind(cursor)
        .bind(name),
    };
    statement.execute(connection).await.map(drop)
}

async fn cursor(connection: &mut PgConnection, log: &Followed) -> Result<Option<i64>, sqlx::Error> {
    let statement = match &log.name {
        None => sqlx::query_scalar("SELECT log_offset FROM gateway_archive_cursor"),
        Some(name) => sqlx::query_scalar("SELECT log_offset FROM gateway_archive_cursors WHERE log = $1").bind(name),
    };
    Ok(statement.fetch_optional(connection).await?.flatten())
}

/// What is known of rooms, by their names, and up to where gaps of all rooms reach.
async fn known(
    connection: &mut PgConnection,
    log: &Followed,
    rooms: &[&str],
) -> Result<(Vec<Known>, Offset), sqlx::Error> {
    let rows: Vec<(String, i64, Option<i64>)> = sqlx::query_as(
        "SELECT rooms.room,
           greatest((SELECT max(log_offset) FROM gateway_archive AS entries WHERE entries.room = rooms.room),
             (SELECT max(through_offset) FROM gateway_archive_gaps AS gaps WHERE gaps.room = rooms.room),
             rooms.forgotten, 0),
           rooms.forgotten
         FROM gateway_archive_rooms AS rooms WHERE rooms.room = ANY ($1) ORDER BY rooms.room",
    )
    .bind(rooms)
    .fetch_all(&mut *connection)
    .await?;
    let all: Option<i64> = sqlx::query_scalar("SELECT max(through_offset) FROM gateway_archive_gaps WHERE room = $1")
        .bind(&log.all_rooms)
        .fetch_one(connection)
        .await?;
    Ok((rows.into_iter().map(Known::from).collect(), all.map_or(Offset::START, offset)))
}

/// How many of the events were not there.
async fn insert(connection: &mut PgConnection, records: &[Record], known: &[Known]) -> Result<u64, sqlx::Error> {
    let (mut rooms, mut offsets, mut epochs, mut times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut users, mut events, mut data, mut apart, mut bytes) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for record in records {
        let Record::Event { room, position, .. } = record else { continue };
        let Some(row) = Row::of(record).filter(|_| !is_forgotten(known, room, position.offset)) else { continue };
        rooms.push(room.as_str());
        offsets.push(row.offset);
        epochs.push(row.epoch);
        times.push(row.at_ms);
        users.push(row.user);
        events.push(row.event);
        data.push(row.data);
        apart.push(row.apart);
        bytes.push(row.bytes);
    }
    if rooms.is_empty() {
        return Ok(0);
    }
    let done = sqlx::query(
        "INSERT INTO gateway_archive (room, log_offset, epoch, at_ms, user_id, event, data, apart, bytes)
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[],
           $8::bytea[], $9::bigint[]) ON CONFLICT DO NOTHING",
    )
    .bind(rooms)
    .bind(offsets)
    .bind(epochs)
    .bind(times)
    .bind(users)
    .bind(events)
    .bind(data)
    .bind(apart)
    .bind(bytes)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Makes tombstones of entries, of those that are there and none yet.
async fn bury(connection: &mut PgConnection, rooms: &[&str], offsets: &[i64]) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE gateway_archive AS entries SET user_id = NULL, event = NULL, data = NULL, apart = NULL, bytes = 0
         FROM unnest($1::text[], $2::bigint[]) AS taken (room, log_offset)
         WHERE entries.room = taken.room AND entries.log_offset = taken.log_offset AND entries.event IS NOT NULL",
    )
    .bind(rooms)
    .bind(offsets)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// What was read of a room.
struct Rows {
    rows: Vec<Columns>,
    more: bool,
    gaps: Vec<(String, i64, i64, String)>,
    forgotten: Option<i64>,
}

async fn read(connection: &mut PgConnection, log: &Followed, room: &str, part: Part) -> Result<Rows, sqlx::Error> {
    let (from, to) = part.bounds();
    let (from, to) = (number(from.unwrap_or_default()), to.map_or(i64::MAX, number));
    let sizes = if part.is_backwards() {
        "SELECT log_offset, bytes FROM gateway_archive WHERE room = $1 AND log_offset > $2 AND log_offset < $3
         ORDER BY log_offset DESC LIMIT $4"
    } else {
        "SELECT log_offset, bytes FROM gateway_archive WHERE room = $1 AND log_offset > $2 AND log_offset < $3
         ORDER BY log_offset LIMIT $4"
    };
    let sizes: Vec<(i64, i64)> = sqlx::query_as(sizes)
        .bind(room)
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
             WHERE room = $1 AND log_offset BETWEEN $2 AND $3 ORDER BY log_offset",
        )
        .bind(room)
        .bind(first)
        .bind(last)
        .fetch_all(&mut *connection)
        .await?;
    }
    // Those between whose ends it may lie: which of them touch it is decided when all is known.
    let first =
        if more && part.is_backwards() { sizes[..fitting].last().map_or(to, |(offset, _)| *offset) } else { from };
    let last =
        if more && !part.is_backwards() { sizes[..fitting].last().map_or(from, |(offset, _)| *offset) } else { to };
    let gaps = sqlx::query_as(
        "SELECT room, after_offset, through_offset, why FROM gateway_archive_gaps
         WHERE room IN ($1, $2) AND through_offset >= $3 AND after_offset <= $4",
    )
    .bind(room)
    .bind(&log.all_rooms)
    .bind(first.saturating_sub(1))
    .bind(last)
    .fetch_all(&mut *connection)
    .await?;
    // Last: what went meanwhile is not missing.
    let forgotten: Option<Option<i64>> =
        sqlx::query_scalar("SELECT forgotten FROM gateway_archive_rooms WHERE room = $1")
            .bind(room)
            .fetch_optional(connection)
            .await?;
    Ok(Rows { rows, more, gaps, forgotten: forgotten.flatten() })
}

fn page(room: &RoomName, part: Part, read: Rows) -> Result<Page, PortError> {
    let entries = entries(read.rows)?;
    let forgotten = read.forgotten.map(offset);
    let named = |name: &str| (name == room.as_str()).then_some(room);
    let gaps = read.gaps.iter().map(|(name, after, through, why)| gap(named(name), *after, *through, why));
    let gaps = Part::touching(gaps, part.span(&entries, read.more, forgotten));
    Ok(Page { entries, gaps, more: read.more, forgotten })
}

async fn rooms(connection: &mut PgConnection, after: &str, most: usize) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT room FROM gateway_archive_rooms AS rooms WHERE room > $1
           AND (EXISTS (SELECT 1 FROM gateway_archive AS entries WHERE entries.room = rooms.room)
             OR EXISTS (SELECT 1 FROM gateway_archive_gaps AS gaps WHERE gaps.room = rooms.room))
         ORDER BY room LIMIT $2",
    )
    .bind(after)
    .bind(count(most))
    .fetch_all(connection)
    .await
}

async fn rooms_by(
    connection: &mut PgConnection,
    user: &UserId,
    after: &str,
    most: usize,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT DISTINCT room FROM gateway_archive WHERE user_id = $1 AND room > $2 ORDER BY room LIMIT $3",
    )
    .bind(crate::text::kept(user.as_str()))
    .bind(after)
    .bind(count(most))
    .fetch_all(connection)
    .await
}

#[async_trait]
impl Archive for PostgresArchive {
    async fn write(&self, records: &[Record], cursor: Offset) -> Result<Written, PortError> {
        let mut lease = self.server.lease(Port::Archive, "write").await?;
        let done = self.server.bounded(write(&mut lease, &self.log, records, cursor)).await;
        self.server.settle(Port::Archive, "write", lease, done)
    }

    async fn read(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Page, PortError> {
        let part = Part::new(range, bytes);
        let mut lease = self.server.lease(Port::Archive, "read").await?;
        let done = self.server.bounded(read(&mut lease, &self.log, room.as_str(), part)).await;
        page(room, part, self.server.settle(Port::Archive, "read", lease, done)?)
    }

    async fn cursor(&self) -> Result<Option<Offset>, PortError> {
        let mut lease = self.server.lease(Port::Archive, "cursor").await?;
        let done = self.server.bounded(cursor(&mut lease, &self.log)).await;
        Ok(self.server.settle(Port::Archive, "cursor", lease, done)?.map(offset))
    }

    fn of_log(&self, name: &str) -> Arc<dyn Archive> {
        Arc::new(Self { server: self.server.clone(), log: Followed::named(name) })
    }

    async fn rooms(&self, after: Option<&RoomName>, most: usize) -> Result<Vec<RoomName>, PortError> {
        let mut lease = self.server.lease(Port::Archive, "rooms").await?;
        let done = self.server.bounded(rooms(&mut lease, after.map_or("", RoomName::as_str), most)).await;
        let names = self.server.settle(Port::Archive, "rooms", lease, done)?;
        Ok(names.iter().map(|name| RoomName::trusted(name)).collect())
    }

    async fn rooms_of(&self, user: &UserId, after: Option<&RoomName>, most: usize) -> Result<Vec<RoomName>, PortError> {
        let mut lease = self.server.lease(Port::Archive, "rooms_of").await?;
        let done = self.server.bounded(rooms_by(&mut lease, user, after.map_or("", RoomName::as_str), most)).await;
        let names = self.server.settle(Port::Archive, "rooms_of", lease, done)?;
        Ok(names.iter().map(|name| RoomName::trusted(name)).collect())
    }

    async fn take_back(&self, what: &Taken, most: usize) -> Result<u64, PortError> {
        let mut lease = self.server.lease(Port::Archive, "take_back").await?;
        let done = self.server.bounded(gone::take_back(&mut lease, what, most)).await;
        self.server.settle(Port::Archive, "take_back", lease, done)
    }

    async fn forget(&self, room: &RoomName, older_than: Duration, most: usize) -> Result<u64, PortError> {
        let mut lease = self.server.lease(Port::Archive, "forget").await?;
        let done = self.server.bounded(gone::forget(&mut lease, room.as_str(), older_than, most)).await;
        self.server.settle(Port::Archive, "forget", lease, done)
    }
}
