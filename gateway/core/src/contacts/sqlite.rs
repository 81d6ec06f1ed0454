//! The contacts of one node in a file: they are known after the process was ended, too.

use std::path::Path;

use async_trait::async_trait;
use sqlx::SqlitePool;

use super::{Address, By, Contact, Contacts, Mark};
use crate::domain::UserId;
use crate::port::{Port, PortError};
use crate::sqlite::Database;

/// What tells the file from others: `con`, and the version of its tables.
const KIND: i32 = 0x636f_6e01;

/// What a file has of a user: address, name, who gave it, whether mail is refused, two marks.
type Row = (String, Option<String>, String, bool, i64, i64);

/// Contacts in a database file.
#[derive(Debug)]
pub struct SqliteContacts {
    /// One connection: each operation is one statement after another.
    connection: SqlitePool,
    database: Database,
}

impl SqliteContacts {
    /// Opens a file, or makes it with its directory.
    ///
    /// # Errors
    /// The file cannot be made, opened or read, another process has it, or it is something else.
    pub async fn open(path: &Path) -> Result<Self, PortError> {
        let database = Database::open(path, KIND, include_str!("sqlite.sql")).await;
        let database = database.map_err(|error| Port::Contacts.failed("open", error))?;
        Ok(Self { connection: database.durable_writer(), database })
    }

    /// Lets go of the file. What is asked after that fails.
    pub async fn close(&self) {
        self.connection.close().await;
        self.database.unlock();
    }

    fn error(&self, operation: &'static str) -> impl Fn(sqlx::Error) -> PortError {
        move |error| Port::Contacts.failed(operation, self.database.error(error))
    }

    async fn try_remove(&self, user: &UserId) -> Result<bool, sqlx::Error> {
        let had: Option<Option<String>> = sqlx::query_scalar("SELECT email FROM contacts WHERE user = ?1")
            .bind(user.as_str())
            .fetch_optional(&self.connection)
            .await?;
        sqlx::query(
            "UPDATE contacts SET email = NULL, name = NULL, given = NULL, seen_ms = 0, mailed_ms = 0 WHERE user = ?1",
        )
        .bind(user.as_str())
        .execute(&self.connection)
        .await?;
        self.try_tidy(user).await?;
        Ok(had.flatten().is_some())
    }

    /// What says nothing any more goes.
    async fn try_tidy(&self, user: &UserId) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM contacts WHERE user = ?1 AND email IS NULL AND refuses = 0")
            .bind(user.as_str())
            .execute(&self.connection)
            .await?;
        Ok(())
    }

    async fn try_subscribe(&self, user: &UserId, wants: bool) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO contacts (user, refuses) VALUES (?1, ?2) ON CONFLICT (user) DO UPDATE SET refuses = ?2",
        )
        .bind(user.as_str())
        .bind(!wants)
        .execute(&self.connection)
        .await?;
        self.try_tidy(user).await
    }
}

#[async_trait]
impl Contacts for SqliteContacts {
    async fn put(&self, user: &UserId, address: &Address, by: By) -> Result<bool, PortError> {
        let put = sqlx::query(
            "INSERT INTO contacts (user, email, name, given) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (user) DO UPDATE SET email = ?2, name = ?3, given = ?4
               WHERE (?4 = 'api' OR ifnull(contacts.given, '') <> 'api')
               AND (contacts.email IS NOT ?2 OR contacts.name IS NOT ?3 OR contacts.given IS NOT ?4)",
        )
        .bind(user.as_str())
        .bind(&address.email)
        .bind(&address.name)
        .bind(by.word())
        .execute(&self.connection)
        .await
        .map_err(self.error("put"))?;
        Ok(put.rows_affected() > 0)
    }

    async fn find(&self, user: &UserId) -> Result<Option<Contact>, PortError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT email, name, given, refuses, seen_ms, mailed_ms FROM contacts WHERE user = ?1 AND email IS NOT NULL",
        )
        .bind(user.as_str())
        .fetch_optional(&self.connection)
        .await
        .map_err(self.error("find"))?;
        Ok(row.map(|(email, name, given, refuses, seen, mailed)| Contact {
            address: Address { email, name },
            by: if given == By::BackEnd.word() { By::BackEnd } else { By::Token },
            wants: !refuses,
            seen_ms: u64::try_from(seen).unwrap_or_default(),
            mailed_ms: u64::try_from(mailed).unwrap_or_default(),
        }))
    }

    async fn remove(&self, user: &UserId) -> Result<bool, PortError> {
        self.try_remove(user).await.map_err(self.error("remove"))
    }

    async fn subscribe(&self, user: &UserId, wants: bool) -> Result<(), PortError> {
        self.try_subscribe(user, wants).await.map_err(self.error("subscribe"))
    }

    async fn mark(&self, user: &UserId, what: Mark, at_ms: u64) -> Result<(), PortError> {
        let statement = match what {
            Mark::Seen => "UPDATE contacts SET seen_ms = max(seen_ms, ?2) WHERE user = ?1 AND email IS NOT NULL",
            Mark::Mailed => "UPDATE contacts SET mailed_ms = max(mailed_ms, ?2) WHERE user = ?1 AND email IS NOT NULL",
        };
        sqlx::query(statement)
            .bind(user.as_str())
            .bind(i64::try_from(at_ms).unwrap_or(i64::MAX))
            .execute(&self.connection)
            .await
            .map_err(self.error("mark"))?;
        Ok(())
    }
}
