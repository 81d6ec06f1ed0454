//! The roster: the sessions that have a connection to this node.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::auth::MailClaims;
use crate::domain::{PidHash, SessionId, UserId};
use crate::node::namespaces::Namespaces;
use crate::node::session::{CloseReason, Session};
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
    /// Where its token says that the user gets mail.
    pub mail: Option<Arc<MailClaims>>,
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

    /// Those of some namespaces, in no order.
    pub(super) fn of(&self, namespaces: &Namespaces) -> Vec<Arc<Session>> {
        let connected = self.connected.lock();
        let these = connected.values().filter(|it| namespaces.has(&it.session.namespace));
        these.map(|it| it.session.clone()).collect()
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

    pub(super) fn insert(&self, session: &Arc<Session>, ends: Option<Instant>) {
        self.connected.lock().insert(session.lease.holder, Connected { session: session.clone(), ends });
        self.announce(session, Stage::Came);
    }

    /// Takes a session out, to which its client may come back or not; false if it was not in.
    pub(super) fn remove(&self, session: &Session, may_return: bool) -> bool {
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
            mail: session.identity().mail.clone(),
            address: session.address,
            transport: session.transport,
            at: SystemTime::now(),
            stage,
        };
        // Whoever listened may have stopped just now.
        self.changes.send(change).ok();
    }

    pub(super) fn find(&self, lease: Lease) -> Option<Arc<Session>> {
        self.connected.lock().get(&lease.holder).map(|it| it.session.clone())
    }

    pub(super) fn aged(&self, now: Instant) -> Vec<Arc<Session>> {
        let connected = self.connected.lock();
        connected.values().filter(|it| it.ends.is_some_and(|ends| ends <= now)).map(|it| it.session.clone()).collect()
    }
}
