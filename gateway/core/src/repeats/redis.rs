//! The repeats in Redis: a hash for each, two scripts.
//!
//! The key `{prefix}:repeat:{name}` has the fields of `begin.lua`, and expires.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use deadpool_redis::redis::Script;

use super::{Begun, LEASE, Repeat, Repeats, run};
use crate::port::{Port, PortError};
use crate::redis::{Commands, milliseconds};

/// Repeats that all nodes of a deployment share.
pub struct RedisRepeats {
    commands: Commands,
    prefix: String,
    kept: Duration,
    begin: Script,
    finish: Script,
}

impl std::fmt::Debug for RedisRepeats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisRepeats").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl RedisRepeats {
    /// Repeats whose keys start with `prefix`. Answers are kept for `kept`.
    #[must_use]
    pub fn new(commands: Commands, prefix: &str, kept: Duration) -> Self {
        Self {
            prefix: prefix.to_owned(),
            kept,
            begin: commands.script(include_str!("begin.lua")),
            finish: commands.script(include_str!("finish.lua")),
            commands,
        }
    }

    fn key(&self, repeat: &Repeat) -> String {
        format!("{}:repeat:{}", self.prefix, repeat.name)
    }

    async fn end(&self, operation: &'static str, repeat: &Repeat, kept: &str, answer: &[u8]) -> Result<(), PortError> {
        let answer = self.commands.run(&self.finish, |script| {
            script.key(self.key(repeat)).arg(&repeat.print).arg(run(repeat)).arg(kept).arg(answer);
        });
        let _: u8 = answer.await.map_err(|error| Port::Repeats.failed(operation, error))?;
        Ok(())
    }
}

#[async_trait]
impl Repeats for RedisRepeats {
    async fn begin(&self, repeat: &Repeat) -> Result<Begun, PortError> {
        let answer = self.commands.run(&self.begin, |script| {
            script.key(self.key(repeat)).arg(&repeat.print).arg(run(repeat)).arg(milliseconds(LEASE));
        });
        let (code, answer): (u8, Bytes) = answer.await.map_err(|error| Port::Repeats.failed("begin", error))?;
        match code {
            0 => Ok(Begun::New),
            1 => Ok(Begun::Running),
            2 => Ok(Begun::Different),
            3 => Ok(Begun::Done(answer.into())),
            _ => Err(Port::Repeats.broken("begin", "a script gave an answer that makes no sense")),
        }
    }

    async fn finish(&self, repeat: &Repeat, answer: &[u8]) -> Result<(), PortError> {
        self.end("finish", repeat, &milliseconds(self.kept).to_string(), answer).await
    }

    async fn give_up(&self, repeat: &Repeat) -> Result<(), PortError> {
        self.end("give_up", repeat, "", &[]).await
    }
}
