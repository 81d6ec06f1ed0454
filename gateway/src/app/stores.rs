//! What a node is built on: the backends of its ports, as the configuration names them.

use std::sync::Arc;

use anyhow::Context;

use crate::bus::{Bus, MemoryBus, MemoryHub, RedisBus};
use crate::config::{self, Config};
use crate::formats::Formats;
use crate::log::{Budget, Log, MemoryLog, RedisLog, Retention, SqliteLog};
use crate::metrics::Metrics;
use crate::presence::{Directory, MemoryPlaces, MemoryPresence, Presence, RedisPresence};
use crate::redis::{Commands, Primary};
use crate::repeats::{MemoryRepeats, RedisRepeats, Repeats, SqliteRepeats};
use crate::revocations::{MemoryRevocations, RedisRevocations, Revocations, SqliteRevocations};
use crate::sessions::{MemorySessions, RedisSessions, Sessions, SqliteSessions};
use crate::supervisor::Supervisor;

/// What is to be told that the node ends.
#[derive(Debug)]
pub(super) enum Stores {
    Memory,
    Files(Files),
    Redis(Arc<RedisLog>),
}

impl Stores {
    pub(super) async fn close(&self) {
        match self {
            Self::Memory => {}
            Self::Files(files) => {
                files.sessions.close().await;
                files.revocations.close().await;
                files.repeats.close().await;
                files.log.close().await;
            }
            Self::Redis(log) => log.close().await,
        }
    }
}

#[derive(Debug)]
pub(super) struct Files {
    log: Arc<SqliteLog>,
    sessions: Arc<SqliteSessions>,
    revocations: Arc<SqliteRevocations>,
    repeats: Arc<SqliteRepeats>,
}

/// A Redis that the node is configured for.
pub(super) struct Redis {
    pub(super) primary: Arc<Primary>,
    pub(super) commands: Commands,
}

/// What a node is built on.
pub(super) struct Backends {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) log: Arc<dyn Log>,
    pub(super) budget: Arc<Budget>,
    pub(super) sessions: Arc<dyn Sessions>,
    pub(super) presence: Arc<dyn Presence>,
    pub(super) revocations: Arc<dyn Revocations>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) repeats: Arc<dyn Repeats>,
    pub(super) stores: Stores,
}

/// Opens what the configuration names.
pub(super) async fn backends(
    config: &Config,
    name: &str,
    metrics: &Arc<Metrics>,
    redis: Option<Redis>,
    formats: &Formats,
    supervisor: &Supervisor,
) -> anyhow::Result<Backends> {
    let retention = retention(&config.log);
    let (window, kept) = (config.recovery.window, config.api.repeats_kept);
    let Some(Redis { primary, commands }) = redis else {
        metrics.bus_connected.set(1.0);
        let bus = Arc::new(MemoryBus::new(Arc::<MemoryHub>::default()));
        // Who was there is gone with the process, and so are they.
        let presence = Arc::new(MemoryPresence::new(Arc::<MemoryPlaces>::default(), name, &config.presence));
        let folder = &config.data_dir;
        if folder.as_os_str().is_empty() {
            let (log, sessions) = (Arc::new(MemoryLog::new(retention)), Arc::new(MemorySessions::new(window)));
            let revocations = Arc::new(MemoryRevocations::default());
            let repeats = Arc::new(MemoryRepeats::new(kept));
            let (budget, directory, stores) = (log.budget(), presence.clone(), Stores::Memory);
            return Ok(Backends { bus, log, budget, sessions, presence, directory, revocations, repeats, stores });
        }
        let log = SqliteLog::open(&folder.join("log.sqlite"), retention, supervisor).await.context("data_dir")?;
        let log = Arc::new(log);
        let sessions = SqliteSessions::open(&folder.join("sessions.sqlite"), window).await.context("data_dir")?;
        let sessions = Arc::new(sessions);
        let revocations = SqliteRevocations::open(&folder.join("revocations.sqlite")).await.context("data_dir")?;
        let revocations = Arc::new(revocations);
        let repeats = SqliteRepeats::open(&folder.join("repeats.sqlite"), kept).await.context("data_dir")?;
        let repeats = Arc::new(repeats);
        let files = Files {
            log: log.clone(),
            sessions: sessions.clone(),
            revocations: revocations.clone(),
            repeats: repeats.clone(),
        };
        let (budget, directory, stores) = (log.budget(), presence.clone(), Stores::Files(files));
        return Ok(Backends { bus, log, budget, sessions, presence, directory, revocations, repeats, stores });
    };
    let settings = &config.redis;
    let bus: Arc<dyn Bus> = Arc::new(RedisBus::start(primary, settings, metrics.clone(), supervisor));
    let commands = commands.watched_by(supervisor);
    let presence =
        Arc::new(RedisPresence::new(commands.clone(), &settings.prefix, name, &config.presence, formats.clone()));
    let revocations = Arc::new(RedisRevocations::new(commands.clone(), bus.clone(), &settings.prefix));
    let repeats = Arc::new(RedisRepeats::new(commands.clone(), &settings.prefix, kept));
    let log = RedisLog::new(commands.clone(), bus.clone(), &settings.prefix, retention, settings.feed_buffer);
    let log = Arc::new(log);
    let (prefix, history) = (&settings.prefix, log.history());
    let sessions = RedisSessions::new(commands, bus.clone(), prefix, window, formats.clone(), history);
    let sessions = Arc::new(sessions);
    let (stores, budget, directory) = (Stores::Redis(log.clone()), log.budget(), presence.clone());
    Ok(Backends { bus, log, budget, sessions, presence, directory, revocations, repeats, stores })
}

fn retention(log: &config::Log) -> Retention {
    Retention {
        room_events: log.room_events,
        room_bytes: log.room_bytes,
        room_retention: log.room_retention,
        dedupe_window: log.dedupe_window,
        max_bytes: log.max_bytes,
        max_percent: log.max_percent,
    }
}
