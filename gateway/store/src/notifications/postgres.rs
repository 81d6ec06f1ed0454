//! The notifications in PostgreSQL.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gateway_core::dates::{milliseconds, now_ms};
use gateway_core::domain::UserId;
use gateway_core::notifications::{Added, Listed, Marked, New, NotificationId, Notifications, Owners, Which};
use gateway_core::port::{Port, PortError};
use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, Row as _};

use super::{MARKED, Outcome, Row, kept, whole};
use crate::postgres::PostgresServer;

/// Notifications on a PostgreSQL server.
#[derive(Debug)]
pub struct PostgresNotifications {
    server: Arc<PostgresServer>,
}

impl PostgresNotifications {
    /// Those of a server.
    #[must_use]
    pub fn new(server: Arc<PostgresServer>) -> Self {
        Self { server }
    }
}

/// The first number of the locks of receivers; the second is what their name comes to.
const LOCKS: i32 = 0x6761_7465;

async fn add_all(connection: &mut PgConnection, all: &[New], most: i64) -> Result<Vec<Outcome>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    // One at a time for each receiver, and always in the same order, so that nobody waits for each other.
    let receivers: BTreeSet<_> = all.iter().map(|new| kept(new.receiver.as_str())).collect();
    sqlx::query(
        "SELECT pg_advisory_xact_lock($1, place) FROM
           (SELECT DISTINCT hashtext(receiver) AS place FROM unnest($2::text[]) AS all_of_them (receiver) ORDER BY place) AS places",
    )
    .bind(LOCKS)
    .bind(receivers.into_iter().collect::<Vec<_>>())
    .execute(&mut *transaction)
    .await?;
    let (mut added, mut counts) = (Vec::with_capacity(all.len()), HashMap::new());
    for new in all {
        added.push(add(&mut transaction, &Row::of(new), most, &mut counts).await?);
    }
    transaction.commit().await?;
    Ok(added)
}

async fn add(
    connection: &mut PgConnection,
    row: &Row,
    most: i64,
    counts: &mut HashMap<String, i64>,
) -> Result<Outcome, sqlx::Error> {
    let place: Option<i64> = sqlx::query_scalar(
        "INSERT INTO gateway_notifications (id, receiver, sender, message, data, at_ms, until_ms, added_as, collapse)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING place",
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
            "SELECT id FROM gateway_notifications WHERE receiver = $1 AND added_as = $2
             UNION ALL SELECT id FROM gateway_notifications WHERE receiver = $1 AND id = $3 LIMIT 1",
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
                "DELETE FROM gateway_notifications WHERE receiver = $1 AND collapse = $2 AND NOT is_read
                 AND place < $3 RETURNING id",
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
            sqlx::query_scalar("SELECT count(*) FROM gateway_notifications WHERE receiver = $1")
                .bind(&row.receiver)
                .fetch_one(&mut *connection)
                .await?
        }
    };
    let mut dropped = 0;
    if count > most {
        let oldest = sqlx::query(
            "DELETE FROM gateway_notifications WHERE place IN
               (SELECT place FROM gateway_notifications WHERE receiver = $1 ORDER BY place LIMIT $2)",
        )
        .bind(&row.receiver)
        .bind(count - most);
        dropped = oldest.execute(connection).await?.rows_affected();
    }
    counts.insert(row.receiver.clone(), count.min(most));
    Ok(Outcome::New { instead_of, dropped })
}

/// The place of one; of one that is gone, that of the newest that was added before its time, and false.
async fn place_of(
    connection: &mut PgConnection,
    receiver: &str,
    id: &NotificationId,
) -> Result<Option<(i64, bool)>, sqlx::Error> {
    let there: Option<i64> =
        sqlx::query_scalar("SELECT place FROM gateway_notifications WHERE receiver = $1 AND id = $2")
            .bind(receiver)
            .bind(id.as_str())
            .fetch_optional(&mut *connection)
            .await?;
    if let Some(place) = there {
        return Ok(Some((place, true)));
    }
    let older: Option<i64> = sqlx::query_scalar(
        "SELECT place FROM gateway_notifications WHERE receiver = $1 AND at_ms < $2 ORDER BY place DESC LIMIT 1",
    )
    .bind(receiver)
    .bind(whole(id.made_at_ms()))
    .fetch_optional(connection)
    .await?;
    Ok(older.map(|place| (place, false)))
}

async fn list(connection: &mut PgConnection, user: &UserId, which: Which<'_>) -> Result<Vec<Row>, sqlx::Error> {
    let receiver = kept(user.as_str());
    let before = match which.after {
        None => i64::MAX,
        Some(after) => match place_of(connection, &receiver, after).await? {
            Some((place, true)) => place,
            // The one that is gone was none of those that are older.
            Some((place, false)) => place + 1,
            None => return Ok(Vec::new()),
        },
    };
    let statement = if which.unread {
        "SELECT * FROM gateway_notifications WHERE receiver = $1 AND place < $2 AND NOT is_read
         AND coalesce(until_ms > $3, true) ORDER BY place DESC LIMIT $4"
    } else {
        "SELECT * FROM gateway_notifications WHERE receiver = $1 AND place < $2
         AND coalesce(until_ms > $3, true) ORDER BY place DESC LIMIT $4"
    };
    let found = sqlx::query(statement)
        .bind(receiver)
        .bind(before)
        .bind(now_ms())
        .bind(whole(which.limit as u64).saturating_add(1))
        .fetch_all(connection)
        .await?;
    found.iter().map(row).collect()
}

