//! The notifications in MongoDB. Each step of adding one leaves what others may find: it is there first, and then what it
//! replaces and what is too much goes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use gateway_core::dates::{milliseconds, now_ms};
use gateway_core::domain::UserId;
use gateway_core::notifications::{Added, Listed, Marked, New, NotificationId, Notifications, Owners, Which};
use gateway_core::port::{Port, PortError};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::Error;
use mongodb::options::ReturnDocument;

use super::{MARKED, Outcome, Row, kept, whole};
use crate::mongo::{Collections, MongoServer, is_duplicate, time};

const ALL: &str = "gateway_notifications";
const COUNTERS: &str = "gateway_counters";
/// How many of what is too much go at once.
const DROPPED: i64 = 1_000;

/// Notifications on MongoDB's servers.
#[derive(Debug)]
pub struct MongoNotifications {
    server: Arc<MongoServer>,
}

impl MongoNotifications {
    /// Those of some servers.
    #[must_use]
    pub fn new(server: Arc<MongoServer>) -> Self {
        Self { server }
    }
}

async fn add_all(collections: Collections<'_>, all: &[New], most: usize) -> Result<Vec<Outcome>, Error> {
    let mut place = places(collections, all.len()).await?;
    let mut added = Vec::with_capacity(all.len());
    for new in all {
        added.push(add(collections, &Row::of(new), place, most).await?);
        place += 1;
    }
    Ok(added)
}

