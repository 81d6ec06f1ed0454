//! The roster: the sessions that have a connection to this node, and their right to come back, kept up to date.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{CloseReason, Node, Session};
use crate::sessions::Lease;

/// The sessions that are connected to this node, by the holder of their lease.
#[derive(Debug, Default)]
pub struct Roster(Mutex<HashMap<u64, Place>>);

#[derive(Debug)]
struct Place {
    session: Arc<Session>,
    /// When its connection is as old as it may get.
    ends: Option<Instant>,
}

impl Roster {
    /// How many sessions are connected.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.0.lock().values().map(|place| place.session.clone()).collect()
    }

    pub(super) fn insert(&self, session: &Arc<Session>, ends: Option<Instant>) {
        self.0.lock().insert(session.lease.holder, Place { session: session.clone(), ends });
    }

    /// Takes a session out; false if it was not in.
    pub(super) fn remove(&self, session: &Session) -> bool {
        self.0.lock().remove(&session.lease.holder).is_some()
    }

    fn find(&self, lease: Lease) -> Option<Arc<Session>> {
        self.0.lock().get(&lease.holder).map(|place| place.session.clone())
    }

    fn aged(&self, now: Instant) -> Vec<Arc<Session>> {
        let places = self.0.lock();
        places
            .values()
            .filter(|place| place.ends.is_some_and(|ends| ends <= now))
            .map(|place| place.session.clone())
            .collect()
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
    pub(super) async fn renew_forever(&self, every: Duration) {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.renew(&self.roster.all()).await;
        }
    }

    async fn renew(&self, sessions: &[Arc<Session>]) {
        let leases: Vec<Lease> = sessions.iter().map(|session| session.lease).collect();
        let lost: HashSet<Lease> = match self.sessions.renew(&leases).await {
            Ok(lost) => lost.into_iter().collect(),
            Err(error) => return self.note_sessions_error(&error),
        };
        for session in sessions {
            // Whoever is still beginning stores itself.
            if !session.is_begun() || (session.is_saved() && !lost.contains(&session.lease)) {
                continue;
            }
            // Forgotten, by a store that lost its data, is made good; taken over is not.
            if self.save(session).await == Ok(false) {
                session.close(CloseReason::Replaced);
            }
        }
    }

    /// Closes the connections whose sessions were claimed by others, for ever.
    pub(super) async fn heed_claims_forever(&self) {
        let mut superseded = self.sessions.superseded();
        while let Some(lease) = superseded.next().await {
            if let Some(session) = self.roster.find(lease) {
                session.close(CloseReason::Replaced);
            }
        }
    }
}
