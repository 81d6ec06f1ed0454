//! The file of embedded mode: one for the archive and the notifications, which people open with their own tools.

use std::path::Path;
use std::sync::Arc;

use gateway_core::port::{Port, PortError};
use gateway_core::sqlite::{Database, DatabaseError};
use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqlitePool};

use crate::migrated::Migrated;

/// What tells the file from others: `gdb`, and the version of its tables.
const FIRST: i32 = 0x6764_6201;
/// From each version to the next.
const STEPS: &[&str] = &[include_str!("sqlite.sql"), include_str!("sqlite-2.sql")];
/// How many read at the same time.
const READERS: u32 = 4;

/// A database file of this process.
#[derive(Debug)]
pub struct DatabaseFile {
    database: Database,
    writer: SqlitePool,
    readers: SqlitePool,
}

impl DatabaseFile {
    /// Opens a file, or makes it with its directory, and brings its tables up to date. Tells what that took, too.
    ///
    /// # Errors
    /// The file cannot be made, opened or read, another process has it, or it is something else, or newer than this version.
    pub async fn open(path: &Path) -> Result<(Arc<Self>, Migrated), DatabaseError> {
        let (database, taken) = Database::open_and_migrate(path, FIRST, STEPS).await?;
        // Whoever hands something over lets go of it then.
        let (writer, readers) = (database.durable_writer(), database.readers(READERS));
        let to = u32::try_from(STEPS.len()).unwrap_or(u32::MAX);
        let from = to.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
        Ok((Arc::new(Self { database, writer, readers }), Migrated { from, to }))
    }

    /// Lets go of the file. What is asked of it after that fails.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        self.database.unlock();
    }

    /// The connection that writes, to be handed to [`Self::settle`] with what it was used for.
    pub(crate) async fn lease(&self, port: Port, operation: &'static str) -> Result<PoolConnection<Sqlite>, PortError> {
        self.writer.acquire().await.map_err(|error| self.error(port, operation, error))
    }

    /// Gives the connection back. One on which something failed is closed: what became of a transaction whose commit found no
    /// room is known only by looking anew.
    pub(crate) async fn settle<T>(
        &self,
        port: Port,
        operation: &'static str,
        connection: PoolConnection<Sqlite>,
        done: Result<T, sqlx::Error>,
    ) -> Result<T, PortError> {
        match done {
            Ok(done) => Ok(done),
            Err(error) => {
                // It is the only one: the next is made when it is gone.
                connection.close().await.ok();
                Err(self.error(port, operation, error))
            }
        }
    }

    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    pub(crate) fn error(&self, port: Port, operation: &'static str, error: sqlx::Error) -> PortError {
        port.failed(operation, self.database.error(error))
    }
}
