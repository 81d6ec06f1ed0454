//! Redis for commands: the pool, and scripts that run on it. Shared by the Redis backends of the ports.

mod connections;
mod pipeline;

pub use pipeline::Pipeline;

use std::time::Duration;

use deadpool::managed::{self, Object, PoolError, QueueMode};
use deadpool_redis::Runtime;
use deadpool_redis::redis::{FromRedisValue, RedisError, Script, ScriptInvocation};
use tokio::time::{Instant, timeout_at};

use crate::config;
use crate::supervisor::Supervisor;
use connections::Connections;

type Pool = managed::Pool<Connections>;

/// Commands to Redis, each within a time.
#[derive(Clone, Debug)]
pub struct Commands {
    pool: Pool,
    timeout: Duration,
    pipeline_interval: Duration,
    supervisor: Supervisor,
}

/// Redis did not do it.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The pool had no connection.
    #[error("no connection to Redis: {0}")]
    Pool(#[from] PoolError<RedisError>),
    /// No connection could be made.
    #[error("no connection to Redis: {0}")]
    Connect(#[source] RedisError),
    /// Redis or the connection failed; whether the command took effect is unknown.
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    /// There was no answer in time; whether the command took effect is unknown.
    #[error("Redis did not answer within {0:?}")]
    Timeout(Duration),
    /// The node stops.
    #[error("the node has stopped")]
    Stopped,
}

impl CommandError {
    /// Whether the command may have taken effect although there was no answer.
    #[must_use]
    pub fn leaves_doubt(&self) -> bool {
        match self {
            Self::Pool(_) | Self::Connect(_) => false,
            Self::Redis(error) => error.is_io_error() || error.is_timeout() || error.is_connection_dropped(),
            Self::Timeout(_) | Self::Stopped => true,
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
        let pool = Pool::builder(Connections::new(url, settings.timeout)?)
            // The connection that was used last is the one that need not be asked whether it still works.
            .queue_mode(QueueMode::Lifo)
            .max_size(settings.pool_size)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(settings.timeout))
            .create_timeout(Some(settings.timeout))
            .recycle_timeout(Some(settings.timeout))
            .build()
            .expect("a runtime is given, which is all that building needs");
        let supervisor = Supervisor::default();
        Ok(Self { pool, timeout: settings.timeout, pipeline_interval: settings.pipeline_interval, supervisor })
    }

    /// The same, with what works on behalf of all callers under a supervisor.
    #[must_use]
    pub fn watched_by(self, supervisor: &Supervisor) -> Self {
        Self { supervisor: supervisor.clone(), ..self }
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
        let deadline = Instant::now() + self.timeout;
        let too_late = |_| CommandError::Timeout(self.timeout);
        let mut known = timeout_at(deadline, self.pool.get()).await.map_err(too_late)??;
        let answer = timeout_at(deadline, invocation.invoke_async(&mut known.connection)).await;
        let answer = answer.map_err(too_late).and_then(|answer| Ok(answer?));
        if answer.as_ref().is_err_and(CommandError::leaves_doubt) {
            // It would go back to the pool, and be used again without being asked.
            drop(Object::take(known));
            self.pool.manager().distrust();
        }
        answer
    }
}

/// A duration as scripts take it.
#[must_use]
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
