//! Redis for commands: the pool, and scripts that run on it. Shared by the Redis backends of the ports.

use std::time::Duration;

use deadpool_redis::redis::{AsyncConnectionConfig, FromRedisValue, Script, ScriptInvocation};
use deadpool_redis::{Connection, Manager, Pool, Runtime};

use crate::config;

/// Commands to Redis, each within a time.
#[derive(Clone, Debug)]
pub struct Commands {
    pool: Pool,
    timeout: Duration,
}

/// Redis did not do it.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No connection could be had.
    #[error("no connection to Redis: {0}")]
    Pool(#[from] deadpool_redis::PoolError),
    /// Redis or the connection failed; whether the command took effect is unknown.
    #[error("Redis: {0}")]
    Redis(#[from] deadpool_redis::redis::RedisError),
    /// There was no answer in time; whether the command took effect is unknown.
    #[error("Redis did not answer within {0:?}")]
    Timeout(Duration),
}

impl CommandError {
    /// Whether the command may have taken effect although there was no answer.
    #[must_use]
    pub fn leaves_doubt(&self) -> bool {
        match self {
            Self::Pool(_) => false,
            Self::Redis(error) => error.is_io_error() || error.is_timeout() || error.is_connection_dropped(),
            Self::Timeout(_) => true,
        }
    }
}

impl Commands {
    /// How long one command may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A pool that connects when it is first used.
    ///
    /// # Errors
    /// The URL is not one of Redis.
    pub fn new(url: &str, settings: &config::Redis) -> Result<Self, CommandError> {
        let connection = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.timeout))
            .set_response_timeout(Some(settings.timeout));
        let pool = Pool::builder(Manager::new_with_config(url, connection)?)
            .max_size(settings.pool_size)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(settings.timeout))
            .create_timeout(Some(settings.timeout))
            .recycle_timeout(Some(settings.timeout))
            .build()
            .expect("a runtime is given, which is all that building needs");
        Ok(Self { pool, timeout: settings.timeout })
    }

    async fn connection(&self) -> Result<Connection, CommandError> {
        Ok(self.pool.get().await?)
    }

    /// Runs a script; `prepare` gives it its keys and arguments.
    ///
    /// # Errors
    /// Redis cannot be reached, refuses, or takes too long.
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        prepare: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<T, CommandError> {
        let mut invocation = script.prepare_invoke();
        prepare(&mut invocation);
        // One limit for finding a connection that works and for the answer: after an outage many are dead, and each is
        // found out only by trying it.
        let answer = async {
            let mut connection = self.connection().await?;
            Ok(invocation.invoke_async(&mut connection).await?)
        };
        tokio::time::timeout(self.timeout, answer).await.unwrap_or(Err(CommandError::Timeout(self.timeout)))
    }
}

/// A duration as scripts take it.
#[must_use]
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
