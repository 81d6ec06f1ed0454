//! EDGE: Socket.IO. The glue between the engine, which speaks with clients, and the routes and the node, which know
//! sessions. The only folder that names the engine.

mod address;
mod auth;
mod back_ends;
mod balance;
mod connect;
mod drain;
mod front;
mod guest;
mod inlet;
mod listener;
mod origins;
mod outlet;
pub mod passing;
mod proxy_header;
mod welcome;

pub use back_ends::BackEnds;
/// So that others need not name the engine.
pub use engine::{Side, Streamed};
pub use listener::{serve, serve_back_ends};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::{Loop, Server, Settings};
use tokio_util::task::TaskTracker;

use self::front::Front;
use self::origins::Origins;
use self::passing::{Onward, Passing};
use gateway_core::balance::Door;
use gateway_core::config::Config;
use gateway_core::metrics::Metrics;
use gateway_core::node::{AddressLimiter, FailureLimiter, HandshakeLimiter, Limiters, Slots, StrangerLimiter};
use gateway_core::routes::Router;
use gateway_core::supervisor::Supervisor;

/// What the parts of this folder share.
pub struct Edge {
    settings: Config,
    router: Arc<Router>,
    addresses: AddressLimiter,
    failures: FailureLimiter,
    /// The connections of this node from their handshake on, with a session or not yet.
    connections: Arc<Slots>,
    handshakes: HandshakeLimiter,
    strangers: StrangerLimiter,
    /// Those of them that ask below `/api`.
    http: StrangerLimiter,
    limiters: Limiters,
    origins: Origins,
    /// Who is sent on while other nodes have room.
    door: Door,
    draining: AtomicBool,
    /// Whether nobody is let in yet.
    starting: AtomicBool,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").finish_non_exhaustive()
    }
}

/// Who answers what is not for this server.
pub struct Beside {
    /// What is not Socket.IO.
    pub web: axum::Router,
    /// What is for the HTTP API, or users ask.
    pub back_ends: Arc<dyn BackEnds>,
    /// What is for connections of other nodes, if there may be any.
    pub passing: Option<Arc<Passing>>,
}

impl std::fmt::Debug for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Beside").field("passing", &self.passing).finish_non_exhaustive()
    }
}

/// The Socket.IO server of a node: turns connections into sessions.
#[derive(Clone, Debug)]
pub struct SocketServer {
    edge: Arc<Edge>,
    engine: Server,
    passing: Option<Arc<Passing>>,
}

impl SocketServer {
    /// A server over a router. Its own work is done under `supervisor`, and it lets nobody in before [`Self::admit`]. The process may open
    /// `max_files` files.
    #[must_use]
    pub fn start(
        config: &Config,
        router: Arc<Router>,
        beside: Beside,
        metrics: Arc<Metrics>,
        supervisor: &Supervisor,
        max_files: usize,
    ) -> Self {
        let Beside { web, back_ends, passing } = beside;
        let edge = Arc::new(Edge {
            router,
            addresses: AddressLimiter::new(config.limits.address_handshakes()),
            failures: FailureLimiter::new(&config.limits),
            connections: Arc::new(Slots::new(config.limits.connections)),
            handshakes: HandshakeLimiter::new(&config.limits),
            strangers: StrangerLimiter::new(&config.limits),
            http: StrangerLimiter::of_http(&config.limits),
            limiters: Limiters::new(&config.limits, metrics.clone()),
            origins: Origins::new(&config.socket.origins),
            door: Door::default(),
            draining: AtomicBool::new(false),
            starting: AtomicBool::new(true),
            metrics,
            tasks: supervisor.tasks().clone(),
            settings: config.clone(),
        });
        let body_bytes = back_ends.body_bytes();
        let front = Arc::new(Front::new(edge.clone(), web, back_ends));
        let passage = passing.clone().map(|passing| Onward { passing, edge: edge.clone() });
        let passage = passage.map(|passage| Arc::new(passage) as Arc<dyn engine::Passage>);
        let (tasks, stop) = (supervisor.tasks(), supervisor.stop());
        let (engine, loops) = Server::new(front, settings(config, max_files, body_bytes), passage, tasks, stop);
        for Loop { name, work } in loops {
            supervisor.run(name, work);
        }
        Self { edge, engine, passing }
    }

    /// Lets clients in from now on. Until then their handshakes are refused, and they try again.
    pub fn admit(&self) {
        self.edge.starting.store(false, Ordering::Release);
    }

    /// How many sessions are connected to this node.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.edge.router.node().roster().len()
    }

    /// Forgets what is no longer needed and publishes the sizes; to be called every few seconds.
    pub fn upkeep(&self) {
        let metrics = &self.edge.metrics;
        self.edge.router.node().close_aged();
        self.edge.limiters.upkeep();
        let rates = self.edge.router.forget_idle();
        metrics.rate_limit_keys.with("route").set(u32::try_from(rates).unwrap_or(u32::MAX));
        let keys = self.edge.addresses.forget_idle();
        metrics.rate_limit_keys.with("address_handshakes").set(u32::try_from(keys).unwrap_or(u32::MAX));
        let keys = self.edge.failures.forget_idle();
        metrics.rate_limit_keys.with("address_failures").set(u32::try_from(keys).unwrap_or(u32::MAX));
        let strangers = self.edge.strangers.forget_idle();
        metrics.rate_limit_keys.with("address_requests").set(u32::try_from(strangers).unwrap_or(u32::MAX));
        let addresses = self.edge.http.forget_idle();
        metrics.rate_limit_keys.with("address_http").set(u32::try_from(addresses).unwrap_or(u32::MAX));
        metrics.buffered_bytes.set(self.engine.held_bytes() as f64);
    }

    /// Publishes what was read from clients and written to them; to be called every second or so.
    pub fn count_traffic(&self) {
        let traffic = self.engine.traffic();
        self.edge.metrics.received_bytes.absolute(traffic.received);
        self.edge.metrics.sent_bytes.absolute(traffic.sent);
        let (tunnels, polls) = self.engine.passed_on();
        for (transport, count) in [("websocket", tunnels), ("polling", polls)] {
            self.edge.metrics.passing.with(transport).set(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod weight;

/// What the engine is told of the configuration.
fn settings(config: &Config, max_files: usize, body_bytes: usize) -> Settings {
    let (limits, times) = (&config.limits, &config.socket);
    Settings {
        ping_interval: times.ping_interval,
        ping_timeout: times.ping_timeout,
        connect_timeout: times.connect_timeout,
        header_timeout: times.header_timeout,
        keep_alive: times.keep_alive,
        write_timeout: times.write_timeout,
        write_delay: times.write_delay,
        message_bytes: limits.message_bytes,
        payload_bytes: limits.payload_bytes.max(limits.message_bytes),
        body_bytes: limits.payload_bytes.max(body_bytes),
        attachments: limits.attachments,
        waiting_packets: limits.backlog_events,
        waiting_bytes: limits.backlog_bytes,
        budget_bytes: limits.buffered_bytes,
        // Those that say nothing must not take the files of those that do.
        idle_connections: match limits.idle_connections {
            0 => max_files / 2,
            limit => limit.min(max_files / 2),
        },
    }
}
