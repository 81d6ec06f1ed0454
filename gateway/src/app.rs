//! The composition root: the only file that names backends. Builds a node from its configuration, runs it, stops it.

mod addresses;
mod check;
mod database;
mod doors;
mod grounds;
mod jobs;
mod orders;
mod passing;
mod post;
mod reloading;
mod role;
mod start;
mod stores;
mod upkeep;

pub use addresses::node_name;
pub use check::check;
pub use role::Role;
pub use stores::queue_keys;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::By;
use crate::collector;
use crate::http::{AdminLimits, AdminRoutes, Api, Hosts, Users, web};
use crate::socket::passing::Passing;
use crate::socket::{Beside, SocketServer, serve, serve_back_ends};
use gateway_core::archive::Archived;
use gateway_core::auth::{ApiKeys, Entry, Hook, Revoked, Tokens};
use gateway_core::balance::{Balance, Parts};
use gateway_core::calls::Caller;
use gateway_core::config::Config;
use gateway_core::formats::{Format, Formats};
use gateway_core::inbox::Inbox;
use gateway_core::metrics::Metrics;
use gateway_core::node::{Node, Peers};
use gateway_core::redis::Agreement;
use gateway_core::routes::{RouteTable, Router, Through};
use gateway_core::supervisor::Supervisor;
use gateway_store::Store;
use gateway_work::archiving::Archiving;
use gateway_work::hooks::Hooks;
use gateway_work::jobs::{BackEnds, Workers};

use addresses::{advertised, host_name, listen};
use doors::Doors;
use grounds::{Grounds, agreement, check_namespaces, reach};
use jobs::{Means, desk_and_workers};
use orders::NodeOrders;
use post::{Materials, Post, absence, check_post};
use reloading::Reloading;
use start::{Heard, Start};
use stores::{Backends, Backing, Redis, Stores, backends};
use upkeep::{WhatIsKept, kept_unread, upkeep};

/// What of the time for stopping is kept for handing back jobs that are not done.
const HANDING_BACK: Duration = Duration::from_secs(1);
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
    /// Where clients connect; port 0 if they cannot.
    pub address: SocketAddr,
    /// Where operators connect.
    pub admin_address: SocketAddr,
    /// Where back ends connect, likewise.
    pub api_address: SocketAddr,
    /// What it is called.
    pub name: String,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    server: SocketServer,
    reloading: Arc<Reloading>,
    orders: Arc<NodeOrders>,
    workers: Arc<Workers>,
    role: Role,
    /// How long stopping may take.
    patience: Duration,
    ready: Arc<AtomicBool>,
    peers: Arc<Peers>,
    supervisor: Supervisor,
    agreement: Option<Arc<Agreement>>,
    stores: Stores,
    store: Option<Store>,
}

