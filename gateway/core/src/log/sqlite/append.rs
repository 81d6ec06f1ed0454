//! One transaction: a batch of appends with their dedupe keys, rooms and lengths.

use std::collections::{HashMap, HashSet};

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::writer::Append;
use crate::dates::{milliseconds, now_ms};
use crate::domain::{Epoch, Offset, RoomName};
use crate::log::{AppendError, Dedupe, Retention, present};
use crate::outbox::{Happening, LOSE, Link, TELL, Telling, Wants};

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

const APPEND: &str = include_str!("append.sql");

/// What a batch does beside appending.
#[derive(Default)]
struct Beside {
    /// What outboxes are told.
    told: Packed,
    /// The first and the last offset that found no room for the archive.
    lost: Option<(u64, u64)>,
    /// Offsets that are taken back, each with its room.
    taken: Vec<(u64, String)>,
}

impl Beside {
    fn is_nothing(&self) -> bool {
        self.told.is_empty() && self.lost.is_none() && self.taken.is_empty()
    }

    /// The same transaction, in which this is done as well.
    fn statement(&self) -> AssertSqlSafe<String> {
        let parts = [
            (include_str!("take.sql"), !self.taken.is_empty()),
            (TELL, !self.told.is_empty()),
            (LOSE, self.lost.is_some()),
        ];
        let parts: String = parts.into_iter().filter(|(_, is_done)| *is_done).map(|(part, _)| part).collect();
        AssertSqlSafe(APPEND.replacen("COMMIT;", &format!("{parts}COMMIT;"), 1))
    }

    /// Adds what the outboxes are told of an append at its place.
    fn tell(&mut self, telling: &Telling, link: Link, offset: Offset) {
        let Telling { outboxes, archive, happening } = telling;
        let happening = Happening { number: offset.0, ..happening.clone() };
        let row = |outbox: &str| vec![outbox.into(), now_ms().into(), happening.weight().into()];
        if !outboxes.is_empty() {
            let bytes = happening.encode();
            outboxes.iter().for_each(|outbox| self.told.push(row(outbox), &bytes));
        }
        match archive {
            Some(true) => {
                let linked = Happening { link: Some(link), ..happening.clone() };
                self.told.push(row(Wants::ARCHIVE), &linked.encode());
            }
            Some(false) => self.lost = Some((self.lost.map_or(offset.0, |(first, _)| first), offset.0)),
            None => {}
        }
    }
}

/// What became of a batch.
pub(super) struct Written {
    pub(super) state: State,
    /// The offset of each append, and whether its dedupe key was known; or why it was not to be.
    pub(super) places: Vec<Result<(Offset, bool), AppendError>>,
    /// Rooms that have more events than they should, by id, and how many too many.
    pub(super) too_long: Vec<(i64, i64)>,
    /// Rooms, by id, of which it is to be looked at whether they have too many bytes.
    pub(super) to_weigh: Vec<i64>,
}

/// Rooms of which the log has something, as far as its writer remembers. It forgets them all when rooms are removed.
pub(super) type KnownRooms = HashSet<RoomName>;

/// Writes a batch in one transaction.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    stands: State,
    epoch: Epoch,
    retention: Retention,
    rooms_known: &mut KnownRooms,
    batch: &[Append],
) -> Result<Written, sqlx::Error> {
    let mut state = stands;
    keep_clock(connection, &mut state, retention).await?;
    let oldest = state.at.saturating_sub(milliseconds(retention.room_retention));
    learn_rooms(connection, rooms_known, batch, oldest).await?;
    // Nobody else writes: what is read before the transaction holds in it.
    let mut known = known(connection, batch, state.at.saturating_sub(milliseconds(retention.dedupe_window))).await?;
    let mut last = last_offsets(connection, batch).await?;
    let mut places = Vec::with_capacity(batch.len());
    let mut counts: HashMap<&str, i64> = HashMap::new();
    let mut weighed: HashSet<&str> = HashSet::new();
    let (mut events, mut keys, mut beside) = (Packed::default(), Packed::default(), Beside::default());
    for append in batch {
        let key = append.dedupe.as_ref().map(|Dedupe(key)| key.as_bytes());
        if let Some(offset) = key.and_then(|key| known.get(key)) {
            places.push(Ok((*offset, true)));
            continue;
        }
        let room = append.room.as_str();
        if !append.admitted {
            places.push(Err(AppendError::Full));
            continue;
        }
        if append.known_room && !rooms_known.contains(&append.room) && !counts.contains_key(room) {
            places.push(Err(AppendError::NewRoom));
            continue;
        }
        state.head = present().0.max(state.head + 1);
        let offset = Offset(state.head);
        places.push(Ok((offset, false)));
        if retention.weighs(append.bytes.len()) {
            weighed.insert(room);
        }
        *counts.entry(room).or_default() += 1;
        events.push(vec![offset.0.into(), room.into()], &append.bytes);
        if let Some(telling) = append.telling.as_deref() {
            let before = last.insert(append.room.clone(), offset);
            beside.tell(telling, Link { epoch, before, takes_back: append.takes_back }, offset);
        }
        beside.taken.extend(append.takes_back.map(|taken| (taken.0, room.to_owned())));
        if let Some(key) = key {
            keys.push(vec![offset.0.into()], key);
            known.insert(key.to_vec(), offset);
        }
    }
    if counts.is_empty() {
        return Ok(Written { state, places, too_long: Vec::new(), to_weigh: Vec::new() });
    }
    let is_plain = beside.is_nothing();
    let query = if is_plain { sqlx::query_as(APPEND) } else { sqlx::query_as(beside.statement()) };
    let query = query
        .bind(json(&counts.iter().collect::<Vec<_>>()))
        .bind(state.at)
        .bind(json(&events.index))
        .bind(events.bytes)
        .bind(json(&keys.index))
        .bind(keys.bytes)
        .bind(state.head.cast_signed());
    let query = if is_plain {
        query
    } else {
        let Beside { told, lost, taken } = beside;
        query.bind(json(&told.index)).bind(told.bytes).bind(json(&taken)).bind(json(&[lost.unwrap_or_default()]))
    };
    let rooms: Vec<(i64, i64, String)> = query.fetch_all(connection).await?;
    // Dropping one with each append would cost as much as appending: an eighth of a room's length at a time.
    let length = i64::try_from(retention.room_events).unwrap_or(i64::MAX);
    let is_too_long = |&(_, kept, _): &&(i64, i64, String)| *kept > length.saturating_add(length / 8);
    let too_long = rooms.iter().filter(is_too_long).map(|(id, kept, _)| (*id, kept - length)).collect();
    let to_weigh = rooms.iter().filter(|(.., name)| weighed.contains(name.as_str())).map(|(id, ..)| *id).collect();
    rooms_known.extend(rooms.iter().map(|(.., name)| RoomName::trusted(name)));
    Ok(Written { state, places, too_long, to_weigh })
}

