//! The ticks in Redis: a hash and two sorted sets for each plan, a list for each schedule, two scripts.
//!
//! The keys `{prefix}:plan:{plan}`, `{prefix}:open:{plan}` and `{prefix}:ended:{plan}` are as `begin.lua` has them; `{prefix}:runs:{schedule}` has the last
//! runs as JSON, newest first. All are kept for a year after the last that happened.

use async_trait::async_trait;
use deadpool_redis::redis::{Script, cmd};

use super::{APART_MS, OPEN_KEPT, RUNS_KEPT, Run, Ticks};
use crate::port::{Port, PortError};
use crate::redis::Commands;

/// How long what is known of a plan is kept after its last tick, in milliseconds: longer than a year, as some come once in one.
const KEPT_MS: u64 = 400 * 24 * 3_600 * 1_000;

/// Ticks that all nodes of a deployment share.
pub struct RedisTicks {
    commands: Commands,
    prefix: String,
    begin: Script,
    note: Script,
}

impl std::fmt::Debug for RedisTicks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisTicks").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl RedisTicks {
    /// Ticks whose keys start with `prefix`.
    #[must_use]
    pub fn new(commands: Commands, prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            begin: commands.script(include_str!("begin.lua")),
            note: commands.script(include_str!("note.lua")),
            commands,
        }
    }

    fn plan(&self, plan: &str) -> String {
        format!("{}:plan:{plan}", self.prefix)
    }

    fn open(&self, plan: &str) -> String {
        format!("{}:open:{plan}", self.prefix)
    }

    fn ended(&self, plan: &str) -> String {
        format!("{}:ended:{plan}", self.prefix)
    }

    fn runs_of(&self, schedule: &str) -> String {
        format!("{}:runs:{schedule}", self.prefix)
    }

    async fn ask(&self, operation: &'static str, plan: &str, tick: u64, how: &str) -> Result<u64, PortError> {
        let answer = self.commands.run(&self.begin, |script| {
            script.key(self.plan(plan)).key(self.open(plan)).key(self.ended(plan));
            script.arg(tick).arg(how).arg(KEPT_MS).arg(OPEN_KEPT).arg(APART_MS);
        });
        answer.await.map_err(|error| Port::Ticks.failed(operation, error))
    }
}

#[async_trait]
impl Ticks for RedisTicks {
    async fn last(&self, plan: &str, or: u64) -> Result<u64, PortError> {
        self.ask("last", plan, or, "look").await
    }

    async fn pass(&self, plan: &str, tick: u64) -> Result<(), PortError> {
        self.ask("pass", plan, tick, "pass").await.map(drop)
    }

    async fn begin(&self, plan: &str, tick: u64) -> Result<bool, PortError> {
        self.ask("begin", plan, tick, "begin").await.map(|begun| begun == 1)
    }

    async fn note(&self, plan: &str, run: &Run) -> Result<(), PortError> {
        let text = serde_json::to_string(run).expect("a run is a plain struct");
        let ended = if run.ends() { run.tick.to_string() } else { String::new() };
        let answer = self.commands.run(&self.note, |script| {
            script.key(self.plan(plan)).key(self.open(plan)).key(self.ended(plan)).key(self.runs_of(&run.schedule));
            script.arg(ended).arg(text).arg(RUNS_KEPT).arg(KEPT_MS).arg(APART_MS);
        });
        let _: u8 = answer.await.map_err(|error| Port::Ticks.failed("note", error))?;
        Ok(())
    }

    async fn runs(&self, schedule: &str, most: usize) -> Result<Vec<Run>, PortError> {
        let mut range = cmd("LRANGE");
        range.arg(self.runs_of(schedule)).arg(0).arg(i64::try_from(most).unwrap_or(i64::MAX) - 1);
        let runs: Vec<String> = self.commands.query(&range).await.map_err(|error| Port::Ticks.failed("runs", error))?;
        // What a later version wrote is passed over.
        Ok(runs.iter().filter_map(|run| serde_json::from_str(run).ok()).collect())
    }
}
