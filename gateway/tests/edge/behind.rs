//! A node whose feed is behind: whoever comes with an offset has what it says it has, wherever the node stands.

use std::sync::Arc;
use std::time::Duration;

use gateway::auth::Identity;
use gateway::domain::{Event, Frame, Offset, Pid, RoomName, SessionId};
use gateway::log::{Log, MemoryLog, Retention, Terms};
use gateway::metrics::Metrics;
use gateway::node::{
    Client, CloseReason, Entrance, Limiters, Node, Outlet, Patience, Session, Undelivered, Unrecovered, Waiting,
};
use gateway::presence::{MemoryPlaces, MemoryPresence};
use gateway::sessions::{Lease, MemorySessions};
use gateway::supervisor::Supervisor;
use parking_lot::Mutex;

use tokio_util::task::TaskTracker;

use crate::support::{self, eventually};

/// What a client is handed.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Outlet for Heard {
    fn deliver(&self, frame: &Frame) -> Result<(), Undelivered> {
        self.0.lock().push(frame.text(false));
        Ok(())
    }

    fn waiting(&self) -> Waiting {
        Waiting::default()
    }

    fn close(&self, _: CloseReason) {}
}

struct World {
    config: gateway::config::Config,
    log: Arc<MemoryLog>,
    node: Arc<Node>,
    limiters: Limiters,
}

impl World {
    /// A node that does not fan out yet.
    fn new() -> Self {
        // Nothing fits into a replay: who misses something is told so.
        let config = support::config(&[("GATEWAY_RECOVERY__MAX_BYTES", "1")]);
        let log = Arc::new(MemoryLog::new(Retention::of_events(
            config.log.room_events,
            config.log.room_retention,
            config.log.dedupe_window,
        )));
        let metrics = Arc::new(Metrics::new());
        let presence = Arc::new(MemoryPresence::new(Arc::<MemoryPlaces>::default(), "node", &config.presence));
        let sessions = Arc::new(MemorySessions::new(config.recovery.window));
        let node = Node::new(log.clone(), sessions, presence, &config, metrics.clone(), TaskTracker::new());
        let limiters = Limiters::new(&config.limits, metrics);
        Self { config, log, node, limiters }
    }

    fn session(&self) -> (Arc<Session>, Heard) {
        let (address, transport) = ([127, 0, 0, 1].into(), "websocket");
        let (identity, auth) = (Identity::default(), Default::default());
        let client = Client { identity, namespace: "/".into(), auth, address, transport };
        let allowance = Arc::new(self.limiters.allowance(None, address));
        let patience = Patience::new(&self.config.limits, Duration::from_secs(10));
        let (lease, heard) = (Lease::new(Pid::random()), Heard::default());
        let outlet = Box::new(heard.clone());
        let session = Arc::new(Session::new(SessionId::random(), client, lease, allowance, patience, outlet));
        self.node.arrive(&session, None);
        (session, heard)
    }

    async fn append(&self, name: &str) -> Offset {
        let event = Event { name: name.into(), args: "[]".into(), attachments: Vec::new(), except: None, at_ms: 0 };
        self.log.append(&room(), &event, Terms::default()).await.unwrap().position.offset
    }
}

fn room() -> RoomName {
    RoomName::parse("r").unwrap()
}

#[tokio::test]
async fn who_is_told_of_a_gap_is_not_handed_again_what_it_has() {
    let world = World::new();
    let via = "join".into();
    let entrance = |after| Entrance { via: &via, after, partial: false, seat: None };
    let (early, hears_all) = world.session();
    world.node.join(&early, &room(), &entrance(None)).await.unwrap();
    world.append("1").await;
    let has = world.append("2").await;
    world.append("3").await;
    // The room stands where the first member came: nothing of this was dispatched.
    let (late, hears) = world.session();
    let joined = world.node.join(&late, &room(), &entrance(Some(has))).await.unwrap();
    assert_eq!((joined.offset, joined.recovered), (has, Some(Err(Unrecovered::TooMuch))));
    let (stranger, hears_from_here) = world.session();
    let from_nowhere = world.node.join(&stranger, &room(), &entrance(Some(Offset(u64::MAX)))).await.unwrap();
    assert_eq!(from_nowhere.recovered, Some(Err(Unrecovered::Offset)), "what it says cannot be");
    world.node.run("node", &world.config, &Supervisor::default());
    let names = |heard: &Heard| {
        heard.0.lock().iter().filter(|text| !text.contains("gateway:")).cloned().collect::<Vec<_>>().concat()
    };
    eventually("everything is fanned out", || async { names(&hears_all) == r#"["1"]["2"]["3"]"# }).await;
    eventually("the rest of it", || async { names(&hears) == r#"["3"]"# }).await;
    eventually("all of it", || async { names(&hears_from_here) == r#"["1"]["2"]["3"]"# }).await;
}
