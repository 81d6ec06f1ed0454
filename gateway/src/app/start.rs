//! What of a start is left to do when Redis is there: joining the other nodes, and opening.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::Role;
use super::addresses::host_name;
use super::orders::NodeOrders;
use super::passing;
use super::post::Post;
use super::stores::Backing;
use crate::http::{AdminRoutes, AdminState, Api, AskOverHttp, Users, admin};
use crate::operators::{Operators, Watched};
use crate::socket::SocketServer;
use crate::socket::passing::Passing;
use gateway_core::archive::Archived;
use gateway_core::asks::Asks;
use gateway_core::auth::{OperatorToken, Revoked, Tokens};
use gateway_core::balance::Balance;
use gateway_core::bus::{Bus, overhear};
use gateway_core::config::Config;
use gateway_core::content::Bounds;
use gateway_core::control::Control;
use gateway_core::desk::Desk;
use gateway_core::emitters::{Emitters, Passed};
use gateway_core::formats::Formats;
use gateway_core::inbox::Inbox;
use gateway_core::metrics::{Metrics, REVISION, VERSION};
use gateway_core::node::{Listening, Node, Peers, Taps};
use gateway_core::notifications::KeptNotifications;
use gateway_core::presence::Directory;
use gateway_core::redis::{Agreement, Commands, watch_settings};
use gateway_core::repeats::Repeats;
use gateway_core::routes::{Namespace, Router};
use gateway_core::service::{Behind, Service};
use gateway_core::supervisor::Supervisor;
use gateway_store::Store;
use gateway_work::absent::Watch;
use gateway_work::archiving::Archiving;
use gateway_work::hooks::Hooks;
use gateway_work::jobs::Workers;

/// How long to wait before Redis is looked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// What a node hears of the others of one Redis.
pub(super) struct Heard {
    redis: String,
    prefix: String,
    bus: Arc<dyn Bus>,
    commands: Option<Commands>,
}

impl Heard {
    pub(super) fn of(backing: &Backing) -> Self {
        let Backing { name, prefix, bus, commands, .. } = backing;
        Self { redis: name.clone(), prefix: prefix.clone(), bus: bus.clone(), commands: commands.clone() }
    }
}

