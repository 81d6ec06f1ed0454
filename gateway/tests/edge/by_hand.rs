//! A node without an edge, and sessions that are made by hand: for what no client can time.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::auth::Identity;
use gateway_core::config::Config;
use gateway_core::domain::{Event, Frame, Pid, RoomName, SessionId};
use gateway_core::metrics::Metrics;
use gateway_core::node::{Client, CloseReason, Limiters, Node, Outlet, Past, Patience, Session, Undelivered, Waiting};
use gateway_core::presence::{MemoryPlaces, MemoryPresence};
use gateway_core::sessions::{Lease, MemorySessions};
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::task::TaskTracker;

/// What a client is handed.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    /// What rooms said, and what the gateway said of them, as far as it was handed that.
    pub(crate) fn all(&self) -> Vec<Value> {
        self.0.lock().iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    /// The names of what rooms said.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.all().into_iter().map(|event| event[0].as_str().unwrap().to_owned());
        names.filter(|name| !name.starts_with("gateway:")).collect()
    }

    /// What the gateway said by this name.
    pub(crate) fn notices(&self, name: &str) -> Vec<Value> {
        self.all().into_iter().filter(|event| event[0] == name).map(|mut event| event[1].take()).collect()
    }
}

impl Outlet for Heard {
    fn deliver(&self, frame: &Frame) -> Result<(), Undelivered> {
        self.0.lock().push(frame.text(true));
        Ok(())
    }

    fn waiting(&self) -> Waiting {
        Waiting::default()
    }

    fn close(&self, _: CloseReason) {}
}

/// A node that does not fan out yet, and where its sessions are kept.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) node: Arc<Node>,
    pub(crate) sessions: Arc<MemorySessions>,
    limiters: Limiters,
}

impl World {
    pub(crate) fn new(config: Config, past: impl Into<Past>) -> Self {
        let metrics = Arc::new(Metrics::new());
        let presence = Arc::new(MemoryPresence::new(Arc::<MemoryPlaces>::default(), "node", &config.presence));
        let sessions = Arc::new(MemorySessions::new(config.recovery.window));
        let node = Node::new(past, sessions.clone(), presence, &config, metrics.clone(), TaskTracker::new());
        let limiters = Limiters::new(&config.limits, metrics);
        Self { config, node, sessions, limiters }
    }

    /// Somebody who has just come, and what it is handed.
    pub(crate) fn session(&self) -> (Arc<Session>, Heard) {
        self.session_of(Pid::random())
    }

    /// The same with the right to come back by a pid.
    pub(crate) fn session_of(&self, pid: Pid) -> (Arc<Session>, Heard) {
        let (address, transport) = ([127, 0, 0, 1].into(), "websocket");
        let (identity, auth) = (Identity::default(), Default::default());
        let client = Client { identity, namespace: "/".into(), auth, address, transport };
        let allowance = Arc::new(self.limiters.allowance(None, address));
        let patience = Patience::new(&self.config.limits, Duration::from_secs(10));
        let (lease, heard) = (Lease::new(pid), Heard::default());
        let outlet = Box::new(heard.clone());
        let session = Arc::new(Session::new(SessionId::random(), client, lease, allowance, patience, outlet));
        self.node.arrive(&session, None);
        (session, heard)
    }
}

pub(crate) fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

pub(crate) fn event(name: &str, args: &str) -> Event {
    Event { name: name.into(), args: args.into(), attachments: Vec::new(), except: None, at_ms: 0 }
}