/// The first of so many places in the order of all, which nobody else gets.
async fn places(collections: Collections<'_>, count: usize) -> Result<i64, Error> {
    let count = whole(count as u64);
    let counters = collections.of(COUNTERS);
    loop {
        let taken = counters
            .find_one_and_update(doc! { "_id": ALL }, doc! { "$inc": { "place": count } })
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await;
        match taken {
            Ok(counter) => return Ok(counter.and_then(|it| it.get_i64("place").ok()).unwrap_or(count) - count),
            // Somebody else made it in the same moment.
            Err(error) if is_duplicate(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

async fn known(collections: Collections<'_>, row: &Row) -> Result<Option<String>, Error> {
    let by_key = doc! { "addedAs": added_as(row) };
    let by_id = doc! { "_id": object_id(&row.id), "receiverId": &row.receiver };
    for which in [by_key, by_id] {
        if let Some(found) = collections.of(ALL).find_one(which).await? {
            return Ok(found.get_object_id("_id").ok().map(ObjectId::to_hex));
        }
    }
    Ok(None)
}

async fn add(collections: Collections<'_>, row: &Row, place: i64, most: usize) -> Result<Outcome, Error> {
    if let Some(known) = known(collections, row).await? {
        return Ok(Outcome::Known(known));
    }
    if let Err(error) = collections.of(ALL).insert_one(document(row, place)).await {
        // Somebody else added it in the same moment.
        let found = if is_duplicate(&error) { known(collections, row).await? } else { None };
        return found.map(Outcome::Known).ok_or(error);
    }
    let instead_of = replace(collections, row).await?;
    let (all, mut dropped) = (collections.of(ALL), 0);
    loop {
        let beyond = all.find(doc! { "receiverId": &row.receiver }).sort(doc! { "place": -1 });
        let beyond = beyond.skip(most as u64).limit(DROPPED).projection(doc! { "_id": 1 });
        let beyond = ids(beyond.await?.try_collect().await?);
        if beyond.is_empty() {
            return Ok(Outcome::New { instead_of, dropped });
        }
        dropped += all.delete_many(doc! { "_id": { "$in": beyond } }).await?.deleted_count;
    }
}

/// Has the newest of those that replace each other alone stay. Returns the one that went for this one.
async fn replace(collections: Collections<'_>, row: &Row) -> Result<Option<String>, Error> {
    let Some(collapse) = &row.collapse else { return Ok(None) };
    let all = collections.of(ALL);
    let unread = doc! { "receiverId": &row.receiver, "collapse": collapse, "isRead": false };
    let unread = all.find(unread).sort(doc! { "place": -1 }).projection(doc! { "_id": 1 });
    // Whichever was added last: it may be another one by now.
    let older: Vec<Bson> = ids(unread.await?.try_collect().await?).into_iter().skip(1).collect();
    if older.is_empty() {
        return Ok(None);
    }
    let instead_of = older.iter().filter_map(Bson::as_object_id).map(|id| id.to_hex()).find(|id| *id != row.id);
    all.delete_many(doc! { "_id": { "$in": older } }).await?;
    Ok(instead_of)
}

fn ids(documents: Vec<Document>) -> Vec<Bson> {
    documents.into_iter().filter_map(|mut document| document.remove("_id")).collect()
}

/// By what it is known again, which every document has: an index of some that are not there would have to leave them out.
fn added_as(row: &Row) -> String {
    match &row.key {
        Some(key) => format!("{}:{}{key}", row.receiver.len(), row.receiver),
        None => row.id.clone(),
    }
}

fn object_id(hex: &str) -> ObjectId {
    // Ids have its form: it cannot fail.
    ObjectId::parse_str(hex).unwrap_or_default()
}

fn document(row: &Row, place: i64) -> Document {
    let mut document = doc! {
        "_id": object_id(&row.id),
        "receiverId": &row.receiver,
        "message": &row.message,
        "isRead": row.is_read,
        "timestamp": time(row.at_ms),
        "place": place,
        "addedAs": added_as(row),
    };
    let texts = [("senderId", &row.sender), ("data", &row.data), ("key", &row.key), ("collapse", &row.collapse)];
    for (name, text) in texts {
        if let Some(text) = text {
            document.insert(name, text);
        }
    }
    if let Some(until) = row.until_ms {
        document.insert("until", time(until));
    }
    document
}

fn row(document: &Document) -> Row {
    let text = |name| document.get_str(name).ok().map(str::to_owned);
    Row {
        id: document.get_object_id("_id").map_or_else(|_| String::new(), ObjectId::to_hex),
        receiver: text("receiverId").unwrap_or_default(),
        sender: text("senderId"),
        message: text("message").unwrap_or_default(),
        data: text("data"),
        is_read: document.get_bool("isRead").unwrap_or_default(),
        at_ms: document.get_datetime("timestamp").map_or(0, |at| at.timestamp_millis()),
        until_ms: document.get_datetime("until").ok().map(|until| until.timestamp_millis()),
        key: text("key"),
        collapse: text("collapse"),
    }
}

/// Those of a user whose time is not over, and more conditions.
fn current(user: &UserId, more: Document) -> Document {
    let mut which = in_time(doc! { "receiverId": kept(user.as_str()) });
    which.extend(more);
    which
}

/// Of these, those whose time is not over.
fn in_time(mut which: Document) -> Document {
    which.insert("$or", vec![doc! { "until": null }, doc! { "until": { "$gt": time(now_ms()) } }]);
    which
}

/// The place of one; of one that is gone, that of the newest that was added before its time, and false.
async fn place_of(
    collections: Collections<'_>,
    user: &UserId,
    id: &NotificationId,
) -> Result<Option<(i64, bool)>, Error> {
    let receiver = kept(user.as_str());
    let place = |found: Document| found.get_i64("place").unwrap_or_default();
    let there = doc! { "_id": object_id(id.as_str()), "receiverId": &receiver };
    if let Some(there) = collections.of(ALL).find_one(there).await? {
        return Ok(Some((place(there), true)));
    }
    let older = doc! { "receiverId": receiver, "timestamp": { "$lt": time(whole(id.made_at_ms())) } };
    let older = collections.of(ALL).find_one(older).sort(doc! { "place": -1 }).await?;
    Ok(older.map(|older| (place(older), false)))
}

async fn list(collections: Collections<'_>, user: &UserId, which: Which<'_>) -> Result<Vec<Row>, Error> {
    let mut wanted = current(user, doc! {});
    if which.unread {
        wanted.insert("isRead", false);
    }
    if let Some(after) = which.after {
        match place_of(collections, user, after).await? {
            Some((place, true)) => wanted.insert("place", doc! { "$lt": place }),
            // The one that is gone was none of those that are older.
            Some((place, false)) => wanted.insert("place", doc! { "$lte": place }),
            None => return Ok(Vec::new()),
        };
    }
    let look = whole(which.limit as u64).saturating_add(1);
    let found = collections.of(ALL).find(wanted).sort(doc! { "place": -1 }).limit(look).await?;
    let found: Vec<Document> = found.try_collect().await?;
    Ok(found.iter().map(row).collect())
}

async fn mark(collections: Collections<'_>, user: &UserId, which: Marked<'_>) -> Result<Vec<String>, Error> {
    let mut unread = current(user, doc! { "isRead": false });
    match which {
        Marked::All => {}
        Marked::One(id) => _ = unread.insert("_id", object_id(id.as_str())),
        Marked::UpTo(id) => match place_of(collections, user, id).await? {
            Some((place, _)) => _ = unread.insert("place", doc! { "$lte": place }),
            None => return Ok(Vec::new()),
        },
    }
    let all = collections.of(ALL);
    let found = all.find(unread).sort(doc! { "place": -1 }).limit(MARKED);
    let found = ids(found.projection(doc! { "_id": 1 }).await?.try_collect().await?);
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let marked: Vec<_> = found.iter().filter_map(Bson::as_object_id).map(|id| id.to_hex()).collect();
    let them = doc! { "_id": { "$in": found }, "isRead": false };
    all.update_many(them, doc! { "$set": { "isRead": true } }).await?;
    Ok(marked)
}

async fn remove(collections: Collections<'_>, user: &UserId, id: &NotificationId) -> Result<bool, Error> {
    let one = current(user, doc! { "_id": object_id(id.as_str()) });
    Ok(collections.of(ALL).delete_one(one).await?.deleted_count > 0)
}

async fn unread(collections: Collections<'_>, user: &UserId) -> Result<u64, Error> {
    collections.of(ALL).count_documents(current(user, doc! { "isRead": false })).await
}

async fn owner(collections: Collections<'_>, id: &NotificationId) -> Result<Option<String>, Error> {
    let all = collections.of(ALL);
    let found = all.find_one(in_time(doc! { "_id": object_id(id.as_str()) }));
    let found = found.projection(doc! { "receiverId": 1 }).await?;
    Ok(found.and_then(|found| found.get_str("receiverId").ok().map(str::to_owned)))
}

async fn forget(collections: Collections<'_>, keep: Option<Duration>, most: usize) -> Result<u64, Error> {
    if most == 0 {
        // To MongoDB it is no limit.
        return Ok(0);
    }
    let now = now_ms();
    let mut old = vec![doc! { "until": { "$lte": time(now) } }];
    if let Some(keep) = keep {
        old.push(doc! { "timestamp": { "$lt": time(now.saturating_sub(milliseconds(keep))) } });
    }
    let all = collections.of(ALL);
    let found = all.find(doc! { "$or": old }).projection(doc! { "_id": 1 }).limit(whole(most as u64));
    let found = ids(found.await?.try_collect().await?);
    if found.is_empty() {
        return Ok(0);
    }
    Ok(all.delete_many(doc! { "_id": { "$in": found } }).await?.deleted_count)
}

#[async_trait]
impl Notifications for MongoNotifications {
    async fn add(&self, all: &[New], kept: usize) -> Result<Vec<Added>, PortError> {
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let outcomes = self.server.ask(Port::Notifications, "add", |them| add_all(them, all, kept)).await?;
        super::added(outcomes.into_iter())
    }

    async fn list(&self, user: &UserId, which: Which<'_>) -> Result<Listed, PortError> {
        let rows = self.server.ask(Port::Notifications, "list", |all| list(all, user, which)).await?;
        super::listed(rows, which.limit)
    }

    async fn mark_read(&self, user: &UserId, which: Marked<'_>) -> Result<Vec<NotificationId>, PortError> {
        let marked = self.server.ask(Port::Notifications, "mark_read", |all| mark(all, user, which)).await?;
        super::ids("mark_read", &marked)
    }

    async fn remove(&self, user: &UserId, id: &NotificationId) -> Result<bool, PortError> {
        self.server.ask(Port::Notifications, "remove", |all| remove(all, user, id)).await
    }

    async fn unread(&self, user: &UserId) -> Result<u64, PortError> {
        self.server.ask(Port::Notifications, "unread", |all| unread(all, user)).await
    }

    async fn forget(&self, keep: Option<Duration>, most: usize) -> Result<u64, PortError> {
        self.server.ask(Port::Notifications, "forget", |all| forget(all, keep, most)).await
    }
}

#[async_trait]
impl Owners for MongoNotifications {
    async fn owner(&self, id: &NotificationId) -> Result<Option<UserId>, PortError> {
        let receiver = self.server.ask(Port::Notifications, "owner", |all| owner(all, id)).await?;
        super::owner(id, receiver)
    }
}
