//! Which tables there are, and how they come to be: by one node at a time, each version's on top of the one before.

use sqlx::{Connection, PgConnection, PgPool};

use super::Failure;
use crate::migrated::Migrated;

/// From each version to the next.
const STEPS: &[&str] = &[include_str!("schema.sql"), include_str!("schema-2.sql")];
/// The lock under which tables are changed: a number that means nothing to others.
const LOCK: i64 = 0x6761_7465_7761_7900;

/// Brings the tables up to date.
pub(super) async fn migrate(pool: &PgPool) -> Result<Migrated, Failure> {
    let mut connection = pool.acquire().await?;
    let to = i32::try_from(STEPS.len()).unwrap_or(i32::MAX);
    // Who may not make tables still uses those of somebody who may.
    let from = version(&mut connection).await?;
    if from != to {
        // It has a lock and no timeout, which end with it.
        connection.close_on_drop();
        sqlx::raw_sql("SET statement_timeout = 0").execute(&mut *connection).await?;
        // Outside of the transaction, which then sees what who had it before has made.
        sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut *connection).await?;
        let from = advance(&mut connection, to).await;
        sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK).execute(&mut *connection).await?;
        return Ok(Migrated { from: from?.unsigned_abs(), to: to.unsigned_abs() });
    }
    Ok(Migrated { from: from.unsigned_abs(), to: to.unsigned_abs() })
}

/// Which version they are of, and which they should be.
pub(super) async fn standing(pool: &PgPool) -> Result<Migrated, Failure> {
    let from = version(&mut *pool.acquire().await?).await?;
    Ok(Migrated { from: from.unsigned_abs(), to: u32::try_from(STEPS.len()).unwrap_or(u32::MAX) })
}

async fn advance(connection: &mut PgConnection, to: i32) -> Result<i32, Failure> {
    let mut transaction = connection.begin().await?;
    let from = version(&mut transaction).await?;
    if from > to {
        return Err(Failure::Newer);
    }
    let encoding: String = sqlx::query_scalar("SHOW server_encoding").fetch_one(&mut *transaction).await?;
    if encoding != "UTF8" {
        return Err(Failure::Encoding(encoding));
    }
    if from < to {
        for step in &STEPS[usize::try_from(from).unwrap_or_default()..] {
            sqlx::raw_sql(*step).execute(&mut *transaction).await?;
        }
        sqlx::query("UPDATE gateway_schema SET version = $1").bind(to).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(from)
}

/// The version of the tables that are there; 0 if there are none.
async fn version(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let is_there: bool =
        sqlx::query_scalar("SELECT to_regclass('gateway_schema') IS NOT NULL").fetch_one(&mut *connection).await?;
    if !is_there {
        return Ok(0);
    }
    let version = sqlx::query_scalar("SELECT version FROM gateway_schema").fetch_optional(connection).await?;
    Ok(version.unwrap_or_default())
}
