//! How pooled connections are made, and when a used one is asked for a sign of life.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool::managed::{self, RecycleError, RecycleResult};
use deadpool_redis::redis::aio::{MultiplexedConnection, SendError};
use deadpool_redis::redis::{
    self, AsyncConnectionConfig, FromRedisValue, PushInfo, PushKind, RedisError, RedisResult, Value,
};
use deadpool_redis::{Manager, Metrics};

use super::doubt::Doubt;
use super::error::ConnectError;
use super::primary::{Address, Greeting, Primary};

/// How long a connection may have been idle and be used without being asked: less than what lies between nodes and Redis
/// takes to forget it.
const FRESH: Duration = Duration::from_secs(5);

/// A connection, and how many had been lost when it was last known to work.
pub(super) struct Known {
    pub(super) connection: MultiplexedConnection,
    /// The run id of the process of Redis at its other end, or nothing if it did not say.
    pub(super) process: Arc<str>,
    manager: Manager,
    address: Address,
    losses: u64,
    generation: u64,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("losses", &self.losses).finish_non_exhaustive()
    }
}

/// The managers of `deadpool-redis`, one for each place where the primary is. They send a PING before each use; asking
/// again is only worth a round trip when a connection of this node was lost since, or when this one was idle.
#[derive(Debug)]
pub(super) struct Connections {
    primary: Arc<Primary>,
    losses: Arc<AtomicU64>,
}

impl Connections {
    /// Connections to the primary; making one takes at most the time of a command, and so does an answer.
    pub(super) fn new(primary: Arc<Primary>) -> Self {
        Self { primary, losses: Arc::default() }
    }

    /// How many were lost so far, or left because the primary is elsewhere: a generation ends before anything comes from a
    /// connection of the next one.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire) + self.primary.generation()
    }

    /// Whether no connection was lost since this one was known to work, and the primary is where it was.
    pub(super) fn trusts(&self, known: &Known) -> bool {
        known.losses == self.losses.load(Ordering::Acquire) && known.generation == self.primary.generation()
    }

    /// Has every connection asked before it is used again: one did not answer.
    pub(super) fn distrust(&self) {
        self.losses.fetch_add(1, Ordering::AcqRel);
    }

    /// Looks for signs in an error that the server is not the primary; then all connections go.
    pub(super) fn judge(&self, known: &Known, error: &RedisError) {
        if let Some(doubt) = Doubt::of(error) {
            self.primary.distrust(known.generation, doubt);
        }
    }

    fn manager(&self, address: &Address) -> RedisResult<Manager> {
        let lost = self.losses.clone();
        let timeout = Some(self.primary.timeout);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(timeout)
            .set_response_timeout(timeout)
            .set_push_sender(move |pushed: PushInfo| {
                if pushed.kind == PushKind::Disconnection {
                    lost.fetch_add(1, Ordering::AcqRel);
                }
                Ok::<(), SendError>(())
            });
        let info = self.primary.info(address, self.primary.login(), self.primary.database())?;
        Manager::new_with_config(info, config)
    }
}

impl managed::Manager for Connections {
    type Type = Known;
    type Error = ConnectError;

    async fn create(&self) -> Result<Known, ConnectError> {
        let losses = self.losses.load(Ordering::Acquire);
        let generation = self.primary.generation();
        let address = self.primary.locate().await?;
        let failed = |error: RedisError| ConnectError::of(&address, &error);
        let manager = self.manager(&address).map_err(failed)?;
        let mut connection = manager.create().await.map_err(failed)?;
        let greeting = greet(&mut connection).await.map_err(failed)?;
        let generation = self.primary.welcome(generation, &address, &greeting)?;
        let process = greeting.run_id.unwrap_or_default().into();
        Ok(Known { connection, process, manager, address, losses, generation })
    }

    async fn recycle(&self, known: &mut Known, metrics: &Metrics) -> RecycleResult<ConnectError> {
        if known.generation != self.primary.generation() {
            return Err(RecycleError::message("Redis is elsewhere by now"));
        }
        let losses = self.losses.load(Ordering::Acquire);
        if known.losses != losses || metrics.last_used() >= FRESH {
            let asked = known.manager.recycle(&mut known.connection, metrics).await;
            asked.inspect_err(|_| self.distrust()).map_err(|error| match error {
                RecycleError::Backend(error) => RecycleError::Backend(ConnectError::of(&known.address, &error)),
                RecycleError::Message(why) => RecycleError::Message(why),
            })?;
            known.losses = losses;
        }
        Ok(())
    }
}

/// Asks a server what it is. Whoever cannot serve yet says so by its answer to PING; what the gateway may not know,
/// because of its rights or because commands were renamed, is left out: then lost writes show by what nodes know alone.
async fn greet(connection: &mut MultiplexedConnection) -> RedisResult<Greeting> {
    let mut questions = redis::pipe();
    questions.cmd("HELLO").cmd("PING").cmd("INFO").arg("server").ignore_errors();
    let answers: Vec<RedisResult<Value>> = questions.query_async(connection).await?;
    let mut greeting = Greeting::default();
    for (place, answer) in answers.into_iter().enumerate() {
        match (place, answer) {
            (0, Ok(answer)) => {
                let mut about = HashMap::<String, Value>::from_redis_value(answer)?;
                let mut text = |name| about.remove(name).map(String::from_redis_value).transpose();
                (greeting.role, greeting.version) = (text("role")?, text("version")?);
            }
            (2, Ok(answer)) => greeting = greeting.with_info(&String::from_redis_value(answer)?),
            (1, Err(error)) if Doubt::of(&error).is_some() => return Err(error),
            // Without it another process would be taken for the same one.
            (2, Err(error)) if !matches!(error.code(), Some("NOPERM" | "ERR")) => return Err(error),
            _ => {}
        }
    }
    Ok(greeting)
}
