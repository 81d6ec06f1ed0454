//! PostgreSQL: connections, how long is waited for them, and what errors mean.

mod error;
mod schema;

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use gateway_core::config;
use gateway_core::port::{Port, PortError};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Executor, PgPool, Postgres};
use tokio::sync::OnceCell;

use crate::StoreError;
use crate::migrated::Migrated;
use error::{failed, is_in_doubt};

/// A PostgreSQL server. It is connected with when it is first asked for something, and its tables are made then.
#[derive(Debug)]
pub struct PostgresServer {
    pool: PgPool,
    timeout: Duration,
    migrated: OnceCell<Migrated>,
}

/// What something that was asked came to, if not to an answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// PostgreSQL, or the way to it.
    Sqlx(sqlx::Error),
    /// There was no answer in time.
    Late,
    /// Its tables are of a newer version.
    Newer,
    /// It has its texts in another encoding.
    Encoding(String),
}

impl PostgresServer {
    /// That of a configuration. It is not asked for anything yet.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn new(settings: &config::DatabaseSettings) -> Result<Arc<Self>, String> {
        let options = read(settings)?;
        let mut options = options.application_name("gateway").disable_statement_logging();
        if !settings.tls_ca.as_os_str().is_empty() {
            options = options.ssl_root_cert(&settings.tls_ca).ssl_mode(PgSslMode::VerifyFull);
        }
        let statement_timeout = settings.timeout.as_millis();
        let pool = PgPoolOptions::new()
            .max_connections(settings.pool_size)
            .acquire_timeout(settings.timeout)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    // Nobody waits any longer, so the server need not work on.
                    let set = format!("SET statement_timeout = {statement_timeout}");
                    connection.execute(sqlx::AssertSqlSafe(set)).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options);
        Ok(Arc::new(Self { pool, timeout: settings.timeout, migrated: OnceCell::new() }))
    }

    /// Looks at the URL.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn check(settings: &config::DatabaseSettings) -> Result<(), String> {
        read(settings).map(drop)
    }

    /// Brings its tables up to date, if that was not done yet.
    ///
    /// # Errors
    /// It is away, has tables of a newer version or of somebody else, or does not let the gateway make any.
    pub async fn migrate(&self) -> Result<Migrated, StoreError> {
        let migrate = || async { schema::migrate(&self.pool).await.map_err(|error| self.explained(error)) };
        self.migrated.get_or_try_init(migrate).await.copied()
    }

    /// How its tables stand, without changing anything.
    ///
    /// # Errors
    /// It is away, or does not let the gateway in.
    pub async fn standing(&self) -> Result<Migrated, StoreError> {
        schema::standing(&self.pool).await.map_err(|error| self.explained(error))
    }

    /// Lets its connections go. What is asked after that fails.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A connection, to be handed to [`Self::settle`] with what it was used for.
    pub(crate) async fn lease(
        &self,
        port: Port,
        operation: &'static str,
    ) -> Result<PoolConnection<Postgres>, PortError> {
        self.migrate().await.map_err(|error| port.failed(operation, error))?;
        let connection = self.pool.acquire().await;
        connection.map_err(|error| port.failed(operation, failed(error, self.timeout)))
    }

    /// Waits for an answer, as long as may be.
    pub(crate) async fn bounded<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(done) => done.map_err(Failure::Sqlx),
            Err(_) => Err(Failure::Late),
        }
    }

    /// Gives the connection back, unless what it was used for leaves it in doubt.
    pub(crate) fn settle<T>(
        &self,
        port: Port,
        operation: &'static str,
        mut connection: PoolConnection<Postgres>,
        done: Result<T, Failure>,
    ) -> Result<T, PortError> {
        done.map_err(|failure| {
            if is_in_doubt(&failure) {
                connection.close_on_drop();
            }
            port.failed(operation, self.explained(failure))
        })
    }

    fn explained(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::Sqlx(error) => failed(error, self.timeout),
            Failure::Late => StoreError::late("PostgreSQL", self.timeout),
            Failure::Newer => StoreError::newer("PostgreSQL"),
            Failure::Encoding(encoding) => StoreError::broken(format!(
                "PostgreSQL: the database's encoding is {encoding}, in which not every text can be kept; create it with \
                 ENCODING 'UTF8' TEMPLATE template0"
            )),
        }
    }
}

fn read(settings: &config::DatabaseSettings) -> Result<PgConnectOptions, String> {
    // What is wrong with it is not told in the words of others, who may quote it.
    PgConnectOptions::from_str(settings.url.expose()).map_err(|_| {
        "cannot be read: it has the form postgres://user:password@host:port/database, with characters like @ / : # in a \
         password percent-encoded, and sslmode= one of disable, prefer, require, verify-ca, verify-full"
            .into()
    })
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlx(error)
    }
}
