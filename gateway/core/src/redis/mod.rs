//! Redis for commands: where the primary is, the pool, and scripts that run on it. Shared by the Redis backends of the
//! ports.

mod agreement;
mod connections;
mod doubt;
mod error;
mod examined;
mod history;
mod locate;
mod memory;
mod pipeline;
mod primary;
mod safety;
mod tls;
mod witness;

pub use agreement::Agreement;
pub use doubt::Doubt;
pub use error::{CommandError, ConnectError, SettingsError, kind_of_words};
pub use examined::{Examined, OutputLimit, Replica, examine};
pub use history::{History, Knowledge};
pub use memory::Memory;
pub use pipeline::Pipeline;
pub use primary::{Address, Greeting, Primary};
pub use safety::watch_settings;

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{self, Object, QueueMode};
use deadpool_redis::Runtime;
use deadpool_redis::redis::{Cmd, FromRedisValue, RedisResult, Script, ScriptInvocation};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::config;
use crate::metrics::Metrics;
use crate::supervisor::Supervisor;
use connections::Connections;

type Pool = managed::Pool<Connections>;

/// Commands to Redis, each within a time.
#[derive(Clone, Debug)]
pub struct Commands {
    pool: Pool,
    primary: Arc<Primary>,
    timeout: Duration,
    pipeline_interval: Duration,
    supervisor: Supervisor,
}

impl Commands {
    /// How long one command may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Commands to a Redis to which nothing else of the process connects.
    ///
    /// # Errors
    /// The URL is not one of Redis.
    pub fn new(url: &str, settings: &config::Redis) -> Result<Self, SettingsError> {
        Ok(Self::over(Primary::new(url, settings, Arc::<Metrics>::default())?, settings))
    }

    /// A pool that connects when it is first used.
    ///
    /// # Panics
    /// Never: a pool with a runtime can be built.
    #[must_use]
    pub fn over(primary: Arc<Primary>, settings: &config::Redis) -> Self {
        let pool = Pool::builder(Connections::new(primary.clone()))
            // The connection that was used last is the one that need not be asked whether it still works.
            .queue_mode(QueueMode::Lifo)
            .max_size(settings.pool_size)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(settings.timeout))
            .create_timeout(Some(settings.timeout))
            .recycle_timeout(Some(settings.timeout))
            .build()
            .expect("a runtime is given, which is all that building needs");
        Self {
            pool,
            primary,
            timeout: settings.timeout,
            pipeline_interval: settings.pipeline_interval,
            supervisor: Supervisor::default(),
        }
    }

    /// The same, with what works on behalf of all callers under a supervisor.
    #[must_use]
    pub fn watched_by(self, supervisor: &Supervisor) -> Self {
        Self { supervisor: supervisor.clone(), ..self }
    }

    /// Runs a task of a store over these commands, as long as its owner wants it; it must not end by itself.
    pub fn supervised(&self, name: &str, work: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
        self.supervisor.run_owned(name, work)
    }

    /// A script. What it publishes, with `redis.call('PUBLISH', …)`, stays in the shard of its channel where there are
    /// shards.
    #[must_use]
    pub fn script(&self, text: &str) -> Script {
        if self.primary.is_sharded() {
            Script::new(&text.replace("redis.call('PUBLISH'", "redis.call('SPUBLISH'"))
        } else {
            Script::new(text)
        }
    }

    /// Where the primary is, for connections of other kinds.
    #[must_use]
    pub fn primary(&self) -> Arc<Primary> {
        self.primary.clone()
    }

    /// Makes one connection, to find out whether that works.
    ///
    /// # Errors
    /// It does not.
    pub async fn probe(&self) -> Result<(), ConnectError> {
        let probe = async { managed::Manager::create(self.pool.manager()).await.map(drop) };
        let late = |_| ConnectError::Away(format!("Redis did not answer within {:?}", self.timeout));
        let probed = tokio::time::timeout(self.timeout, probe).await.map_err(late).flatten();
        match probed {
            // A Redis without TLS waits for the end of what it takes for a command.
            Err(ConnectError::Away(_)) if self.primary.tls().is_some() => {
                self.primary.speaks_plainly().await.map_or(probed, Err)
            }
            probed => probed,
        }
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
        Ok(self.invoke(script, prepare, false).await?.0)
    }

    /// The same, and a last argument tells the script which process of Redis it runs in: its run id, or nothing if Redis
    /// did not say. `prepare` runs when it is known which connection that is: [`Self::losses`] counts the last one by then.
    ///
    /// # Errors
    /// Redis cannot be reached, refuses, or takes too long.
    pub async fn run_knowing_process<T: FromRedisValue>(
        &self,
        script: &Script,
        prepare: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<T, CommandError> {
        Ok(self.invoke(script, prepare, true).await?.0)
    }

    /// The same, and with the answer comes which process that was.
    ///
    /// # Errors
    /// Redis cannot be reached, refuses, or takes too long.
    pub async fn run_telling_process<T: FromRedisValue>(
        &self,
        script: &Script,
        prepare: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<(T, Arc<str>), CommandError> {
        self.invoke(script, prepare, true).await
    }

    /// How many connections were lost or left so far. It grows before anything comes from a connection that replaces one
    /// of them.
    #[must_use]
    pub fn losses(&self) -> u64 {
        self.pool.manager().losses()
    }

    async fn invoke<T: FromRedisValue>(
        &self,
        script: &Script,
        prepare: impl FnOnce(&mut ScriptInvocation<'_>),
        knowing_process: bool,
    ) -> Result<(T, Arc<str>), CommandError> {
        let deadline = Instant::now() + self.timeout;
        let mut known = self.connection(deadline).await?;
        let process = known.process.clone();
        let mut invocation = script.prepare_invoke();
        prepare(&mut invocation);
        if knowing_process {
            invocation.arg(&*known.process);
        }
        let answer = timeout_at(deadline, invocation.invoke_async(&mut known.connection)).await;
        Ok((self.settle(known, answer)?, process))
    }

    /// Runs one command.
    ///
    /// # Errors
    /// Redis cannot be reached, refuses, or takes too long.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, CommandError> {
        let deadline = Instant::now() + self.timeout;
        let mut known = self.connection(deadline).await?;
        let answer = timeout_at(deadline, command.query_async(&mut known.connection)).await;
        self.settle(known, answer)
    }

    /// A connection that works. One limit is for finding it and for the answer: after an outage many are dead, and each is
    /// found out only by trying it.
    async fn connection(&self, deadline: Instant) -> Result<Object<Connections>, CommandError> {
        Ok(timeout_at(deadline, self.pool.get()).await.map_err(|_| CommandError::Timeout(self.timeout))??)
    }

    /// Takes a connection back with what came of using it.
    fn settle<T>(
        &self,
        known: Object<Connections>,
        answer: Result<RedisResult<T>, Elapsed>,
    ) -> Result<T, CommandError> {
        let answer = answer.map_err(|_| CommandError::Timeout(self.timeout)).and_then(|answer| Ok(answer?));
        if let Err(CommandError::Redis(error)) = &answer {
            self.pool.manager().judge(&known, error);
        }
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
