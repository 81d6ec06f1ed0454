//! PORT: ticks. Which moments of schedules were there, and what came of each; the trait is the contract,
//! `tests/contract/ticks.rs` checks every backend against it.

mod memory;
mod redis;
mod sqlite;

pub use memory::MemoryTicks;
pub use redis::RedisTicks;
pub use sqlite::SqliteTicks;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::port::PortError;

/// How many runs of each schedule are kept: the last ones.
pub const RUNS_KEPT: usize = 100;
/// How far the clocks of nodes may be apart without a tick being left out, in milliseconds.
pub const APART_MS: u64 = 60_000;
/// How many ticks of each plan may be under way at the same time.
pub const OPEN_KEPT: usize = 100;

/// The moments at which schedules had something done, for all nodes of a deployment.
///
/// **Once.** A tick that has ended is not begun again, however late somebody comes with it. One that was begun and has not ended may
/// be: who did it may have been lost, and what failed for good may be tried again by hand. Of each plan at the most [`OPEN_KEPT`] of these are known, the last ones.
///
/// **Forward.** Of each plan the last tick is known that was begun or passed. One that is older than that by [`APART_MS`] or more is
/// not begun any more, unless it was before: so far apart clocks may be, and no further.
///
/// **Kept.** Of each schedule the last [`RUNS_KEPT`] runs are kept.
#[async_trait]
pub trait Ticks: Send + Sync + 'static {
    /// The last tick of a plan that was begun, in milliseconds since 1970. Of a plan that nobody knows yet it is `or` from now
    /// on, as if that had been done.
    async fn last(&self, plan: &str, or: u64) -> Result<u64, PortError>;

    /// Notes that nothing is to be done at a tick, nor at those before it that were not begun.
    async fn pass(&self, plan: &str, tick: u64) -> Result<(), PortError>;

    /// Begins a tick of a plan; false if it is not to be done.
    async fn begin(&self, plan: &str, tick: u64) -> Result<bool, PortError>;

    /// Notes a run. If what is to be done at the tick was done, that has ended.
    async fn note(&self, plan: &str, run: &Run) -> Result<(), PortError>;

    /// The last runs of a schedule, newest first.
    async fn runs(&self, schedule: &str, most: usize) -> Result<Vec<Run>, PortError>;
}

/// What came of one attempt to do what a schedule has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Of which schedule.
    pub schedule: String,
    /// For which moment, in milliseconds since 1970.
    pub tick: u64,
    /// On which node.
    pub node: String,
    /// When it began, likewise.
    pub begun: u64,
    /// How long it took, in milliseconds.
    pub took: u64,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Whether there is no further attempt, unless somebody wants one.
    pub last: bool,
}

impl Run {
    /// Whether its tick has ended with it.
    #[must_use]
    pub fn ends(&self) -> bool {
        self.failed.is_none()
    }
}
