//! How jobs are claimed in the file, renewed and settled.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{QueryBuilder, Sqlite, SqlitePool, Transaction};

use super::super::claims::{Claims, Fate, Next, Stirring, Token, Wish};
use super::super::{QueueName, Rate, Working, lost_too_often};
use super::Shared;
use super::row::{COLUMNS, Read};
use crate::dates::{milliseconds, now_ms};
use crate::port::PortError;

/// How many are taken out at a time: nothing else is written meanwhile.
const TIDIED: i64 = 500;

#[async_trait]
impl Claims for Shared {
    async fn claim(&self, queue: &QueueName, wish: Wish) -> Result<Next, PortError> {
        let _turn = self.turn.lock().await;
        try_claim(&self.connection, queue, wish).await.map_err(|error| self.error("claim", error))
    }

    async fn renew(&self, tokens: &[Token], lease: Duration) -> Result<Vec<Token>, PortError> {
        let _turn = self.turn.lock().await;
        let until = now_ms().saturating_add(milliseconds(lease));
        let mut query = QueryBuilder::<Sqlite>::new("UPDATE jobs SET lock_until = ");
        query.push_bind(until).push(" WHERE state = 2 AND token IN (");
        let mut list = query.separated(", ");
        for token in tokens {
            list.push_bind(token.0);
        }
        query.push(") RETURNING token");
        let renewed: Vec<i64> =
            query.build_query_scalar().fetch_all(&self.connection).await.map_err(|error| self.error("renew", error))?;
        Ok(renewed.into_iter().map(Token).collect())
    }

    async fn settle(&self, queue: &QueueName, token: Token, fate: &Fate) -> Result<bool, PortError> {
        let _turn = self.turn.lock().await;
        let settled = try_settle(&self.connection, token, fate).await.map_err(|error| self.error("settle", error))?;
        if matches!(fate, Fate::Again { .. } | Fate::Back) {
            self.stirring.stir(queue);
        }
        Ok(settled)
    }

    async fn tidy(&self, queue: &QueueName) -> Result<(), PortError> {
        let _turn = self.turn.lock().await;
        let most = i64::try_from(self.kept.most).unwrap_or(i64::MAX);
        let tidied = sqlx::query(
            "DELETE FROM jobs WHERE seq IN (
               SELECT seq FROM jobs WHERE queue = ?1 AND state = 3 AND ended_at <= ?2 ORDER BY ended_at, seq LIMIT ?3)
             OR seq IN (
               SELECT seq FROM jobs WHERE queue = ?1 AND state = 3 ORDER BY ended_at DESC, seq DESC LIMIT ?3 OFFSET ?4)",
        )
        .bind(queue.as_str())
        .bind(now_ms().saturating_sub(milliseconds(self.kept.time)))
        .bind(TIDIED)
        .bind(most)
        .execute(&self.connection)
        .await;
        tidied.map(drop).map_err(|error| self.error("tidy", error))
    }

    fn stirring(&self) -> &Stirring {
        &self.stirring
    }
}

async fn try_claim(connection: &SqlitePool, queue: &QueueName, wish: Wish) -> Result<Next, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let next = claim_in(&mut transaction, queue, wish).await?;
    transaction.commit().await?;
    Ok(next)
}

async fn claim_in(
    transaction: &mut Transaction<'_, Sqlite>,
    queue: &QueueName,
    wish: Wish,
) -> Result<Next, sqlx::Error> {
    let now = now_ms();
    // Each statement is a way to another thread and back, so what there is mostly not is asked for together.
    let about: Option<(bool, i64, i64, bool)> = sqlx::query_as(
        "SELECT paused, begun_since, begun,
         EXISTS (SELECT 1 FROM jobs WHERE queue = ?1 AND state = 1 AND run_at <= ?2)
         OR EXISTS (SELECT 1 FROM jobs WHERE queue = ?1 AND state = 2 AND lock_until <= ?2)
         FROM queues WHERE queue = ?1",
    )
    .bind(queue.as_str())
    .bind(now)
    .fetch_optional(&mut **transaction)
    .await?;
    let Some((paused, begun_since, begun, is_behind)) = about else { return Ok(Next::Nothing) };
    if is_behind {
        catch_up(transaction, queue, now).await?;
    }
    if paused {
        return Ok(Next::Nothing);
    }
    let first: Option<(i64, u32)> = sqlx::query_as(
        "SELECT seq, lost FROM jobs WHERE queue = ?1 AND state = 0 ORDER BY priority, run_at, seq LIMIT 1",
    )
    .bind(queue.as_str())
    .fetch_optional(&mut **transaction)
    .await?;
    let Some((seq, lost)) = first else { return when_due(transaction, queue, now).await };
    if lost > 0 && !wish.alone {
        return Ok(Next::Alone);
    }
    if let Some(rate) = wish.rate {
        let barred = count_in(transaction, queue, rate, (now, begun_since, begun)).await?;
        if let Some(time) = barred {
            return Ok(Next::After(time));
        }
    }
    let text = format!(
        "UPDATE jobs SET state = 2, token = ?2, lock_until = ?3, begun_at = ?4, attempt = attempt + 1 WHERE seq = ?1
         RETURNING {COLUMNS}"
    );
    let read: Read = sqlx::query_as(sqlx::AssertSqlSafe(text))
        .bind(seq)
        .bind(wish.token.0)
        .bind(now.saturating_add(milliseconds(wish.lease)))
        .bind(now)
        .fetch_one(&mut **transaction)
        .await?;
    Ok(Next::Job(Box::new(read.0.job)))
}

