//! Notifications of which the numbers of unread ones are kept for a while: what a node changes shows at once, on it and on all
//! others, which it tells over the bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Added, Listed, Marked, New, NotificationId, Notifications, Which};
use crate::bus::{Bus, BusMessage};
use crate::caching::Counts;
use crate::domain::UserId;
use crate::metrics::Metrics;
use crate::port::{Port, PortError};

/// What all counts take in memory at the most, in bytes.
const BYTES: u64 = 4 * 1024 * 1024;
/// How many messages may wait to be heeded. When it is full everything is counted anew.
const WAITING: usize = 4096;
/// How many users one message names at the most.
const NAMED: usize = 256;

/// Any notifications, of which counts are kept. Nothing is until [`Self::heed`] runs: who hears nobody keeps nothing.
pub struct KeptNotifications {
    notifications: Arc<dyn Notifications>,
    counts: Counts<UserId>,
    bus: Arc<dyn Bus>,
    channel: String,
    /// What messages of this node begin with: what it has done it knows.
    own: String,
    hears: AtomicBool,
}

impl std::fmt::Debug for KeptNotifications {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptNotifications").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl KeptNotifications {
    /// Keeps the counts of `notifications` for `keep`. Nodes tell each other of changes on a channel of `bus` that begins with
    /// `prefix`: an id of the node, a space, and users with line feeds between them, which no user's name has.
    #[must_use]
    pub fn new(
        notifications: Arc<dyn Notifications>,
        bus: Arc<dyn Bus>,
        prefix: &str,
        keep: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let counts = Counts::new("unread", BYTES, keep, |user: &UserId| user.as_str().len(), metrics);
        let own = format!("{:016x} ", rand::random::<u64>());
        Self { notifications, counts, bus, channel: format!("{prefix}:unread"), own, hears: AtomicBool::new(false) }
    }

    /// Begins to hear what other nodes change; [`Self::heed`] does something about it.
    ///
    /// # Errors
    /// The bus cannot be reached.
    pub async fn hear(&self) -> Result<mpsc::Receiver<BusMessage>, PortError> {
        let (sink, heard) = mpsc::channel(WAITING);
        self.bus.subscribe(&self.channel, sink).await?;
        Ok(heard)
    }

    /// Has what others change be counted anew, for ever. From now on counts are kept.
    pub async fn heed(self: Arc<Self>, mut heard: mpsc::Receiver<BusMessage>) {
        self.counts.note_all();
        self.hears.store(true, Ordering::Release);
        while let Some(message) = heard.recv().await {
            let BusMessage::Message { payload, .. } = message else {
                self.counts.note_all();
                continue;
            };
            let text = std::str::from_utf8(&payload).unwrap_or_default();
            if text.starts_with(&self.own) {
                continue;
            }
            for user in text.split_once(' ').map_or("", |(_, users)| users).split('\n') {
                match UserId::parse(user) {
                    Some(user) => self.counts.note(&user),
                    None => self.counts.note_all(),
                }
            }
        }
        self.hears.store(false, Ordering::Release);
    }

    /// Publishes what the counts take; to be called every few seconds.
    pub async fn upkeep(&self) {
        self.counts.upkeep().await;
    }

    /// To be called when something was done to users' notifications, or may have been, and before its author learns of that.
    async fn note(&self, users: &[&UserId]) {
        users.iter().for_each(|user| self.counts.note(user));
        for some in users.chunks(NAMED) {
            let names: Vec<_> = some.iter().map(|user| user.as_str()).collect();
            let message = Bytes::from(format!("{}{}", self.own, names.join("\n")));
            if let Err(error) = self.bus.publish(&self.channel, message).await {
                // It shows on other nodes when the time of their counts is over, or when they hear again and know of a gap.
                tracing::debug!(%error, "other nodes could not be told that counts have changed");
                return;
            }
        }
    }
}

#[async_trait]
impl Notifications for KeptNotifications {
    async fn add(&self, all: &[New], kept: usize) -> Result<Vec<Added>, PortError> {
        let added = self.notifications.add(all, kept).await;
        let mut users: Vec<_> = all.iter().map(|new| &new.receiver).collect();
        users.sort_unstable_by_key(|user| user.as_str());
        users.dedup();
        self.note(&users).await;
        added
    }

    async fn list(&self, user: &UserId, which: Which<'_>) -> Result<Listed, PortError> {
        self.notifications.list(user, which).await
    }

    async fn mark_read(&self, user: &UserId, which: Marked<'_>) -> Result<Vec<NotificationId>, PortError> {
        let marked = self.notifications.mark_read(user, which).await;
        if marked.as_ref().map_or(true, |marked| !marked.is_empty()) {
            self.note(&[user]).await;
        }
        marked
    }

    async fn remove(&self, user: &UserId, id: &NotificationId) -> Result<bool, PortError> {
        let removed = self.notifications.remove(user, id).await;
        if !matches!(removed, Ok(false)) {
            self.note(&[user]).await;
        }
        removed
    }

    async fn unread(&self, user: &UserId) -> Result<u64, PortError> {
        if !self.hears.load(Ordering::Acquire) {
            return self.notifications.unread(user).await;
        }
        let count = self.counts.count(user, || self.notifications.unread(user)).await;
        count.map_err(|error| Port::Notifications.error(error.operation, error.kind, error))
    }

    async fn forget(&self, keep: Option<Duration>, most: usize) -> Result<u64, PortError> {
        // What goes for its age shows when the time of a count is over.
        self.notifications.forget(keep, most).await
    }
}
