//! Rooms: who hears what on this node, and the way of every event, into the log and from its feed to the sessions.
//!
//! The lowest of the node's three parts: it knows sessions, but neither who of them is connected nor who is counted.

mod canary;
mod fanout;
mod gap;
mod hearing;
mod hub;
mod members;
mod missed;
mod publish;
mod reading;
mod turns;
mod typing;

pub(in crate::node) use gap::Lost;
pub use hearing::{Ask, Hearing, Listening};
pub(in crate::node) use hub::Marks;
pub use members::STANDING;
pub(in crate::node) use missed::Missed;
pub use publish::{dedupe, dedupe_of};

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use self::hub::Hub;
use self::reading::Doubt;
use self::turns::Turns;
use crate::config::{self, Config};
use crate::domain::{Refusal, RoomName};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::node::troubles::Failing;
use crate::port::PortError;
use crate::recurring::Recurring;
use crate::supervisor::Supervisor;

/// The limits that rooms have.
#[derive(Clone, Debug)]
struct Limits {
    rooms_per_session: usize,
    history_page: usize,
}

/// The rooms of this node: their sessions, the log, and whether its feed is heard.
#[derive(Debug)]
pub(in crate::node) struct Rooms {
    log: Arc<dyn Log>,
    hub: Hub,
    hearing: Hearing,
    limits: Limits,
    recovery: config::Recovery,
    turns: Turns,
    doubt: Doubt,
    failing: Failing,
    full: Recurring,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
}

impl std::fmt::Debug for dyn Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

impl Rooms {
    /// No rooms yet, with as many shards as the runtime that this is called on has worker threads, one outside of any.
    pub(in crate::node) fn new(log: Arc<dyn Log>, config: &Config, metrics: Arc<Metrics>, tasks: TaskTracker) -> Self {
        let limits =
            Limits { rooms_per_session: config.limits.rooms_per_session, history_page: config.limits.history_page };
        // As many as threads that could deliver at the same time.
        let shards = tokio::runtime::Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        Self {
            hub: Hub::new(log.clone(), config.rooms.linger, shards, metrics.clone()),
            log,
            hearing: Hearing::default(),
            limits,
            recovery: config.recovery.clone(),
            turns: Turns::new(metrics.clone()),
            doubt: Doubt::default(),
            failing: Failing::new("the log failed", "something in the log is broken"),
            full: Recurring::new("the log is full, and publishes are refused"),
            metrics,
            tasks,
        }
    }

    /// Starts what rooms need: fan-out and shards, canary, and listening no longer to rooms that nobody is in.
    pub(in crate::node) fn run(self: &Arc<Self>, name: &str, canary: Duration, supervisor: &Supervisor) {
        let room = RoomName::internal(&format!("canary:{name}"));
        supervisor.run("fan-out", fanout::run(self.log.feed(), self.clone(), room.clone()));
        self.run_shards(supervisor);
        supervisor.run("canary", canary::run(self.clone(), room, canary));
        let sweeper = self.clone();
        supervisor.run("sweep of rooms", async move { sweeper.hub.sweep_forever().await });
    }

    /// Runs the shards: one among the other tasks, several on threads of their own. The runtime keeps tasks that wake each
    /// other on one thread, which would deliver everything while the others sleep.
    fn run_shards(&self, supervisor: &Supervisor) {
        let shards = self.hub.shards();
        for (number, shard) in shards.iter().enumerate() {
            let (shard, name) = (shard.clone(), format!("shard-{number}"));
            let work = async move { shard.run().await };
            if shards.len() == 1 {
                supervisor.run(name, work);
                continue;
            }
            let work = supervisor.until_stop(name.clone(), work);
            let runtime = tokio::runtime::Handle::current();
            let thread = std::thread::Builder::new().name(name);
            thread.spawn(move || runtime.block_on(work)).expect("the system has no thread left");
        }
    }

    /// Whether this node hears the others.
    pub(in crate::node) fn hearing(&self) -> &Hearing {
        &self.hearing
    }

    /// Up to where sessions were handed everything.
    pub(in crate::node) fn marks(&self) -> Marks {
        self.hub.marks()
    }

    /// The one place where a failing log becomes what clients read; it is logged here and only here.
    pub(in crate::node) fn unavailable(&self, error: &PortError) -> Refusal {
        self.metrics.log_errors.with(error.operation).increment(1);
        self.failing.note(error);
        Refusal::Unavailable
    }

    /// The same for what was asked of one room, which then is in the line.
    pub(in crate::node) fn unavailable_in(&self, room: &RoomName, error: &PortError) -> Refusal {
        tracing::Span::current().record("room", tracing::field::display(room));
        self.unavailable(error)
    }
}
