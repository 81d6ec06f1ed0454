//! Attendance: where the sessions of this node are counted, cluster-wide: rooms with presence, namespaces, names.
//!
//! Of comebacks it knows who is connected here, because that is who must be counted; of rooms it knows nothing: where a
//! session must leave one, the caller says how.

mod beat;
mod firsts;
mod leaving;
mod order;
mod review;
mod taking;

pub use firsts::Firsts;
pub use order::Turn;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use self::leaving::Leaving;
use self::order::Order;
use self::review::Review;
use crate::config::Config;
use crate::domain::{Refusal, RoomName};
use crate::metrics::{Metrics, Share};
use crate::node::comebacks::Connected;
use crate::node::session::Session;
use crate::node::troubles::Failing;
use crate::port::PortError;
use crate::presence::{Attendee, Departed, Page, Presence};
use crate::supervisor::Supervisor;

/// Changes that wait to be acted on. When there is no room, departures wait in the store.
const CHANGES: usize = 4096;
/// Sessions that are entered again, and leavings that are told, at the same time.
const CONCURRENCY: usize = 32;

/// A member that left a place, and when that is to be acted on.
#[derive(Debug)]
pub struct Departure {
    /// Who left what.
    pub departed: Departed,
    /// When others are to learn of it.
    pub turn: Turn,
}

/// What happened to a place without any client having asked for it.
#[derive(Debug)]
pub enum Change {
    /// A member left it for good; told to one node.
    Departed(Departure),
    /// A member is in it that was given up for lost, or of which nobody was told, with this session.
    Returned(Arc<Session>, RoomName, Turn),
}

/// What became of the seats of a session that came back.
#[derive(Debug)]
pub struct Reseated {
    /// Rooms that its user, or the anonymous session, had left for good meanwhile, and is in again.
    pub firsts: Firsts,
    /// Rooms whose seats others have taken meanwhile.
    pub lost_rooms: Vec<RoomName>,
    /// Names that others have taken meanwhile.
    pub lost_names: Vec<String>,
}

/// The way to the store of presence, and what became of those who left.
pub(in crate::node) struct Attendance {
    presence: Arc<dyn Presence>,
    connected: Connected,
    /// How long a session that lost its connection still counts.
    linger: Duration,
    changes: mpsc::Sender<Change>,
    heard: Mutex<Option<mpsc::Receiver<Change>>>,
    order: Order,
    /// Leavings that the store does not know of yet.
    owed: Mutex<Vec<Leaving>>,
    /// Whether more were owed than are kept.
    is_overdrawn: AtomicBool,
    /// Sessions of this node of which the store does not know everywhere where they are, by the holder of their lease.
    unknown: Mutex<HashMap<u64, Unknown>>,
    /// Held while the store is told of all this.
    settling: Arc<tokio::sync::Mutex<()>>,
    /// Whether the store has what this node has.
    review: Mutex<Review>,
    failing: Failing,
    figures: Figures,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
}

/// What it adds to what the node shows.
struct Figures {
    leavings: Share,
    sessions: Share,
    waiting: Share,
}

/// A session that the store does not know everywhere where it is.
struct Unknown {
    session: Weak<Session>,
    /// Where the store had it, or should have.
    lost: Vec<RoomName>,
}

impl std::fmt::Debug for Attendance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attendance").finish_non_exhaustive()
    }
}

impl Attendance {
    /// Nobody is counted yet; those who are `connected` will be.
    pub(in crate::node) fn new(
        presence: Arc<dyn Presence>,
        connected: Connected,
        config: &Config,
        metrics: Arc<Metrics>,
        tasks: TaskTracker,
    ) -> Self {
        let (changes, heard) = mpsc::channel(CHANGES);
        Self {
            presence,
            connected,
            linger: config.presence.linger,
            changes,
            heard: Mutex::new(Some(heard)),
            order: Order::default(),
            owed: Mutex::default(),
            is_overdrawn: AtomicBool::new(false),
            unknown: Mutex::default(),
            settling: Arc::default(),
            // Nothing that is asked of the store goes on for longer, or it is given up.
            review: Mutex::new(Review::new(config.redis.timeout)),
            failing: Failing::new("the store of presence failed", "something in the store of presence is broken"),
            figures: Figures {
                leavings: Share::of(metrics.presence_pending.with("leavings")),
                sessions: Share::of(metrics.presence_pending.with("sessions")),
                waiting: Share::of(&metrics.lifecycle_waiting),
            },
            metrics,
            tasks,
        }
    }

