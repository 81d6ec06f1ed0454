//! Leaving: sessions are counted no longer, now or later, and what the store could not be told is owed to it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;

use super::order::Turn;
use super::{Attendance, CONCURRENCY, Change, Departure, attendee, by_attendee};
use crate::domain::RoomName;
use crate::node::session::Session;
use crate::port::PortError;
use crate::presence::{Arrival, Attendee, Departed, Entered, Numbered};

/// Leavings that are owed at the most. Beyond it the node begins anew: what it has entered and does not enter again
/// ends with its old lease, however much that is.
const OWED: usize = 16_384;
/// For how long departures linger for which there is no room here: the store has them until a beat takes them.
const A_MOMENT: Duration = Duration::from_millis(1);

/// A leaving that the store does not know of yet.
pub(super) struct Leaving {
    pub(super) session: Weak<Session>,
    pub(super) who: Attendee,
    pub(super) places: Vec<RoomName>,
    /// One of these with so many seats, if it was entered at all: the answer was lost.
    pub(super) numbered: Option<(Numbered, usize)>,
    pub(super) linger: Duration,
}

impl Leaving {
    /// What a session owes that wanted a seat and does not know whether it has it.
    pub(super) fn of_doubt(session: &Arc<Session>, who: Attendee) -> Self {
        let session = Arc::downgrade(session);
        Self { session, who, places: Vec::new(), numbered: None, linger: Duration::ZERO }
    }
}

impl Attendance {
    pub(super) fn owe(&self, leaving: Leaving) {
        let mut owed = self.owed.lock();
        if owed.len() >= OWED {
            tracing::warn!(leavings = owed.len(), "presence was away for too long: this node enters its sessions anew");
            *owed = Vec::new();
            self.is_overdrawn.store(true, std::sync::atomic::Ordering::Release);
            return;
        }
        owed.push(leaving);
    }

    /// Departures, each in its place of the order.
    pub(super) fn departures(&self, departed: Vec<Departed>) -> Vec<Departure> {
        let departure = |departed: Departed| {
            let turn = self.order.enlist(&departed.place, &departed.member, departed.sequence);
            Departure { departed, turn }
        };
        departed.into_iter().map(departure).collect()
    }
}

impl Attendance {
    /// Counts a session no longer in places: at once, or if it has not come back after the time for that.
    pub(in crate::node) async fn give_up_seats(&self, session: &Arc<Session>, places: Vec<RoomName>, may_return: bool) {
        let linger = if may_return { self.linger } else { Duration::ZERO };
        for (who, places) in by_attendee(session, places, |place| place) {
            self.leave_and_tell(Leaving { places, linger, ..Leaving::of_doubt(session, who) }).await;
        }
    }

    /// Takes a session out of places; returns which members left with it.
    pub(in crate::node) async fn take_out(&self, session: &Arc<Session>, places: Vec<RoomName>) -> Vec<Departure> {
        let mut departures = Vec::new();
        for (who, places) in by_attendee(session, places, |place| place) {
            let departed = self.leave_places(Leaving { places, ..Leaving::of_doubt(session, who) }).await;
            departures.extend(self.departures(departed));
        }
        departures
    }

    /// Counts a session no longer in a room that it did not come to after all. If nobody was told yet that its member is
    /// there, nobody is told that it left; but if another session of it is there by now, that is told.
    pub(in crate::node) async fn take_back_seat(&self, session: &Arc<Session>, room: &RoomName, first: Option<Turn>) {
        let Some(turn) = first else { return self.give_up_seats(session, vec![room.clone()], false).await };
        let who = attendee(session, room);
        let leaving = Leaving { places: vec![room.clone()], ..Leaving::of_doubt(session, who) };
        if self.leave_places(leaving).await.is_empty() {
            self.announce(Change::Returned(session.clone(), room.clone(), turn));
        }
    }

    /// Has departures acted on: now if there is room for them, or when a beat takes them from the store.
    async fn leave_and_tell(&self, mut leaving: Leaving) {
        // Without a listener nobody wants to know.
        let is_heard = self.is_heard();
        let places = leaving.places.len();
        let room = if is_heard { self.changes.try_reserve_many(places).ok() } else { None };
        if is_heard && room.is_none() && leaving.linger.is_zero() {
            leaving.linger = A_MOMENT;
        }
        let departed = self.leave_places(leaving).await;
        let departures = self.departures(departed);
        for (permit, departure) in room.into_iter().flatten().zip(departures) {
            permit.send(Change::Departed(departure));
        }
    }

    async fn leave_places(&self, leaving: Leaving) -> Vec<Departed> {
        let left = self.presence.leave(&leaving.who, &leaving.places, leaving.linger).await;
        left.unwrap_or_else(|error| {
            self.note(&error);
            self.owe(leaving);
            Vec::new()
        })
    }

    /// Tells the store of leavings that it could not be told of.
    pub(super) async fn settle_debts(&self, owed: Vec<Leaving>) {
        let settle: Vec<_> = owed.into_iter().map(|leaving| self.settle_debt(leaving)).collect();
        futures_util::stream::iter(settle).buffer_unordered(CONCURRENCY).collect::<()>().await;
    }

    async fn settle_debt(&self, mut leaving: Leaving) {
        let session = leaving.session.clone();
        if leaving.numbered.is_some() && session.upgrade().is_some_and(|session| session.is_taking_seats()) {
            // It may be taking this very seat, and that its member comes with it would be told to nobody.
            return self.owe(leaving);
        }
        let entered = match self.find_numbered(&mut leaving).await {
            Ok(entered) => entered,
            Err(error) => {
                self.note(&error);
                return self.owe(leaving);
            }
        };
        // Where it sits again, its later step is in the store, or will be.
        let seated = session.upgrade().map_or_else(Vec::new, |session| session.seats());
        leaving.places.retain(|place| !seated.contains(place));
        match entered {
            _ if leaving.places.is_empty() => {}
            // Nobody was told that it came.
            Some(Entered::First) => _ = self.leave_places(leaving).await,
            _ => self.leave_and_tell(leaving).await,
        }
    }

    /// Finds out which numbered place a session is in, or was not: entering it again is the only way.
    async fn find_numbered(&self, leaving: &mut Leaving) -> Result<Option<Entered>, PortError> {
        let Some((rooms, capacity)) = &leaving.numbered else { return Ok(None) };
        let presence = &self.presence;
        let (number, entry) = presence.enter_first(&leaving.who, rooms, *capacity, Arrival::Restored).await?;
        leaving.places.push(rooms.name(number));
        leaving.numbered = None;
        Ok(Some(entry.entered))
    }
}
