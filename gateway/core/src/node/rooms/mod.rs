//! Rooms: who hears what on this node, and the way of every event, into the log and from its feed to the sessions.
//!
//! The lowest of the node's three parts: it knows sessions, but neither who of them is connected nor who is counted.

mod archived;
mod canary;
mod fanout;
mod gap;
mod hearing;
mod hub;
mod members;
mod missed;
mod past;
mod publish;
mod reading;
mod relay;
mod turns;
mod typing;

pub(in crate::node) use archived::Told;
pub(in crate::node) use gap::Lost;
pub(in crate::node) use hearing::Own;
pub use hearing::{Ask, Hearing, Listening};
pub use hub::Inhabited;
pub(in crate::node) use hub::Marks;
pub use members::STANDING;
pub(in crate::node) use missed::Missed;
pub use past::{Past, Stretch};
pub use publish::{dedupe, dedupe_of};

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use self::hub::Hub;
use self::reading::Doubt;
use self::turns::Turns;
use crate::config::{self, Config};
use crate::domain::{Refusal, RoomName};
use crate::log::{FeedItem, Log};
use crate::metrics::Metrics;
use crate::node::sights::Sights;
use crate::node::troubles::Failing;
use crate::port::{Port, PortError};
use crate::recurring::Recurring;
use crate::supervisor::Supervisor;

/// Events for members here alone that wait for the fan-out.
const RELAYS: usize = 256;

/// The limits that rooms have.
#[derive(Clone, Debug)]
struct Limits {
    rooms_per_session: usize,
    history_page: usize,
}

/// The rooms of this node: their sessions, the log, and whether its feed is heard.
#[derive(Debug)]
pub(in crate::node) struct Rooms {
    /// What they stand on is called.
    ground: String,
    log: Arc<dyn Log>,
    past: Past,
    hub: Hub,
    hearing: Own,
    limits: Limits,
    recovery: config::Recovery,
    turns: Turns,
    doubt: Doubt,
    failing: Failing,
    archive_failing: Failing,
    full: Recurring,
    /// What is for members here alone, and where the fan-out takes it.
    relays: mpsc::Sender<FeedItem>,
    relayed: Mutex<Option<mpsc::Receiver<FeedItem>>>,
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
    pub(in crate::node) fn new(
        ground: &str,
        past: Past,
        hearing: Own,
        config: &Config,
        sights: Arc<Sights>,
        metrics: Arc<Metrics>,
        tasks: TaskTracker,
    ) -> Self {
        let log = past.log.clone();
        let limits =
            Limits { rooms_per_session: config.limits.rooms_per_session, history_page: config.limits.history_page };
        // As many as threads that could deliver at the same time.
        let shards = tokio::runtime::Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        let (relays, relayed) = mpsc::channel(RELAYS);
        Self {
            hub: Hub::new(log.clone(), config.rooms.linger, shards, sights, metrics.clone()),
            ground: ground.to_owned(),
            log,
            past,
            hearing,
            limits,
            recovery: config.recovery.clone(),
            turns: Turns::new(metrics.clone()),
            doubt: Doubt::default(),
            failing: Failing::new("the log failed", "something in the log is broken"),
            archive_failing: Failing::new("the archive failed", "something in the archive is broken"),
            full: Recurring::new("the log is full, and publishes are refused"),
            relays,
            relayed: Mutex::new(Some(relayed)),
            metrics,
            tasks,
        }
    }

    /// Starts what rooms need, in tasks whose names end with `of`: fan-out and shards, canary, and listening no longer to rooms that nobody is in.
    pub(in crate::node) fn run(self: &Arc<Self>, name: &str, of: &str, canary: Duration, supervisor: &Supervisor) {
        let room = RoomName::internal(&format!("canary:{name}"));
        let feed = fanout::with_relays(self.log.feed(), self.relayed.lock().take());
        supervisor.run(format!("fan-out{of}"), fanout::run(feed, self.clone(), room.clone()));
        self.run_shards(of, supervisor);
        supervisor.run(format!("canary{of}"), canary::run(self.clone(), room, canary));
        let sweeper = self.clone();
        supervisor.run(format!("sweep of rooms{of}"), async move { sweeper.hub.sweep_forever().await });
    }

    /// Runs the shards: one among the other tasks, several on threads of their own. The runtime keeps tasks that wake each
    /// other on one thread, which would deliver everything while the others sleep.
    fn run_shards(&self, of: &str, supervisor: &Supervisor) {
        let shards = self.hub.shards();
        for (number, shard) in shards.iter().enumerate() {
            let (shard, name) = (shard.clone(), format!("shard-{number}{of}"));
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

    /// Up to where sessions were handed everything.
    pub(in crate::node) fn marks(&self) -> Marks {
        self.hub.marks()
    }

    /// The one place where a failing log, or a failing archive, becomes what clients read; it is logged here and only here.
    pub(in crate::node) fn unavailable(&self, error: &PortError) -> Refusal {
        if error.port == Port::Archive {
            self.metrics.archive_errors.with(error.operation).increment(1);
            self.archive_failing.note(error);
        } else {
            self.metrics.log_errors.with(error.operation).increment(1);
            self.failing.note(error);
        }
        Refusal::Unavailable
    }

    /// The same for what was asked of one room, which then is in the line.
    pub(in crate::node) fn unavailable_in(&self, room: &RoomName, error: &PortError) -> Refusal {
        tracing::Span::current().record("room", tracing::field::display(room));
        self.unavailable(error)
    }
}
