//! What a node does every few seconds: forgets what it needs no longer, and publishes how much it has.

use std::sync::Arc;
use std::time::Duration;

use crate::http::Users;
use crate::socket::SocketServer;
use gateway_core::bus::Bus;
use gateway_core::calls::Caller;
use gateway_core::config::Config;
use gateway_core::desk::Desk;
use gateway_core::inbox::Shelf;
use gateway_core::log::Budget;
use gateway_core::metrics::Metrics;
use gateway_core::notifications::KeptNotifications;
use gateway_core::presence::{KeptPresence, Presence};
use gateway_store::Store;

/// What keeps something in memory for who asks again.
pub(super) struct WhatIsKept {
    pub(super) caller: Arc<Caller>,
    pub(super) counts: Vec<Arc<KeptPresence>>,
    pub(super) unread: Option<Arc<KeptNotifications>>,
}

/// Presence, with counts that are kept if they are to be.
pub(super) fn kept_counts(
    presence: Arc<dyn Presence>,
    config: &Config,
    metrics: &Arc<Metrics>,
) -> (Arc<dyn Presence>, Option<Arc<KeptPresence>>) {
    let keep = config.caching.presence_counts;
    if keep.is_zero() {
        return (presence, None);
    }
    let kept = Arc::new(KeptPresence::new(presence, keep, metrics.clone()));
    (kept.clone(), Some(kept))
}

/// Where notifications are, if there is a database, with counts of unread ones that are kept if they are to be.
pub(super) fn kept_unread(
    store: Option<&Store>,
    bus: &Arc<dyn Bus>,
    config: &Config,
    metrics: &Arc<Metrics>,
) -> Option<(Shelf, Option<Arc<KeptNotifications>>)> {
    let Store { notifications, owners, .. } = store?.clone();
    let keep = config.caching.unread_counts;
    if keep.is_zero() {
        return Some((Shelf { notifications, owners }, None));
    }
    let prefix = &config.redis.prefix;
    let kept = Arc::new(KeptNotifications::new(notifications, bus.clone(), prefix, keep, metrics.clone()));
    Some((Shelf { notifications: kept.clone(), owners }, Some(kept)))
}

pub(super) async fn upkeep(
    server: SocketServer,
    users: Arc<Users>,
    desk: Arc<Desk>,
    kept: WhatIsKept,
    budgets: Vec<(String, Arc<Budget>)>,
    metrics: Arc<Metrics>,
) {
    let mut tick = tokio::time::interval(Metrics::UPKEEP_INTERVAL);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = tick.tick() => {
                metrics.upkeep();
                server.upkeep();
                kept.caller.upkeep().await;
                for counts in &kept.counts {
                    counts.upkeep().await;
                }
                if let Some(unread) = &kept.unread {
                    unread.upkeep().await;
                }
                users.upkeep();
                desk.upkeep();
            }
            _ = second.tick() => {
                server.count_traffic();
                for (redis, budget) in &budgets {
                    metrics.log_keeps(redis, budget.used(), budget.limit());
                }
            }
        }
    }
}
