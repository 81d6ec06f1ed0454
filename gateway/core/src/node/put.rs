//! Put: sessions that back ends put into rooms, and take out of them, whatever routes say.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Change, Entrance, Node, Seat, Session};
use crate::domain::{Offset, Refusal, RoomName, UserId};

/// A room that a back end put a session into is entered by this, which is no client event.
pub const PUT: &str = "$put";

/// How long a session may take to begin until nobody waits for it, and how often it is looked.
const BEGINNING: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(10);

impl Node {
    /// Puts a session into a room, and counts it there. What its client has sent before is done before.
    ///
    /// # Errors
    /// It is in too many rooms, or something cannot be reached.
    pub async fn put_in(self: &Arc<Self>, session: &Arc<Session>, room: &RoomName) -> Result<(), Refusal> {
        // Whoever begins it stores it first: what was stored before may be all that it can come back to.
        let deadline = Instant::now() + BEGINNING;
        while session.stored().is_none() {
            if session.has_hung_up() || Instant::now() >= deadline {
                return Err(Refusal::Unavailable);
            }
            sleep(LOOK).await;
        }
        let _busy = session.busy.lock().await;
        let via = PUT.into();
        let entrance = Entrance { via: &via, after: None, partial: false, seat: Some(Seat { capacity: None }) };
        let joined = self.join(session, room, &entrance).await?;
        // Its turn may come only when the session is no longer busy.
        if let Some(turn) = joined.first {
            self.quarter(session).attendance.announce(Change::Returned(session.clone(), room.clone(), turn));
        }
        Ok(())
    }

    /// Takes a session out of a room; false if it was not in it.
    ///
    /// # Errors
    /// It is out of the room, but that could not be stored.
    pub async fn take_out_of(self: &Arc<Self>, session: &Arc<Session>, room: &RoomName) -> Result<bool, Refusal> {
        let _busy = session.busy.lock().await;
        if !session.is_in(room) {
            return Ok(false);
        }
        let (departures, stored) = self.leave(session, room).await;
        let attendance = &self.quarter(session).attendance;
        departures.into_iter().for_each(|departure| attendance.announce(Change::Departed(departure)));
        stored.map(|()| true)
    }

    /// Remembers that a user was taken out of a room that it had joined up to an offset: sessions of it that are away come
    /// back without it.
    pub fn note_removal(&self, user: &UserId, room: &RoomName, upto: Offset) {
        self.quarters.of_room(room).comebacks.note_removal(user, room, upto);
    }

    /// Where the log stands: the newest position of all rooms.
    ///
    /// # Errors
    /// The log cannot be reached.
    pub async fn position(&self, room: &RoomName) -> Result<Offset, Refusal> {
        self.quarters.of_room(room).rooms.position(room).await
    }
}
