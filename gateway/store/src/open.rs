//! Opening what a configuration names.

use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};

use gateway_core::archive::{Archive, Archives, MemoryArchive};
use gateway_core::config::{Config, DatabaseKind};
use gateway_core::notifications::{MemoryNotifications, Notifications, Owners};
use gateway_core::sqlite::DatabaseError;

use crate::archive::{PostgresArchive, SqliteArchive};
use crate::notifications::{PostgresNotifications, SqliteNotifications};
use crate::{DatabaseFile, Migrated, PostgresServer, StoreError};

/// What the archive and the notifications of a node in memory may take, each, in bytes.
const MEMORY_BYTES: usize = 64 << 20;
/// The file below `data_dir`.
const FILE: &str = "database.sqlite";
/// What is said of MongoDB where its driver is not there.
#[cfg(not(feature = "mongodb"))]
const WITHOUT_MONGODB: &str = "this gateway was built without MongoDB's driver: take a build with the feature `mongodb`, as \
                               releases are, or another database";

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration says something that is not possible.
    #[error("database.url: {0}")]
    Url(String),
    /// The certificates that are to be trusted cannot be read.
    #[error("database.tls_ca: {path}: {source}", path = path.display())]
    Authorities {
        /// Where they should be.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its file cannot be opened.
    #[error("data_dir: {0}")]
    File(#[source] DatabaseError),
}

/// A database with the archive and the notifications, as a configuration names it.
#[derive(Clone)]
pub struct Store {
    /// What rooms said.
    pub archive: Arc<dyn Archive>,
    /// What users are to be told.
    pub notifications: Arc<dyn Notifications>,
    /// Whose that is.
    pub owners: Arc<dyn Owners>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Memory,
    File(Arc<DatabaseFile>, Migrated),
    Postgres(Arc<PostgresServer>),
    #[cfg(feature = "mongodb")]
    Mongo(Arc<crate::MongoServer>),
}

impl Store {
    /// Opens what is configured; nothing if nothing is. A file is opened and brought up to date at once. A server is not asked
    /// for anything: that is for [`Self::migrate`], or for whoever first needs it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(config: &Config) -> Result<Option<Self>, OpenError> {
        Self::check(config)?;
        Ok(Some(match config.database_kind() {
            DatabaseKind::None => return Ok(None),
            DatabaseKind::Memory => {
                let notifications = MemoryNotifications::new(MEMORY_BYTES);
                Self::of(MemoryArchive::new(MEMORY_BYTES), notifications, Place::Memory)
            }
            DatabaseKind::Sqlite => {
                let (file, migrated) =
                    DatabaseFile::open(&config.data_dir.join(FILE)).await.map_err(OpenError::File)?;
                let (archive, notifications) =
                    (SqliteArchive::new(file.clone()), SqliteNotifications::new(file.clone()));
                Self::of(archive, notifications, Place::File(file, migrated))
            }
            DatabaseKind::Postgres => {
                let server = PostgresServer::new(&config.database).map_err(OpenError::Url)?;
                let archive = PostgresArchive::new(server.clone());
                Self::of(archive, PostgresNotifications::new(server.clone()), Place::Postgres(server))
            }
            #[cfg(feature = "mongodb")]
            DatabaseKind::MongoDb => {
                let server = crate::MongoServer::new(&config.database).map_err(OpenError::Url)?;
                let archive = crate::archive::MongoArchive::new(server.clone());
                let notifications = crate::notifications::MongoNotifications::new(server.clone());
                Self::of(archive, notifications, Place::Mongo(server))
            }
            #[cfg(not(feature = "mongodb"))]
            DatabaseKind::MongoDb => return Err(OpenError::Url(WITHOUT_MONGODB.into())),
        }))
    }

    fn of<N: Notifications + Owners>(archive: impl Archive, notifications: N, place: Place) -> Self {
        let notifications = Arc::new(notifications);
        Self { archive: Arc::new(archive), owners: notifications.clone(), notifications, place }
    }

    /// The archives of all logs that a configuration has.
    #[must_use]
    pub fn archives(&self, config: &Config) -> Archives {
        let others = config.every_redis().into_iter().filter(|redis| !redis.settings.is_main());
        let others = others.map(|redis| (redis.settings.name().to_owned(), redis.namespaces));
        Archives::new(self.archive.clone(), others)
    }

    /// Looks at what a configuration says of it, without opening anything.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(config: &Config) -> Result<(), OpenError> {
        let path = &config.database.tls_ca;
        if !path.as_os_str().is_empty() {
            // Here it is told what is wrong; later it would look as if the server were away.
            let read = std::fs::read(path).map(drop);
            read.map_err(|source| OpenError::Authorities { path: path.clone(), source })?;
        }
        match config.database_kind() {
            DatabaseKind::None | DatabaseKind::Memory | DatabaseKind::Sqlite => Ok(()),
            DatabaseKind::Postgres => PostgresServer::check(&config.database).map_err(OpenError::Url),
            #[cfg(feature = "mongodb")]
            DatabaseKind::MongoDb => crate::MongoServer::check(&config.database).map_err(OpenError::Url),
            #[cfg(not(feature = "mongodb"))]
            DatabaseKind::MongoDb => Err(OpenError::Url(WITHOUT_MONGODB.into())),
        }
    }

    /// Brings its tables up to date, if that was not done yet. Several nodes may do so at once.
    ///
    /// # Errors
    /// It is away, of a newer version, or does not let the gateway do that.
    pub async fn migrate(&self) -> Result<Migrated, StoreError> {
        match &self.place {
            Place::Memory => Ok(Migrated { from: 1, to: 1 }),
            Place::File(_, migrated) => Ok(*migrated),
            Place::Postgres(server) => server.migrate().await,
            #[cfg(feature = "mongodb")]
            Place::Mongo(server) => server.migrate().await,
        }
    }

    /// How its tables stand, without changing anything: from the version that they are of, which may be newer, to the one that
    /// this program makes.
    ///
    /// # Errors
    /// It is away, or does not let the gateway in.
    pub async fn standing(&self) -> Result<Migrated, StoreError> {
        match &self.place {
            Place::Memory => Ok(Migrated { from: 1, to: 1 }),
            Place::File(_, migrated) => Ok(*migrated),
            Place::Postgres(server) => server.standing().await,
            #[cfg(feature = "mongodb")]
            Place::Mongo(server) => server.standing().await,
        }
    }

    /// What it is, for people.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.place {
            Place::Memory => "memory",
            Place::File(..) => "sqlite",
            Place::Postgres(_) => "postgres",
            #[cfg(feature = "mongodb")]
            Place::Mongo(_) => "mongodb",
        }
    }

    /// Lets go of its file or its connections. What is asked of it after that fails.
    pub async fn close(&self) {
        match &self.place {
            Place::Memory => {}
            Place::File(file, _) => file.close().await,
            Place::Postgres(server) => server.close().await,
            #[cfg(feature = "mongodb")]
            Place::Mongo(server) => server.close().await,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("kind", &self.kind()).finish_non_exhaustive()
    }
}
