//! The notifications in a file.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gateway_core::dates::{milliseconds, now_ms};
use gateway_core::domain::UserId;
use gateway_core::notifications::{Added, Listed, Marked, New, NotificationId, Notifications, Owners, Which};
use gateway_core::port::{Port, PortError};
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row as _, SqliteConnection};

use super::{MARKED, Outcome, Row, kept, whole};
use crate::sqlite::DatabaseFile;

/// Notifications in a file of this process.
#[derive(Debug)]
pub struct SqliteNotifications {
    file: Arc<DatabaseFile>,
}

impl SqliteNotifications {
    /// Those of a file.
    #[must_use]
    pub fn new(file: Arc<DatabaseFile>) -> Self {
        Self { file }
    }

    fn error(&self, operation: &'static str) -> impl Fn(sqlx::Error) -> PortError {
        move |error| self.file.error(Port::Notifications, operation, error)
    }

    async fn try_list(&self, user: &UserId, which: Which<'_>) -> Result<Vec<Row>, sqlx::Error> {
        let mut connection = self.file.readers().acquire().await?;
        let receiver = kept(user.as_str());
        let before = match which.after {
            None => i64::MAX,
            Some(after) => match place_of(&mut connection, &receiver, after).await? {
                Some((place, true)) => place,
                // The one that is gone was none of those that are older.
                Some((place, false)) => place + 1,
                None => return Ok(Vec::new()),
            },
        };
        let statement = if which.unread {
            "SELECT * FROM gateway_notifications WHERE receiver = ?1 AND place < ?2 AND is_read = 0
             AND ifnull(until_ms > ?3, true) ORDER BY place DESC LIMIT ?4"
        } else {
            "SELECT * FROM gateway_notifications WHERE receiver = ?1 AND place < ?2
             AND ifnull(until_ms > ?3, true) ORDER BY place DESC LIMIT ?4"
        };
        let found = sqlx::query(statement)
            .bind(receiver)
            .bind(before)
            .bind(now_ms())
            .bind(whole(which.limit as u64).saturating_add(1))
            .fetch_all(&mut *connection)
            .await?;
        found.iter().map(row).collect()
    }
}

async fn add_all(connection: &mut SqliteConnection, all: &[New], kept: i64) -> Result<Vec<Outcome>, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let (mut added, mut counts) = (Vec::with_capacity(all.len()), HashMap::new());
    for new in all {
        added.push(add(&mut transaction, &Row::of(new), kept, &mut counts).await?);
    }
    transaction.commit().await?;
    Ok(added)
}

async fn mark(connection: &mut SqliteConnection, user: &UserId, which: Marked<'_>) -> Result<Vec<String>, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let receiver = kept(user.as_str());
    let found = match which {
        Marked::All => Some((0, i64::MAX)),
        Marked::One(id) => match place_of(&mut transaction, &receiver, id).await? {
            Some((place, true)) => Some((place, place)),
            _ => None,
        },
        Marked::UpTo(id) => place_of(&mut transaction, &receiver, id).await?.map(|(place, _)| (0, place)),
    };
    let Some((first, last)) = found else { return Ok(Vec::new()) };
    let unread: Vec<(i64, String)> = sqlx::query_as(
        "SELECT place, id FROM gateway_notifications WHERE receiver = ?1 AND place BETWEEN ?2 AND ?3 AND is_read = 0
         AND ifnull(until_ms > ?4, true) ORDER BY place DESC LIMIT ?5",
    )
    .bind(&receiver)
    .bind(first)
    .bind(last)
    .bind(now_ms())
    .bind(MARKED)
    .fetch_all(&mut *transaction)
    .await?;
    let places: Vec<i64> = unread.iter().map(|(place, _)| *place).collect();
    sqlx::query("UPDATE gateway_notifications SET is_read = 1 WHERE place IN (SELECT value FROM json_each(?1))")
        .bind(serde_json::json!(places).to_string())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(unread.into_iter().map(|(_, id)| id).collect())
}

/// The place of one; of one that is gone, that of the newest that was added before its time, and false.
async fn place_of(
    connection: &mut SqliteConnection,
    receiver: &str,
    id: &NotificationId,
) -> Result<Option<(i64, bool)>, sqlx::Error> {
    let there: Option<i64> =
        sqlx::query_scalar("SELECT place FROM gateway_notifications WHERE receiver = ?1 AND id = ?2")
            .bind(receiver)
            .bind(id.as_str())
            .fetch_optional(&mut *connection)
            .await?;
    if let Some(place) = there {
        return Ok(Some((place, true)));
    }
    let older: Option<i64> = sqlx::query_scalar(
        "SELECT place FROM gateway_notifications WHERE receiver = ?1 AND at_ms < ?2 ORDER BY place DESC LIMIT 1",
    )
    .bind(receiver)
    .bind(whole(id.made_at_ms()))
    .fetch_optional(connection)
    .await?;
    Ok(older.map(|place| (place, false)))
}

