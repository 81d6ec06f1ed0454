//! The composition root: the only file that names backends. Builds a node from its configuration, runs it, stops it.

mod addresses;
mod start;

pub use addresses::node_name;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{Revoked, Tokens};
use crate::bus::{Bus, MemoryBus, MemoryHub, RedisBus};
use crate::calls::Caller;
use crate::config::{self, Config};
use crate::formats::{Format, Formats};
use crate::hooks::Hooks;
use crate::http::{AdminLimits, AdminRoutes, Hosts, web};
use crate::log::{Budget, Log, MemoryLog, RedisLog, Retention, SqliteLog};
use crate::metrics::Metrics;
use crate::node::{Node, Peers};
use crate::outbox::{Bounds, MemoryOutbox, Outbox, RedisOutbox, SqliteOutbox, Wants};
use crate::presence::{MeasuredPresence, MemoryPlaces, MemoryPresence, Presence, RedisPresence};
use crate::redis::{Commands, ConnectError, Primary};
use crate::revocations::{MemoryRevocations, RedisRevocations, Revocations, SqliteRevocations};
use crate::routes::{RouteTable, Router};
use crate::sessions::{MemorySessions, RedisSessions, Sessions, SqliteSessions};
use crate::socket::{SocketServer, serve};
use crate::supervisor::Supervisor;
use crate::telemetry::{By, audit};

use addresses::{advertised, host_name, listen};
use start::Start;

/// How long tasks have to end after the last connection did.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a node did not start: the kind decides the exit code.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What was configured cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// Redis or an address to listen on is not to be had.
    #[error("{0:#}")]
    Unavailable(anyhow::Error),
}

/// A running node.
#[derive(Debug)]
pub struct Gateway {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where operators connect.
    pub admin_address: SocketAddr,
    /// What it is called.
    pub name: String,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    server: SocketServer,
    router: Arc<Router>,
    hooks: Arc<Hooks>,
    /// The profile and the file that routes are read from.
    routes: (String, Option<PathBuf>),
    ready: Arc<AtomicBool>,
    peers: Arc<Peers>,
    supervisor: Supervisor,
    stores: Stores,
}

/// What is to be told that the node ends.
#[derive(Debug)]
enum Stores {
    Memory,
    Files(Files),
    Redis(Arc<RedisLog>),
}

impl Stores {
    async fn close(&self) {
        match self {
            Self::Memory => {}
            Self::Files(files) => {
                files.sessions.close().await;
                files.revocations.close().await;
                files.outbox.close().await;
                files.log.close().await;
            }
            Self::Redis(log) => log.close().await,
        }
    }
}

#[derive(Debug)]
struct Files {
    log: Arc<SqliteLog>,
    sessions: Arc<SqliteSessions>,
    revocations: Arc<SqliteRevocations>,
    outbox: Arc<SqliteOutbox>,
}

