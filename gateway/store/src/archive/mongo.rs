//! The archive in MongoDB. There is no transaction: a batch is written in an order in which it may end anywhere, and be written
//! again. Gaps come first, each after those before it; then the events; then up to where their rooms are archived, by which
//! gaps are found; the cursor last.

mod gone;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use gateway_core::archive::{Archive, Entry, Gap, Page, Part, Record, Taken, Written};
use gateway_core::dates::now_ms;
use gateway_core::domain::{Offset, RoomName, UserId};
use gateway_core::log::Range;
use gateway_core::port::{Port, PortError};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};
use mongodb::error::{Error, ErrorKind};

use super::row::{Row, number, offset};
use super::{ALL_ROOMS, Followed, Known, count, gap, gaps_to_note, is_forgotten, rooms_of, taken_back};
use crate::mongo::{Collections, DUPLICATE, MongoServer, is_duplicate, time};

const ENTRIES: &str = "gateway_archive";
const GAPS: &str = "gateway_archive_gaps";
const ROOMS: &str = "gateway_archive_rooms";
const CURSOR: &str = "gateway_archive_cursor";

/// An archive on MongoDB's servers.
#[derive(Debug)]
pub struct MongoArchive {
    server: Arc<MongoServer>,
    log: Followed,
}

impl MongoArchive {
    /// That of some servers.
    #[must_use]
    pub fn new(server: Arc<MongoServer>) -> Self {
        Self { server, log: Followed::default() }
    }
}

async fn write(
    collections: Collections<'_>,
    log: &Followed,
    records: &[Record],
    cursor: Offset,
) -> Result<Written, Error> {
    if log.may_begin(cursor).is_some() {
        take_over(collections, log).await?;
    }
    let rooms = rooms_of(records);
    let known = known(collections, &rooms).await?;
    let all = newest_gap_of_all(collections, log).await?;
    let mut new_gaps = Vec::new();
    for gap in gaps_to_note(records, &known, all) {
        if !is_closed(collections, records, &gap).await? && note(collections, log, &gap).await? {
            new_gaps.push(gap);
        }
    }
    let fresh = records.iter().filter(|record| match record {
        Record::Event { room, position, .. } => !is_forgotten(&known, room, position.offset),
        Record::Gap(_) => false,
    });
    let documents: Vec<_> = fresh.filter_map(document).collect();
    let events = insert(collections, documents).await?;
    for (room, taken) in taken_back(records) {
        bury(collections, doc! { "room": room.as_str(), "offset": number(taken) }).await?;
    }
    advance(collections, records, &known).await?;
    let moved = doc! { "$max": { "offset": number(cursor) } };
    collections.of(CURSOR).update_one(doc! { "_id": cursor_of(log) }, moved).upsert(true).await?;
    log.began(cursor);
    Ok(Written { events, gaps: new_gaps })
}

