//! Upkeep: the records of connected sessions stay in the store and up to date, and whose session was claimed is closed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Comebacks;
use crate::formats::Formats;
use crate::node::session::{CloseReason, Session};
use crate::sessions::Lease;
use crate::supervisor::Supervisor;

impl Comebacks {
    /// Starts what comebacks need, in tasks whose names end with `of`: records are renewed four times within the window for them, and stored
    /// again where the log begins anew, and claims are heeded.
    pub(in crate::node) fn run(self: &Arc<Self>, of: &str, window: Duration, supervisor: &Supervisor) {
        let (keeper, follower, listener) = (self.clone(), self.clone(), self.clone());
        supervisor.run(format!("renewal of sessions{of}"), async move { keeper.renew_forever(window / 4).await });
        supervisor
            .run(format!("sessions of a new history{of}"), async move { follower.heed_histories_forever().await });
        supervisor.run(format!("claims of sessions{of}"), async move { listener.heed_claims_forever().await });
    }

    /// Closes connections that are as old as they may get; to be called every few seconds.
    pub(in crate::node) fn close_aged(&self) {
        for session in self.roster.aged(Instant::now()) {
            session.close(CloseReason::Aged);
        }
    }

    /// Keeps the records of connected sessions from expiring, and up to date, for ever.
    async fn renew_forever(&self, every: Duration) {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.renew_all().await;
        }
    }

    /// Renews the records of all sessions now.
    pub(in crate::node) async fn renew_all(&self) {
        self.renew(&self.roster.of(&self.namespaces)).await;
    }

    /// Stores all sessions anew whenever an older format is to be written, for ever.
    pub(in crate::node) async fn heed_formats_forever(&self, formats: Formats) {
        let mut changes = formats.changes();
        let mut before = *changes.borrow_and_update();
        // The sender is `formats`' own.
        while changes.changed().await.is_ok() {
            let now = *changes.borrow_and_update();
            if now < before {
                self.store_anew().await;
            }
            before = now;
        }
    }

    /// Stores all sessions anew whenever the log begins a new history, for ever: what was stored before may be gone, and who
    /// came back to it would be told so.
    async fn heed_histories_forever(&self) {
        loop {
            self.marks.history_began().await;
            self.store_anew().await;
        }
    }

    async fn store_anew(&self) {
        let sessions = self.roster.of(&self.namespaces);
        sessions.iter().for_each(|session| session.mark_unsaved());
        self.renew(&sessions).await;
    }

    async fn renew(&self, sessions: &[Arc<Session>]) {
        let leases: Vec<Lease> = sessions.iter().map(|session| session.lease).collect();
        let lost: HashSet<Lease> = match self.sessions.renew(&leases).await {
            Ok(lost) => lost.into_iter().collect(),
            Err(error) => return self.note(&error),
        };
        for session in sessions {
            // Whoever is still beginning stores itself, and who has departed is not to be stored any more.
            let Some(stored) = session.stored() else { continue };
            let behind = self.marks.handed_to(session).0.saturating_sub(stored.complete_to.0);
            if stored.is_current && behind <= self.stale_after && !lost.contains(&session.lease) {
                continue;
            }
            // Forgotten, by a store that lost its data, is made good; taken over is not.
            if self.save(session).await == Ok(false) {
                session.close(CloseReason::Replaced);
            }
        }
    }

    /// Closes the connections whose sessions were claimed by others, for ever.
    async fn heed_claims_forever(&self) {
        let mut superseded = self.sessions.superseded();
        while let Some(lease) = superseded.next().await {
            if let Some(session) = self.roster.find(lease) {
                session.close(CloseReason::Replaced);
            }
        }
    }
}
