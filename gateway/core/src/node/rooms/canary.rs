//! The canary: a mark that a node puts into the log and hears in its feed, to notice that it hears nothing, and to know how
//! far what it heard is complete.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::Rooms;
use crate::domain::RoomName;
use crate::node::clock::now_ms;

/// Sends the canary for ever, and at once after a gap. Hearing it is the fan-out's part.
pub(super) async fn run(rooms: Arc<Rooms>, room: RoomName, interval: Duration) {
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut subscribed = false;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = rooms.hub.gap_came() => {}
        }
        if !subscribed {
            subscribed = rooms.log.subscribe(&room).await.is_ok();
        }
        if let Err(error) = rooms.log.mark(&room, now_ms()).await {
            // Every second, as long as it lasts: the gauge of the silence tells operators, the log need not.
            tracing::debug!(%error, "the canary could not be sent");
            rooms.metrics.log_errors.with(error.operation).increment(1);
        }
        rooms.metrics.canary_silent(&rooms.ground, rooms.hearing.silence());
    }
}