async fn add(
    connection: &mut SqliteConnection,
    row: &Row,
    most: i64,
    counts: &mut HashMap<String, i64>,
) -> Result<Outcome, sqlx::Error> {
    let place: Option<i64> = sqlx::query_scalar(
        "INSERT INTO gateway_notifications (id, receiver, sender, message, data, at_ms, until_ms, added_as, collapse)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING RETURNING place",
    )
    .bind(&row.id)
    .bind(&row.receiver)
    .bind(&row.sender)
    .bind(&row.message)
    .bind(&row.data)
    .bind(row.at_ms)
    .bind(row.until_ms)
    .bind(&row.key)
    .bind(&row.collapse)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(place) = place else {
        let known = sqlx::query_scalar(
            "SELECT id FROM gateway_notifications WHERE receiver = ?1 AND added_as = ?2
             UNION ALL SELECT id FROM gateway_notifications WHERE receiver = ?1 AND id = ?3 LIMIT 1",
        )
        .bind(&row.receiver)
        .bind(&row.key)
        .bind(&row.id)
        .fetch_one(connection)
        .await?;
        return Ok(Outcome::Known(known));
    };
    let instead_of: Option<String> = match &row.collapse {
        None => None,
        Some(collapse) => {
            sqlx::query_scalar(
                "DELETE FROM gateway_notifications WHERE receiver = ?1 AND collapse = ?2 AND is_read = 0
                 AND place < ?3 RETURNING id",
            )
            .bind(&row.receiver)
            .bind(collapse)
            .bind(place)
            .fetch_optional(&mut *connection)
            .await?
        }
    };
    // Counted once for each receiver, however many it gets.
    let count = match counts.get(&row.receiver) {
        Some(count) => count + 1 - i64::from(instead_of.is_some()),
        None => {
            sqlx::query_scalar("SELECT count(*) FROM gateway_notifications WHERE receiver = ?1")
                .bind(&row.receiver)
                .fetch_one(&mut *connection)
                .await?
        }
    };
    let mut dropped = 0;
    if count > most {
        let oldest = sqlx::query(
            "DELETE FROM gateway_notifications WHERE place IN
               (SELECT place FROM gateway_notifications WHERE receiver = ?1 ORDER BY place LIMIT ?2)",
        )
        .bind(&row.receiver)
        .bind(count - most);
        dropped = oldest.execute(connection).await?.rows_affected();
    }
    counts.insert(row.receiver.clone(), count.min(most));
    Ok(Outcome::New { instead_of, dropped })
}

fn row(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    Ok(Row {
        id: row.try_get("id")?,
        receiver: row.try_get("receiver")?,
        sender: row.try_get("sender")?,
        message: row.try_get("message")?,
        data: row.try_get("data")?,
        is_read: row.try_get("is_read")?,
        at_ms: row.try_get("at_ms")?,
        until_ms: row.try_get("until_ms")?,
        key: row.try_get("added_as")?,
        collapse: row.try_get("collapse")?,
    })
}

#[async_trait]
impl Notifications for SqliteNotifications {
    async fn add(&self, all: &[New], kept: usize) -> Result<Vec<Added>, PortError> {
        let mut lease = self.file.lease(Port::Notifications, "add").await?;
        let done = add_all(&mut lease, all, whole(kept as u64)).await;
        super::added(self.file.settle(Port::Notifications, "add", lease, done).await?.into_iter())
    }

    async fn list(&self, user: &UserId, which: Which<'_>) -> Result<Listed, PortError> {
        let rows = self.try_list(user, which).await.map_err(self.error("list"))?;
        super::listed(rows, which.limit)
    }

    async fn mark_read(&self, user: &UserId, which: Marked<'_>) -> Result<Vec<NotificationId>, PortError> {
        let mut lease = self.file.lease(Port::Notifications, "mark_read").await?;
        let done = mark(&mut lease, user, which).await;
        super::ids("mark_read", &self.file.settle(Port::Notifications, "mark_read", lease, done).await?)
    }

    async fn remove(&self, user: &UserId, id: &NotificationId) -> Result<bool, PortError> {
        let mut lease = self.file.lease(Port::Notifications, "remove").await?;
        let done =
            sqlx::query_scalar("DELETE FROM gateway_notifications WHERE receiver = ?1 AND id = ?2 RETURNING until_ms")
                .bind(kept(user.as_str()))
                .bind(id.as_str())
                .fetch_optional(&mut *lease)
                .await;
        let until: Option<Option<i64>> = self.file.settle(Port::Notifications, "remove", lease, done).await?;
        Ok(until.is_some_and(|until| until.is_none_or(|until| until > now_ms())))
    }

    async fn unread(&self, user: &UserId) -> Result<u64, PortError> {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM gateway_notifications WHERE receiver = ?1 AND is_read = 0
             AND ifnull(until_ms > ?2, true)",
        )
        .bind(kept(user.as_str()))
        .bind(now_ms())
        .fetch_one(self.file.readers())
        .await
        .map_err(self.error("unread"))?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    async fn forget(&self, keep: Option<Duration>, most: usize) -> Result<u64, PortError> {
        let now = now_ms();
        let before = keep.map_or(i64::MIN, |keep| now.saturating_sub(milliseconds(keep)));
        let mut lease = self.file.lease(Port::Notifications, "forget").await?;
        let done = sqlx::query(
            "DELETE FROM gateway_notifications WHERE place IN (
               SELECT * FROM (SELECT place FROM gateway_notifications WHERE until_ms <= ?1 LIMIT ?3)
               UNION SELECT * FROM (SELECT place FROM gateway_notifications WHERE at_ms < ?2 LIMIT ?3) LIMIT ?3)",
        )
        .bind(now)
        .bind(before)
        .bind(whole(most as u64))
        .execute(&mut *lease)
        .await;
        let gone = self.file.settle(Port::Notifications, "forget", lease, done).await?;
        Ok(gone.rows_affected())
    }
}

#[async_trait]
impl Owners for SqliteNotifications {
    async fn owner(&self, id: &NotificationId) -> Result<Option<UserId>, PortError> {
        let receiver: Option<String> = sqlx::query_scalar(
            "SELECT receiver FROM gateway_notifications WHERE id = ?1 AND ifnull(until_ms > ?2, true) LIMIT 1",
        )
        .bind(id.as_str())
        .bind(now_ms())
        .fetch_optional(self.file.readers())
        .await
        .map_err(self.error("owner"))?;
        super::owner(id, receiver)
    }
}