/// Brings the time up to date, and notes now and then when the log stood where.
pub(super) async fn keep_clock(
    connection: &mut SqliteConnection,
    state: &mut State,
    retention: Retention,
) -> Result<(), sqlx::Error> {
    let now = now_ms();
    // Sixteen marks in a retention are enough.
    let step = milliseconds(retention.room_retention) / 16;
    if state.at.saturating_sub(now) > step {
        // The clock was set back by more than can be waited for: by its marks, no age is known any more.
        sqlx::query("DELETE FROM clock").execute(&mut *connection).await?;
        *state = State { at: now, marked_at: None, ..*state };
    }
    state.at = state.at.max(now);
    if state.marked_at.is_none_or(|at| state.at.saturating_sub(at) >= step) {
        sqlx::query("INSERT INTO clock (at, before) VALUES (?1, ?2)")
            .bind(state.at)
            .bind(state.head.cast_signed())
            .execute(connection)
            .await?;
        state.marked_at = Some(state.at);
    }
    Ok(())
}

/// The dedupe keys of a batch that are not forgotten yet.
async fn known(
    connection: &mut SqliteConnection,
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
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(key, offset)| (key, Offset(offset.cast_unsigned()))).collect())
}

/// The newest offset of each room of which the archive is told something. Of others nobody asks.
async fn last_offsets(
    connection: &mut SqliteConnection,
    batch: &[Append],
) -> Result<HashMap<RoomName, Offset>, sqlx::Error> {
    let is_archived = |append: &&Append| append.telling.as_ref().is_some_and(|telling| telling.archive.is_some());
    let rooms: HashSet<&str> = batch.iter().filter(is_archived).map(|append| append.room.as_str()).collect();
    if rooms.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, Option<i64>)> = sqlx::query_as(include_str!("last.sql"))
        .bind(json(&rooms.into_iter().collect::<Vec<_>>()))
        .fetch_all(connection)
        .await?;
    let known = |(name, offset): (String, Option<i64>)| {
        offset.map(|offset| (RoomName::trusted(&name), Offset(offset.cast_unsigned())))
    };
    Ok(rows.into_iter().filter_map(known).collect())
}

/// Looks up the rooms of appends that are for known ones only, if they are not remembered.
async fn learn_rooms(
    connection: &mut SqliteConnection,
    known: &mut KnownRooms,
    batch: &[Append],
    oldest: i64,
) -> Result<(), sqlx::Error> {
    let asked: HashSet<&str> = batch
        .iter()
        .filter(|append| append.known_room && !known.contains(&append.room))
        .map(|append| append.room.as_str())
        .collect();
    if asked.is_empty() {
        return Ok(());
    }
    let names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM rooms WHERE last_at > ?2 AND name IN (SELECT value FROM json_each(?1))")
            .bind(json(&asked.into_iter().collect::<Vec<_>>()))
            .bind(oldest)
            .fetch_all(connection)
            .await?;
    known.extend(names.iter().map(|name| RoomName::trusted(name)));
    Ok(())
}

/// Drops the oldest events of rooms that have too many bytes, but the newest event.
pub(super) async fn trim_bytes(
    connection: &mut SqliteConnection,
    retention: Retention,
    rooms: &[i64],
) -> Result<(), sqlx::Error> {
    let bytes = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
    for room in rooms {
        let surplus: i64 = sqlx::query_scalar(include_str!("surplus.sql"))
            .bind(room)
            .bind(bytes(retention.room_bytes))
            .bind(bytes(retention.trimmed_bytes()))
            .fetch_one(&mut *connection)
            .await?;
        if surplus > 0 {
            trim(connection, &[(*room, surplus)]).await?;
        }
    }
    Ok(())
}

/// Drops the oldest events of rooms that have too many.
pub(super) async fn trim(connection: &mut SqliteConnection, too_long: &[(i64, i64)]) -> Result<(), sqlx::Error> {
    for (room, surplus) in too_long {
        sqlx::query(include_str!("trim.sql")).bind(room).bind(surplus).execute(&mut *connection).await?;
    }
    Ok(())
}
