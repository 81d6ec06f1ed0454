//! Taking: sessions are counted in places, as they come and when they come back.

use std::sync::Arc;

use super::leaving::Leaving;
use super::order::Turn;
use super::{Attendance, Firsts, Reseated, attendee, by_attendee};
use crate::domain::{Refusal, RoomName};
use crate::node::session::Session;
use crate::node::wanted::{RecoveryError, Wanted};
use crate::presence::{Arrival, Entered, Numbered, Place};

impl Attendance {
    /// Counts a session in a place; returns the turn of its member's coming, if it was not there before. After an error it
    /// is not counted, or will not be any more.
    pub(in crate::node) async fn take_seat(
        &self,
        session: &Arc<Session>,
        place: &RoomName,
        capacity: Option<usize>,
    ) -> Result<Option<Turn>, Refusal> {
        let places = [Place { room: place.clone(), capacity }];
        let who = attendee(session, place);
        let entered = self.presence.enter(&who, &places, Arrival::Newest).await;
        let entered = entered.map_err(|error| {
            let places = vec![place.clone()];
            self.owe(Leaving { places, ..Leaving::of_doubt(session, who.clone()) });
            self.unavailable(&error)
        })?;
        match entered.first() {
            Some(entry) if entry.entered == Entered::Full => {
                Err(Refusal::RoomFull { limit: capacity.unwrap_or_default() })
            }
            Some(entry) if entry.entered == Entered::First => {
                Ok(Some(self.order.enlist(place, &who.member, entry.sequence)))
            }
            _ => Ok(None),
        }
    }

    /// Counts a session in the first of numbered rooms that has a seat; returns its number and the turn of its member's
    /// coming, if it was not there before.
    pub(in crate::node) async fn take_first_seat(
        &self,
        session: &Arc<Session>,
        rooms: &Numbered,
        capacity: usize,
    ) -> Result<(u32, Option<Turn>), Refusal> {
        let who = attendee(session, &rooms.name(1));
        let entered = self.presence.enter_first(&who, rooms, capacity, Arrival::Newest).await;
        let (number, entry) = entered.map_err(|error| {
            let numbered = Some((rooms.clone(), capacity));
            self.owe(Leaving { numbered, ..Leaving::of_doubt(session, who.clone()) });
            self.unavailable(&error)
        })?;
        let room = rooms.name(number);
        let first = entry.entered == Entered::First;
        Ok((number, first.then(|| self.order.enlist(&room, &who.member, entry.sequence))))
    }

    /// Counts a session in the namespace; returns the turn of its coming. If that cannot be done now, it will be.
    pub(in crate::node) async fn count_in(&self, session: &Arc<Session>) -> Option<Turn> {
        let everybody = RoomName::everybody(&session.namespace);
        if !session.seat(&everybody) {
            return None;
        }
        let seated = self.take_seat(session, &everybody, None).await;
        seated.unwrap_or_else(|_| {
            self.note_unknown(session);
            None
        })
    }

    /// Counts a session with the next beat in rooms that it is in and where nobody was counted before.
    pub(in crate::node) fn count_in_rooms(&self, session: &Arc<Session>, rooms: impl IntoIterator<Item = RoomName>) {
        let seated = rooms.into_iter().filter(|room| !session.is_seated(room) && session.seat(room)).count();
        if seated > 0 {
            self.note_unknown(session);
        }
    }

    /// Counts a session again where it was counted before its connection was lost. Where others have its seat, it is no
    /// longer in, and is taken out of its room by `leave`.
    pub(in crate::node) async fn take_seats_again(
        self: &Arc<Self>,
        session: &Arc<Session>,
        rooms: &[Wanted],
        names: &[(Arc<str>, RoomName)],
        leave: &(dyn Fn(&RoomName) + Send + Sync),
    ) -> Result<Reseated, RecoveryError> {
        let _taking = session.take_seat();
        // Noted first: whatever of it is entered is given up again if something fails.
        names.iter().for_each(|(via, name)| _ = session.take_name(via, name));
        let seats = rooms.iter().filter_map(|wanted| Some((&wanted.room, wanted.seat?.capacity)));
        let seats = seats.filter(|(room, _)| session.seat(room));
        let seats = seats.map(|(room, capacity)| Place { room: room.clone(), capacity });
        let looks = names.iter().flat_map(|(_, name)| name.looks()).map(|room| Place { room, capacity: Some(1) });
        let places = seats.chain(looks).collect();
        let firsts = Firsts::new(self, session);
        let mut seats = Reseated { firsts, lost_rooms: Vec::new(), lost_names: Vec::new() };
        let mut taken = Vec::new();
        for (who, places) in by_attendee(session, places, |place: &Place| &place.room) {
            let entered = self.presence.enter(&who, &places, Arrival::Newest).await;
            let entered = entered.map_err(|error| RecoveryError::Unavailable(self.unavailable(&error)))?;
            for (Place { room, .. }, entry) in places.into_iter().zip(entered) {
                match entry.entered {
                    Entered::First if !room.is_look() => {
                        let turn = self.order.enlist(&room, &who.member, entry.sequence);
                        seats.firsts.push(room, turn);
                    }
                    Entered::Full if room.is_look() => taken.push(room),
                    Entered::Full => {
                        leave(&room);
                        seats.lost_rooms.push(room);
                    }
                    _ => {}
                }
            }
        }
        let lost = names.iter().filter(|(_, name)| name.looks().iter().any(|look| taken.contains(look)));
        for (_, name) in lost {
            session.drop_name(name);
            seats.lost_names.extend(name.held_name().map(str::to_owned));
            self.let_go(session, name.looks()).await;
        }
        Ok(seats)
    }

    /// Has a session hold a name if nobody else in the cluster holds one that looks like it. It lets go of the one that it
    /// claimed by the same event before.
    pub(in crate::node) async fn claim_name(
        &self,
        session: &Arc<Session>,
        via: &Arc<str>,
        name: &str,
    ) -> Result<(), Refusal> {
        let name = RoomName::claimed(&session.namespace, name);
        let looks = name.looks();
        let seats = looks.iter().map(|room| Place { room: room.clone(), capacity: Some(1) }).collect();
        if let Err(refusal) = self.take_seats(session, seats).await {
            // Others may look like it in another way, and their seats were free.
            self.let_go(session, looks).await;
            return Err(refusal);
        }
        let let_go = session.take_name(via, &name);
        self.let_go(session, let_go).await;
        Ok(())
    }

    async fn take_seats(&self, session: &Session, places: Vec<Place>) -> Result<(), Refusal> {
        let Some(first) = places.first() else { return Ok(()) };
        let entered = self.presence.enter(&attendee(session, &first.room), &places, Arrival::Newest).await;
        let entered = entered.map_err(|error| self.unavailable(&error))?;
        let is_full = entered.iter().any(|entry| entry.entered == Entered::Full);
        if is_full { Err(Refusal::Taken) } else { Ok(()) }
    }

    /// Gives up places of names, but those where the session is for another one.
    async fn let_go(&self, session: &Arc<Session>, mut looks: Vec<RoomName>) {
        let seats = session.seats();
        looks.retain(|look| !seats.contains(look));
        if !looks.is_empty() {
            self.give_up_seats(session, looks, false).await;
        }
    }
}
