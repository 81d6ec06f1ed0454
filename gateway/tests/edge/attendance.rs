//! Attendance while its store is away for long: what the node owes is bounded, and everybody is told of once all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gateway::auth::Identity;
use gateway::domain::{Frame, Pid, RoomName, SessionId};
use gateway::log::{MemoryLog, Retention};
use gateway::metrics::Metrics;
use gateway::node::{
    Change, Client, CloseReason, Entrance, Limiters, Node, Outlet, Patience, Seat, Session, Undelivered, Waiting,
};
use gateway::presence::{
    Arrival, Attendee, Beat, Beating, Departed, Entry, MemoryPlaces, MemoryPresence, Numbered, Page, Place, Presence,
    PresenceError,
};
use gateway::sessions::{Lease, MemorySessions};
use gateway::supervisor::Supervisor;

use tokio_util::task::TaskTracker;

use crate::support;

/// A store that can be taken away.
struct Away {
    presence: MemoryPresence,
    is_away: AtomicBool,
}

impl Away {
    fn check(&self, operation: &'static str) -> Result<(), PresenceError> {
        if self.is_away.load(Ordering::SeqCst) { Err(PresenceError::new(operation, "it is away")) } else { Ok(()) }
    }
}

#[async_trait]
impl Presence for Away {
    async fn enter(&self, who: &Attendee, places: &[Place], arrival: Arrival) -> Result<Vec<Entry>, PresenceError> {
        self.check("enter")?;
        self.presence.enter(who, places, arrival).await
    }

    async fn enter_first(
        &self,
        who: &Attendee,
        places: &Numbered,
        capacity: usize,
        arrival: Arrival,
    ) -> Result<(u32, Entry), PresenceError> {
        self.check("enter_first")?;
        self.presence.enter_first(who, places, capacity, arrival).await
    }

    async fn leave(
        &self,
        who: &Attendee,
        places: &[RoomName],
        linger: Duration,
    ) -> Result<Vec<Departed>, PresenceError> {
        self.check("leave")?;
        self.presence.leave(who, places, linger).await
    }

    async fn count(&self, places: &[RoomName]) -> Result<Vec<u64>, PresenceError> {
        self.presence.count(places).await
    }

    async fn list(&self, place: &RoomName, after: Option<&str>, limit: usize) -> Result<Page, PresenceError> {
        self.presence.list(place, after, limit).await
    }

    async fn beat(&self, wish: Beating) -> Result<Beat, PresenceError> {
        self.check("beat")?;
        self.presence.beat(wish).await
    }
}

struct Nobody;

impl Outlet for Nobody {
    fn deliver(&self, _: &Frame) -> Result<(), Undelivered> {
        Ok(())
    }

    fn waiting(&self) -> Waiting {
        Waiting::default()
    }

    fn close(&self, _: CloseReason) {}
}

struct World {
    node: Arc<Node>,
    store: Arc<Away>,
    metrics: Arc<Metrics>,
    limiters: Limiters,
    config: gateway::config::Config,
}

impl World {
    fn new() -> Self {
        let config = support::config(&[]);
        let retention =
            Retention::of_events(config.log.room_events, config.log.room_retention, config.log.dedupe_window);
        let metrics = Arc::new(Metrics::new());
        let presence = MemoryPresence::new(Arc::<MemoryPlaces>::default(), "node", &config.presence);
        let store = Arc::new(Away { presence, is_away: AtomicBool::new(false) });
        let sessions = Arc::new(MemorySessions::new(config.recovery.window));
        let log = Arc::new(MemoryLog::new(retention));
        let node = Node::new(log, sessions, store.clone(), &config, metrics.clone(), TaskTracker::new());
        node.run("node", &config, &Supervisor::default());
        Self { node, store, limiters: Limiters::new(&config.limits, metrics.clone()), metrics, config }
    }

    async fn session(&self) -> Arc<Session> {
        let (address, transport) = ([127, 0, 0, 1].into(), "websocket");
        let (identity, auth) = (Identity::default(), Default::default());
        let client = Client { identity, namespace: "/".into(), auth, address, transport };
        let allowance = Arc::new(self.limiters.allowance(None, address));
        let patience = Patience::new(&self.config.limits, Duration::from_secs(10));
        let lease = Lease::new(Pid::random());
        let session = Arc::new(Session::new(SessionId::random(), client, lease, allowance, patience, Box::new(Nobody)));
        self.node.arrive(&session, None);
        let (via, seat) = ("join".into(), Some(Seat { capacity: None }));
        let entrance = Entrance { via: &via, after: None, partial: false, seat };
        let joined = self.node.join(&session, &room(), &entrance).await.unwrap();
        assert!(joined.first.is_some());
        session
    }

    fn shows(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|shown| shown == line)
    }

    async fn count(&self) -> u64 {
        self.node.count_members(&[room()]).await.unwrap()[0]
    }
}

fn room() -> RoomName {
    RoomName::parse("r").unwrap()
}

/// Leaves in the room everybody but one who stays, while the store is away; then it is there again.
async fn leave_during_an_outage(sessions: usize) -> (World, Vec<Departed>) {
    let world = World::new();
    let mut changes = world.node.changes().unwrap();
    let stays = world.session().await;
    let mut leaving = Vec::new();
    for _ in 0..sessions {
        leaving.push(world.session().await);
    }
    world.store.is_away.store(true, Ordering::SeqCst);
    for session in leaving {
        world.node.depart(&session, false);
    }
    // Some beats fail; the node's lease does not run out.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(world.count().await, sessions as u64 + 1, "the store does not know yet");
    world.store.is_away.store(false, Ordering::SeqCst);
    let mut departed = Vec::new();
    while departed.len() < sessions {
        let change = tokio::time::timeout(Duration::from_secs(120), changes.recv()).await;
        match change.unwrap_or_else(|_| panic!("{} of {sessions} departed", departed.len())) {
            Some(Change::Departed(departure)) => departed.push(departure.departed),
            other => panic!("{other:?}"),
        }
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(changes.try_recv().is_err(), "nobody else has left");
    assert_eq!(world.count().await, 1);
    assert!(!stays.is_over());
    let mut told: Vec<_> = departed.iter().map(|departed| departed.session.to_string()).collect();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), sessions, "each was told of once");
    (world, departed)
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_to_a_store_that_was_away_is_told_when_it_is_back() {
    let (world, _) = leave_during_an_outage(5_000).await;
    assert!(world.shows("gateway_presence_restarts_total 0"));
    assert!(world.shows("gateway_presence_pending{kind=\"leavings\"} 0"));
    assert!(world.shows("gateway_lifecycle_dropped_total{reason=\"full\"} 0"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_owes_more_than_it_keeps_begins_anew_and_nobody_is_forgotten() {
    let (world, departed) = leave_during_an_outage(17_000).await;
    assert!(world.shows("gateway_presence_restarts_total 1"));
    assert!(world.shows("gateway_lifecycle_dropped_total{reason=\"full\"} 0"));
    let by_lease = departed.iter().filter(|departed| departed.cause == gateway::presence::Cause::Lease).count();
    assert!(by_lease >= 16_384, "{by_lease} went with the old lease");
}
