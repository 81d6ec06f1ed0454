//! The roster: the sessions that have a connection to this node, and their right to come back, kept up to date.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::domain::{PidHash, SessionId, UserId};
use crate::formats::Formats;
use crate::node::{CloseReason, Node, Session};
use crate::sessions::Lease;

/// Changes that wait for whoever wants to know of them; older ones are lost, and their number is told.
const CHANGES: usize = 1024;

/// The sessions that are connected to this node, by the holder of their lease.
#[derive(Debug)]
pub struct Roster {
    connected: Mutex<HashMap<u64, Connected>>,
    changes: broadcast::Sender<RosterChange>,
}

impl Default for Roster {
    fn default() -> Self {
        Self { connected: Mutex::default(), changes: broadcast::Sender::new(CHANGES) }
    }
}

/// A session that came to this node, or left it.
#[derive(Clone, Debug)]
pub struct RosterChange {
    /// Which.
    pub session: SessionId,
    /// The namespace that it is in.
    pub namespace: Arc<str>,
    /// Who it is, as far as it is known then.
    pub user: Option<UserId>,
    /// Where its client is.
    pub address: IpAddr,
    /// What carried it when it came.
    pub transport: &'static str,
    /// When it came or left.
    pub at: SystemTime,
    /// Which of both.
    pub stage: Stage,
}

/// Whether a session came or left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It came.
    Came,
    /// It left.
    Left {
        /// Why this node ended its connection, if it did.
        reason: Option<CloseReason>,
        /// Whether the client may come back to it.
        may_return: bool,
    },
}

#[derive(Debug)]
struct Connected {
    session: Arc<Session>,
    /// When its connection is as old as it may get.
    ends: Option<Instant>,
}

impl Roster {
    /// How many sessions are connected.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connected.lock().len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.connected.lock().values().map(|it| it.session.clone()).collect()
    }

    /// Whether the session of a pid is among them: whoever brings it back takes over its place.
    #[must_use]
    pub fn has(&self, pid: PidHash) -> bool {
        self.connected.lock().values().any(|it| it.session.lease.pid == pid)
    }

    /// How many there are in each namespace that has any.
    #[must_use]
    pub fn by_namespace(&self) -> HashMap<Arc<str>, usize> {
        let mut namespaces = HashMap::new();
        for it in self.connected.lock().values() {
            match namespaces.get_mut(&it.session.namespace) {
                Some(sessions) => *sessions += 1,
                None => _ = namespaces.insert(it.session.namespace.clone(), 1),
            }
        }
        namespaces
    }

    /// Who comes and leaves from now on. While nobody has asked for it, changes cost nothing.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<RosterChange> {
        self.changes.subscribe()
    }

    pub(in crate::node) fn insert(&self, session: &Arc<Session>, ends: Option<Instant>) {
        self.connected.lock().insert(session.lease.holder, Connected { session: session.clone(), ends });
        self.announce(session, Stage::Came);
    }

    /// Takes a session out, to which its client may come back or not; false if it was not in.
    pub(in crate::node) fn remove(&self, session: &Session, may_return: bool) -> bool {
        let was_in = self.connected.lock().remove(&session.lease.holder).is_some();
        if was_in {
            self.announce(session, Stage::Left { reason: session.closing(), may_return });
        }
        was_in
    }

    fn announce(&self, session: &Session, stage: Stage) {
        if self.changes.receiver_count() == 0 {
            return;
        }
        let change = RosterChange {
            session: session.id,
            namespace: session.namespace.clone(),
            user: session.identity().user.clone(),
            address: session.address,
            transport: session.transport,
            at: SystemTime::now(),
            stage,
        };
        // Whoever listened may have stopped just now.
        self.changes.send(change).ok();
    }

    fn find(&self, lease: Lease) -> Option<Arc<Session>> {
        self.connected.lock().get(&lease.holder).map(|it| it.session.clone())
    }

    fn aged(&self, now: Instant) -> Vec<Arc<Session>> {
        let connected = self.connected.lock();
        connected.values().filter(|it| it.ends.is_some_and(|ends| ends <= now)).map(|it| it.session.clone()).collect()
    }
}

impl Node {
    /// Closes connections that are as old as they may get; to be called every few seconds.
    pub fn close_aged(&self) {
        for session in self.roster.aged(Instant::now()) {
            session.close(CloseReason::Aged);
        }
    }

    /// Keeps the records of connected sessions from expiring, and up to date, for ever.
    pub(in crate::node) async fn renew_forever(&self, every: Duration) {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.renew(&self.roster.all()).await;
        }
    }

    /// Stores all sessions anew whenever an older format is to be written, for ever: nodes that read no newer one could not
    /// let them come back.
    pub async fn heed_formats_forever(self: Arc<Self>, formats: Formats) {
        let mut changes = formats.changes();
        let mut before = *changes.borrow_and_update();
        // The sender is `formats`' own.
        while changes.changed().await.is_ok() {
            let now = *changes.borrow_and_update();
            if now < before {
                let sessions = self.roster.all();
                sessions.iter().for_each(|session| session.mark_unsaved());
                self.renew(&sessions).await;
            }
            before = now;
        }
    }

    async fn renew(&self, sessions: &[Arc<Session>]) {
        let leases: Vec<Lease> = sessions.iter().map(|session| session.lease).collect();
        let lost: HashSet<Lease> = match self.sessions.renew(&leases).await {
            Ok(lost) => lost.into_iter().collect(),
            Err(error) => return self.note_sessions_error(&error),
        };
        // Nothing may be said in its rooms for longer than the log keeps anything: what it stands at must stay younger.
        let stale = u64::try_from(self.limits.room_retention.as_micros() / 8).unwrap_or(u64::MAX);
        for session in sessions {
            let is_stale = self.hub.handed_to(session).0.saturating_sub(session.saved_to().0) > stale;
            // Whoever is still beginning stores itself.
            if !session.is_begun() || (session.is_saved() && !is_stale && !lost.contains(&session.lease)) {
                continue;
            }
            // Forgotten, by a store that lost its data, is made good; taken over is not.
            if self.save(session).await == Ok(false) {
                session.close(CloseReason::Replaced);
            }
        }
    }

    /// Closes the connections whose sessions were claimed by others, for ever.
    pub(in crate::node) async fn heed_claims_forever(&self) {
        let mut superseded = self.sessions.superseded();
        while let Some(lease) = superseded.next().await {
            if let Some(session) = self.roster.find(lease) {
                session.close(CloseReason::Replaced);
            }
        }
    }
}
