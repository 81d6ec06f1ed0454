//! Giving: rooms into which a back end puts a session when it comes in.

use std::sync::Arc;

use super::{Firsts, Node, RecoveryError, Seat, Session, Wanted};
use crate::domain::{Refusal, RoomName};

/// The rooms that are given are entered by this, which is no client event. They are a session's again when it comes back if
/// they are given again.
pub const GIVEN: &str = "$given";

impl Node {
    /// Puts a session into rooms, each of which may count its members, and none of which keeps it out. It is not stored.
    /// Returns the rooms in which its user, or the anonymous session, was not before, each with the turn of its coming.
    ///
    /// # Errors
    /// The log or the store of presence cannot be reached: it may be in some of them.
    pub async fn give(&self, session: &Arc<Session>, rooms: Vec<(RoomName, Option<Seat>)>) -> Result<Firsts, Refusal> {
        let via: Arc<str> = GIVEN.into();
        let mut given = Vec::new();
        for (room, seat) in rooms {
            if session.is_in(&room) {
                continue;
            }
            let offset = self.quarter(session).rooms.enter(session, &room, &via).await?.offset;
            given.push(Wanted {
                room,
                after: offset,
                complete_from: offset,
                kept_at: None,
                since: None,
                via: via.clone(),
                partial: false,
                seat,
            });
        }
        let leave = |room: &RoomName| self.quarter(session).rooms.take_back(session, room);
        match self.quarter(session).attendance.take_seats_again(session, &given, &[], &leave).await {
            Ok(seats) => Ok(seats.firsts),
            Err(RecoveryError::Unavailable(refusal)) => Err(refusal),
            Err(_) => Err(Refusal::Unavailable),
        }
    }
}
