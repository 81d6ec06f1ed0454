//! Recovery: what a session missed is read from the log, all of it or nothing, and handed over before what is live.

use std::sync::Arc;

use super::rooms::Missed;
use super::{Firsts, Hold, Missing, Node, RecoveryError, Reseated, Session, Wanted};
use crate::domain::{Mark, Refusal, RoomName};

/// What a session missed and is about to be handed.
#[derive(Debug)]
pub struct Replay {
    missed: Missed,
    /// What became of its seats.
    seats: Reseated,
}

impl Replay {
    /// The rooms that the session is in again.
    #[must_use]
    pub fn rooms(&self) -> &[RoomName] {
        self.missed.rooms()
    }

    /// What became of its seats.
    #[must_use]
    pub fn seats(&self) -> &Reseated {
        &self.seats
    }

    /// How many events it missed.
    #[must_use]
    pub fn events(&self) -> usize {
        self.missed.events()
    }

    /// What is missing of rooms that need not be whole.
    pub(super) fn missing(&self) -> Option<Missing> {
        self.missed.missing()
    }
}

impl Node {
    /// Puts a session that nobody hears yet into rooms, gives it its names back, and reads what it missed. What is live
    /// waits behind the hold, for [`Node::replay`]. After an error the session is over.
    ///
    /// # Errors
    /// It cannot have everything, or the log cannot be asked.
    pub async fn recover(
        &self,
        session: &Arc<Session>,
        wanted: Vec<Wanted>,
        names: &[(Arc<str>, RoomName)],
        heard: Mark,
    ) -> Result<(Hold, Replay), RecoveryError> {
        session.count_replays_from(heard.replay);
        session.gate.begin_at(heard.offset);
        let hold = session.gate.hold();
        match self.enter_and_read(session, wanted, names).await {
            Ok(replay) => Ok((hold, replay)),
            Err(error) => {
                // What came meanwhile is not for the session that the client gets instead.
                session.gate.shut();
                // Whether it comes back for them is to be seen.
                let seats = self.quarter(session).rooms.leave_all(session);
                self.quarter(session).attendance.give_up_seats(session, seats, true).await;
                Err(error)
            }
        }
    }

    async fn enter_and_read(
        &self,
        session: &Arc<Session>,
        mut wanted: Vec<Wanted>,
        names: &[(Arc<str>, RoomName)],
    ) -> Result<Replay, RecoveryError> {
        // All rooms are entered before the first is read: what comes later than that read is in the feed.
        self.quarter(session).rooms.enter_all(session, &wanted).await?;
        let leave = |room: &RoomName| self.quarter(session).rooms.take_back(session, room);
        // Whoever takes it out of a room from now on finds it there. Before this it was not, and only a note was made.
        let removed = self.quarter(session).comebacks.removals_of(session, &wanted);
        removed.iter().for_each(leave);
        wanted.retain(|room| !removed.contains(&room.room));
        let seats = self.quarter(session).attendance.take_seats_again(session, &wanted, names, &leave).await?;
        // Out of the rest somebody may have taken it meanwhile.
        wanted.retain(|room| !seats.lost_rooms.contains(&room.room) && session.is_in(&room.room));
        let missed = self.quarter(session).rooms.read_missed(session, wanted).await?;
        session.raise_floor(missed.upto());
        Ok(Replay { missed, seats })
    }

    /// Hands over what a recovered session missed, then what waited meanwhile; from then on it hears what is live. Returns the
    /// rooms that its user is in again, for others to be told.
    pub async fn replay(&self, session: &Session, hold: Hold, replay: Replay) -> Firsts {
        self.quarter(session).rooms.replay(session, hold, replay.missed).await;
        replay.seats.firsts
    }

    /// What a client is told whose recovery could not be decided.
    pub fn not_now(&self, error: RecoveryError) -> Refusal {
        self.quarters.main().rooms.refused(error)
    }
}
