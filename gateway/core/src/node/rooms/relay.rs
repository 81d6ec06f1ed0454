//! Relays: what is for the members that rooms have on this node, and for no others.

use std::sync::Arc;

use super::Rooms;
use crate::domain::{Event, Frame, RoomName};
use crate::log::FeedItem;
use crate::node::session::Session;

impl Rooms {
    /// Hands an event to the members that a room has here, through the fan-out. Waits while that is behind.
    pub(in crate::node) async fn relay(&self, room: &RoomName, event: Event) {
        if self.hub.has_members(room) {
            // The other end is the fan-out of these rooms.
            self.relays.send(FeedItem::Signal { room: room.clone(), event }).await.ok();
        }
    }

    /// The sessions that are in a room here.
    pub(in crate::node) fn members(&self, room: &RoomName) -> Vec<Arc<Session>> {
        self.hub.members(room)
    }

    /// Hands an event to one session. False if its client will not get it.
    pub(in crate::node) fn tell(&self, session: &Session, event: &Event) -> bool {
        let Some(frame) = Frame::signalled(event) else { return false };
        let told = session.deliver(&RoomName::everybody(&session.namespace), None, &Arc::new(frame));
        self.metrics.events_delivered.increment(u64::from(told));
        told
    }
}
