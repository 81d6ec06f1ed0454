//! Attendance: where the sessions of this node are counted, cluster-wide: rooms with presence, namespaces, names.

mod beat;
mod leaving;
pub(in crate::node) mod order;
mod review;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use self::leaving::Leaving;
use self::order::{Order, Turn};
use self::review::Review;
use super::{Node, RecoveryError, Reseated, Session, Wanted};
use crate::domain::{Refusal, RoomName};
use crate::port::PortError;
use crate::presence::{Arrival, Attendee, Departed, Entered, Numbered, Page, Place, Presence};

/// Changes that wait to be acted on. When there is no room, departures wait in the store.
const CHANGES: usize = 4096;
/// Sessions that are entered again, and leavings that are told, at the same time.
const CONCURRENCY: usize = 32;

/// A member that left a place, and when that is to be acted on.
#[derive(Debug)]
pub struct Departure {
    /// Who left what.
    pub departed: Departed,
    /// When others are to learn of it.
    pub turn: Turn,
}

/// What happened to a place without any client having asked for it.
#[derive(Debug)]
pub enum Change {
    /// A member left it for good; told to one node.
    Departed(Departure),
    /// A member is in it that was given up for lost, or of which nobody was told, with this session.
    Returned(Arc<Session>, RoomName, Turn),
}

/// The way to the store of presence, and what became of those who left.
pub(super) struct Attendance {
    presence: Arc<dyn Presence>,
    /// How long a session that lost its connection still counts.
    linger: Duration,
    changes: mpsc::Sender<Change>,
    heard: Mutex<Option<mpsc::Receiver<Change>>>,
    order: Order,
    /// Leavings that the store does not know of yet.
    owed: Mutex<Vec<Leaving>>,
    /// Whether more were owed than are kept.
    is_overdrawn: AtomicBool,
    /// Sessions of this node of which the store does not know everywhere where they are, by the holder of their lease.
    unknown: Mutex<HashMap<u64, Unknown>>,
    /// Held while the store is told of all this.
    settling: Arc<tokio::sync::Mutex<()>>,
    /// Whether the store has what this node has.
    review: Mutex<Review>,
}

/// A session that the store does not know everywhere where it is.
struct Unknown {
    session: Weak<Session>,
    /// Where the store had it, or should have.
    lost: Vec<RoomName>,
}

impl std::fmt::Debug for Attendance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attendance").finish_non_exhaustive()
    }
}

impl Attendance {
    /// Nothing that is asked of the store goes on for longer than `timeout`, or it is given up.
    pub(super) fn new(presence: Arc<dyn Presence>, linger: Duration, timeout: Duration) -> Self {
        let (changes, heard) = mpsc::channel(CHANGES);
        Self {
            presence,
            linger,
            changes,
            heard: Mutex::new(Some(heard)),
            order: Order::default(),
            owed: Mutex::default(),
            is_overdrawn: AtomicBool::new(false),
            unknown: Mutex::default(),
            settling: Arc::default(),
            review: Mutex::new(Review::new(timeout)),
        }
    }

    /// Whether somebody acts on changes.
    fn is_heard(&self) -> bool {
        self.heard.lock().is_none() && !self.changes.is_closed()
    }

    fn note_unknown(&self, session: &Arc<Session>) {
        self.note_lost(session, Vec::new());
    }

    fn note_lost(&self, session: &Arc<Session>, mut places: Vec<RoomName>) {
        let mut unknown = self.unknown.lock();
        let new = || Unknown { session: Arc::downgrade(session), lost: Vec::new() };
        unknown.entry(session.lease.holder).or_insert_with(new).lost.append(&mut places);
    }

    /// A session is over, and is nowhere that the store should know of.
    pub(super) fn drop_unknown(&self, session: &Session) {
        self.unknown.lock().remove(&session.lease.holder);
    }
}

/// As whom a session is counted in a place: in a namespace each for itself, elsewhere all sessions of a user as one. What is
/// asked for it comes after all that was asked for before.
fn attendee(session: &Session, place: &RoomName) -> Attendee {
    let counts_alone = *place == RoomName::everybody(&session.namespace);
    let member = if counts_alone { session.id.to_string() } else { session.author() };
    let user = session.identity().user.clone();
    let (term, step) = (session.term(), session.next_step());
    Attendee { session: session.id, holder: session.lease.holder, term, step, member, user }
}