    /// Starts what attendance needs, in tasks whose names end with `of`: a beat three times within a lease.
    pub(in crate::node) fn run(self: &Arc<Self>, of: &str, lease: Duration, supervisor: &Supervisor) {
        let member = self.clone();
        supervisor.run(format!("beat of presence{of}"), async move { member.beat_forever(lease / 3).await });
    }

    /// Whether somebody acts on changes.
    fn is_heard(&self) -> bool {
        self.heard.lock().is_none() && !self.changes.is_closed()
    }

    fn note_unknown(&self, session: &Arc<Session>) {
        self.note_lost(session, Vec::new());
    }

    fn note_lost(&self, session: &Arc<Session>, mut places: Vec<RoomName>) {
        let mut unknown = self.unknown.lock();
        let new = || Unknown { session: Arc::downgrade(session), lost: Vec::new() };
        unknown.entry(session.lease.holder).or_insert_with(new).lost.append(&mut places);
    }

    /// A session is over, and is nowhere that the store should know of.
    pub(in crate::node) fn drop_unknown(&self, session: &Session) {
        self.unknown.lock().remove(&session.lease.holder);
    }

    /// What happens to places, as far as this node is the one that learns it. To be taken once.
    pub(in crate::node) fn changes(&self) -> Option<mpsc::Receiver<Change>> {
        self.heard.lock().take()
    }

    /// Has a change acted on, of which there are few. Without room it is left out: nobody can wait for it here.
    pub(in crate::node) fn announce(&self, change: Change) {
        if self.is_heard() && self.changes.try_send(change).is_err() {
            self.metrics.lifecycle_dropped.with("full").increment(1);
        }
    }

    /// How many members rooms have, in order.
    pub(in crate::node) async fn count_members(&self, rooms: &[RoomName]) -> Result<Vec<u64>, Refusal> {
        self.presence.count(rooms).await.map_err(|error| self.unavailable(&error))
    }

    /// Who is in a room: `limit` members at the most, those after a cursor.
    pub(in crate::node) async fn list_members(
        &self,
        room: &RoomName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, Refusal> {
        self.presence.list(room, after, limit).await.map_err(|error| self.unavailable(&error))
    }

    fn unavailable(&self, error: &PortError) -> Refusal {
        self.note(error);
        Refusal::Unavailable
    }

    /// It is counted where it came from.
    fn note(&self, error: &PortError) {
        self.review.lock().doubt();
        self.failing.note(error);
    }
}

/// As whom a session is counted in a place: in a namespace each for itself, elsewhere all sessions of a user as one. What is
/// asked for it comes after all that was asked for before.
fn attendee(session: &Session, place: &RoomName) -> Attendee {
    let counts_alone = *place == RoomName::everybody(&session.namespace);
    let member = if counts_alone { session.id.to_string() } else { session.author() };
    let user = session.identity().user.clone();
    let (term, step) = (session.term(), session.next_step());
    Attendee { session: session.id, holder: session.lease.holder, term, step, member, user }
}

/// Places in groups that a session is in as the same member; `name` tells what each is called.
fn by_attendee<T>(session: &Session, places: Vec<T>, name: impl Fn(&T) -> &RoomName) -> Vec<(Attendee, Vec<T>)> {
    let everybody = RoomName::everybody(&session.namespace);
    let (alone, together): (Vec<_>, Vec<_>) = places.into_iter().partition(|place| *name(place) == everybody);
    let groups = [alone, together].into_iter().filter(|places| !places.is_empty());
    groups.map(|places| (attendee(session, name(&places[0])), places)).collect()
}