impl Gateway {
    /// Starts a node. It listens from the beginning, and is ready when Redis is there: if it is not, the node waits for it
    /// beside its caller, unless it is `redis.required_at_start`. `max_files` is how many files the process may open.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config, max_files: usize) -> Result<Self, StartError> {
        let table = RouteTable::load(&config.profile, config.file.as_deref()).map_err(misconfigured)?;
        Tokens::check(&config.auth).map_err(misconfigured)?;
        let metrics = Arc::new(Metrics::new());
        let mut redis = None;
        let mut away = None;
        if !config.redis_url.is_empty() {
            let url = config.redis_url.expose();
            let primary = Primary::new(url, &config.redis, metrics.clone()).map_err(misconfigured)?;
            let commands = Commands::over(primary.clone(), &config.redis);
            match commands.probe().await {
                Ok(()) => {}
                Err(ConnectError::Refused(why)) => return Err(misconfigured(format!("redis_url: {why}"))),
                Err(ConnectError::Away(why)) => away = Some(why),
            }
            redis = Some(Redis { primary, commands });
        }
        if let Some(why) = away.as_ref().filter(|_| config.redis.required_at_start) {
            return Err(StartError::Unavailable(anyhow::anyhow!("redis_url: {why}")));
        }
        let (gateway, start) =
            Self::build(config, table, max_files, redis, metrics).await.map_err(StartError::Unavailable)?;
        match away {
            None => {
                let finished = start.finish().await;
                finished.inspect_err(|_| gateway.supervisor.stop().cancel()).map_err(StartError::Unavailable)?;
            }
            Some(why) => {
                tracing::warn!(error = why, "Redis does not answer; the node listens and waits for it");
                gateway.supervisor.run("wait for Redis", async move {
                    start.wait().await;
                    std::future::pending().await
                });
            }
        }
        Ok(gateway)
    }

    /// Builds everything that does not need Redis to answer, and opens the listeners.
    async fn build(
        config: Config,
        table: RouteTable,
        max_files: usize,
        redis: Option<Redis>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<(Self, Start)> {
        let clients = listen(config.listen).context("listen")?;
        let admins = listen(config.admin_listen).context("admin_listen")?;
        let name = node_name(&config);
        metrics.connections_limit.set(u32::try_from(config.limits.connections).unwrap_or(u32::MAX));
        metrics.buffered_bytes_limit.set(config.limits.buffered_bytes as f64);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let supervisor = Supervisor::new(&tasks, &stop);
        // What has begun by then ends if the rest fails, and then nothing of it has failed.
        let unfinished = stop.clone().drop_guard();
        let advertised = advertised(&config.admin, admins.local_addr()?);
        let hosts = Hosts::new(&config.admin.hosts, &host_name(), &advertised);
        let limits =
            AdminLimits { connections: config.admin.connections, header_timeout: config.socket.header_timeout };
        let admin = AdminRoutes::serve(admins, hosts, limits, metrics.clone(), &supervisor)?;

        // Who is there shows later; in embedded mode nobody is.
        let formats = Formats::new(if redis.is_some() { Format::OLDEST } else { Format::NEWEST });
        let commands = redis.as_ref().map(|redis| redis.commands.clone());
        let backends = backends(&config, &name, &metrics, redis, &formats, &supervisor).await?;
        let Backends { bus, log, budget, sessions, presence, revocations, outbox, wants, stores } = backends;
        let presence = Arc::new(MeasuredPresence::new(presence, metrics.clone()));
        let node = Node::new(log, sessions, presence, &config, metrics.clone(), tasks.clone());
        let revoked = Revoked::start(revocations, config.auth.revocations_kept, metrics.clone()).await;
        let tokens = Tokens::start(&config.auth, revoked.clone(), metrics.clone()).await?;
        let caller = Arc::new(Caller::new(&config.calls, metrics.clone()).context("calls")?);
        let hooks = Hooks::new(outbox, wants, caller.clone(), &config.hooks, table.hooks(), metrics.clone());
        let router = Router::new(table, node.clone(), tokens.clone(), caller, &config, metrics.clone());
        let router = Arc::new(router);
        let web = web(config.web.page);
        let server = SocketServer::start(&config, router.clone(), web, metrics.clone(), &supervisor, max_files);
        let peers = Arc::new(Peers::new(bus.clone(), &config.redis.prefix, formats.clone(), metrics.clone()));
        let gateway = Self {
            address: clients.local_addr()?,
            admin_address: admin.address(),
            metrics: metrics.clone(),
            server: server.clone(),
            router: router.clone(),
            hooks: hooks.clone(),
            routes: (config.profile.clone(), config.file.clone()),
            ready: Arc::new(AtomicBool::new(false)),
            peers: peers.clone(),
            supervisor: supervisor.clone(),
            stores,
            name,
        };
        supervisor.run_on("listener", serve(clients, server.clone(), max_files, stop));
        supervisor.run("upkeep", upkeep(server.clone(), budget, metrics.clone()));
        let start = Start {
            name: gateway.name.clone(),
            address: gateway.address,
            advertised,
            ready: gateway.ready.clone(),
            config,
            commands,
            bus,
            peers,
            formats,
            node,
            router,
            hooks,
            revoked,
            tokens,
            server,
            admin,
            metrics,
            supervisor,
        };
        unfinished.disarm();
        Ok((gateway, start))
    }

    /// Reads the route table again, and its hooks. Sessions stay; a table with a mistake changes nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn reload(&self) -> anyhow::Result<()> {
        let (profile, file) = &self.routes;
        let table = RouteTable::load(profile, file.as_deref());
        audit(By::Signal, "reload", "routes", if table.is_ok() { "done" } else { "failed: there are mistakes" });
        let table = table?;
        self.hooks.replace(table.hooks());
        self.router.replace(table);
        self.router.recount();
        Ok(())
    }

    /// How many sessions are connected to this node.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.server.sessions()
    }

    /// What its own tasks run under, and says if one of them has failed.
    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Drains the node and stops it. Returns how many connections had to be cut off.
    pub async fn stop(self) -> usize {
        self.ready.store(false, Ordering::Release);
        let left = self.server.drain(&self.peers).await;
        self.supervisor.stop().cancel();
        let tasks = self.supervisor.tasks();
        tasks.close();
        // What still runs are connections that did not end in time; they end with the process.
        tokio::time::timeout(FAREWELL, tasks.wait()).await.ok();
        self.stores.close().await;
        left
    }
}

fn misconfigured(error: impl std::fmt::Display) -> StartError {
    StartError::Configuration(error.to_string())
}

