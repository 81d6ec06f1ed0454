//! Whose history a file holds, and whether it can be continued.

use sqlx::{Connection, SqliteConnection};

use super::append::State;
use crate::domain::{Epoch, Offset};
use crate::log::present;

/// A history, and where it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct History {
    pub(super) epoch: Epoch,
    pub(super) began: Offset,
}

impl History {
    /// Continues the history of the file, or begins one; returns it and where it stands.
    pub(super) async fn open(connection: &mut SqliteConnection) -> Result<(Self, State), sqlx::Error> {
        // On the disk before anything is appended: a power cut must not undo that this was opened.
        sqlx::raw_sql("PRAGMA synchronous = FULL").execute(&mut *connection).await?;
        let boot = boot();
        let mut transaction = connection.begin().await?;
        let row: Option<(String, i64, i64, String)> =
            sqlx::query_as("SELECT epoch, began, head, boot FROM log").fetch_optional(&mut *transaction).await?;
        let last = row.as_ref().map_or(0, |(_, _, head, _)| *head);
        let present = i64::try_from(present().0).unwrap_or(last).max(last);
        let kept = row.filter(|(.., written)| written.is_empty() || *written == boot);
        let kept = kept.and_then(|(epoch, began, ..)| Some((Epoch::parse(&epoch)?, began)));
        let (epoch, began, head) = match kept {
            // Marks are not written down: the present is above them, too.
            Some((epoch, began)) => (epoch, began, present),
            None => {
                sqlx::query("DELETE FROM clock").execute(&mut *transaction).await?;
                (Epoch::random(), present, present)
            }
        };
        sqlx::query("DELETE FROM log").execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO log (epoch, began, head, boot) VALUES (?1, ?2, ?3, ?4)")
            .bind(epoch.to_string())
            .bind(began)
            .bind(head)
            .bind(boot)
            .execute(&mut *transaction)
            .await?;
        let marked_at: Option<i64> =
            sqlx::query_scalar("SELECT max(at) FROM clock").fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        sqlx::raw_sql("PRAGMA synchronous = NORMAL").execute(&mut *connection).await?;
        let state = State { head: head.cast_unsigned(), at: marked_at.unwrap_or_default(), marked_at };
        Ok((Self { epoch, began: Offset(began.cast_unsigned()) }, state))
    }

    /// Puts everything that was written on the disk, and notes that it is there.
    pub(super) async fn close(mut connection: SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("PRAGMA synchronous = FULL; UPDATE log SET boot = ''").execute(&mut connection).await?;
        connection.close().await
    }
}

/// Which start of the machine this is. Where that cannot be known, something that no other start is called.
fn boot() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) if !id.trim().is_empty() => id.trim().to_owned(),
        _ => format!("unknown {:032x}", rand::random::<u128>()),
    }
}
