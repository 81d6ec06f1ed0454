//! Removing what is older than it has to be kept, a little at a time.

use std::time::Duration;

use sqlx::{Connection, SqliteConnection};

use crate::dates::{milliseconds, now_ms};
use crate::log::Retention;

/// How often to look at the most.
const OFTEN: Duration = Duration::from_millis(100);
/// Rows that are removed in one transaction: appends wait for it.
const ROWS: u64 = 2_000;

/// How often to look: seldom against what is kept for how long.
pub(super) fn interval(retention: Retention) -> Duration {
    (retention.room_retention.min(retention.dedupe_window) / 8).max(OFTEN)
}

/// Removes some of what is too old. Returns whether there may be more.
pub(super) async fn sweep(connection: &mut SqliteConnection, retention: Retention) -> Result<bool, sqlx::Error> {
    let rows = ROWS.cast_signed();
    let now = now_ms();
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let rooms_until = now.saturating_sub(milliseconds(retention.room_retention));
    // Together with the marks that would say that nothing is gone.
    for statement in [
        "INSERT INTO gone SELECT id FROM rooms WHERE last_at <= ?1",
        "DELETE FROM rooms WHERE last_at <= ?1",
        "DELETE FROM clock WHERE at <= ?1",
    ] {
        sqlx::query(statement).bind(rooms_until).execute(&mut *transaction).await?;
    }
    let keys = sqlx::query("DELETE FROM once WHERE key IN (SELECT key FROM once WHERE at <= ?1 LIMIT ?2)")
        .bind(now.saturating_sub(milliseconds(retention.dedupe_window)))
        .bind(rows)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    let events = sqlx::query(
        "DELETE FROM events WHERE offset IN
         (SELECT offset FROM events WHERE room IN (SELECT room FROM gone) LIMIT ?1)",
    )
    .bind(rows)
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if events < ROWS {
        sqlx::query("DELETE FROM gone").execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(keys == ROWS || events == ROWS)
}