/// What of a start is left to do when Redis is there.
pub(super) struct Start {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    /// Where other nodes reach the admin listener.
    pub(super) advertised: String,
    pub(super) ready: Arc<AtomicBool>,
    pub(super) orders: Arc<NodeOrders>,
    pub(super) config: Config,
    /// Those of the main Redis.
    pub(super) commands: Option<Commands>,
    /// Of each Redis, the main one first.
    pub(super) listening: Vec<Heard>,
    pub(super) agreement: Option<Arc<Agreement>>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) peers: Arc<Peers>,
    pub(super) formats: Formats,
    pub(super) node: Arc<Node>,
    pub(super) balance: Arc<Balance>,
    pub(super) router: Arc<Router>,
    pub(super) hooks: Arc<Hooks>,
    pub(super) archived: Option<Archived>,
    /// The archiving of each log.
    pub(super) archiving: Vec<Arc<Archiving>>,
    pub(super) revoked: Arc<Revoked>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) server: SocketServer,
    pub(super) api: Arc<Api>,
    pub(super) users: Arc<Users>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) desk: Arc<Desk>,
    pub(super) workers: Arc<Workers>,
    pub(super) post: Post,
    pub(super) role: Role,
    /// What the node knows of others that have clients, if it passes on to them.
    pub(super) passing: Option<Arc<Passing>>,
    /// Notifications whose counts are kept, if they are.
    pub(super) unread: Option<Arc<KeptNotifications>>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) repeats: Arc<dyn Repeats>,
    /// The archive and the notifications, if there is a database.
    pub(super) store: Option<Store>,
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
        if let Some(agreement) = &self.agreement {
            agreement.found().await.map_err(anyhow::Error::msg)?;
        }
        let (control, heard) = Control::start(bus.clone(), node.clone(), &self.name, &config.redis.prefix).await?;
        let (asks, asked) = Asks::start(config, bus.clone(), node.clone(), metrics.clone()).await?;
        let unread = match &self.unread {
            Some(unread) => Some((unread.clone(), unread.hear().await?)),
            None => None,
        };
        let emitters = Box::pin(self.emitters()).await?;
        if let Some(passing) = &self.passing {
            passing.announce().await?;
        }
        control.obeying(self.orders.clone());
        let token = OperatorToken::new(config.admin.token.clone(), config.admin.viewer_token.clone(), metrics.clone());
        let (most, time) = (config.api.streams, config.socket.write_timeout);
        let taps = Arc::new(Taps::new(node.clone(), &config.limits, most, time, metrics.clone()));
        let operators = if token.is_empty() {
            None
        } else {
            let watched = Watched {
                router: router.clone(),
                node: node.clone(),
                control: control.clone(),
                orders: self.orders.clone(),
                taps: taps.clone(),
                metrics: metrics.clone(),
            };
            Some(Operators::start(config, token.clone(), &self.name, &host_name(), bus.clone(), watched).await?)
        };

        node.run(&self.name, config, supervisor);
        while let Some(changes) = node.changes() {
            supervisor.run("changes of places", router.clone().act_on_changes(changes));
        }
        supervisor.run("ends of tokens", end_sessions(router.clone(), revoked.news()));
        supervisor.run("session controls", control.clone().serve(heard));
        supervisor.run_on("hooks", self.hooks.clone().run(supervisor.stop().clone()));
        for archiving in &self.archiving {
            supervisor.run_on("archiving", archiving.clone().run(supervisor.stop().clone()));
        }
        if let Some(absent) = &self.post.absent {
            absent.asking(control.clone());
            let (namespace, tokens) = (self.inbox.namespace(), config.notifications.mail.tokens);
            let watch = Watch::new(node.clone(), self.post.contacts.clone(), namespace, tokens, metrics.clone());
            supervisor.run("who is there", watch.run());
        }
        supervisor.run("schedules", self.post.schedules.clone().run());
        supervisor.run("standing of queues", self.desk.clone().watch());
        supervisor.run_on("jobs", self.workers.clone().run(supervisor.stop().clone()));
        supervisor.run("questions to clients", asks.clone().serve(asked));
        if self.role == Role::Work {
            // Nobody comes to it, whoever leaves.
            self.peers.leave().await;
        }
        supervisor.run("count of nodes", self.peers.clone().count());
        if self.role == Role::Serve && !config.redis_url.is_empty() {
            supervisor.run("balance", self.balance.clone().run(Arc::new(self.server.clone())));
        }
        supervisor.run("formats", node.clone().heed_formats_forever(self.formats.clone()));
        if let Some((unread, heard)) = unread {
            supervisor.run("counts of unread notifications", unread.heed(heard));
        }
        supervisor.run("revocations", revoked.clone().keep_up());
        supervisor.run("keys of tokens", self.tokens.clone().keep_fresh());
        if self.inbox.keeps() {
            supervisor.run("sweep of notifications", self.inbox.clone().sweep_forever());
        } else if router.table().namespaces().any(Namespace::notifies) {
            tracing::warn!("without a database notifications are heard by who is connected, and not kept");
        }
        for commands in self.listening.iter().filter_map(|heard| heard.commands.clone()) {
            supervisor.run("settings of Redis", watch_settings(commands, config.log.max_bytes > 0, metrics.clone()));
        }
        if let Some(agreement) = self.agreement.clone() {
            let metrics = metrics.clone();
            supervisor.run("agreement about namespaces", async move { agreement.watch(&metrics).await });
        }
        if !config.canary.deaf_after.is_zero() {
            supervisor.run("hand-over of a deaf node", self.server.clone().hand_over_when_deaf());
            for Heard { redis, prefix, bus, .. } in &self.listening {
                let listening = Listening {
                    ground: redis.clone(),
                    is_alone: config.redis_url.is_empty(),
                    bus: bus.clone(),
                    roll: format!("{prefix}:hearing"),
                    address: self.advertised.clone(),
                    ask: Arc::new(AskOverHttp),
                    drain_after: config.canary.drain_after,
                    supervisor: supervisor.clone(),
                };
                supervisor.run("hearing", node.clone().mind_hearing(listening));
            }
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
            balance: self.balance.clone(),
            revoked: revoked.clone(),
            hooks: self.hooks.clone(),
            desk: self.desk.clone(),
            schedules: self.post.schedules.clone(),
            router: router.clone(),
            api: self.api.clone(),
            name: self.name.clone(),
            files: (config.profile.clone(), config.file.clone()),
            token,
        };
        let mut routes = admin(state);
        if let Some(passing) = &self.passing {
            routes = routes.merge(passing::routes(passing.door(self.server.clone()), supervisor.tasks().clone()));
            supervisor.run("whereabouts", passing.clone().keep_noted());
        }
        // The last: its Socket.IO is around all other routes.
        if let Some(operators) = operators {
            routes = operators.mount(routes);
            supervisor.run_on("operators", operators.run(supervisor.stop().clone()));
        }
        self.admin.replace(routes);
        let bounds = Bounds::new(&config.limits);
        let (directory, page_bytes) = (self.directory.clone(), config.limits.payload_bytes);
        let behind = Behind {
            node: node.clone(),
            control,
            asks,
            revoked: revoked.clone(),
            directory,
            archived: self.archived.clone(),
            inbox: self.inbox.clone(),
            desk: self.desk.clone(),
            contacts: self.post.contacts.clone(),
            taps,
            formats: self.formats.clone(),
            metrics: metrics.clone(),
        };
        let service = Service::new(behind, bounds, page_bytes);
        self.api.serve(service, self.post.schedules.clone(), self.repeats.clone());
        self.users.serve();
        if self.role == Role::Serve {
            self.server.admit();
        }
        self.ready.store(true, Ordering::Release);
        let mode = match self.role {
            Role::Work => "work",
            Role::Serve if config.redis_url.is_empty() => "embedded",
            Role::Serve => "cluster",
        };
        let database = self.store.as_ref().map_or("none", Store::kind);
        tracing::info!(
            mode, database, address = %self.address, admin = %self.admin.address(),
            version = VERSION, revision = REVISION, "ready"
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
