//! MongoDB: its servers, how long is waited for them, and what errors mean.

mod error;
mod schema;

use std::future::Future;
use std::sync::Arc;

use gateway_core::config;
use gateway_core::port::{Port, PortError};
use mongodb::bson::{DateTime, Document};
use mongodb::options::{ClientOptions, ConnectionString, Tls, TlsOptions};
use mongodb::{Client, Collection, Database};
use tokio::sync::OnceCell;

use crate::StoreError;
use crate::migrated::Migrated;
pub(crate) use error::{DUPLICATE, is_duplicate};

/// What a database is called if its URL does not say.
const NAME: &str = "gateway";

/// MongoDB's servers. They are connected with when they are first asked for something, and the collections made then.
#[derive(Debug)]
pub struct MongoServer {
    settings: config::DatabaseSettings,
    database: OnceCell<Database>,
    migrated: OnceCell<Migrated>,
}

/// What something that was asked came to, if not to an answer.
#[derive(Debug)]
enum Failure {
    /// MongoDB, or the way to it.
    Mongo(mongodb::error::Error),
    /// There was no answer in time.
    Late,
    /// Its collections are of a newer version.
    Newer,
    /// Another node makes them, for longer than is waited.
    Locked,
}

impl From<mongodb::error::Error> for Failure {
    fn from(error: mongodb::error::Error) -> Self {
        Self::Mongo(error)
    }
}

impl MongoServer {
    /// Those of a configuration. They are not asked for anything yet.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn new(settings: &config::DatabaseSettings) -> Result<Arc<Self>, String> {
        Self::check(settings)?;
        Ok(Arc::new(Self { settings: settings.clone(), database: OnceCell::new(), migrated: OnceCell::new() }))
    }

    /// Looks at the URL.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn check(settings: &config::DatabaseSettings) -> Result<(), String> {
        // What the driver says of it may have a part of a password in it.
        ConnectionString::parse(settings.url.expose()).map_err(|_| {
            "cannot be read: it has the form mongodb://user:password@host:port,host:port/database?options, with characters \
             like @ / : # in a password percent-encoded and options that MongoDB's drivers know"
        })?;
        Ok(())
    }

    /// Brings its collections up to date, if that was not done yet.
    ///
    /// # Errors
    /// It is away, has collections of a newer version, or does not let the gateway make any.
    pub async fn migrate(&self) -> Result<Migrated, StoreError> {
        let migrate = || async {
            let database = self.database().await?;
            schema::migrate(database, self.settings.timeout).await
        };
        let migrated = self.migrated.get_or_try_init(migrate).await;
        migrated.copied().map_err(|failure| self.explained(failure))
    }

    /// How its collections stand, without changing anything.
    ///
    /// # Errors
    /// It is away, or does not let the gateway in.
    pub async fn standing(&self) -> Result<Migrated, StoreError> {
        let standing = async {
            let database = self.database().await?;
            schema::standing(database, self.settings.timeout).await
        };
        standing.await.map_err(|failure| self.explained(failure))
    }

    /// Lets its connections go.
    pub async fn close(&self) {
        if let Some(database) = self.database.get() {
            database.client().clone().shutdown().immediate(true).await;
        }
    }

    async fn database(&self) -> Result<&Database, Failure> {
        self.database.get_or_try_init(|| self.connect()).await
    }

    /// Finds the servers, which may take a look into DNS; it connects with none.
    async fn connect(&self) -> Result<Database, Failure> {
        let settings = &self.settings;
        let parsing = ClientOptions::parse(settings.url.expose());
        let mut options = tokio::time::timeout(settings.timeout, parsing).await.map_err(|_| Failure::Late)??;
        options.app_name = Some("gateway".into());
        options.max_pool_size = Some(settings.pool_size);
        options.connect_timeout = Some(settings.timeout);
        options.server_selection_timeout = Some(settings.timeout);
        if !settings.tls_ca.as_os_str().is_empty() {
            let mut tls = match options.tls.take() {
                Some(Tls::Enabled(tls)) => tls,
                _ => TlsOptions::default(),
            };
            (tls.ca_file_path, tls.allow_invalid_certificates) = (Some(settings.tls_ca.clone()), None);
            options.tls = Some(Tls::Enabled(tls));
        }
        let name = options.default_database.clone().unwrap_or_else(|| NAME.to_owned());
        Ok(Client::with_options(options)?.database(&name))
    }

    /// Asks for something, when the collections are there.
    pub(crate) async fn ask<'a, T, F: Future<Output = Result<T, mongodb::error::Error>> + Send>(
        &'a self,
        port: Port,
        operation: &'static str,
        work: impl FnOnce(Collections<'a>) -> F + Send,
    ) -> Result<T, PortError> {
        self.migrate().await.map_err(|error| port.failed(operation, error))?;
        let done = match self.database().await {
            // Finding a server takes as long as may be, and so does what it is asked.
            Ok(database) => match tokio::time::timeout(self.settings.timeout * 2, work(Collections(database))).await {
                Ok(done) => done.map_err(Failure::Mongo),
                Err(_) => Err(Failure::Late),
            },
            Err(failure) => Err(failure),
        };
        done.map_err(|failure| port.failed(operation, self.explained(failure)))
    }

    fn explained(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::Mongo(error) => error::failed(error),
            Failure::Late => StoreError::late("MongoDB", self.settings.timeout),
            Failure::Newer => StoreError::newer("MongoDB"),
            Failure::Locked => StoreError::passing(
                "MongoDB: another node makes the collections; if none does, delete the document `lock` in gateway_schema"
                    .into(),
            ),
        }
    }
}

/// The collections of the gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Collections<'a>(&'a Database);

impl<'a> Collections<'a> {
    /// The database that they are in.
    pub(crate) fn database(self) -> &'a Database {
        self.0
    }

    /// One of them.
    pub(crate) fn of(self, name: &str) -> Collection<Document> {
        self.0.collection(name)
    }
}

/// A time, as MongoDB has it.
pub(crate) fn time(ms: i64) -> DateTime {
    DateTime::from_millis(ms)
}
