//! A router over a node in memory, with sessions whose clients are nobody: what an event costs and what comes of it,
//! without a network.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gateway_core::auth::{Entry, Identity, Revoked, Tokens};
use gateway_core::calls::Caller;
use gateway_core::desk::{Desk, Kinds, Unfit};
use gateway_core::domain::{Frame, Pid, SessionId};
use gateway_core::inbox::Inbox;
use gateway_core::jobs::{Kept, MemoryJobs};
use gateway_core::log::{MemoryLog, Retention};
use gateway_core::metrics::Metrics;
use gateway_core::node::{Client, CloseReason, Limiters, Node, Outlet, Patience, Session, Undelivered, Waiting};
use gateway_core::presence::{MemoryPlaces, MemoryPresence};
use gateway_core::revocations::MemoryRevocations;
use gateway_core::routes::{Inbound, RouteTable, Router, Through};
use gateway_core::sessions::{Lease, MemorySessions};
use gateway_core::supervisor::Supervisor;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Hears everything and counts it.
struct Nobody(Arc<AtomicUsize>);

impl Outlet for Nobody {
    fn deliver(&self, _: &Frame) -> Result<(), Undelivered> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn waiting(&self) -> Waiting {
        Waiting::default()
    }

    fn close(&self, _: CloseReason) {}
}

/// Takes every kind of job: nobody does any.
struct Anything;

impl Kinds for Anything {
    fn check(&self, _: &str, _: &RawValue) -> Result<(), Unfit> {
        Ok(())
    }
}

/// A router and what it stands on.
pub struct Bench {
    pub router: Arc<Router>,
    config: gateway_core::config::Config,
    limiters: Limiters,
    /// Frames that clients were handed.
    pub heard: Arc<AtomicUsize>,
}

impl Bench {
    pub async fn new(table: RouteTable) -> Self {
        // What is kept in a benchmark is more than anybody may have kept.
        let unlimited = ["USER_KEPT_BYTES", "USER_NEW_ROOMS", "ADDRESS_KEPT_BYTES", "ADDRESS_NEW_ROOMS"];
        let unlimited = unlimited.map(|name| (format!("GATEWAY_LIMITS__{name}_PER_SECOND"), "0".to_owned()));
        let config = gateway_core::config::load(None, unlimited.into_iter()).unwrap();
        let (metrics, tasks) = (Arc::new(Metrics::new()), TaskTracker::new());
        let retention =
            Retention::of_events(config.log.room_events, config.log.room_retention, config.log.dedupe_window);
        let log = Arc::new(MemoryLog::new(retention));
        let sessions = Arc::new(MemorySessions::new(config.recovery.window));
        let presence = Arc::new(MemoryPresence::new(Arc::<MemoryPlaces>::default(), "bench", &config.presence));
        let node = Node::new(log, sessions, presence, &config, metrics.clone(), tasks.clone());
        node.run("bench", &config, &Supervisor::default());
        let kept = config.auth.revocations_kept;
        let revoked = Revoked::start(Arc::new(MemoryRevocations::default()), kept, metrics.clone()).await;
        let tokens = Tokens::start(&config.auth, revoked, metrics.clone()).await.unwrap();
        let caller = Arc::new(Caller::new(&config.calls, metrics.clone()).unwrap());
        let entry = Arc::new(Entry::new(tokens, None));
        let inbox = Arc::new(Inbox::new(None, node.clone(), &config, metrics.clone()));
        let jobs = Arc::new(MemoryJobs::new(Kept { time: config.jobs.kept, most: config.jobs.kept_jobs }));
        let desk = Desk::new(jobs.clone(), jobs, Arc::new(Anything), &config, metrics.clone());
        let through = Through { caller, inbox, desk };
        let router = Arc::new(Router::new(table, node, entry, through, &config, metrics.clone()));
        let limiters = Limiters::new(&config.limits, metrics);
        Self { router, config, limiters, heard: Arc::default() }
    }

    /// A session in `/` that has just begun.
    pub async fn session(&self, identity: Identity) -> Arc<Session> {
        self.session_to(identity, Box::new(Nobody(self.heard.clone()))).await
    }

    /// The same with a client of the caller's.
    pub async fn session_to(&self, identity: Identity, outlet: Box<dyn Outlet>) -> Arc<Session> {
        let (address, transport) = ([127, 0, 0, 1].into(), "websocket");
        let client = Client { identity, namespace: "/".into(), auth: Default::default(), address, transport };
        let allowance = self.limiters.allowance(None, address);
        let patience = Patience::new(&self.config.limits, Duration::from_secs(10));
        let lease = Lease::new(Pid::random());
        let session = Arc::new(Session::new(SessionId::random(), client, lease, Arc::new(allowance), patience, outlet));
        let node = self.router.node();
        node.arrive(&session, None);
        let hold = node.hold(&session);
        self.router.begin(&session, hold, None, true, None).await;
        session
    }

    /// An event as if it came from a client: the JSON array of its name and arguments.
    pub fn inbound(text: &str) -> Inbound {
        Inbound { text: text.to_owned(), attachments: Vec::new(), received: Instant::now() }
    }
}