/// Gives a log that was never archived the gaps of all rooms of the others.
async fn take_over(collections: Collections<'_>, log: &Followed) -> Result<(), Error> {
    if collections.of(CURSOR).find_one(doc! { "_id": cursor_of(log) }).await?.is_some() {
        return Ok(());
    }
    let [from, to] = ALL_ROOMS;
    let of_all = doc! { "$or": [{ "room": "" }, { "room": { "$gte": from, "$lt": to } }] };
    let found: Vec<Document> = collections.of(GAPS).find(of_all).await?.try_collect().await?;
    for mut gap in found {
        gap.remove("_id");
        gap.insert("room", &log.all_rooms);
        match collections.of(GAPS).insert_one(gap).await {
            Err(error) if !is_duplicate(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The id of the document with the cursor of a log.
fn cursor_of(log: &Followed) -> String {
    log.name.as_ref().map_or_else(|| "cursor".to_owned(), |name| format!("cursor:{name}"))
}

/// What is known of rooms, by their names.
async fn known(collections: Collections<'_>, rooms: &[&str]) -> Result<Vec<Known>, Error> {
    if rooms.is_empty() {
        return Ok(Vec::new());
    }
    let found = collections.of(ROOMS).find(doc! { "_id": { "$in": rooms } }).await?;
    let found: Vec<Document> = found.try_collect().await?;
    let known = found.into_iter().filter_map(|room| {
        let forgotten = room.get_i64("forgotten").ok().map(offset);
        let end = offset(room.get_i64("end").unwrap_or_default()).max(forgotten.unwrap_or_default());
        Some(Known { room: RoomName::trusted(room.get_str("_id").ok()?), end, forgotten })
    });
    let mut known: Vec<_> = known.collect();
    known.sort_by(|one, other| one.room.cmp(&other.room));
    Ok(known)
}

async fn newest_gap_of_all(collections: Collections<'_>, log: &Followed) -> Result<Offset, Error> {
    let newest = collections.of(GAPS).find_one(doc! { "room": &log.all_rooms }).sort(doc! { "through": -1 }).await?;
    Ok(newest.and_then(|gap| gap.get_i64("through").ok()).map_or(Offset::START, offset))
}

/// Whether a gap is none that an event seems to show: what it names as before it is there, written by somebody else since it was
/// looked up to where the room is archived.
async fn is_closed(collections: Collections<'_>, records: &[Record], gap: &Gap) -> Result<bool, Error> {
    let is_given = records.iter().any(|record| matches!(record, Record::Gap(given) if given == gap));
    let Some(room) = gap.room.as_ref().filter(|_| !is_given) else { return Ok(false) };
    let before = doc! { "room": room.as_str(), "offset": number(gap.through) };
    Ok(collections.of(ENTRIES).find_one(before).projection(doc! { "_id": 1 }).await?.is_some())
}

/// Whether the gap was not known.
async fn note(collections: Collections<'_>, log: &Followed, gap: &Gap) -> Result<bool, Error> {
    let document = doc! {
        "room": log.room(gap),
        "after": number(gap.after),
        "through": number(gap.through),
        "why": gap.why.as_str(),
        "noted": time(now_ms()),
    };
    match collections.of(GAPS).insert_one(document).await {
        Ok(_) => Ok(true),
        Err(error) if is_duplicate(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// How many of them were not there.
async fn insert(collections: Collections<'_>, documents: Vec<Document>) -> Result<u64, Error> {
    let all = documents.len() as u64;
    if documents.is_empty() {
        return Ok(0);
    }
    match collections.of(ENTRIES).insert_many(documents).ordered(false).await {
        Ok(_) => Ok(all),
        Err(error) if is_duplicate(&error) => match &*error.kind {
            ErrorKind::InsertMany(errors) => Ok(all - errors.write_errors.iter().flatten().count() as u64),
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Makes tombstones of entries, of those that are there and none yet.
async fn bury(collections: Collections<'_>, mut which: Document) -> Result<u64, Error> {
    which.insert("event", doc! { "$ne": null });
    let nothing = doc! { "$unset": { "user": "", "event": "", "data": "", "apart": "" }, "$set": { "bytes": 0_i64 } };
    Ok(collections.of(ENTRIES).update_many(which, nothing).await?.modified_count)
}

/// Moves the ends of the rooms of a batch to where it leads.
async fn advance(collections: Collections<'_>, records: &[Record], known: &[Known]) -> Result<(), Error> {
    let mut ends: HashMap<&RoomName, Offset> = HashMap::new();
    for record in records {
        let (room, end) = match record {
            Record::Event { room, position, .. } => (room, position.offset),
            Record::Gap(Gap { room: Some(room), through, .. }) => (room, *through),
            Record::Gap(_) => continue,
        };
        let known = ends.entry(room).or_insert(end);
        *known = end.max(*known);
    }
    // Of what was forgotten already nothing is there.
    ends.retain(|room, end| !is_forgotten(known, room, *end));
    if ends.is_empty() {
        return Ok(());
    }
    let updates: Vec<_> = ends
        .into_iter()
        .map(|(room, end)| {
            let moved = doc! { "$max": { "end": number(end) }, "$set": { "empty": false } };
            doc! { "q": { "_id": room.as_str() }, "u": moved, "upsert": true }
        })
        .collect();
    // One command for all; the driver has a method for one room only.
    let command = doc! { "update": ROOMS, "updates": updates, "ordered": false };
    loop {
        let answer = collections.database().run_command(command.clone()).await?;
        let failed = answer.get_array("writeErrors").ok().and_then(|errors| errors.first()).cloned();
        match failed {
            None => return Ok(()),
            // Another writer made it in the same moment: now it is there.
            Some(error)
                if error
                    .as_document()
                    .is_some_and(|error| error.get_i32("code").is_ok_and(|code| code == DUPLICATE)) => {}
            Some(error) => return Err(Error::custom(format!("an update of {ROOMS} failed: {error}"))),
        }
    }
}

async fn read(collections: Collections<'_>, log: &Followed, room: &str, part: Part) -> Result<Read, Error> {
    let (from, to) = part.bounds();
    let (from, to) = (number(from.unwrap_or_default()), to.map_or(i64::MAX, number));
    let direction = if part.is_backwards() { -1 } else { 1 };
    let within = doc! { "room": room, "offset": { "$gt": from, "$lt": to } };
    let look = part.look();
    // No more than a few too many are fetched, however many are wanted.
    let fetched = u32::try_from(look.min(100)).unwrap_or(100);
    let mut found = collections
        .of(ENTRIES)
        .find(within)
        .sort(doc! { "offset": direction })
        .limit(count(look))
        .batch_size(fetched)
        .await?;
    let (mut rows, mut sizes) = (Vec::new(), Vec::new());
    let more = loop {
        let Some(document) = found.try_next().await? else { break false };
        let row = row(&document);
        sizes.push(usize::try_from(row.bytes).unwrap_or_default());
        if part.fit(sizes.iter().copied()).1 {
            break true;
        }
        rows.push(row);
    };
    if part.is_backwards() {
        rows.reverse();
    }
    let first = if more && part.is_backwards() { rows.first().map_or(to, |row| row.offset) } else { from };
    let last = if more && !part.is_backwards() { rows.last().map_or(from, |row| row.offset) } else { to };
    // Those that it may have: which of them touch it is decided when all is known.
    let touching = doc! {
        "room": { "$in": [room, &*log.all_rooms] },
        "through": { "$gte": first.saturating_sub(1) },
        "after": { "$lte": last },
    };
    let gaps = collections.of(GAPS).find(touching).await?.try_collect().await?;
    // Last: what went meanwhile is not missing.
    let room = collections.of(ROOMS).find_one(doc! { "_id": room }).await?;
    let forgotten = room.and_then(|room| room.get_i64("forgotten").ok());
    Ok(Read { rows, more, gaps, forgotten })
}

/// What was read of a room.
struct Read {
    rows: Vec<Row>,
    more: bool,
    gaps: Vec<Document>,
    forgotten: Option<i64>,
}

fn page(room: &RoomName, part: Part, read: Read) -> Result<Page, PortError> {
    let entries: Result<Vec<Entry>, _> = read.rows.into_iter().map(Row::entry).collect();
    let entries = entries.map_err(|damaged| Port::Archive.broken("read", damaged))?;
    let forgotten = read.forgotten.map(offset);
    let gap_of = |gap_: &Document| {
        let number = |name| gap_.get_i64(name).unwrap_or_default();
        let name = gap_.get_str("room").is_ok_and(|name| name == room.as_str()).then_some(room);
        gap(name, number("after"), number("through"), gap_.get_str("why").unwrap_or_default())
    };
    let gaps = Part::touching(read.gaps.iter().map(gap_of), part.span(&entries, read.more, forgotten));
    Ok(Page { entries, gaps, more: read.more, forgotten })
}

fn document(record: &Record) -> Option<Document> {
    let Record::Event { room, .. } = record else { return None };
    let row = Row::of(record)?;
    let mut document = doc! {
        "room": room.as_str(),
        "offset": row.offset,
        "epoch": row.epoch,
        "at": time(row.at_ms),
        "event": row.event,
        "data": row.data,
        "bytes": row.bytes,
    };
    if let Some(user) = row.user {
        document.insert("user", user);
    }
    if let Some(bytes) = row.apart {
        document.insert("apart", Binary { subtype: BinarySubtype::Generic, bytes });
    }
    Some(document)
}

fn row(document: &Document) -> Row {
    let text = |name| document.get_str(name).ok().map(str::to_owned);
    Row {
        offset: document.get_i64("offset").unwrap_or_default(),
        epoch: text("epoch").unwrap_or_default(),
        at_ms: document.get_datetime("at").map_or(0, |at| at.timestamp_millis()),
        user: text("user"),
        event: text("event"),
        data: text("data"),
        apart: document.get_binary_generic("apart").ok().cloned(),
        bytes: document.get_i64("bytes").unwrap_or_default(),
    }
}

async fn rooms(collections: Collections<'_>, after: &str, most: usize) -> Result<Vec<RoomName>, Error> {
    if most == 0 {
        // To MongoDB it is no limit.
        return Ok(Vec::new());
    }
    let wanted = doc! { "_id": { "$gt": after }, "empty": { "$ne": true } };
    let found = collections.of(ROOMS).find(wanted).sort(doc! { "_id": 1 }).limit(count(most)).await?;
    let found: Vec<Document> = found.try_collect().await?;
    Ok(found.iter().filter_map(|room| room.get_str("_id").ok().map(RoomName::trusted)).collect())
}

async fn rooms_by(
    collections: Collections<'_>,
    user: &UserId,
    after: &str,
    most: usize,
) -> Result<Vec<RoomName>, Error> {
    if most == 0 {
        return Ok(Vec::new());
    }
    let parts = [
        doc! { "$match": { "user": &*crate::text::kept(user.as_str()), "room": { "$gt": after } } },
        doc! { "$group": { "_id": "$room" } },
        doc! { "$sort": { "_id": 1 } },
        doc! { "$limit": count(most) },
    ];
    let found: Vec<Document> = collections.of(ENTRIES).aggregate(parts).await?.try_collect().await?;
    Ok(found.iter().filter_map(|room| room.get_str("_id").ok().map(RoomName::trusted)).collect())
}

#[async_trait]
impl Archive for MongoArchive {
    async fn write(&self, records: &[Record], cursor: Offset) -> Result<Written, PortError> {
        self.server.ask(Port::Archive, "write", |all| write(all, &self.log, records, cursor)).await
    }

    async fn read(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Page, PortError> {
        let part = Part::new(range, bytes);
        page(room, part, self.server.ask(Port::Archive, "read", |all| read(all, &self.log, room.as_str(), part)).await?)
    }

    async fn cursor(&self) -> Result<Option<Offset>, PortError> {
        let cursor = |all: Collections<'_>| {
            let (cursors, id) = (all.of(CURSOR), cursor_of(&self.log));
            async move { cursors.find_one(doc! { "_id": id }).await }
        };
        let found = self.server.ask(Port::Archive, "cursor", cursor).await?;
        Ok(found.and_then(|found| found.get_i64("offset").ok()).map(offset))
    }

    fn of_log(&self, name: &str) -> Arc<dyn Archive> {
        Arc::new(Self { server: self.server.clone(), log: Followed::named(name) })
    }

    async fn rooms(&self, after: Option<&RoomName>, most: usize) -> Result<Vec<RoomName>, PortError> {
        let after = after.map_or("", RoomName::as_str);
        self.server.ask(Port::Archive, "rooms", |all| rooms(all, after, most)).await
    }

    async fn rooms_of(&self, user: &UserId, after: Option<&RoomName>, most: usize) -> Result<Vec<RoomName>, PortError> {
        let after = after.map_or("", RoomName::as_str);
        self.server.ask(Port::Archive, "rooms_of", |all| rooms_by(all, user, after, most)).await
    }

    async fn take_back(&self, what: &Taken, most: usize) -> Result<u64, PortError> {
        self.server.ask(Port::Archive, "take_back", |all| gone::take_back(all, what, most)).await
    }

    async fn forget(&self, room: &RoomName, older_than: Duration, most: usize) -> Result<u64, PortError> {
        self.server.ask(Port::Archive, "forget", |all| gone::forget(all, room.as_str(), older_than, most)).await
    }
}
