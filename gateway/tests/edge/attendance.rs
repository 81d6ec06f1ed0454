//! Attendance while its store is away for long, or does late what was given up: what the node owes is bounded, everybody is
//! told of once all the same, and in the end the store has who is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gateway_core::auth::Identity;
use gateway_core::domain::{Frame, Pid, Refusal, RoomName, SessionId};
use gateway_core::log::{MemoryLog, Retention};
use gateway_core::metrics::Metrics;
use gateway_core::node::{
    Change, Client, CloseReason, Entrance, Joined, Limiters, Node, Outlet, Patience, Seat, Session, Undelivered,
    Waiting,
};
use gateway_core::port::{Port, PortError};
use gateway_core::presence::{
    Arrival, Attendee, Beat, Beating, Departed, Entry, MemoryPlaces, MemoryPresence, Numbered, Page, Place, Presence,
};
use gateway_core::sessions::{Lease, MemorySessions, Sessions};
use gateway_core::supervisor::Supervisor;
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use crate::support::{self, eventually};

/// A store that can be taken away, or be late.
struct Away {
    presence: MemoryPresence,
    is_away: AtomicBool,
    /// What is asked from now on is given up, and kept.
    is_late: AtomicBool,
    kept: Mutex<Vec<Kept>>,
}

enum Kept {
    Enter(Attendee, Vec<Place>, Arrival),
    Leave(Attendee, Vec<RoomName>, Duration),
}

impl Away {
    fn keep(&self, operation: &'static str, kept: impl FnOnce() -> Kept) -> Result<(), PortError> {
        if !self.is_late.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.kept.lock().push(kept());
        Err(Port::Presence.not_now(operation, "it is late"))
    }

    /// Does what was given up.
    async fn catch_up(&self) {
        let kept = std::mem::take(&mut *self.kept.lock());
        assert!(!kept.is_empty());
        for kept in kept {
            match kept {
                Kept::Enter(who, places, arrival) => drop(self.presence.enter(&who, &places, arrival).await),
                Kept::Leave(who, places, linger) => drop(self.presence.leave(&who, &places, linger).await),
            }
        }
    }

    fn check(&self, operation: &'static str) -> Result<(), PortError> {
        if self.is_away.load(Ordering::SeqCst) { Err(Port::Presence.not_now(operation, "it is away")) } else { Ok(()) }
    }
}

#[async_trait]
impl Presence for Away {
    async fn enter(&self, who: &Attendee, places: &[Place], arrival: Arrival) -> Result<Vec<Entry>, PortError> {
        self.check("enter")?;
        self.keep("enter", || Kept::Enter(who.clone(), places.to_vec(), arrival))?;
        self.presence.enter(who, places, arrival).await
    }

    async fn enter_first(
        &self,
        who: &Attendee,
        places: &Numbered,
        capacity: usize,
        arrival: Arrival,
    ) -> Result<(u32, Entry), PortError> {
        self.check("enter_first")?;
        self.presence.enter_first(who, places, capacity, arrival).await
    }

    async fn leave(&self, who: &Attendee, places: &[RoomName], linger: Duration) -> Result<Vec<Departed>, PortError> {
        self.check("leave")?;
        self.keep("leave", || Kept::Leave(who.clone(), places.to_vec(), linger))?;
        self.presence.leave(who, places, linger).await
    }

    async fn count(&self, places: &[RoomName]) -> Result<Vec<u64>, PortError> {
        self.presence.count(places).await
    }

    async fn list(&self, place: &RoomName, after: Option<&str>, limit: usize) -> Result<Page, PortError> {
        self.presence.list(place, after, limit).await
    }

    async fn beat(&self, wish: Beating) -> Result<Beat, PortError> {
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
    sessions: Arc<MemorySessions>,
    metrics: Arc<Metrics>,
    limiters: Limiters,
    config: gateway_core::config::Config,
}

impl World {
    fn new() -> Self {
        let config = support::config(&[]);
        let retention =
            Retention::of_events(config.log.room_events, config.log.room_retention, config.log.dedupe_window);
        let metrics = Arc::new(Metrics::new());
        let presence = MemoryPresence::new(Arc::<MemoryPlaces>::default(), "node", &config.presence);
        let (is_away, is_late, kept) = (AtomicBool::new(false), AtomicBool::new(false), Mutex::default());
        let store = Arc::new(Away { presence, is_away, is_late, kept });
        let sessions = Arc::new(MemorySessions::new(config.recovery.window));
        let log = Arc::new(MemoryLog::new(retention));
        let node = Node::new(log, sessions.clone(), store.clone(), &config, metrics.clone(), TaskTracker::new());
        node.run("node", &config, &Supervisor::default());
        Self { node, store, sessions, limiters: Limiters::new(&config.limits, metrics.clone()), metrics, config }
    }

