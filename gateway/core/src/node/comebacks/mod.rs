//! Comebacks: which sessions are connected to this node, and what is kept so that they can come back.
//!
//! Of the rooms it knows how far sessions were handed what was said there, because records say so, and when the log begins a new
//! history, because they are stored again then; and nothing else.

mod connected;
mod records;
mod removals;
mod roster;
mod upkeep;

pub(in crate::node) use connected::Connected;
pub use records::wanted;
pub use roster::{Roster, RosterChange, Stage};

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::removals::Removals;
use crate::config::Config;
use crate::domain::{Offset, Refusal, RoomName, UserId};
use crate::metrics::Metrics;
use crate::node::namespaces::Namespaces;
use crate::node::rooms::Marks;
use crate::node::session::Session;
use crate::node::troubles::Failing;
use crate::node::wanted::Wanted;
use crate::port::PortError;
use crate::sessions::{Claimed, Lease, Sessions, Whose};

/// The sessions that are connected to this node, and the way to the store of sessions.
#[derive(Debug)]
pub(in crate::node) struct Comebacks {
    sessions: Arc<dyn Sessions>,
    roster: Arc<Roster>,
    /// Of the sessions on the roster, which are these.
    namespaces: Namespaces,
    /// Up to where they were handed everything that was said in their rooms.
    marks: Marks,
    /// How far a record may be behind that, in microseconds of the log.
    stale_after: u64,
    removals: Removals,
    failing: Failing,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
}

impl std::fmt::Debug for dyn Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}

impl Comebacks {
    /// Nobody is connected yet. Of those on the roster these are the sessions of some namespaces.
    pub(in crate::node) fn new(
        sessions: Arc<dyn Sessions>,
        (roster, namespaces): (Arc<Roster>, Namespaces),
        marks: Marks,
        config: &Config,
        metrics: Arc<Metrics>,
        tasks: TaskTracker,
    ) -> Self {
        // Nothing may be said in its rooms for longer than the log keeps anything: what it stands at must stay younger.
        let stale_after = u64::try_from(config.log.room_retention.as_micros() / 8).unwrap_or(u64::MAX);
        let failing = Failing::new("the store of sessions failed", "something in the store of sessions is broken");
        // As long as a session may be kept.
        let removals = Removals::new(config.recovery.window * 3 / 2);
        Self { sessions, roster, namespaces, marks, stale_after, removals, failing, metrics, tasks }
    }

    /// Who is connected, for those who need no more.
    pub(in crate::node) fn connected(&self) -> Connected {
        Connected::new(self.roster.clone(), self.namespaces.clone(), self.sessions.clone())
    }

    /// Takes over the session of a client that comes back; nothing if there is none that is its own.
    pub(in crate::node) async fn claim(
        &self,
        lease: Lease,
        namespace: &str,
        user: Option<&UserId>,
    ) -> Result<Option<Claimed>, Refusal> {
        let claimed = self.sessions.claim(lease, namespace, user).await;
        let claimed = claimed.map_err(|error| self.unavailable(&error))?;
        Ok(claimed.map(|claimed| Claimed { record: self.removals.apply(claimed.record), ..claimed }))
    }

    /// Remembers that a user was taken out of a room that it had joined up to an offset.
    pub(in crate::node) fn note_removal(&self, user: &UserId, room: &RoomName, upto: Offset) {
        self.removals.note(user, room, upto);
    }

    /// Which of the rooms that a session comes back to its user was taken out of since it joined them.
    pub(in crate::node) fn removals_of(&self, session: &Session, wanted: &[Wanted]) -> Vec<RoomName> {
        let Some(user) = session.identity().user.clone() else { return Vec::new() };
        let rooms = wanted.iter().filter_map(|wanted| Some((&wanted.room, wanted.since?)));
        self.removals.of(&user, rooms).into_iter().cloned().collect()
    }

    /// Stores a session so that it can come back. False if another connection has taken it over, or it is over.
    pub(in crate::node) async fn save(&self, session: &Session) -> Result<bool, Refusal> {
        let _saving = session.saving.lock().await;
        let Some(record) = session.record(self.marks.handed_to(session)) else { return Ok(false) };
        let saved = self.sessions.save(session.lease, &record).await;
        saved.map_err(|error| {
            session.mark_unsaved();
            self.unavailable(&error)
        })
    }

    /// Ends sessions in the store for good, connected or away; returns how many there were.
    pub(in crate::node) async fn forget(&self, whose: &Whose) -> Result<usize, Refusal> {
        self.sessions.forget(whose).await.map_err(|error| self.unavailable(&error))
    }

    /// Counts a session among those that are connected, until [`Self::depart`]; its connection ends at `ends`.
    pub(in crate::node) fn arrive(&self, session: &Arc<Session>, ends: Option<Instant>) {
        self.roster.insert(session, ends);
    }

    /// Counts a session no longer among those that are connected; what is stored of it is kept for its client, or not.
    pub(in crate::node) fn depart(&self, session: &Arc<Session>, keep: bool) {
        if self.roster.remove(session, keep) {
            self.release(session.clone(), keep);
        }
    }

    fn release(&self, session: Arc<Session>, keep: bool) {
        let (sessions, metrics) = (self.sessions.clone(), self.metrics.clone());
        self.tasks.spawn(async move {
            // After whatever is being stored: a record must not come back from the dead.
            let _saving = session.saving.lock().await;
            if let Err(error) = sessions.release(session.lease, keep).await {
                // It is forgotten a while later by itself.
                metrics.session_errors.with(error.operation).increment(1);
            }
        });
    }

    fn unavailable(&self, error: &PortError) -> Refusal {
        self.note(error);
        Refusal::Unavailable
    }

    fn note(&self, error: &PortError) {
        self.metrics.session_errors.with(error.operation).increment(1);
        self.failing.note(error);
    }
}
