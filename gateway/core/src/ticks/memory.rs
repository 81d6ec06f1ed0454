//! The ticks of one process, gone when it ends.

use std::collections::{BTreeSet, HashMap, VecDeque};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{APART_MS, OPEN_KEPT, RUNS_KEPT, Run, Ticks};
use crate::port::PortError;

/// Ticks in memory.
#[derive(Debug, Default)]
pub struct MemoryTicks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    plans: HashMap<String, Plan>,
    /// Newest first.
    runs: HashMap<String, VecDeque<Run>>,
}

#[derive(Debug, Default)]
struct Plan {
    /// The last tick that was begun or passed.
    last: Option<u64>,
    /// Up to this one nothing is begun that was not begun before.
    passed: Option<u64>,
    /// Those that were begun and have not ended.
    open: BTreeSet<u64>,
    /// Those that have, as far as they could still be begun.
    ended: BTreeSet<u64>,
}

impl Plan {
    fn pass(&mut self, tick: u64) {
        self.last = self.last.max(Some(tick));
        self.passed = self.passed.max(Some(tick));
    }

    fn begin(&mut self, tick: u64) -> bool {
        if self.open.contains(&tick) {
            return true;
        }
        let is_old = self.last.is_some_and(|last| tick.saturating_add(APART_MS) <= last);
        if is_old || self.passed.is_some_and(|passed| tick <= passed) || self.ended.contains(&tick) {
            return false;
        }
        self.last = self.last.max(Some(tick));
        self.open.insert(tick);
        while self.open.len() > OPEN_KEPT {
            self.open.pop_first();
        }
        true
    }

    fn end(&mut self, tick: u64) {
        self.open.remove(&tick);
        self.ended.insert(tick);
        let last = self.last.unwrap_or_default();
        self.ended.retain(|tick| tick.saturating_add(APART_MS) > last);
    }
}

#[async_trait]
impl Ticks for MemoryTicks {
    async fn last(&self, plan: &str, or: u64) -> Result<u64, PortError> {
        let mut state = self.state.lock();
        let plan = state.plans.entry(plan.to_owned()).or_default();
        if plan.last.is_none() {
            plan.pass(or);
        }
        Ok(plan.last.unwrap_or(or))
    }

    async fn pass(&self, plan: &str, tick: u64) -> Result<(), PortError> {
        self.state.lock().plans.entry(plan.to_owned()).or_default().pass(tick);
        Ok(())
    }

    async fn begin(&self, plan: &str, tick: u64) -> Result<bool, PortError> {
        Ok(self.state.lock().plans.entry(plan.to_owned()).or_default().begin(tick))
    }

    async fn note(&self, plan: &str, run: &Run) -> Result<(), PortError> {
        let mut state = self.state.lock();
        if let Some(plan) = state.plans.get_mut(plan).filter(|_| run.ends()) {
            plan.end(run.tick);
        }
        let runs = state.runs.entry(run.schedule.clone()).or_default();
        runs.push_front(run.clone());
        runs.truncate(RUNS_KEPT);
        Ok(())
    }

    async fn runs(&self, schedule: &str, most: usize) -> Result<Vec<Run>, PortError> {
        Ok(self.state.lock().runs.get(schedule).into_iter().flatten().take(most).cloned().collect())
    }
}