impl Gateway {
    /// Starts a node. It listens from the beginning, and is ready when Redis is there: if it is not, the node waits for it
    /// beside its caller, unless it is `redis.required_at_start`. `max_files` is how many files the process may open.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config, max_files: usize) -> Result<Self, StartError> {
        // Whoever starts several at once would have all of it in one future.
        Box::pin(Self::start_as(Role::Serve, config, max_files)).await
    }

    /// The same for a process that may only work.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_as(role: Role, config: Config, max_files: usize) -> Result<Self, StartError> {
        role.check(&config).map_err(misconfigured)?;
        let table = RouteTable::load(&config.profile, config.file.as_deref()).map_err(misconfigured)?;
        table.check_jobs(&config.jobs).map_err(misconfigured)?;
        check_namespaces(&config, &table).map_err(misconfigured)?;
        let back_ends = BackEnds::new(&config.jobs).map_err(misconfigured)?;
        check_post(&config).map_err(misconfigured)?;
        collector::check(&config).map_err(misconfigured)?;
        Tokens::check(&config.auth).map_err(misconfigured)?;
        Hook::check(&config.auth.hook).map_err(misconfigured)?;
        Inbox::check(&config.notifications).map_err(misconfigured)?;
        let metrics = Arc::new(Metrics::new());
        let keys = ApiKeys::new(&config.api.key, metrics.clone()).map_err(misconfigured)?;
        let (redis, away) = reach(&config, &metrics).await?;
        let store = database::open(&config).await?;
        let given = Given { role, table, keys, back_ends, max_files, redis, store, metrics };
        let (gateway, start) = Box::pin(Self::build(config, given)).await.map_err(StartError::Unavailable)?;
        match away {
            None => {
                let finished = Box::pin(start.finish()).await;
                finished.inspect_err(|_| gateway.supervisor.stop().cancel()).map_err(StartError::Unavailable)?;
            }
            Some(why) => {
                tracing::warn!(error = why, "Redis does not answer; the node listens and waits for it");
                gateway.supervisor.run("wait for Redis", async move {
                    Box::pin(start.wait()).await;
                    std::future::pending().await
                });
            }
        }
        Ok(gateway)
    }

    /// Builds everything that does not need Redis to answer, and opens the listeners.
    async fn build(config: Config, given: Given) -> anyhow::Result<(Self, Start)> {
        let Given { role, table, keys, back_ends: called, max_files, redis, store, metrics } = given;
        let is_open = role == Role::Serve;
        let clients = is_open.then(|| listen(config.listen)).transpose().context("listen")?;
        let admins = listen(config.admin_listen).context("admin_listen")?;
        let back_ends = config.api.address().filter(|_| is_open).map(listen).transpose().context("api.listen")?;
        metrics.works_only.set(f64::from(u8::from(!is_open)));
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

        let traces = collector::start(&config, &name, &metrics, &supervisor).context("telemetry.otlp_endpoint")?;
        // Who is there shows later; in embedded mode nobody is.
        let formats = Formats::new(if !redis.is_empty() { Format::OLDEST } else { Format::NEWEST });
        let commands = redis.first().map(|redis| redis.commands.clone());
        let mut backends = backends(&config, &name, &metrics, redis, &formats, &supervisor).await?;
        if traces.is_on() {
            backends.trace_appends();
        }
        let Backends { main, others, revocations, whereabouts, .. } = backends;
        let Backends { repeats, answers, jobs, queues, ticks, contacts, done, stores, .. } = backends;
        let bus = main.bus.clone();
        let backings = || std::iter::once(&main).chain(&others);
        let kept_in = store.as_ref().filter(|_| config.archive.any());
        let archived = kept_in.map(|store| Archived::new(store.archives(&config), main.wants.clone()));
        let of_one = |it: &Backing| {
            let archive = archived.as_ref()?.archives().of_redis(&it.name).clone();
            let to = (archive, it.outbox.clone(), it.log.clone());
            Some(Archiving::new(&it.name, to, &config.archive, metrics.clone(), traces.clone()))
        };
        let archiving: Vec<_> = backings().filter_map(of_one).collect();
        let grounds = Grounds::new(&main, &others, archived.as_ref(), &config, &metrics);
        let Grounds { main: ground, others: more, directory, counts, sources } = grounds;
        let node = Node::on(ground, more, &config, metrics.clone(), tasks.clone());
        let revoked = Revoked::start(revocations, config.auth.revocations_kept, metrics.clone()).await;
        let tokens = Tokens::start(&config.auth, revoked.clone(), metrics.clone()).await?;
        let caller = Caller::new(&config.calls, metrics.clone()).context("calls")?.traced(traces.clone());
        let caller = Arc::new(match answers {
            Some(answers) => caller.sharing(answers),
            None => caller,
        });
        let hooks = Hooks::new(sources, caller.clone(), &config.hooks, table.hooks(), metrics.clone());
        let hook = Hook::new(&config, caller.clone(), metrics.clone()).map_err(anyhow::Error::msg)?;
        let entry = Arc::new(Entry::new(tokens.clone(), hook));
        let (shelf, unread) = kept_unread(store.as_ref(), &bus, &config, &metrics).unzip();
        let unread = unread.flatten();
        let kept = WhatIsKept { caller: caller.clone(), counts, unread: unread.clone() };
        let inbox = Inbox::new(shelf, node.clone(), &config, metrics.clone());
        let inbox = Arc::new(inbox.minding(absence(&config, &jobs)?));
        let materials = Materials { jobs: jobs.clone(), ticks, contacts, done, caller: caller.clone() };
        let post = Post::new(&config, &name, materials, &inbox, &metrics)?;
        let means = Means {
            node: node.clone(),
            inbox: inbox.clone(),
            caller: caller.clone(),
            archiving: archiving.first().cloned(),
            back_ends: called.clone(),
            post: &post,
        };
        let (desk, workers) = desk_and_workers(&config, (jobs, queues), means, &metrics);
        let through = Through { caller, inbox: inbox.clone(), desk: desk.clone() };
        let router = Router::new(table, node.clone(), entry, through, &config, metrics.clone());
        let router = Arc::new(router);
        let agreement = agreement(&name, &main, &others, &router);
        let web = web(config.web.page);
        let api = Api::new(&config, keys.clone(), traces.clone(), metrics.clone());
        let background = post.background(&config, desk.clone(), keys.clone());
        let users = Users::new(&config, router.clone(), inbox.clone(), background, metrics.clone());
        let doors = Arc::new(Doors { api: api.clone(), users: users.clone() });
        let passing = Passing::start(whereabouts.filter(|_| is_open), &advertised, &config, max_files, &metrics);
        let beside = Beside { web, back_ends: doors, passing: passing.clone() };
        let server = SocketServer::start(&config, router.clone(), beside, metrics.clone(), &supervisor, max_files);
        let peers = Arc::new(Peers::new(bus.clone(), &config.redis.prefix, formats.clone(), metrics.clone()));
        let reloading = Arc::new(Reloading {
            router: router.clone(),
            keys,
            hooks: hooks.clone(),
            back_ends: called,
            schedules: post.schedules.clone(),
            mail: post.mail.clone(),
            jobs: config.jobs.clone(),
            routes: (config.profile.clone(), config.file.clone()),
        });
        let ready = Arc::new(AtomicBool::new(false));
        let parts = Parts { bus: bus.clone(), node: node.clone(), peers: peers.clone(), ready: ready.clone() };
        let balance = Arc::new(Balance::new(&config, &name, parts, metrics.clone()));
        let orders = Arc::new(NodeOrders::new(&server, &peers, &ready, &reloading, &metrics, &supervisor));
        let gateway = Self {
            address: address_of(clients.as_ref())?,
            admin_address: admin.address(),
            api_address: address_of(back_ends.as_ref().or(clients.as_ref()))?,
            metrics: metrics.clone(),
            server: server.clone(),
            reloading,
            orders: orders.clone(),
            workers: workers.clone(),
            role,
            patience: config.drain.timeout,
            ready,
            peers: peers.clone(),
            supervisor: supervisor.clone(),
            agreement: agreement.clone(),
            stores,
            store: store.clone(),
            name,
        };
        if let Some(back_ends) = back_ends {
            supervisor.run_on("listener of back ends", serve_back_ends(back_ends, server.clone(), stop.clone()));
        }
        if let Some(clients) = clients {
            supervisor.run_on("listener", serve(clients, server.clone(), max_files, stop));
        }
        let budgets = backings().map(|backing| (backing.name.clone(), backing.budget.clone())).collect();
        supervisor.run("upkeep", upkeep(server.clone(), users.clone(), desk.clone(), kept, budgets, metrics.clone()));
        supervisor.run("database", database::watch(store.clone(), metrics.clone()));
        let start = Start {
            name: gateway.name.clone(),
            address: gateway.address,
            advertised,
            ready: gateway.ready.clone(),
            orders,
            config,
            commands,
            listening: backings().map(Heard::of).collect(),
            agreement,
            bus,
            peers,
            balance,
            formats,
            node,
            router,
            hooks,
            archived,
            archiving,
            revoked,
            tokens,
            server,
            api,
            users,
            inbox,
            unread,
            desk,
            workers,
            post,
            role,
            passing,
            directory,
            repeats,
            store,
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
        self.reloading.reload(By::Signal)
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

    /// Drains the node and stops it: clients go to others, jobs end or are handed back. Returns how many connections had to be
    /// cut off.
    pub async fn stop(self) -> usize {
        self.orders.stop();
        self.ready.store(false, Ordering::Release);
        let drained = async {
            match self.role {
                Role::Serve => {
                    let left = self.server.drain(&self.peers).await;
                    self.server.leave().await;
                    left
                }
                Role::Work => 0,
            }
        };
        // Handing back takes a moment, too.
        let within = self.patience - (self.patience / 4).min(HANDING_BACK);
        let (left, handed_back) = tokio::join!(drained, self.workers.stop(within));
        if handed_back > 0 {
            tracing::warn!(jobs = handed_back, "jobs were not done in time: others begin them anew");
        }
        self.supervisor.stop().cancel();
        let tasks = self.supervisor.tasks();
        tasks.close();
        // What still runs are connections that did not end in time; they end with the process.
        tokio::time::timeout(FAREWELL, tasks.wait()).await.ok();
        if let Some(agreement) = &self.agreement {
            agreement.leave().await;
        }
        self.stores.close().await;
        if let Some(store) = &self.store {
            store.close().await;
        }
        left
    }
}

/// What a node is built from, beside its configuration.
struct Given {
    role: Role,
    table: RouteTable,
    keys: Arc<ApiKeys>,
    back_ends: BackEnds,
    max_files: usize,
    redis: Vec<Redis>,
    store: Option<Store>,
    metrics: Arc<Metrics>,
}

fn address_of(listener: Option<&TcpListener>) -> std::io::Result<SocketAddr> {
    listener.map_or_else(|| Ok(SocketAddr::from(([0, 0, 0, 0], 0))), TcpListener::local_addr)
}

fn misconfigured(error: impl std::fmt::Display) -> StartError {
    StartError::Configuration(error.to_string())
}
