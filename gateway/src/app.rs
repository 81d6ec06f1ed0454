//! The composition root: the only file that names backends. Builds a node from its configuration, runs it, stops it.

mod addresses;
mod api_door;
mod start;
mod stores;

pub use addresses::node_name;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{ApiKeys, Entry, Hook, Revoked, Tokens};
use crate::calls::Caller;
use crate::config::{self, Config};
use crate::formats::{Format, Formats};
use crate::hooks::Hooks;
use crate::http::{AdminLimits, AdminRoutes, Api, Hosts, web};
use crate::log::Budget;
use crate::metrics::Metrics;
use crate::node::{Node, Peers};
use crate::presence::MeasuredPresence;
use crate::redis::{Commands, ConnectError, Primary};
use crate::routes::{RouteTable, Router};
use crate::socket::{SocketServer, serve, serve_back_ends};
use crate::supervisor::Supervisor;
use crate::telemetry::{By, audit};

use addresses::{advertised, host_name, listen};
use api_door::ApiDoor;
use start::Start;
use stores::{Backends, Redis, Stores, backends};

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
    /// Where back ends connect.
    pub api_address: SocketAddr,
    /// What it is called.
    pub name: String,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    server: SocketServer,
    router: Arc<Router>,
    keys: Arc<ApiKeys>,
    hooks: Arc<Hooks>,
    /// The profile and the file that routes, hooks and keys are read from.
    routes: (String, Option<PathBuf>),
    ready: Arc<AtomicBool>,
    peers: Arc<Peers>,
    supervisor: Supervisor,
    stores: Stores,
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
        Hook::check(&config.auth.hook).map_err(misconfigured)?;
        let metrics = Arc::new(Metrics::new());
        let keys = ApiKeys::new(&config.api.key, metrics.clone()).map_err(misconfigured)?;
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
            Self::build(config, table, keys, max_files, redis, metrics).await.map_err(StartError::Unavailable)?;
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
        keys: Arc<ApiKeys>,
        max_files: usize,
        redis: Option<Redis>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<(Self, Start)> {
        let clients = listen(config.listen).context("listen")?;
        let admins = listen(config.admin_listen).context("admin_listen")?;
        let back_ends = config.api.address().map(listen).transpose().context("api.listen")?;
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
        let Backends { bus, log, budget, sessions, presence, directory, revocations, repeats, outbox, wants, stores } =
            backends;
        let presence = Arc::new(MeasuredPresence::new(presence, metrics.clone()));
        let node = Node::new(log, sessions, presence, &config, metrics.clone(), tasks.clone());
        let revoked = Revoked::start(revocations, config.auth.revocations_kept, metrics.clone()).await;
        let tokens = Tokens::start(&config.auth, revoked.clone(), metrics.clone()).await?;
        let caller = Arc::new(Caller::new(&config.calls, metrics.clone()).context("calls")?);
        let hooks = Hooks::new(outbox, wants, caller.clone(), &config.hooks, table.hooks(), metrics.clone());
        let hook = Hook::new(&config, caller.clone(), metrics.clone()).map_err(anyhow::Error::msg)?;
        let entry = Arc::new(Entry::new(tokens.clone(), hook));
        let router = Router::new(table, node.clone(), entry, caller, &config, metrics.clone());
        let router = Arc::new(router);
        let web = web(config.web.page);
        let api = Api::new(&config, keys.clone(), metrics.clone());
        let door = Arc::new(ApiDoor(api.clone()));
        let server = SocketServer::start(&config, router.clone(), web, door, metrics.clone(), &supervisor, max_files);
        let peers = Arc::new(Peers::new(bus.clone(), &config.redis.prefix, formats.clone(), metrics.clone()));
        let gateway = Self {
            address: clients.local_addr()?,
            admin_address: admin.address(),
            api_address: back_ends.as_ref().unwrap_or(&clients).local_addr()?,
            metrics: metrics.clone(),
            server: server.clone(),
            router: router.clone(),
            keys,
            hooks: hooks.clone(),
            routes: (config.profile.clone(), config.file.clone()),
            ready: Arc::new(AtomicBool::new(false)),
            peers: peers.clone(),
            supervisor: supervisor.clone(),
            stores,
            name,
        };
        if let Some(back_ends) = back_ends {
            supervisor.run_on("listener of back ends", serve_back_ends(back_ends, server.clone(), stop.clone()));
        }
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
            api,
            directory,
            repeats,
            admin,
            metrics,
            supervisor,
        };
        unfinished.disarm();
        Ok((gateway, start))
    }

    /// Reads the route table with its hooks, and the keys of back ends, again. Sessions stay; a mistake in any changes nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn reload(&self) -> anyhow::Result<()> {
        let (profile, file) = &self.routes;
        let table = RouteTable::load(profile, file.as_deref());
        audit(By::Signal, "reload", "routes", if table.is_ok() { "done" } else { "failed: there are mistakes" });
        let table = table?;
        if let Some(file) = file {
            // Keys are in files alone: the environment has no words for them.
            let keys = config::load(Some(file), std::env::vars()).map_err(|error| error.to_string());
            let replaced = keys.and_then(|config| self.keys.replace(&config.api.key));
            let outcome = if replaced.is_ok() { "done" } else { "failed: there are mistakes" };
            if replaced != Ok(false) {
                audit(By::Signal, "reload", "keys", outcome);
            }
            replaced.map_err(anyhow::Error::msg)?;
        }
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
