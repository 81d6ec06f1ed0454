//! What of a start is left to do when Redis is there: joining the other nodes, and opening.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::addresses::host_name;
use crate::asks::Asks;
use crate::auth::{OperatorToken, Revoked, Tokens};
use crate::bus::{Bus, overhear};
use crate::config::Config;
use crate::content::Bounds;
use crate::control::Control;
use crate::emitters::{Emitters, Passed};
use crate::formats::Formats;
use crate::hooks::Hooks;
use crate::http::{AdminRoutes, AdminState, Api, AskOverHttp, admin};
use crate::metrics::Metrics;
use crate::node::{Listening, Node, Peers, Taps};
use crate::operators::Operators;
use crate::presence::Directory;
use crate::redis::{Commands, watch_settings};
use crate::repeats::Repeats;
use crate::routes::Router;
use crate::service::{Behind, Service};
use crate::socket::SocketServer;
use crate::supervisor::Supervisor;

/// How long to wait before Redis is looked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// What of a start is left to do when Redis is there.
pub(super) struct Start {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    /// Where other nodes reach the admin listener.
    pub(super) advertised: String,
    pub(super) ready: Arc<AtomicBool>,
    pub(super) config: Config,
    pub(super) commands: Option<Commands>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) peers: Arc<Peers>,
    pub(super) formats: Formats,
    pub(super) node: Arc<Node>,
    pub(super) router: Arc<Router>,
    pub(super) hooks: Arc<Hooks>,
    pub(super) revoked: Arc<Revoked>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) server: SocketServer,
    pub(super) api: Arc<Api>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) repeats: Arc<dyn Repeats>,
    pub(super) admin: AdminRoutes,
    pub(super) metrics: Arc<Metrics>,
    pub(super) supervisor: Supervisor,
}

impl Start {
    /// Waits for Redis, for ever, and finishes the start.
    pub(super) async fn wait(self) {
        let mut told = String::new();
        loop {
            tokio::time::sleep(AGAIN).await;
            let connected = match &self.commands {
                Some(commands) => commands.probe().await.map_err(anyhow::Error::from),
                None => Ok(()),
            };
            let finished = match connected {
                Ok(()) => self.finish().await,
                Err(error) => Err(error),
            };
            match finished {
                Ok(()) => return,
                // It says so again when it is something else.
                Err(error) if error.to_string() != told => {
                    tracing::warn!(%error, "still waiting for Redis");
                    told = error.to_string();
                }
                Err(_) => {}
            }
        }
    }

    /// Joins the other nodes, begins to work, and lets clients in. If it fails, nothing has begun.
    pub(super) async fn finish(&self) -> anyhow::Result<()> {
        let Self { config, bus, node, router, revoked, metrics, supervisor, .. } = self;
        let (control, heard) = Control::start(bus.clone(), node.clone(), &self.name, &config.redis.prefix).await?;
        let (asks, asked) = Asks::start(config, bus.clone(), node.clone(), metrics.clone()).await?;
        let emitters = Box::pin(self.emitters()).await?;
        let token = OperatorToken::new(config.admin.token.clone(), metrics.clone());
        let operators = if token.is_empty() {
            None
        } else {
            let (bus, node, metrics) = (bus.clone(), node.clone(), metrics.clone());
            Some(Operators::start(config, token.clone(), &self.name, &host_name(), bus, node, metrics).await?)
        };

        node.run(&self.name, config, supervisor);
        if let Some(changes) = node.changes() {
            supervisor.run("changes of places", router.clone().act_on_changes(changes));
        }
        supervisor.run("ends of tokens", end_sessions(router.clone(), revoked.news()));
        supervisor.run("session controls", control.clone().serve(heard));
        supervisor.run_on("hooks", self.hooks.clone().run(supervisor.stop().clone()));
        supervisor.run("questions to clients", asks.clone().serve(asked));
        supervisor.run("count of nodes", self.peers.clone().count());
        supervisor.run("formats", node.clone().heed_formats_forever(self.formats.clone()));
        supervisor.run("revocations", revoked.clone().keep_up());
        supervisor.run("keys of tokens", self.tokens.clone().keep_fresh());
        if let Some(commands) = &self.commands {
            supervisor
                .run("settings of Redis", watch_settings(commands.clone(), config.log.max_bytes > 0, metrics.clone()));
        }
        if !config.canary.deaf_after.is_zero() {
            let listening = Listening {
                is_alone: config.redis_url.is_empty(),
                bus: bus.clone(),
                roll: format!("{}:hearing", config.redis.prefix),
                address: self.advertised.clone(),
                ask: Arc::new(AskOverHttp),
                deaf_after: config.canary.deaf_after,
                drain_after: config.canary.drain_after,
                supervisor: supervisor.clone(),
            };
            supervisor.run("hand-over of a deaf node", self.server.clone().hand_over_when_deaf());
            supervisor.run("hearing", node.clone().mind_hearing(listening));
        }
        if let Some((emitters, passed)) = emitters {
            let listened = emitters.listened().zip(self.commands.as_ref());
            let overhearing = listened.map(|(listened, commands)| {
                overhear(commands.primary(), config.redis.timeout, listened, metrics.clone(), supervisor)
            });
            emitters.run(passed, overhearing, supervisor);
        }
        let state = AdminState {
            metrics: metrics.clone(),
            ready: self.ready.clone(),
            node: node.clone(),
            control: control.clone(),
            revoked: revoked.clone(),
            hooks: self.hooks.clone(),
            token,
        };
        let mut routes = admin(state);
        if let Some(operators) = operators {
            routes = operators.mount(routes);
            supervisor.run_on("operators", operators.run(supervisor.stop().clone()));
        }
        self.admin.replace(routes);
        let bounds = Bounds::new(&config.limits);
        let (directory, page_bytes) = (self.directory.clone(), config.limits.payload_bytes);
        let (most, time) = (config.api.streams, config.socket.write_timeout);
        let taps = Arc::new(Taps::new(node.clone(), &config.limits, most, time, metrics.clone()));
        let behind = Behind {
            node: node.clone(),
            control,
            asks,
            revoked: revoked.clone(),
            directory,
            taps,
            formats: self.formats.clone(),
            metrics: metrics.clone(),
        };
        self.api.serve(Service::new(behind, bounds, page_bytes), self.repeats.clone());
        self.server.admit();
        self.ready.store(true, Ordering::Release);
        let mode = if config.redis_url.is_empty() { "embedded" } else { "cluster" };
        tracing::info!(
            mode, address = %self.address, admin = %self.admin.address(),
            version = env!("CARGO_PKG_VERSION"), revision = env!("REVISION"), "ready"
        );
        Ok(())
    }
}

impl Start {
    /// What hears emitters, if any are to be heard.
    async fn emitters(&self) -> anyhow::Result<Option<(Arc<Emitters>, Passed)>> {
        let Some(commands) = self.commands.as_ref().filter(|_| self.config.emitters.any()) else { return Ok(None) };
        let (node, bus, metrics) = (self.node.clone(), self.bus.clone(), self.metrics.clone());
        let emitters =
            Emitters::start(&self.config, &self.name, node, bus, commands.clone(), self.formats.clone(), metrics);
        Ok(Some(emitters.await?))
    }
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
