//! What goes from the archive in MongoDB: what is taken back, and what is old.

use std::time::Duration;

use futures_util::TryStreamExt;
use gateway_core::archive::{Place, Taken};
use mongodb::bson::{Document, doc};
use mongodb::error::Error;

use super::super::row::number;
use super::super::{count, old_places, place};
use super::{ENTRIES, GAPS, ROOMS, bury};
use crate::mongo::Collections;

pub(super) async fn take_back(collections: Collections<'_>, what: &Taken, most: usize) -> Result<u64, Error> {
    if most == 0 {
        return Ok(0);
    }
    let which = match what {
        Taken::One { room, offset } => doc! { "room": room.as_str(), "offset": number(*offset) },
        Taken::User(user) => {
            let theirs = doc! { "user": &*crate::text::kept(user.as_str()) };
            let found = collections.of(ENTRIES).find(theirs).projection(doc! { "_id": 1 }).limit(count(most)).await?;
            doc! { "_id": { "$in": ids(found.try_collect().await?) } }
        }
    };
    bury(collections, which).await
}

fn ids(documents: Vec<Document>) -> Vec<mongodb::bson::Bson> {
    documents.into_iter().filter_map(|mut document| document.remove("_id")).collect()
}

/// The oldest entries of a room and its oldest gaps, so many of each, in their order. One of each shows whether anything is old.
async fn oldest(collections: Collections<'_>, room: &str, look: usize) -> Result<Vec<Place>, Error> {
    let of_it = doc! { "room": room };
    let entries = collections.of(ENTRIES);
    let found = entries.find(of_it.clone()).sort(doc! { "offset": 1 }).limit(count(look));
    let found: Vec<Document> = found.projection(doc! { "offset": 1, "at": 1 }).await?.try_collect().await?;
    let found_gaps = collections.of(GAPS).find(of_it).sort(doc! { "through": 1 }).limit(count(look)).await?;
    let found_gaps: Vec<Document> = found_gaps.try_collect().await?;
    let of = |document: &Document, number: &str, at: &str, is_gap| {
        let at = document.get_datetime(at).map_or(0, |at| at.timestamp_millis());
        place(document.get_i64(number).unwrap_or_default(), at, is_gap)
    };
    let places = found.iter().map(|entry| of(entry, "offset", "at", false));
    let mut places: Vec<_> = places.chain(found_gaps.iter().map(|gap| of(gap, "through", "noted", true))).collect();
    places.sort_by_key(|place| (place.offset, place.is_gap));
    Ok(places)
}

pub(super) async fn forget(
    collections: Collections<'_>,
    room: &str,
    older_than: Duration,
    most: usize,
) -> Result<u64, Error> {
    // Most rooms have nothing that is old.
    if old_places(&oldest(collections, room, 1).await?, older_than, most).is_none() {
        return Ok(0);
    }
    let places = oldest(collections, room, most.saturating_add(1)).await?;
    let Some((old, last)) = old_places(&places, older_than, most) else { return Ok(0) };
    let (entries, gaps) = (collections.of(ENTRIES), collections.of(GAPS));
    // First: what is not there any more is not missing, and does not come back.
    let rooms = collections.of(ROOMS);
    rooms.update_one(doc! { "_id": room }, doc! { "$max": { "forgotten": last } }).await?;
    let went = entries.delete_many(doc! { "room": room, "offset": { "$lte": last } }).await?.deleted_count;
    let went_gaps = gaps.delete_many(doc! { "room": room, "through": { "$lte": last } }).await?.deleted_count;
    if places.len() == old {
        rooms.update_one(doc! { "_id": room, "end": { "$lte": last } }, doc! { "$set": { "empty": true } }).await?;
    }
    Ok(went + went_gaps)
}