/// Places in groups that a session is in as the same member; `name` tells what each is called.
fn by_attendee<T>(session: &Session, places: Vec<T>, name: impl Fn(&T) -> &RoomName) -> Vec<(Attendee, Vec<T>)> {
    let everybody = RoomName::everybody(&session.namespace);
    let (alone, together): (Vec<_>, Vec<_>) = places.into_iter().partition(|place| *name(place) == everybody);
    let groups = [alone, together].into_iter().filter(|places| !places.is_empty());
    groups.map(|places| (attendee(session, name(&places[0])), places)).collect()
}

impl Node {
    /// What happens to places, as far as this node is the one that learns it. To be taken once.
    pub fn changes(&self) -> Option<mpsc::Receiver<Change>> {
        self.attendance.heard.lock().take()
    }

    /// Counts a session in a place; returns the turn of its member's coming, if it was not there before. After an error it
    /// is not counted, or will not be any more.
    pub(super) async fn take_seat(
        &self,
        session: &Arc<Session>,
        place: &RoomName,
        capacity: Option<usize>,
    ) -> Result<Option<Turn>, Refusal> {
        let places = [Place { room: place.clone(), capacity }];
        let who = attendee(session, place);
        let entered = self.attendance.presence.enter(&who, &places, Arrival::Newest).await;
        let entered = entered.map_err(|error| {
            let places = vec![place.clone()];
            self.attendance.owe(Leaving { places, ..Leaving::of_doubt(session, who.clone()) });
            self.without_presence(&error)
        })?;
        match entered.first() {
            Some(entry) if entry.entered == Entered::Full => {
                Err(Refusal::RoomFull { limit: capacity.unwrap_or_default() })
            }
            Some(entry) if entry.entered == Entered::First => {
                Ok(Some(self.attendance.order.enlist(place, &who.member, entry.sequence)))
            }
            _ => Ok(None),
        }
    }

    /// Counts a session in the first of numbered rooms that has a seat; returns its number and the turn of its member's
    /// coming, if it was not there before.
    pub(super) async fn take_first_seat(
        &self,
        session: &Arc<Session>,
        rooms: &Numbered,
        capacity: usize,
    ) -> Result<(u32, Option<Turn>), Refusal> {
        let who = attendee(session, &rooms.name(1));
        let entered = self.attendance.presence.enter_first(&who, rooms, capacity, Arrival::Newest).await;
        let (number, entry) = entered.map_err(|error| {
            let numbered = Some((rooms.clone(), capacity));
            self.attendance.owe(Leaving { numbered, ..Leaving::of_doubt(session, who.clone()) });
            self.without_presence(&error)
        })?;
        let room = rooms.name(number);
        let first = entry.entered == Entered::First;
        Ok((number, first.then(|| self.attendance.order.enlist(&room, &who.member, entry.sequence))))
    }

    /// Has a change acted on, of which there are few. Without room it is left out: nobody can wait for it here.
    fn announce(&self, change: Change) {
        if self.attendance.is_heard() && self.attendance.changes.try_send(change).is_err() {
            self.metrics.lifecycle_dropped.with("full").increment(1);
        }
    }

    /// Has it told that members are in rooms whose session could not come back after all: it is counted there for a while.
    pub(super) fn tell_of_firsts(&self, session: &Arc<Session>, firsts: Vec<(RoomName, Turn)>) {
        for (room, turn) in firsts {
            self.announce(Change::Returned(session.clone(), room, turn));
        }
    }

    /// Counts a session in the namespace; returns the turn of its coming. If that cannot be done now, it will be.
    pub async fn count_in(&self, session: &Arc<Session>) -> Option<Turn> {
        let everybody = RoomName::everybody(&session.namespace);
        if !session.seat(&everybody) {
            return None;
        }
        let seated = self.take_seat(session, &everybody, None).await;
        seated.unwrap_or_else(|_| {
            self.attendance.note_unknown(session);
            None
        })
    }

