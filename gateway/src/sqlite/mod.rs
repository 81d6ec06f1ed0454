//! SQLite: a database file for the one process that may use it. Shared by the SQLite backends of the ports.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};

use crate::port::{Classified, ErrorKind};

/// How long a statement waits for another connection: this process's own, or an operator's shell.
const BUSY: Duration = Duration::from_secs(5);
/// To how many bytes the write-ahead log is cut after a burst.
const WAL_BYTES: &str = "67108864";

/// A database file that belongs to this process as long as this lives.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    lock: File,
}

/// The database did not do it. The text is for operators and says what they can do.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// A file or its directory cannot be made or opened.
    #[error("{path}: {source}; the gateway's user needs to read and write it, and its directory", path = path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("{path} is in use by another process; every node needs its own", path = path.display())]
    InUse {
        /// Which one.
        path: PathBuf,
    },
    /// It is a database, but not one of this kind and version.
    #[error("{path} is of another kind or version; choose another path or move it away", path = path.display())]
    Foreign {
        /// Which one.
        path: PathBuf,
    },
    /// SQLite did not do it.
    #[error("{path}: {source}{advice}", path = path.display(), advice = advice(source))]
    Sqlite {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
}

impl Classified for DatabaseError {
    fn kind(&self) -> ErrorKind {
        let lasts = match self {
            Self::File { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::AlreadyExists
                    | io::ErrorKind::ReadOnlyFilesystem
            ),
            // The other process ends some time.
            Self::InUse { .. } => false,
            Self::Foreign { .. } => true,
            Self::Sqlite { source, .. } => lasts(source),
        };
        if lasts { ErrorKind::Permanent } else { ErrorKind::Transient }
    }
}

/// Whether SQLite will say the same again.
fn lasts(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(_) => match result_code(error) {
            // Busy, locked, out of memory, interrupted, a disk that fails or is full, a schema that has changed.
            Some(5 | 6 | 7 | 9 | 10 | 13 | 17) | None => false,
            // Wrong statements, rights and files, damage, values of the wrong kind.
            Some(_) => true,
        },
        // What the file has is not what was written into it.
        sqlx::Error::RowNotFound
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_) => true,
        _ => false,
    }
}

/// The primary result code of SQLite, see <https://www.sqlite.org/rescode.html>.
fn result_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(code & 0xff)
}

/// What an operator can do.
fn advice(error: &sqlx::Error) -> &'static str {
    match result_code(error) {
        Some(5) => "; end what else has the file open",
        Some(8 | 14) => "; the gateway's user needs to write the file and its directory",
        Some(10) => "; look for room and errors on its disk",
        Some(13) => "; make room on its disk",
        Some(11 | 26) => "; it is damaged: end the gateway, and move the file and its -wal and -shm away to begin anew",
        _ => "",
    }
}

impl Database {
    /// Opens a file, or makes it with its directory; only its owner may read it. `schema` fills a new one, and `kind`
    /// is its `user_version`, by which it is known again. A file has one opener at a time.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn open(path: &Path, kind: i32, schema: &'static str) -> Result<Self, DatabaseError> {
        let at = |path: &Path, source| DatabaseError::File { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(|error| at(directory, error))?;
        }
        // A lock on the database itself would meet SQLite's own.
        let lock_path = PathBuf::from(format!("{}.lock", path.display()));
        let lock = private(&lock_path).map_err(|error| at(&lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DatabaseError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(at(&lock_path, error)),
        }
        drop(private(path).map_err(|error| at(path, error))?);
        let database = Self { path: path.to_owned(), lock };
        let mut connection = database.connect().await?;
        let known = fill(&mut connection, kind, schema).await.map_err(|error| database.error(error))?;
        connection.close().await.map_err(|error| database.error(error))?;
        if known { Ok(database) } else { Err(DatabaseError::Foreign { path: path.to_owned() }) }
    }

    /// A connection that writes. What it commits survives the end of the process in any way; the last commits before
    /// a power cut may be undone, in their order.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn connect(&self) -> Result<SqliteConnection, DatabaseError> {
        self.writing().connect().await.map_err(|error| self.error(error))
    }

    /// A connection that writes, made when it is first used and whenever it was lost.
    #[must_use]
    pub fn writer(&self) -> SqlitePool {
        pool(1).connect_lazy_with(self.writing())
    }

    /// Connections that read, made when they are first used.
    #[must_use]
    pub fn readers(&self, connections: u32) -> SqlitePool {
        pool(connections).connect_lazy_with(self.options().read_only(true))
    }

    /// Lets another process have the file before this ends. Nothing may be done with it after that.
    pub fn unlock(&self) {
        // The system does it in any case when the file is closed.
        self.lock.unlock().ok();
    }

    /// How many bytes its disk has left for it, if that can be known.
    #[must_use]
    pub fn room(&self) -> Option<u64> {
        // Some that are not disks know nothing of their size.
        let disk = rustix::fs::statvfs(&self.path).ok().filter(|disk| disk.f_blocks > 0)?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Says which file an error is about.
    #[must_use]
    pub fn error(&self, source: sqlx::Error) -> DatabaseError {
        DatabaseError::Sqlite { path: self.path.clone(), source }
    }

    fn options(&self) -> SqliteConnectOptions {
        let options = SqliteConnectOptions::new().filename(&self.path).create_if_missing(false).busy_timeout(BUSY);
        options.disable_statement_logging()
    }

    fn writing(&self) -> SqliteConnectOptions {
        self.options()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .pragma("journal_size_limit", WAL_BYTES)
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    // A connection to a file does not go away by itself, so asking it before each use would be wasted.
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(BUSY)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// Makes sure that there is a file, and opens it.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

/// Whether the database is of this kind, after making it so if it was empty.
async fn fill(connection: &mut SqliteConnection, kind: i32, schema: &'static str) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let version: i32 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
    if version != 0 {
        return Ok(version == kind);
    }
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *transaction).await?;
    if tables > 0 {
        return Ok(false);
    }
    sqlx::raw_sql(schema).execute(&mut *transaction).await?;
    // A pragma takes no parameters; a number cannot say anything else.
    let stamp = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {kind}"));
    sqlx::raw_sql(stamp).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

/// The time of the wall clock in milliseconds since 1970: what files are dated by, as it goes on without the process.
#[must_use]
pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// A duration in the unit of [`now_ms`].
#[must_use]
pub fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