    /// A new session in the room.
    async fn session(&self) -> Arc<Session> {
        let session = self.arrive(SessionId::random(), 0);
        assert!(self.join(&session).await.unwrap().first.is_some());
        session
    }

    /// A session of a holder that is one of several, in no room.
    fn arrive(&self, id: SessionId, term: u32) -> Arc<Session> {
        let (address, transport) = ([127, 0, 0, 1].into(), "websocket");
        let (identity, auth) = (Identity::default(), Default::default());
        let client = Client { identity, namespace: "/".into(), auth, address, transport };
        let allowance = Arc::new(self.limiters.allowance(None, address));
        let patience = Patience::new(&self.config.limits, Duration::from_secs(10));
        let lease = Lease::new(Pid::random());
        let session = Arc::new(Session::new(id, client, lease, allowance, patience, Box::new(Nobody)));
        session.begin_term(term);
        self.node.arrive(&session, None);
        session
    }

    async fn join(&self, session: &Arc<Session>) -> Result<Joined, Refusal> {
        let (via, seat) = ("join".into(), Some(Seat { capacity: None }));
        let entrance = Entrance { via: &via, after: None, partial: false, seat };
        self.node.join(session, &room(), &entrance).await
    }

    fn is_late(&self, late: bool) {
        self.store.is_late.store(late, Ordering::SeqCst);
    }

    fn mended(&self, entered: u64, taken_out: u64) -> bool {
        let line = |what: &str, count: u64| format!("gateway_presence_mended_total{{what=\"{what}\"}} {count}");
        self.shows(&line("entered", entered)) && self.shows(&line("taken_out", taken_out))
    }