/// Has what is due by now wait, and what was lost come back: its attempt was none, but it is counted that it was lost.
async fn catch_up(transaction: &mut Transaction<'_, Sqlite>, queue: &QueueName, now: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE jobs SET state = 0 WHERE queue = ?1 AND state = 1 AND run_at <= ?2")
        .bind(queue.as_str())
        .bind(now)
        .execute(&mut **transaction)
        .await?;
    sqlx::query(
        "UPDATE jobs SET token = NULL, lock_until = NULL, attempt = attempt - 1, lost = lost + 1,
         state = CASE WHEN lost + 1 >= ?3 THEN 4 ELSE 0 END, ended_at = CASE WHEN lost + 1 >= ?3 THEN ?2 END,
         why = CASE WHEN lost + 1 >= ?3 THEN ?4 ELSE why END
         WHERE queue = ?1 AND state = 2 AND lock_until <= ?2",
    )
    .bind(queue.as_str())
    .bind(now)
    .bind(Working::LOST)
    .bind(lost_too_often())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn when_due(transaction: &mut Transaction<'_, Sqlite>, queue: &QueueName, now: i64) -> Result<Next, sqlx::Error> {
    let due: Option<i64> =
        sqlx::query_scalar("SELECT run_at FROM jobs WHERE queue = ?1 AND state = 1 ORDER BY run_at, seq LIMIT 1")
            .bind(queue.as_str())
            .fetch_optional(&mut **transaction)
            .await?;
    let after = |due: i64| Duration::from_millis(due.saturating_sub(now).max(1).unsigned_abs());
    Ok(due.map_or(Next::Nothing, |due| Next::After(after(due))))
}

/// Counts a job by the rate of its queue; how long none may be begun, if it is used up.
async fn count_in(
    transaction: &mut Transaction<'_, Sqlite>,
    queue: &QueueName,
    rate: Rate,
    (now, since, begun): (i64, i64, i64),
) -> Result<Option<Duration>, sqlx::Error> {
    let per = milliseconds(rate.per);
    // A clock that was set back must not bar the queue until it is there again.
    let runs = (since..since.saturating_add(per)).contains(&now);
    let (since, begun) = if runs { (since, begun) } else { (now, 0) };
    if begun >= i64::from(rate.jobs) {
        return Ok(Some(Duration::from_millis(since.saturating_add(per).saturating_sub(now).max(1).unsigned_abs())));
    }
    sqlx::query("UPDATE queues SET begun_since = ?2, begun = ?3 WHERE queue = ?1")
        .bind(queue.as_str())
        .bind(since)
        .bind(begun + 1)
        .execute(&mut **transaction)
        .await?;
    Ok(None)
}

async fn try_settle(connection: &SqlitePool, token: Token, fate: &Fate) -> Result<bool, sqlx::Error> {
    let now = now_ms();
    let query = match fate {
        Fate::Done(result) => sqlx::query(
            "UPDATE jobs SET token = NULL, lock_until = NULL, state = 3, ended_at = ?2, why = NULL, result = ?3
             WHERE token = ?1 AND state = 2",
        )
        .bind(token.0)
        .bind(now)
        .bind(result.as_ref().map(|result| result.get().to_owned())),
        Fate::Failed { why } => sqlx::query(
            "UPDATE jobs SET token = NULL, lock_until = NULL, state = 4, ended_at = ?2, why = ?3
             WHERE token = ?1 AND state = 2",
        )
        .bind(token.0)
        .bind(now)
        .bind(why.clone()),
        Fate::Again { why, after } => sqlx::query(
            "UPDATE jobs SET token = NULL, lock_until = NULL, state = 1, run_at = ?2, why = ?3
             WHERE token = ?1 AND state = 2",
        )
        .bind(token.0)
        .bind(now.saturating_add(milliseconds(*after)))
        .bind(why.clone()),
        Fate::Back => sqlx::query(
            "UPDATE jobs SET token = NULL, lock_until = NULL, state = 0, attempt = attempt - 1
             WHERE token = ?1 AND state = 2",
        )
        .bind(token.0),
    };
    Ok(query.execute(connection).await?.rows_affected() > 0)
}
