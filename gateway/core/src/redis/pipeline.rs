//! Calls of one script by many at once, over one connection: those of a moment share a round trip.

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::Manager as _;
use deadpool_redis::redis::{
    self, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ServerErrorKind, Value,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::connections::Known;
use super::{CommandError, Commands, ConnectError, Pool};

/// Calls that may wait for the connection. When they are that many, the next ones wait for room, each within its time.
const WAITING: usize = 4096;
/// Calls in one round trip: Redis serves nobody else while it works off what it has read at once.
const BATCH: usize = 256;

type Answer = Result<Value, CommandError>;
/// With the process of Redis that gave it.
type Told = Result<(Value, Arc<str>), CommandError>;

/// Calls of one script. One round trip is under way at a time, with all the calls that waited when it began; each gets
/// its own answer or error. What is lost with the connection is in doubt for each. A call after a pause goes out at once.
#[derive(Debug)]
pub struct Pipeline {
    calls: mpsc::Sender<Call>,
    hash: String,
    timeout: Duration,
    _writer: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Call {
    command: Cmd,
    answer: oneshot::Sender<Told>,
}

impl Pipeline {
    /// A pipeline that connects when it is first used, beside the pool of `commands`. Between the beginnings of two round
    /// trips lies at least `redis.pipeline_interval`.
    #[must_use]
    pub fn new(commands: &Commands, script: Script) -> Self {
        let (calls, incoming) = mpsc::channel(WAITING);
        let hash = script.get_hash().to_owned();
        let (pool, interval) = (commands.pool.clone(), commands.pipeline_interval);
        let writer = Writer { pool, script, interval, connection: None };
        let writer = commands.supervisor.run_owned("pipeline to Redis", writer.run(incoming));
        Self { calls, hash, timeout: commands.timeout, _writer: writer }
    }

    /// Runs the script with `keys`; `arguments` appends its arguments, of which the last tells which process of Redis it
    /// runs in, and returns what it came to, as with [`Commands::run_telling_process`].
    ///
    /// # Errors
    /// Redis cannot be reached, refuses this call, or takes too long.
    pub async fn run<T: FromRedisValue>(
        &self,
        keys: &[String],
        arguments: impl FnOnce(&mut Cmd),
    ) -> Result<(T, Arc<str>), CommandError> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.hash).arg(keys.len()).arg(keys);
        arguments(&mut command);
        let (answer, answered) = oneshot::channel();
        let value = async {
            self.calls.send(Call { command, answer }).await.map_err(|_| CommandError::Stopped)?;
            answered.await.unwrap_or(Err(CommandError::Stopped))
        };
        let value = tokio::time::timeout(self.timeout, value).await;
        let (value, process) = value.unwrap_or(Err(CommandError::Timeout(self.timeout)))?;
        Ok((redis::from_redis_value(value).map_err(RedisError::from)?, process))
    }
}

/// The task that has the connection.
struct Writer {
    pool: Pool,
    script: Script,
    interval: Duration,
    connection: Option<Known>,
}

impl Writer {
    async fn run(mut self, mut incoming: mpsc::Receiver<Call>) {
        let mut waiting: Vec<Call> = Vec::with_capacity(BATCH);
        let mut next = Instant::now();
        while let Some(first) = incoming.recv().await {
            tokio::time::sleep_until(next).await;
            next = Instant::now() + self.interval;
            waiting.push(first);
            while waiting.len() < BATCH
                && let Ok(call) = incoming.try_recv()
            {
                waiting.push(call);
            }
            // Whoever waited too long has been told so, and may be back already with the same call.
            waiting.retain(|call| !call.answer.is_closed());
            if waiting.is_empty() {
                continue;
            }
            let process = match self.connection().await {
                Ok(known) => known.process.clone(),
                Err(error) => {
                    for call in waiting.drain(..) {
                        call.answer.send(Err(CommandError::Connect(error.clone()))).ok();
                    }
                    continue;
                }
            };
            let mut commands = redis::Pipeline::with_capacity(waiting.len());
            let mut callers = Vec::with_capacity(waiting.len());
            for mut call in waiting.drain(..) {
                call.command.arg(&*process);
                commands.add_command(call.command);
                callers.push(call.answer);
            }
            for (caller, answer) in callers.into_iter().zip(self.answers(&mut commands, &process).await) {
                caller.send(answer.map(|value| (value, process.clone()))).ok();
            }
        }
    }

    /// What each command came to. Those that did not run because Redis does not have the script are sent again after it,
    /// unless that is another process by now than they say.
    async fn answers(&mut self, commands: &mut redis::Pipeline, process: &str) -> Vec<Answer> {
        let mut answers = self.round_trip(commands).await;
        let unknown: Vec<usize> = (0..answers.len()).filter(|index| is_unknown(&answers[*index])).collect();
        if !unknown.is_empty()
            && self.load().await
            && self.connection.as_ref().is_some_and(|known| *known.process == *process)
        {
            let mut again = redis::Pipeline::with_capacity(unknown.len());
            for (index, command) in commands.cmd_iter().enumerate() {
                if unknown.binary_search(&index).is_ok() {
                    again.add_command(command.clone());
                }
            }
            for (index, answer) in unknown.into_iter().zip(self.round_trip(&mut again).await) {
                answers[index] = answer;
            }
        }
        answers
    }

    /// Gives Redis the script. If that fails, what did not run for want of it has failed, and nothing is in doubt.
    async fn load(&mut self) -> bool {
        let script = self.script.clone();
        let loaded = match self.connection().await {
            Ok(known) => script.load_async(&mut known.connection).await,
            Err(_) => return false,
        };
        loaded.inspect_err(|_| self.give_up()).is_ok()
    }

    async fn round_trip(&mut self, commands: &mut redis::Pipeline) -> Vec<Answer> {
        let count = commands.len();
        let Some(known) = &mut self.connection else {
            return (0..count).map(|_| Err(CommandError::Connect(gone()))).collect();
        };
        let answers: RedisResult<Vec<RedisResult<Value>>> =
            commands.ignore_errors().query_async(&mut known.connection).await;
        match answers {
            Ok(answers) => {
                answers.iter().filter_map(|answer| answer.as_ref().err()).for_each(|error| self.judge(error));
                answers.into_iter().map(|answer| answer.map_err(CommandError::from)).collect()
            }
            Err(error) => {
                self.give_up();
                (0..count).map(|_| Err(CommandError::from(error.clone()))).collect()
            }
        }
    }

    /// The connection, or a new one if this one is known to be lost.
    async fn connection(&mut self) -> Result<&mut Known, ConnectError> {
        let connections = self.pool.manager();
        let known = match self.connection.take() {
            Some(known) if connections.trusts(&known) => known,
            _ => connections.create().await?,
        };
        Ok(self.connection.insert(known))
    }

    fn judge(&self, error: &RedisError) {
        if let Some(known) = &self.connection {
            self.pool.manager().judge(known, error);
        }
    }

    /// Leaves a connection whose answers did not come: they would be taken for those of later commands.
    fn give_up(&mut self) {
        self.connection = None;
        self.pool.manager().distrust();
    }
}

fn gone() -> ConnectError {
    ConnectError::Away("the connection was lost".into())
}

fn is_unknown(answer: &Answer) -> bool {
    matches!(answer, Err(CommandError::Redis(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
}
