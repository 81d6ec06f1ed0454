//! Which collections and indexes there are, and how they come to be: by one node at a time.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;
use mongodb::{Collection, Database, IndexModel};
use tokio::time::Instant;

use super::{Failure, is_duplicate, time};
use crate::migrated::Migrated;
use gateway_core::dates::now_ms;

/// The version that this one makes.
const VERSION: i32 = 1;
/// For how long a node that makes them has the lock, should it die meanwhile.
const LEASE_MS: i64 = 60_000;
/// How long to wait before the lock is asked for again.
const AGAIN: Duration = Duration::from_millis(100);

/// Brings the collections up to date.
pub(super) async fn migrate(database: &Database, timeout: Duration) -> Result<Migrated, Failure> {
    let schema: Collection<Document> = database.collection("gateway_schema");
    let from = tokio::time::timeout(timeout * 2, version(&schema)).await.map_err(|_| Failure::Late)??;
    if from > VERSION {
        return Err(Failure::Newer);
    }
    if from == VERSION {
        return Ok(Migrated { from: from.unsigned_abs(), to: VERSION.unsigned_abs() });
    }
    let holder = format!("{:016x}", std::process::id()) + &mongodb::bson::oid::ObjectId::new().to_hex();
    lock(&schema, &holder, timeout).await?;
    let advanced = advance(database, &schema).await;
    schema.delete_one(doc! { "_id": "lock", "holder": holder }).await.ok();
    Ok(Migrated { from: advanced?.unsigned_abs(), to: VERSION.unsigned_abs() })
}

/// Which version they are of, and which they should be.
pub(super) async fn standing(database: &Database, timeout: Duration) -> Result<Migrated, Failure> {
    let schema: Collection<Document> = database.collection("gateway_schema");
    let from = tokio::time::timeout(timeout * 2, version(&schema)).await.map_err(|_| Failure::Late)??;
    Ok(Migrated { from: from.unsigned_abs(), to: VERSION.unsigned_abs() })
}

async fn version(schema: &Collection<Document>) -> Result<i32, Failure> {
    let there = schema.find_one(doc! { "_id": "schema" }).await?;
    Ok(there.and_then(|there| there.get_i32("version").ok()).unwrap_or_default())
}

async fn lock(schema: &Collection<Document>, holder: &str, timeout: Duration) -> Result<(), Failure> {
    let patience = Instant::now() + timeout;
    loop {
        let now = now_ms();
        let free = doc! { "_id": "lock", "until": { "$lt": time(now) } };
        let taken = doc! { "$set": { "holder": holder, "until": time(now + LEASE_MS) } };
        match schema.update_one(free, taken).upsert(true).await {
            Ok(_) => return Ok(()),
            // It is there, and somebody's.
            Err(error) if is_duplicate(&error) && Instant::now() < patience => tokio::time::sleep(AGAIN).await,
            Err(error) if is_duplicate(&error) => return Err(Failure::Locked),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns the version that was there. Whatever is made twice is made once.
async fn advance(database: &Database, schema: &Collection<Document>) -> Result<i32, Failure> {
    let from = version(schema).await?;
    if from > VERSION {
        return Err(Failure::Newer);
    }
    if from < 1 {
        let unique = || IndexOptions::builder().unique(true).build();
        let index = |keys: Document| IndexModel::builder().keys(keys).build();
        let unique_index = |keys: Document| IndexModel::builder().keys(keys).options(unique()).build();
        let all = [
            ("gateway_archive", unique_index(doc! { "room": 1, "offset": 1 })),
            // All that a user said is removed when it asks for that.
            ("gateway_archive", index(doc! { "user": 1 })),
            ("gateway_archive_gaps", unique_index(doc! { "room": 1, "through": 1, "after": 1 })),
            ("gateway_notifications", index(doc! { "receiverId": 1, "place": -1 })),
            ("gateway_notifications", index(doc! { "receiverId": 1, "isRead": 1, "place": -1 })),
            ("gateway_notifications", index(doc! { "receiverId": 1, "collapse": 1 })),
            ("gateway_notifications", unique_index(doc! { "addedAs": 1 })),
            ("gateway_notifications", index(doc! { "until": 1 })),
            ("gateway_notifications", index(doc! { "timestamp": 1 })),
        ];
        for (collection, index) in all {
            database.collection::<Document>(collection).create_index(index).await?;
        }
    }
    schema.update_one(doc! { "_id": "schema" }, doc! { "$set": { "version": VERSION } }).upsert(true).await?;
    Ok(from)
}
