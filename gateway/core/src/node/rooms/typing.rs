//! Typing: a signal that ends by itself, when it is not repeated in time or its session leaves.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::sleep_until;

use super::Rooms;
use crate::domain::{Event, Refusal, RoomName};
use crate::node::session::Session;
use crate::node::session::typing::{Step, Watch};

impl Rooms {
    /// Tells a room that a session types: `begin` now, unless the room was told a moment ago, and `end` when `ttl` has
    /// passed without another call.
    pub(in crate::node) async fn begin_typing(
        self: &Arc<Self>,
        session: &Arc<Session>,
        room: &RoomName,
        begin: &Event,
        end: &Event,
        ttl: Duration,
    ) -> Result<(), Refusal> {
        let limit = self.limits.rooms_per_session;
        let step = session.typing.note(room, end, ttl, limit).ok_or(Refusal::TooManyRooms { limit })?;
        if step == (Step::Begin { watched: false }) {
            let (rooms, session, key) = (self.clone(), Arc::downgrade(session), (room.clone(), end.name.clone()));
            // Not waited for when the node stops: its clients are told by their leaving.
            tokio::spawn(async move { rooms.end_typing_in_time(session, key).await });
        }
        if step == Step::Nothing { Ok(()) } else { self.signal(room, begin).await }
    }

    async fn end_typing_in_time(self: Arc<Self>, session: Weak<Session>, key: (RoomName, String)) {
        while let Some(watch) = session.upgrade().map(|session| session.typing.watch(&key)) {
            match watch {
                Watch::Until(until) => sleep_until(until).await,
                // Signals may be lost; whoever shows them lets them fade.
                Watch::Ended(end) => _ = self.signal(&key.0, &end).await,
                Watch::Over => return,
            }
        }
    }

    /// Ends at once what [`Self::begin_typing`] began; nothing happens if it is over.
    pub(in crate::node) async fn end_typing(
        &self,
        session: &Session,
        room: &RoomName,
        end: &Event,
    ) -> Result<(), Refusal> {
        match session.typing.stop(&(room.clone(), end.name.clone())) {
            Some(end) => self.signal(room, &end).await,
            None => Ok(()),
        }
    }

    /// Ends all typing of a session that leaves a room, or all rooms.
    pub(in crate::node) fn leave_typing(self: &Arc<Self>, session: &Session, room: Option<&RoomName>) {
        let ended = session.typing.stop_all(room);
        if !ended.is_empty() {
            let rooms = self.clone();
            self.tasks.spawn(async move {
                for (room, end) in ended {
                    rooms.signal(&room, &end).await.ok();
                }
            });
        }
    }
}
