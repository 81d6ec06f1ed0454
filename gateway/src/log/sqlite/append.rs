//! One transaction: a batch of appends with their dedupe keys, rooms and lengths.

use std::collections::HashMap;

use sqlx::{Connection, Sqlite, SqliteConnection, Transaction};

use super::writer::Append;
use crate::domain::Offset;
use crate::log::{Dedupe, Retention};
use crate::sqlite::{milliseconds, now_ms};

/// Where the log stands; a transaction changes a copy, which counts once it is committed.
#[derive(Clone, Copy)]
pub(super) struct State {
    pub(super) head: u64,
    /// The time of the last append: the wall clock may go back, the age of events must not.
    pub(super) at: i64,
    /// When the last mark was put on the clock.
    pub(super) marked_at: Option<i64>,
}

/// Values of one kind in two parameters, so that one statement takes any number of them: their bytes one after the
/// other, and in JSON a list for each with `start` and `length` last. JSON itself could not carry all bytes.
#[derive(Default)]
struct Packed {
    bytes: Vec<u8>,
    index: Vec<serde_json::Value>,
}

impl Packed {
    fn push(&mut self, mut columns: Vec<serde_json::Value>, value: &[u8]) {
        // SQL counts from 1.
        columns.extend([self.bytes.len() + 1, value.len()].map(serde_json::Value::from));
        self.index.push(columns.into());
        self.bytes.extend_from_slice(value);
    }

    fn is_empty(&self) -> bool {
        self.index.is_empty()
    }
}

fn json<T: serde::Serialize>(values: &[T]) -> String {
    serde_json::to_string(values).expect("texts and numbers always encode")
}

/// Writes a batch in one transaction. Returns where the log then stands, and the offset of each append and whether its
/// dedupe key was known.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    stands: State,
    retention: Retention,
    batch: &[Append],
) -> Result<(State, Vec<(Offset, bool)>), sqlx::Error> {
    let mut state = stands;
    let now = now_ms();
    // Sixteen marks in a retention are enough.
    let step = milliseconds(retention.room_retention) / 16;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if state.at.saturating_sub(now) > step {
        // The clock was set back by more than can be waited for: by its marks, no age is known any more.
        sqlx::query("DELETE FROM clock").execute(&mut *transaction).await?;
        state = State { at: now, marked_at: None, ..state };
    }
    state.at = state.at.max(now);
    let mut known =
        known(&mut transaction, batch, state.at.saturating_sub(milliseconds(retention.dedupe_window))).await?;
    let mut places = Vec::with_capacity(batch.len());
    let mut counts: HashMap<&str, i64> = HashMap::new();
    for append in batch {
        let key = append.dedupe.as_ref().map(|Dedupe(key)| key.as_bytes());
        if let Some(offset) = key.and_then(|key| known.get(key)) {
            places.push((*offset, true));
            continue;
        }
        state.head += 1;
        let offset = Offset(state.head);
        places.push((offset, false));
        *counts.entry(append.room.as_str()).or_default() += 1;
        if let Some(key) = key {
            known.insert(key.to_vec(), offset);
        }
    }
    if counts.is_empty() {
        transaction.rollback().await?;
        return Ok((stands, places));
    }
    if state.marked_at.is_none_or(|at| state.at.saturating_sub(at) >= step) {
        sqlx::query("INSERT INTO clock (at, before) VALUES (?1, ?2)")
            .bind(state.at)
            .bind(stands.head.cast_signed())
            .execute(&mut *transaction)
            .await?;
        state.marked_at = Some(state.at);
    }
    let rooms = touch_rooms(&mut transaction, &counts, state.at).await?;
    insert(&mut transaction, batch, &places, &rooms, state.at).await?;
    for (id, kept) in rooms.values() {
        trim(&mut transaction, *id, *kept, retention.room_events).await?;
    }
    sqlx::query("UPDATE log SET head = ?1").bind(state.head.cast_signed()).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok((state, places))
}