    /// Counts a session with the next beat in rooms that it is in and where nobody was counted before.
    pub fn count_in_rooms(&self, session: &Arc<Session>, rooms: impl IntoIterator<Item = RoomName>) {
        let seated = rooms.into_iter().filter(|room| !session.is_seated(room) && session.seat(room)).count();
        if seated > 0 {
            self.attendance.note_unknown(session);
        }
    }

    /// Counts a session again where it was counted before its connection was lost. Where others have its seat, it is no
    /// longer in.
    pub(super) async fn take_seats_again(
        &self,
        session: &Arc<Session>,
        rooms: &[Wanted],
        names: &[(Arc<str>, RoomName)],
    ) -> Result<Reseated, RecoveryError> {
        let _taking = session.take_seat();
        // Noted first: whatever of it is entered is given up again if something fails.
        names.iter().for_each(|(via, name)| _ = session.take_name(via, name));
        let seats = rooms.iter().filter_map(|wanted| Some((&wanted.room, wanted.seat?.capacity)));
        let seats = seats.filter(|(room, _)| session.seat(room));
        let seats = seats.map(|(room, capacity)| Place { room: room.clone(), capacity });
        let looks = names.iter().flat_map(|(_, name)| name.looks()).map(|room| Place { room, capacity: Some(1) });
        let places = seats.chain(looks).collect();
        let (mut seats, mut taken) = (Reseated::default(), Vec::new());
        for (who, places) in by_attendee(session, places, |place: &Place| &place.room) {
            let entered = self.attendance.presence.enter(&who, &places, Arrival::Newest).await;
            let entered = entered.map_err(|error| RecoveryError::Unavailable(self.without_presence(&error)))?;
            for (Place { room, .. }, entry) in places.into_iter().zip(entered) {
                match entry.entered {
                    Entered::First if !room.is_look() => {
                        let turn = self.attendance.order.enlist(&room, &who.member, entry.sequence);
                        seats.firsts.push((room, turn));
                    }
                    Entered::Full if room.is_look() => taken.push(room),
                    Entered::Full => {
                        self.leave_room(session, &room);
                        session.gate.forget(&room);
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

    /// Has a session hold a name if nobody else in the cluster holds one that looks like it: no other user, and no other
    /// anonymous session. It lets go of the one that it claimed by the same event before.
    ///
    /// # Errors
    /// [`Refusal::Taken`], or the store of presence or of sessions cannot be reached.
    pub async fn claim_name(&self, session: &Arc<Session>, via: &Arc<str>, name: &str) -> Result<(), Refusal> {
        let _taking = session.take_seat();
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
        self.save(session).await.map(|_| ())
    }

    async fn take_seats(&self, session: &Session, places: Vec<Place>) -> Result<(), Refusal> {
        let Some(first) = places.first() else { return Ok(()) };
        let entered = self.attendance.presence.enter(&attendee(session, &first.room), &places, Arrival::Newest).await;
        let entered = entered.map_err(|error| self.without_presence(&error))?;
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

    /// How many members rooms have, in order.
    ///
    /// # Errors
    /// The store of presence cannot be reached.
    pub async fn count_members(&self, rooms: &[RoomName]) -> Result<Vec<u64>, Refusal> {
        self.attendance.presence.count(rooms).await.map_err(|error| self.without_presence(&error))
    }

    /// Who is in a room: `limit` members at the most, those after a cursor.
    ///
    /// # Errors
    /// The store of presence cannot be reached.
    pub async fn list_members(&self, room: &RoomName, after: Option<&str>, limit: usize) -> Result<Page, Refusal> {
        self.attendance.presence.list(room, after, limit).await.map_err(|error| self.without_presence(&error))
    }

    fn without_presence(&self, error: &PortError) -> Refusal {
        self.note_presence_error(error);
        Refusal::Unavailable
    }

    /// It is counted where it came from.
    fn note_presence_error(&self, error: &PortError) {
        self.attendance.review.lock().doubt();
        self.troubles.presence.note(error);
    }
}