/// A Redis that the node is configured for.
struct Redis {
    primary: Arc<Primary>,
    commands: Commands,
}

struct Backends {
    bus: Arc<dyn Bus>,
    log: Arc<dyn Log>,
    budget: Arc<Budget>,
    sessions: Arc<dyn Sessions>,
    presence: Arc<dyn Presence>,
    revocations: Arc<dyn Revocations>,
    outbox: Arc<dyn Outbox>,
    wants: Wants,
    stores: Stores,
}

async fn backends(
    config: &Config,
    name: &str,
    metrics: &Arc<Metrics>,
    redis: Option<Redis>,
    formats: &Formats,
    supervisor: &Supervisor,
) -> anyhow::Result<Backends> {
    let retention = retention(&config.log);
    let window = config.recovery.window;
    let bounds = Bounds { entries: config.hooks.queue_events, bytes: config.hooks.queue_bytes };
    let wants = Wants::new(&config.redis.prefix, bounds);
    let Some(Redis { primary, commands }) = redis else {
        metrics.bus_connected.set(1.0);
        let bus = Arc::new(MemoryBus::new(Arc::<MemoryHub>::default()));
        // Who was there is gone with the process, and so are they.
        let presence = MemoryPresence::new(Arc::<MemoryPlaces>::default(), name, &config.presence);
        let folder = &config.data_dir;
        if folder.as_os_str().is_empty() {
            let outbox = Arc::new(MemoryOutbox::new(wants.clone()));
            let log = Arc::new(MemoryLog::new(retention).with_outbox(outbox.clone()));
            let (presence, sessions) =
                (Arc::new(presence.with_outbox(outbox.clone())), Arc::new(MemorySessions::new(window)));
            let revocations = Arc::new(MemoryRevocations::default());
            let budget = log.budget();
            let stores = Stores::Memory;
            return Ok(Backends { bus, log, budget, sessions, presence, revocations, outbox, wants, stores });
        }
        let log = SqliteLog::open(&folder.join("log.sqlite"), retention, supervisor).await.context("data_dir")?;
        let outbox = SqliteOutbox::open(log.database(), wants.clone()).await.context("data_dir")?;
        let outbox = Arc::new(outbox);
        let log = Arc::new(log.with_outbox(outbox.clone()));
        let presence = Arc::new(presence.with_outbox(outbox.clone()));
        let sessions = SqliteSessions::open(&folder.join("sessions.sqlite"), window).await.context("data_dir")?;
        let sessions = Arc::new(sessions);
        let revocations = SqliteRevocations::open(&folder.join("revocations.sqlite")).await.context("data_dir")?;
        let revocations = Arc::new(revocations);
        let files = Files {
            log: log.clone(),
            sessions: sessions.clone(),
            revocations: revocations.clone(),
            outbox: outbox.clone(),
        };
        let budget = log.budget();
        let stores = Stores::Files(files);
        return Ok(Backends { bus, log, budget, sessions, presence, revocations, outbox, wants, stores });
    };
    let settings = &config.redis;
    let bus: Arc<dyn Bus> = Arc::new(RedisBus::start(primary, settings, metrics.clone(), supervisor));
    let commands = commands.watched_by(supervisor);
    let presence = RedisPresence::new(commands.clone(), &settings.prefix, name, &config.presence, formats.clone());
    let presence = Arc::new(presence.with_outbox(wants.clone()));
    let outbox = Arc::new(RedisOutbox::new(commands.clone(), wants.clone()));
    let revocations = Arc::new(RedisRevocations::new(commands.clone(), bus.clone(), &settings.prefix));
    let log = RedisLog::new(commands.clone(), bus.clone(), &settings.prefix, retention, settings.feed_buffer);
    let log = Arc::new(log.with_outbox(wants.clone()));
    let (prefix, history) = (&settings.prefix, log.history());
    let sessions = RedisSessions::new(commands, bus.clone(), prefix, window, formats.clone(), history);
    let sessions = Arc::new(sessions);
    let (stores, budget) = (Stores::Redis(log.clone()), log.budget());
    Ok(Backends { bus, log, budget, sessions, presence, revocations, outbox, wants, stores })
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

async fn upkeep(server: SocketServer, budget: Arc<Budget>, metrics: Arc<Metrics>) {
    let mut tick = tokio::time::interval(Metrics::UPKEEP_INTERVAL);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = tick.tick() => {
                metrics.upkeep();
                server.upkeep();
            }
            _ = second.tick() => {
                server.count_traffic();
                metrics.log_bytes.set(budget.used() as f64);
                metrics.log_bytes_limit.set(budget.limit() as f64);
            }
        }
    }
}
