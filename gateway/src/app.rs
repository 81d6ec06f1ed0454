//! The composition root: the only file that names backends. Builds a node from its configuration, runs it, stops it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{Revoked, Tokens};
use crate::bus::{Bus, MemoryBus, MemoryHub, RedisBus};
use crate::calls::Caller;
use crate::config::{self, Config};
use crate::control::Control;
use crate::http::{AdminListener, AdminState, AskOverHttp, admin, web};
use crate::log::{Log, MemoryLog, RedisLog, Retention, SqliteLog};
use crate::metrics::Metrics;
use crate::node::{Listening, Node, Peers};
use crate::operators::Operators;
use crate::presence::{MeasuredPresence, MemoryPlaces, MemoryPresence, Presence, RedisPresence};
use crate::redis::Commands;
use crate::revocations::{MemoryRevocations, RedisRevocations, Revocations, SqliteRevocations};
use crate::routes::{RouteTable, Router};
use crate::sessions::{MemorySessions, RedisSessions, Sessions, SqliteSessions};
use crate::socket::{SocketServer, serve};
use crate::supervisor::Supervisor;

/// Connections that may wait in the kernel to be accepted. Linux caps it at `net.core.somaxconn`, 4096 by default.
const BACKLOG: u32 = 4096;
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
    /// The profile and the file that routes are read from.
    routes: (String, Option<PathBuf>),
    ready: Arc<AtomicBool>,
    peers: Arc<Peers>,
    stop: CancellationToken,
    tasks: TaskTracker,
    supervisor: Supervisor,
    /// What embedded mode writes, to be closed at the end.
    files: Option<Files>,
}

#[derive(Debug)]
struct Files {
    log: Arc<SqliteLog>,
    sessions: Arc<SqliteSessions>,
    revocations: Arc<SqliteRevocations>,
}

