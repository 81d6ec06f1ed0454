//! The ticks of one node in a file: what was done is known after the process was ended, too.

use std::path::Path;

use async_trait::async_trait;
use sqlx::SqlitePool;

use super::{APART_MS, OPEN_KEPT, RUNS_KEPT, Run, Ticks};
use crate::port::{Port, PortError};
use crate::sqlite::Database;

/// What tells the file from others: `tik`, and the version of its tables.
const KIND: i32 = 0x7469_6b01;

/// Ticks in a database file.
#[derive(Debug)]
pub struct SqliteTicks {
    /// One connection: each operation is one transaction after another.
    connection: SqlitePool,
    database: Database,
}

impl SqliteTicks {
    /// Opens a file, or makes it with its directory.
    ///
    /// # Errors
    /// The file cannot be made, opened or read, another process has it, or it is something else.
    pub async fn open(path: &Path) -> Result<Self, PortError> {
        let database = Database::open(path, KIND, include_str!("sqlite.sql")).await;
        let database = database.map_err(|error| Port::Ticks.failed("open", error))?;
        Ok(Self { connection: database.durable_writer(), database })
    }

    /// Lets go of the file. What is asked after that fails.
    pub async fn close(&self) {
        self.connection.close().await;
        self.database.unlock();
    }

    fn error(&self, operation: &'static str) -> impl Fn(sqlx::Error) -> PortError {
        move |error| Port::Ticks.failed(operation, self.database.error(error))
    }

    async fn try_note(&self, plan: &str, run: &Run, text: &str) -> Result<(), sqlx::Error> {
        let mut transaction = self.connection.begin().await?;
        if run.ends() {
            sqlx::query("UPDATE ticks SET ended = 1 WHERE plan = ?1 AND tick = ?2")
                .bind(plan)
                .bind(whole(run.tick))
                .execute(&mut *transaction)
                .await?;
            sqlx::query(
                "DELETE FROM ticks WHERE plan = ?1 AND ended = 1 AND tick + ?2 <= (SELECT tick FROM plans WHERE plan = ?1)",
            )
            .bind(plan)
            .bind(whole(APART_MS))
            .execute(&mut *transaction)
            .await?;
        }
        sqlx::query("INSERT INTO runs (schedule, run) VALUES (?1, ?2)")
            .bind(&run.schedule)
            .bind(text)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "DELETE FROM runs WHERE schedule = ?1 AND place <=
               (SELECT place FROM runs WHERE schedule = ?1 ORDER BY place DESC LIMIT 1 OFFSET ?2)",
        )
        .bind(&run.schedule)
        .bind(whole(RUNS_KEPT as u64))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    async fn try_begin(&self, plan: &str, tick: i64) -> Result<bool, sqlx::Error> {
        let mut transaction = self.connection.begin().await?;
        let known: Option<bool> = sqlx::query_scalar("SELECT ended FROM ticks WHERE plan = ?1 AND tick = ?2")
            .bind(plan)
            .bind(tick)
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(has_ended) = known {
            return Ok(!has_ended);
        }
        let begun: Option<i64> = sqlx::query_scalar(
            "INSERT INTO plans (plan, tick, passed) VALUES (?1, ?2, ?3)
             ON CONFLICT (plan) DO UPDATE SET tick = max(plans.tick, ?2)
               WHERE ?2 > plans.passed AND ?2 + ?4 > plans.tick RETURNING tick",
        )
        .bind(plan)
        .bind(tick)
        .bind(i64::MIN)
        .bind(whole(APART_MS))
        .fetch_optional(&mut *transaction)
        .await?;
        if begun.is_none() {
            return Ok(false);
        }
        sqlx::query("INSERT INTO ticks (plan, tick, ended) VALUES (?1, ?2, 0)")
            .bind(plan)
            .bind(tick)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "DELETE FROM ticks WHERE plan = ?1 AND ended = 0 AND tick <=
               (SELECT tick FROM ticks WHERE plan = ?1 AND ended = 0 ORDER BY tick DESC LIMIT 1 OFFSET ?2)",
        )
        .bind(plan)
        .bind(whole(OPEN_KEPT as u64))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(true)
    }
}

#[async_trait]
impl Ticks for SqliteTicks {
    async fn last(&self, plan: &str, or: u64) -> Result<u64, PortError> {
        let last: i64 = sqlx::query_scalar(
            "INSERT INTO plans (plan, tick, passed) VALUES (?1, ?2, ?2)
             ON CONFLICT (plan) DO UPDATE SET tick = tick RETURNING tick",
        )
        .bind(plan)
        .bind(whole(or))
        .fetch_one(&self.connection)
        .await
        .map_err(self.error("last"))?;
        Ok(u64::try_from(last).unwrap_or_default())
    }

    async fn pass(&self, plan: &str, tick: u64) -> Result<(), PortError> {
        sqlx::query(
            "INSERT INTO plans (plan, tick, passed) VALUES (?1, ?2, ?2)
             ON CONFLICT (plan) DO UPDATE SET tick = max(tick, ?2), passed = max(passed, ?2)",
        )
        .bind(plan)
        .bind(whole(tick))
        .execute(&self.connection)
        .await
        .map_err(self.error("pass"))?;
        Ok(())
    }

    async fn begin(&self, plan: &str, tick: u64) -> Result<bool, PortError> {
        self.try_begin(plan, whole(tick)).await.map_err(self.error("begin"))
    }

    async fn note(&self, plan: &str, run: &Run) -> Result<(), PortError> {
        let text = serde_json::to_string(run).expect("a run is a plain struct");
        self.try_note(plan, run, &text).await.map_err(self.error("note"))
    }

    async fn runs(&self, schedule: &str, most: usize) -> Result<Vec<Run>, PortError> {
        let runs: Vec<String> =
            sqlx::query_scalar("SELECT run FROM runs WHERE schedule = ?1 ORDER BY place DESC LIMIT ?2")
                .bind(schedule)
                .bind(whole(most as u64))
                .fetch_all(&self.connection)
                .await
                .map_err(self.error("runs"))?;
        // What a later version wrote is passed over.
        Ok(runs.iter().filter_map(|run| serde_json::from_str(run).ok()).collect())
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