    /// Waits for as many beats as it may take until the node looks at what the store has by itself.
    async fn wait(&self) {
        tokio::time::sleep(self.config.presence.lease / 3 * 30).await;
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
    let by_lease = departed.iter().filter(|departed| departed.cause == gateway_core::presence::Cause::Lease).count();
    assert!(by_lease >= 16_384, "{by_lease} went with the old lease");
}

#[tokio::test(start_paused = true)]
async fn a_leaving_that_is_done_late_takes_nobody_out_who_has_come_again() {
    let world = World::new();
    let session = world.session().await;
    world.is_late(true);
    let (departed, saved) = world.node.leave(&session, &room()).await;
    assert!(departed.is_empty() && saved.is_ok());
    world.is_late(false);
    assert!(world.join(&session).await.unwrap().first.is_none(), "for the store it was there all the time");
    world.store.catch_up().await;
    assert_eq!(world.count().await, 1);
    // What is owed is told, and is not meant either.
    world.wait().await;
    assert_eq!(world.count().await, 1);
    assert!(world.shows("gateway_presence_pending{kind=\"leavings\"} 0"));
    assert!(world.mended(0, 0), "there was nothing to mend");
    let (departed, _) = world.node.leave(&session, &room()).await;
    assert_eq!((departed.len(), world.count().await), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_entering_that_is_done_late_is_taken_out_again() {
    let world = World::new();
    let mut changes = world.node.changes().unwrap();
    let stays = world.session().await;
    let session = world.arrive(SessionId::random(), 0);
    world.is_late(true);
    assert!(world.join(&session).await.is_err());
    world.is_late(false);
    // That it is not there is told meanwhile.
    tokio::time::sleep(world.config.presence.lease / 2).await;
    assert!(world.shows("gateway_presence_pending{kind=\"leavings\"} 0"));
    world.store.catch_up().await;
    assert_eq!(world.count().await, 2);
    eventually("it is taken out", || async { world.count().await == 1 }).await;
    assert!(world.mended(0, 1));
    let Some(Change::Departed(departure)) = changes.recv().await else { panic!("somebody departed") };
    assert_eq!(departure.departed.session, session.id);
    world.node.depart(&session, false);
    // One more, of a session that is over, and long after everything was well.
    world.wait().await;
    let session = world.arrive(SessionId::random(), 0);
    world.is_late(true);
    assert!(world.join(&session).await.is_err());
    world.is_late(false);
    world.node.depart(&session, false);
    world.wait().await;
    world.store.catch_up().await;
    assert_eq!(world.count().await, 2);
    world.wait().await;
    assert_eq!(world.count().await, 1, "also without a reason to look");
    assert!(world.mended(0, 2));
    assert!(!stays.is_over());
}

#[tokio::test(start_paused = true)]
async fn an_entering_that_is_done_late_takes_nothing_from_who_has_the_session_since() {
    let world = World::new();
    let id = SessionId::random();
    let old = world.arrive(id, 0);
    world.is_late(true);
    assert!(world.join(&old).await.is_err());
    world.node.depart(&old, true);
    world.is_late(false);
    // Its client comes back, perhaps to another node.
    let new = world.arrive(id, 1);
    assert!(world.join(&new).await.unwrap().first.is_some());
    world.store.catch_up().await;
    assert_eq!(world.count().await, 1);
    world.wait().await;
    assert_eq!(world.count().await, 1, "what the old connection owes is not the new one's");
    assert!(world.mended(0, 0), "there was nothing to mend");
    let (departed, _) = world.node.leave(&new, &room()).await;
    assert_eq!((departed.len(), world.count().await), (1, 0));
}

/// Has the store lose a session.
async fn lose(world: &World, session: &Session) {
    let holder = session.lease.holder;
    let (member, user) = (session.author(), None);
    let who = Attendee { session: session.id, holder, term: 0, step: u32::MAX, member, user };
    assert_eq!(world.store.presence.leave(&who, &[room()], Duration::ZERO).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_was_superseded_is_not_entered_where_its_successor_has_left() {
    let world = World::new();
    let (session, _other) = (world.session().await, world.session().await);
    // Another node has it, and this one did not hear of that. Its client left there.
    let next = Lease::new(session.lease.pid);
    assert!(world.sessions.claim(next, "/", None).await.unwrap().is_some());
    lose(&world, &session).await;
    world.wait().await;
    assert_eq!(world.count().await, 1);
    assert!(world.mended(0, 0));
    assert!(session.is_in(&room()), "as far as it knows");
}

#[tokio::test(start_paused = true)]
async fn what_the_store_has_lost_is_entered_again_and_told() {
    let world = World::new();
    let mut changes = world.node.changes().unwrap();
    let (session, other) = (world.session().await, world.session().await);
    world.wait().await;
    lose(&world, &session).await;
    assert_eq!(world.count().await, 1);
    world.wait().await;
    assert_eq!(world.count().await, 2);
    assert!(world.mended(1, 0));
    let Some(Change::Returned(returned, place, _)) = changes.recv().await else { panic!("somebody returned") };
    assert_eq!((returned.id, place), (session.id, room()));
    // As it is there again, it leaves as ever.
    let (departed, _) = world.node.leave(&session, &room()).await;
    assert_eq!((departed.len(), world.count().await), (1, 1));
    assert!(!other.is_over() && changes.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_another_has_taken_over_is_not_entered_before_that_has_left() {
    let world = World::new();
    let id = SessionId::random();
    let old = world.arrive(id, 0);
    assert!(world.join(&old).await.unwrap().first.is_some());
    let new = world.arrive(id, 1);
    assert!(world.join(&new).await.unwrap().first.is_none());
    for _ in 0..3 {
        world.wait().await;
        assert_eq!(world.count().await, 1);
        assert!(world.mended(0, 0), "nothing is lost: it is another's");
    }
    let (departed, _) = world.node.leave(&new, &room()).await;
    assert_eq!((departed.len(), world.count().await), (1, 0));
    // Its connection is still there, and nobody else has the place.
    world.wait().await;
    assert!(world.mended(1, 0));
    assert_eq!(world.count().await, 1);
    let (departed, _) = world.node.leave(&old, &room()).await;
    assert_eq!((departed.len(), world.count().await), (1, 0));
}
