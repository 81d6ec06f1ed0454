//! The answers in Redis: a hash for each, two scripts.
//!
//! The key `{prefix}:answer:{name}` has the fields of `recall.lua`, and expires.

use std::time::Duration;

use async_trait::async_trait;
use deadpool_redis::redis::Script;

use super::{Answers, Recalled, Times};
use crate::port::{Port, PortError};
use crate::redis::{Commands, milliseconds};

/// Answers that all nodes of a deployment share.
pub struct RedisAnswers {
    commands: Commands,
    prefix: String,
    recall: Script,
    settle: Script,
}

impl std::fmt::Debug for RedisAnswers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisAnswers").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl RedisAnswers {
    /// Answers whose keys start with `prefix`.
    #[must_use]
    pub fn new(commands: Commands, prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            recall: commands.script(include_str!("recall.lua")),
            settle: commands.script(include_str!("settle.lua")),
            commands,
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}:answer:{name}", self.prefix)
    }

    async fn settle(
        &self,
        operation: &'static str,
        (name, turn): (&str, u64),
        times: Option<Times>,
        answer: &str,
    ) -> Result<(), PortError> {
        let good = times.map_or_else(String::new, |times| milliseconds(times.good).to_string());
        let old = times.map_or(0, |times| milliseconds(times.old));
        let done = self.commands.run(&self.settle, |script| {
            script.key(self.key(name)).arg(said(turn)).arg(good).arg(old).arg(answer);
        });
        let _: u8 = done.await.map_err(|error| Port::Answers.failed(operation, error))?;
        Ok(())
    }
}

#[async_trait]
impl Answers for RedisAnswers {
    async fn recall(&self, name: &str, turn: u64, lease: Duration) -> Result<Recalled, PortError> {
        let recalled = self.commands.run(&self.recall, |script| {
            script.key(self.key(name)).arg(said(turn)).arg(milliseconds(lease));
        });
        let (code, answer, left): (u8, String, u64) =
            recalled.await.map_err(|error| Port::Answers.failed("recall", error))?;
        match code {
            0 => Ok(Recalled::Good(answer, Duration::from_millis(left))),
            1 => Ok(Recalled::Old(answer)),
            2 => Ok(Recalled::Asked),
            3 => Ok(Recalled::Yours),
            _ => Err(Port::Answers.broken("recall", "a script gave an answer that makes no sense")),
        }
    }

    async fn keep(&self, name: &str, turn: u64, answer: &str, times: Times) -> Result<(), PortError> {
        self.settle("keep", (name, turn), Some(times), answer).await
    }

    async fn give_up(&self, name: &str, turn: u64) -> Result<(), PortError> {
        self.settle("give_up", (name, turn), None, "").await
    }
}

/// Who asks, as scripts compare it.
fn said(turn: u64) -> String {
    format!("{turn:016x}")
}
