//! SQLite: a database file for the one process that may use it. Shared by the SQLite backends of the ports.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// It is one of this kind, by a version that knows more.
    #[error("{path} was written by a newer version of the gateway; run that one, or choose another path", path = path.display())]
    Newer {
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
            Self::Foreign { .. } | Self::Newer { .. } => true,
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
        let database = Self::open_at(path, kind, &[schema]).await?;
        database.map(|(database, _)| database).ok_or_else(|| DatabaseError::Foreign { path: path.to_owned() })
    }

    /// The same for a file that is kept when its tables change: each of `steps` leads from one version to the next, the first
    /// from nothing to the version `first`. Returns how many of them it took, too.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn open_and_migrate(
        path: &Path,
        first: i32,
        steps: &[&'static str],
    ) -> Result<(Self, usize), DatabaseError> {
        if let Some(opened) = Self::open_at(path, first, steps).await? {
            return Ok(opened);
        }
        let version =
            version_of(path).await.map_err(|source| DatabaseError::Sqlite { path: path.to_owned(), source })?;
        let path = path.to_owned();
        Err(if version > first && version >> 8 == first >> 8 {
            DatabaseError::Newer { path }
        } else {
            DatabaseError::Foreign { path }
        })
    }

    /// Nothing if it is of another kind.
    async fn open_at(path: &Path, first: i32, steps: &[&'static str]) -> Result<Option<(Self, usize)>, DatabaseError> {
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
        let taken = migrate(&mut connection, first, steps).await.map_err(|error| database.error(error))?;
        connection.close().await.map_err(|error| database.error(error))?;
        Ok(taken.map(|taken| (database, taken)))
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

    /// The same, and what it commits survives a power cut, too.
    #[must_use]
    pub fn durable_writer(&self) -> SqlitePool {
        pool(1).connect_lazy_with(self.writing().synchronous(SqliteSynchronous::Full))
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

/// How many steps the database took to be of the last version; nothing if it is of another kind.
async fn migrate(
    connection: &mut SqliteConnection,
    first: i32,
    steps: &[&'static str],
) -> Result<Option<usize>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let version: i32 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
    let done = if version == 0 {
        let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *transaction).await?;
        (tables == 0).then_some(0)
    } else {
        let done = version.checked_sub(first).and_then(|more| usize::try_from(more).ok()).map(|more| more + 1);
        done.filter(|done| *done <= steps.len())
    };
    let Some(done) = done else { return Ok(None) };
    let Some(last) = steps.len().checked_sub(1).filter(|_| done < steps.len()) else { return Ok(Some(0)) };
    for step in &steps[done..] {
        sqlx::raw_sql(*step).execute(&mut *transaction).await?;
    }
    // A pragma takes no parameters; a number cannot say anything else.
    let stamp = first + i32::try_from(last).unwrap_or_default();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("PRAGMA user_version = {stamp}"))).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Some(steps.len() - done))
}

/// What a file says that it is.
async fn version_of(path: &Path) -> Result<i32, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).busy_timeout(BUSY);
    let mut connection = options.disable_statement_logging().connect().await?;
    let version = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut connection).await;
    connection.close().await?;
    version
}