impl Gateway {
    /// Starts a node: backends first, then control, then the listeners, then it is ready. `max_files` is
    /// how many files the process may open.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config, max_files: usize) -> Result<Self, StartError> {
        let table = RouteTable::load(&config.profile, config.file.as_deref())
            .map_err(|error| StartError::Configuration(error.to_string()))?;
        Tokens::check(&config.auth).map_err(|error| StartError::Configuration(error.to_string()))?;
        Self::build(config, table, max_files).await.map_err(StartError::Unavailable)
    }

    async fn build(config: Config, table: RouteTable, max_files: usize) -> anyhow::Result<Self> {
        let name = node_name(&config);
        let metrics = Arc::new(Metrics::new());
        metrics.connections_limit.set(u32::try_from(config.limits.connections).unwrap_or(u32::MAX));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let supervisor = Supervisor::new(&tasks, &stop);
        // A start that fails ends what it has begun, and then nothing of it has failed.
        let begun = stop.clone().drop_guard();

        let Backends { bus, log, sessions, presence, revocations, files } =
            backends(&config, &name, &metrics, &supervisor).await?;
        let presence = Arc::new(MeasuredPresence::new(presence, metrics.clone()));
        let node = Node::new(log, sessions, presence, &config, metrics.clone(), tasks.clone());
        let revoked = Revoked::start(revocations, config.auth.revocations_kept, metrics.clone()).await;
        let tokens = Tokens::start(&config.auth, revoked.clone(), metrics.clone()).await?;
        let caller = Caller::new(&config.calls, metrics.clone()).context("calls")?;
        let router = Router::new(table, node.clone(), tokens.clone(), caller, &config, metrics.clone());
        let router = Arc::new(router);
        let server = SocketServer::start(&config, router.clone(), web(), metrics.clone(), &supervisor, max_files);
        let (control, heard) = Control::start(bus.clone(), node.clone(), &name, &config.redis.prefix).await?;

        let operators = if config.admin.token.is_empty() {
            None
        } else {
            let (bus, node, metrics) = (bus.clone(), node.clone(), metrics.clone());
            Some(Operators::start(&config, &name, &host_name(), bus, node, metrics).await?)
        };
        let clients = listen(config.listen).context("listen")?;
        let admins = listen(config.admin_listen).context("admin_listen")?;
        let ready = Arc::new(AtomicBool::new(false));
        let peers = Arc::new(Peers::new(bus.clone(), &config.redis.prefix, metrics.clone()));
        let gateway = Self {
            address: clients.local_addr()?,
            admin_address: admins.local_addr()?,
            metrics: metrics.clone(),
            server: server.clone(),
            router: router.clone(),
            routes: (config.profile.clone(), config.file.clone()),
            ready: ready.clone(),
            peers: peers.clone(),
            stop: stop.clone(),
            tasks: tasks.clone(),
            supervisor: supervisor.clone(),
            files,
            name,
        };

        node.run(&gateway.name, &config, &supervisor);
        if let Some(changes) = node.changes() {
            supervisor.run("changes of places", router.clone().act_on_changes(changes));
        }
        supervisor.run("ends of tokens", end_sessions(router.clone(), revoked.news()));
        supervisor.run("session controls", control.clone().serve(heard));
        supervisor.run("count of nodes", peers.count());
        supervisor.run("revocations", revoked.clone().keep_up());
        supervisor.run("keys of tokens", tokens.keep_fresh());
        supervisor.run("upkeep", upkeep(server.clone(), metrics.clone()));
        if !config.canary.deaf_after.is_zero() {
            let listening = Listening {
                is_alone: config.redis_url.is_empty(),
                bus: bus.clone(),
                roll: format!("{}:hearing", config.redis.prefix),
                address: advertised(&config.admin, gateway.admin_address),
                ask: Arc::new(AskOverHttp),
                deaf_after: config.canary.deaf_after,
                drain_after: config.canary.drain_after,
                supervisor: supervisor.clone(),
            };
            supervisor.run("hand-over of a deaf node", server.clone().hand_over_when_deaf());
            supervisor.run("hearing", node.clone().mind_hearing(listening));
        }
        let state = AdminState {
            metrics: metrics.clone(),
            ready: ready.clone(),
            node,
            control,
            revoked,
            token: config.admin.token.clone(),
        };
        let mut routes = admin(state);
        if let Some(operators) = operators {
            routes = operators.mount(routes);
            supervisor.run_on("operators", operators.run(stop.clone()));
        }
        let stopped = stop.clone().cancelled_owned();
        supervisor.run_on("admin listener", async move {
            let served = axum::serve(AdminListener::new(admins), routes).with_graceful_shutdown(stopped).await;
            if let Err(error) = served {
                tracing::error!(%error, "the admin listener ended");
            }
        });
        supervisor.run_on("listener", serve(clients, server, max_files, stop));
        ready.store(true, Ordering::Release);
        begun.disarm();
        Ok(gateway)
    }

    /// Reads the route table again. Sessions stay; a table with a mistake changes nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn reload(&self) -> anyhow::Result<()> {
        let (profile, file) = &self.routes;
        let table = RouteTable::load(profile, file.as_deref())?;
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
        self.stop.cancel();
        self.tasks.close();
        // What still runs are connections that did not end in time; they end with the process.
        tokio::time::timeout(FAREWELL, self.tasks.wait()).await.ok();
        if let Some(files) = self.files {
            files.sessions.close().await;
            files.revocations.close().await;
            files.log.close().await;
        }
        left
    }
}

struct Backends {
    bus: Arc<dyn Bus>,
    log: Arc<dyn Log>,
    sessions: Arc<dyn Sessions>,
    presence: Arc<dyn Presence>,
    revocations: Arc<dyn Revocations>,
    files: Option<Files>,
}