/// The dedupe keys of a batch that are not forgotten yet.
async fn known(
    transaction: &mut Transaction<'_, Sqlite>,
    batch: &[Append],
    forgotten: i64,
) -> Result<HashMap<Vec<u8>, Offset>, sqlx::Error> {
    let mut keys = Packed::default();
    for Dedupe(key) in batch.iter().filter_map(|append| append.dedupe.as_ref()) {
        keys.push(Vec::new(), key.as_bytes());
    }
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(
        "SELECT key, offset FROM once WHERE at > ?3
         AND key IN (SELECT substr(?2, value ->> 0, value ->> 1) FROM json_each(?1))",
    )
    .bind(json(&keys.index))
    .bind(keys.bytes)
    .bind(forgotten)
    .fetch_all(&mut **transaction)
    .await?;
    Ok(rows.into_iter().map(|(key, offset)| (key, Offset(offset.cast_unsigned()))).collect())
}

/// Notes that rooms get events; returns for each its id and how many it then has.
async fn touch_rooms(
    transaction: &mut Transaction<'_, Sqlite>,
    counts: &HashMap<&str, i64>,
    at: i64,
) -> Result<HashMap<String, (i64, i64)>, sqlx::Error> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "INSERT INTO rooms (name, kept, last_at) SELECT value ->> 0, value ->> 1, ?2 FROM json_each(?1) WHERE true
         ON CONFLICT (name) DO UPDATE SET kept = kept + excluded.kept, last_at = excluded.last_at
         RETURNING name, id, kept",
    )
    .bind(json(&counts.iter().collect::<Vec<_>>()))
    .bind(at)
    .fetch_all(&mut **transaction)
    .await?;
    Ok(rows.into_iter().map(|(name, id, kept)| (name, (id, kept))).collect())
}

/// Writes the events of a batch that are not duplicates, and their dedupe keys.
async fn insert(
    transaction: &mut Transaction<'_, Sqlite>,
    batch: &[Append],
    places: &[(Offset, bool)],
    rooms: &HashMap<String, (i64, i64)>,
    at: i64,
) -> Result<(), sqlx::Error> {
    let (mut events, mut keys) = (Packed::default(), Packed::default());
    for (append, (offset, _)) in batch.iter().zip(places).filter(|(_, (_, duplicate))| !duplicate) {
        let (room, _) = rooms.get(append.room.as_str()).ok_or(sqlx::Error::RowNotFound)?;
        events.push(vec![offset.0.into(), (*room).into()], &append.bytes);
        if let Some(Dedupe(key)) = &append.dedupe {
            keys.push(vec![offset.0.into()], key.as_bytes());
        }
    }
    sqlx::query(
        "INSERT INTO events (offset, room, event)
         SELECT value ->> 0, value ->> 1, substr(?2, value ->> 2, value ->> 3) FROM json_each(?1)",
    )
    .bind(json(&events.index))
    .bind(events.bytes)
    .execute(&mut **transaction)
    .await?;
    if !keys.is_empty() {
        // One that is forgotten may still be there.
        sqlx::query(
            "INSERT OR REPLACE INTO once (key, offset, at)
             SELECT substr(?2, value ->> 1, value ->> 2), value ->> 0, ?3 FROM json_each(?1)",
        )
        .bind(json(&keys.index))
        .bind(keys.bytes)
        .bind(at)
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

/// Drops a room's oldest events above its length, an eighth of it at a time: dropping one with each append would cost
/// as much as appending.
async fn trim(
    transaction: &mut Transaction<'_, Sqlite>,
    room: i64,
    kept: i64,
    room_events: usize,
) -> Result<(), sqlx::Error> {
    let length = i64::try_from(room_events).unwrap_or(i64::MAX);
    if kept <= length.saturating_add(length / 8) {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM events WHERE offset IN (SELECT offset FROM events WHERE room = ?1 ORDER BY offset LIMIT ?2)",
    )
    .bind(room)
    .bind(kept - length)
    .execute(&mut **transaction)
    .await?;
    sqlx::query("UPDATE rooms SET kept = ?2, trimmed = 1 WHERE id = ?1")
        .bind(room)
        .bind(length)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}
