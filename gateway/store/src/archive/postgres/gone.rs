//! What goes from the archive in PostgreSQL: what is taken back, and what is old.

use std::time::Duration;

use gateway_core::archive::{Place, Taken};
use sqlx::{Connection, PgConnection};

use super::super::row::number;
use super::super::{count, old_places, place};
use super::{bury, lock};

pub(super) async fn take_back(connection: &mut PgConnection, what: &Taken, most: usize) -> Result<u64, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    lock(&mut transaction).await?;
    let found: Vec<(String, i64)> = match what {
        Taken::One { room, offset } => vec![(room.as_str().to_owned(), number(*offset))],
        Taken::User(user) => {
            sqlx::query_as("SELECT room, log_offset FROM gateway_archive WHERE user_id = $1 LIMIT $2")
                .bind(crate::text::kept(user.as_str()))
                .bind(count(most))
                .fetch_all(&mut *transaction)
                .await?
        }
    };
    let (rooms, offsets): (Vec<&str>, Vec<i64>) =
        found.iter().take(most).map(|(room, offset)| (room.as_str(), *offset)).unzip();
    let taken = bury(&mut transaction, &rooms, &offsets).await?;
    transaction.commit().await?;
    Ok(taken)
}

/// The oldest entries of a room and its oldest gaps, so many of each, in their order. One of each shows whether anything is old.
async fn oldest(connection: &mut PgConnection, room: &str, look: usize) -> Result<Vec<Place>, sqlx::Error> {
    let rows: Vec<(i64, i64, bool)> = sqlx::query_as(
        "(SELECT log_offset AS place, at_ms, false AS is_gap FROM gateway_archive WHERE room = $1
            ORDER BY log_offset LIMIT $2)
         UNION ALL
         (SELECT through_offset, noted_ms, true FROM gateway_archive_gaps WHERE room = $1
            ORDER BY through_offset LIMIT $2)
         ORDER BY place, is_gap",
    )
    .bind(room)
    .bind(count(look))
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(number, at, is_gap)| place(number, at, is_gap)).collect())
}

pub(super) async fn forget(
    connection: &mut PgConnection,
    room: &str,
    older_than: Duration,
    most: usize,
) -> Result<u64, sqlx::Error> {
    // Most rooms have nothing that is old: to see that needs no lock.
    if old_places(&oldest(connection, room, 1).await?, older_than, most).is_none() {
        return Ok(0);
    }
    let mut transaction = connection.begin().await?;
    lock(&mut transaction).await?;
    let places = oldest(&mut transaction, room, most.saturating_add(1)).await?;
    let Some((_, last)) = old_places(&places, older_than, most) else { return Ok(0) };
    let mut went = 0;
    for statement in [
        "DELETE FROM gateway_archive WHERE room = $1 AND log_offset <= $2",
        "DELETE FROM gateway_archive_gaps WHERE room = $1 AND through_offset <= $2",
    ] {
        went += sqlx::query(statement).bind(room).bind(last).execute(&mut *transaction).await?.rows_affected();
    }
    sqlx::query("UPDATE gateway_archive_rooms SET forgotten = greatest(forgotten, $2) WHERE room = $1")
        .bind(room)
        .bind(last)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(went)
}
