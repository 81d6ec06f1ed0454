//! The canary: a signal that a node sends itself through the log and the feed, to notice that it hears nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::{Node, now_ms};
use crate::domain::{Event, RoomName};

/// Sends the canary for ever. Hearing it is the fan-out's part.
pub(super) async fn run(node: Arc<Node>, room: RoomName, interval: Duration) {
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut subscribed = false;
    loop {
        tick.tick().await;
        if !subscribed {
            subscribed = node.log.subscribe(&room).await.is_ok();
        }
        let event =
            Event { name: "canary".into(), args: "[]".into(), attachments: Vec::new(), except: None, at_ms: now_ms() };
        if let Err(error) = node.log.signal(&room, &event).await {
            // Every second, as long as it lasts: the gauge of the silence tells operators, the log need not.
            tracing::debug!(%error, "the canary could not be sent");
            node.metrics.log_errors.with(error.operation).increment(1);
        }
        node.metrics.canary_silence.set(node.hub.canary_heard().elapsed().as_secs_f64());
    }
}