async fn mark(connection: &mut PgConnection, user: &UserId, which: Marked<'_>) -> Result<Vec<String>, sqlx::Error> {
    let receiver = kept(user.as_str());
    let found = match which {
        Marked::All => Some((0, i64::MAX)),
        Marked::One(id) => match place_of(connection, &receiver, id).await? {
            Some((place, true)) => Some((place, place)),
            _ => None,
        },
        Marked::UpTo(id) => place_of(connection, &receiver, id).await?.map(|(place, _)| (0, place)),
    };
    let Some((first, last)) = found else { return Ok(Vec::new()) };
    sqlx::query_scalar(
        "WITH unread AS (
           SELECT place FROM gateway_notifications WHERE receiver = $1 AND place BETWEEN $2 AND $3 AND NOT is_read
             AND coalesce(until_ms > $4, true) ORDER BY place DESC LIMIT $5 FOR UPDATE),
         marked AS (
           UPDATE gateway_notifications AS all_of_them SET is_read = true FROM unread
             WHERE all_of_them.place = unread.place AND NOT all_of_them.is_read RETURNING all_of_them.place, all_of_them.id)
         SELECT id FROM marked ORDER BY place DESC",
    )
    .bind(receiver)
    .bind(first)
    .bind(last)
    .bind(now_ms())
    .bind(MARKED)
    .fetch_all(connection)
    .await
}

async fn forget(connection: &mut PgConnection, keep: Option<Duration>, most: i64) -> Result<u64, sqlx::Error> {
    let now = now_ms();
    let before = keep.map_or(i64::MIN, |keep| now.saturating_sub(milliseconds(keep)));
    let gone = sqlx::query(
        "DELETE FROM gateway_notifications WHERE place IN (
           (SELECT place FROM gateway_notifications WHERE until_ms <= $1 LIMIT $3)
           UNION (SELECT place FROM gateway_notifications WHERE at_ms < $2 LIMIT $3) LIMIT $3)",
    )
    .bind(now)
    .bind(before)
    .bind(most)
    .execute(connection)
    .await?;
    Ok(gone.rows_affected())
}

fn row(row: &PgRow) -> Result<Row, sqlx::Error> {
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
impl Notifications for PostgresNotifications {
    async fn add(&self, all: &[New], kept: usize) -> Result<Vec<Added>, PortError> {
        let mut lease = self.server.lease(Port::Notifications, "add").await?;
        let done = self.server.bounded(add_all(&mut lease, all, whole(kept as u64))).await;
        super::added(self.server.settle(Port::Notifications, "add", lease, done)?.into_iter())
    }

    async fn list(&self, user: &UserId, which: Which<'_>) -> Result<Listed, PortError> {
        let mut lease = self.server.lease(Port::Notifications, "list").await?;
        let done = self.server.bounded(list(&mut lease, user, which)).await;
        super::listed(self.server.settle(Port::Notifications, "list", lease, done)?, which.limit)
    }

    async fn mark_read(&self, user: &UserId, which: Marked<'_>) -> Result<Vec<NotificationId>, PortError> {
        let mut lease = self.server.lease(Port::Notifications, "mark_read").await?;
        let done = self.server.bounded(mark(&mut lease, user, which)).await;
        super::ids("mark_read", &self.server.settle(Port::Notifications, "mark_read", lease, done)?)
    }

    async fn remove(&self, user: &UserId, id: &NotificationId) -> Result<bool, PortError> {
        let mut lease = self.server.lease(Port::Notifications, "remove").await?;
        let removed =
            sqlx::query_scalar("DELETE FROM gateway_notifications WHERE receiver = $1 AND id = $2 RETURNING until_ms")
                .bind(kept(user.as_str()))
                .bind(id.as_str())
                .fetch_optional(&mut *lease);
        let done = self.server.bounded(removed).await;
        let until: Option<Option<i64>> = self.server.settle(Port::Notifications, "remove", lease, done)?;
        Ok(until.is_some_and(|until| until.is_none_or(|until| until > now_ms())))
    }

    async fn unread(&self, user: &UserId) -> Result<u64, PortError> {
        let mut lease = self.server.lease(Port::Notifications, "unread").await?;
        let counted = sqlx::query_scalar(
            "SELECT count(*) FROM gateway_notifications WHERE receiver = $1 AND NOT is_read
             AND coalesce(until_ms > $2, true)",
        )
        .bind(kept(user.as_str()))
        .bind(now_ms())
        .fetch_one(&mut *lease);
        let done = self.server.bounded(counted).await;
        let count: i64 = self.server.settle(Port::Notifications, "unread", lease, done)?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    async fn forget(&self, keep: Option<Duration>, most: usize) -> Result<u64, PortError> {
        let mut lease = self.server.lease(Port::Notifications, "forget").await?;
        let done = self.server.bounded(forget(&mut lease, keep, whole(most as u64))).await;
        self.server.settle(Port::Notifications, "forget", lease, done)
    }
}

#[async_trait]
impl Owners for PostgresNotifications {
    async fn owner(&self, id: &NotificationId) -> Result<Option<UserId>, PortError> {
        let mut lease = self.server.lease(Port::Notifications, "owner").await?;
        let found = sqlx::query_scalar(
            "SELECT receiver FROM gateway_notifications WHERE id = $1 AND coalesce(until_ms > $2, true) LIMIT 1",
        )
        .bind(id.as_str())
        .bind(now_ms())
        .fetch_optional(&mut *lease);
        let done = self.server.bounded(found).await;
        super::owner(id, self.server.settle(Port::Notifications, "owner", lease, done)?)
    }
}