async fn backends(
    config: &Config,
    name: &str,
    metrics: &Arc<Metrics>,
    supervisor: &Supervisor,
) -> anyhow::Result<Backends> {
    let retention = Retention {
        room_events: config.log.room_events,
        room_retention: config.log.room_retention,
        dedupe_window: config.log.dedupe_window,
    };
    let window = config.recovery.window;
    let url = config.redis_url.expose();
    if url.is_empty() {
        metrics.bus_connected.set(1.0);
        let bus = Arc::new(MemoryBus::new(Arc::<MemoryHub>::default()));
        // Who was there is gone with the process, and so are they.
        let presence = Arc::new(MemoryPresence::new(Arc::<MemoryPlaces>::default(), name, &config.presence));
        let folder = &config.data_dir;
        if folder.as_os_str().is_empty() {
            let (log, sessions) = (Arc::new(MemoryLog::new(retention)), Arc::new(MemorySessions::new(window)));
            let revocations = Arc::new(MemoryRevocations::default());
            return Ok(Backends { bus, log, sessions, presence, revocations, files: None });
        }
        let log =
            Arc::new(SqliteLog::open(&folder.join("log.sqlite"), retention, supervisor).await.context("data_dir")?);
        let sessions = SqliteSessions::open(&folder.join("sessions.sqlite"), window).await.context("data_dir")?;
        let sessions = Arc::new(sessions);
        let revocations = SqliteRevocations::open(&folder.join("revocations.sqlite")).await.context("data_dir")?;
        let revocations = Arc::new(revocations);
        let files = Some(Files { log: log.clone(), sessions: sessions.clone(), revocations: revocations.clone() });
        return Ok(Backends { bus, log, sessions, presence, revocations, files });
    }
    let settings = &config.redis;
    let commands = Commands::new(url, settings).context("redis_url")?.watched_by(supervisor);
    let bus = RedisBus::connect(url, settings, metrics.clone(), supervisor).await.context("redis_url")?;
    let bus: Arc<dyn Bus> = Arc::new(bus);
    let sessions = Arc::new(RedisSessions::new(commands.clone(), bus.clone(), &settings.prefix, window));
    let presence = Arc::new(RedisPresence::new(commands.clone(), &settings.prefix, name, &config.presence));
    let revocations = Arc::new(RedisRevocations::new(commands.clone(), bus.clone(), &settings.prefix));
    let log = Arc::new(RedisLog::new(commands, bus.clone(), &settings.prefix, retention, settings.feed_buffer));
    Ok(Backends { bus, log, sessions, presence, revocations, files: None })
}

/// Where other nodes reach the admin listener.
fn advertised(settings: &config::Admin, listens: SocketAddr) -> String {
    if !settings.advertise.is_empty() {
        settings.advertise.clone()
    } else if listens.ip().is_unspecified() {
        // Containers of one network find each other by it.
        format!("{}:{}", host_name(), listens.port())
    } else {
        listens.to_string()
    }
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restarted node takes its port back from connections that are still closing.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().with_context(|| format!("cannot listen on {address}"))
}

/// Ends sessions whose tokens are no longer good, for ever.
async fn end_sessions(router: Arc<Router>, mut revoked: watch::Receiver<u64>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = tick.tick() => router.end_expired(),
            Ok(()) = revoked.changed() => router.end_revoked(),
        }
    }
}

async fn upkeep(server: SocketServer, metrics: Arc<Metrics>) {
    let mut tick = tokio::time::interval(Metrics::UPKEEP_INTERVAL);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = tick.tick() => {
                metrics.upkeep();
                server.upkeep();
            }
            _ = second.tick() => server.count_traffic(),
        }
    }
}

/// What a node with this configuration is called. A name that is made up is another one with each call.
#[must_use]
pub fn node_name(config: &Config) -> String {
    if config.node_name.is_empty() {
        format!("{}-{:06x}", host_name(), rand::random::<u32>() & 0x00ff_ffff)
    } else {
        config.node_name.clone()
    }
}

fn host_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { "node".to_owned() } else { host.to_owned() }
}
