//! Attendance: where the sessions of this node are counted, cluster-wide: rooms with presence, namespaces, names.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::sleep;

use super::{Node, RecoveryError, Reseated, Session, Wanted};
use crate::domain::{Refusal, RoomName};
use crate::presence::{Arrival, Attendee, Departed, Entered, Numbered, Page, Place, Presence, PresenceError};

/// Changes that wait to be acted on; further ones wait on their way here.
const CHANGES: usize = 4096;
/// Sessions that are entered again at the same time.
const CONCURRENCY: usize = 32;
/// How soon a beat that failed is tried again, at the latest.
const SOON: Duration = Duration::from_secs(1);

/// What happened to a place without any client having asked for it.
#[derive(Debug)]
pub enum Change {
    /// A member left it for good; told to one node.
    Departed(Departed),
    /// A member is in it that was given up for lost, with this session.
    Returned(Arc<Session>, RoomName),
}

/// The way to the store of presence, and what became of those who left.
pub(super) struct Attendance {
    presence: Arc<dyn Presence>,
    /// How long a session that lost its connection still counts.
    linger: Duration,
    changes: mpsc::Sender<Change>,
    heard: Mutex<Option<mpsc::Receiver<Change>>>,
    /// Leavings that the store does not know of yet: as many as there were while it was away.
    owed: Mutex<Vec<Leaving>>,
    /// Sessions of this node of which the store does not know everywhere where they are.
    unknown: Mutex<Vec<Weak<Session>>>,
}

struct Leaving {
    session: Weak<Session>,
    who: Attendee,
    places: Vec<RoomName>,
    linger: Duration,
}

impl std::fmt::Debug for Attendance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attendance").finish_non_exhaustive()
    }
}

impl Attendance {
    pub(super) fn new(presence: Arc<dyn Presence>, linger: Duration) -> Self {
        let (changes, heard) = mpsc::channel(CHANGES);
        let heard = Mutex::new(Some(heard));
        Self { presence, linger, changes, heard, owed: Mutex::default(), unknown: Mutex::default() }
    }
}

/// As whom a session is counted in a place: in a namespace each for itself, elsewhere all sessions of a user as one.
fn attendee(session: &Session, place: &RoomName) -> Attendee {
    let counts_alone = *place == RoomName::everybody(&session.namespace);
    let member = if counts_alone { session.id.to_string() } else { session.author() };
    let user = session.identity().user.clone();
    Attendee { session: session.id, holder: session.lease.holder, member, user }
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

    /// Counts a session in a place; returns whether its member was not there before.
    pub(super) async fn take_seat(
        &self,
        session: &Session,
        place: &RoomName,
        capacity: Option<usize>,
    ) -> Result<bool, Refusal> {
        self.forget_owed(session, place);
        let places = [Place { room: place.clone(), capacity }];
        let entered = self.attendance.presence.enter(&attendee(session, place), &places, Arrival::Newest).await;
        match entered.map_err(|error| self.without_presence(&error))?.first() {
            Some(Entered::Full) => Err(Refusal::RoomFull { limit: capacity.unwrap_or_default() }),
            entered => Ok(entered == Some(&Entered::First)),
        }
    }

    /// Counts a session in the first of numbered rooms that has a seat; returns its number and whether its member was
    /// not there before.
    pub(super) async fn take_first_seat(
        &self,
        session: &Session,
        rooms: &Numbered,
        capacity: usize,
    ) -> Result<(u32, bool), Refusal> {
        let who = attendee(session, &rooms.name(1));
        let entered = self.attendance.presence.enter_first(&who, rooms, capacity).await;
        let (number, entered) = entered.map_err(|error| self.without_presence(&error))?;
        self.forget_owed(session, &rooms.name(number));
        Ok((number, entered == Entered::First))
    }

    /// Counts a session no longer in places: at once, or if it has not come back after the time for that.
    pub(super) async fn give_up_seats(&self, session: &Arc<Session>, places: Vec<RoomName>, may_return: bool) {
        let linger = if may_return { self.attendance.linger } else { Duration::ZERO };
        let departed = self.take_out(session, places, linger).await;
        self.tell(departed.into_iter().map(Change::Departed).collect());
    }

    /// Takes a session out of places; returns which members left with it.
    pub(super) async fn take_out(
        &self,
        session: &Arc<Session>,
        places: Vec<RoomName>,
        linger: Duration,
    ) -> Vec<Departed> {
        let mut departed = Vec::new();
        for (who, places) in by_attendee(session, places, |place| place) {
            departed.extend(self.leave_places(Leaving { session: Arc::downgrade(session), who, places, linger }).await);
        }
        departed
    }

    async fn leave_places(&self, leaving: Leaving) -> Vec<Departed> {
        let left = self.attendance.presence.leave(&leaving.who, &leaving.places, leaving.linger).await;
        left.unwrap_or_else(|error| {
            self.note_presence_error(&error);
            self.attendance.owed.lock().push(leaving);
            Vec::new()
        })
    }

    /// Tells the store of leavings that it could not be told of.
    async fn settle_debts(&self, owed: Vec<Leaving>) {
        let settle = async |mut leaving: Leaving| {
            let session = leaving.session.clone();
            let seats = || session.upgrade().map_or_else(Vec::new, |session| session.seats());
            let seated = seats();
            leaving.places.retain(|place| !seated.contains(place));
            let places = leaving.places.clone();
            let departed = self.leave_places(leaving).await;
            self.tell(departed.into_iter().map(Change::Departed).collect());
            // It may have come again while this was on its way, and then the store does not know.
            let seats = seats();
            if places.iter().any(|place| seats.contains(place)) {
                self.attendance.unknown.lock().push(session);
            }
        };
        let settle: Vec<_> = owed.into_iter().map(settle).collect();
        futures_util::stream::iter(settle).buffer_unordered(CONCURRENCY).collect::<()>().await;
    }

    /// A leaving that the store does not know of yet must not come after an entering.
    fn forget_owed(&self, session: &Session, place: &RoomName) {
        for leaving in self.attendance.owed.lock().iter_mut() {
            if leaving.who.holder == session.lease.holder {
                leaving.places.retain(|left| left != place);
            }
        }
    }

    /// Never waits: whoever learns of changes has something better to do, and whoever acts on them may bring others.
    fn tell(&self, changes: Vec<Change>) {
        let mut rest = changes.into_iter();
        while let Some(change) = rest.next() {
            // Without a listener nobody wants to know.
            if let Err(TrySendError::Full(change)) = self.attendance.changes.try_send(change) {
                let changes = self.attendance.changes.clone();
                tokio::spawn(async move {
                    for change in std::iter::once(change).chain(rest) {
                        changes.send(change).await.ok();
                    }
                });
                return;
            }
        }
    }

    /// Keeps what this node's sessions are counted in, and learns who has gone, for ever.
    pub(super) async fn beat_forever(self: &Arc<Self>, every: Duration) {
        loop {
            let pause = match self.attendance.presence.beat().await {
                Ok(beat) => {
                    if beat.forgotten {
                        *self.attendance.unknown.lock() = self.roster.all().iter().map(Arc::downgrade).collect();
                    }
                    self.tell(beat.departed.into_iter().map(Change::Departed).collect());
                    every
                }
                Err(error) => {
                    self.note_presence_error(&error);
                    every.min(SOON)
                }
            };
            let owed = std::mem::take(&mut *self.attendance.owed.lock());
            let unknown = std::mem::take(&mut *self.attendance.unknown.lock());
            if !owed.is_empty() || !unknown.is_empty() {
                // Beside the beat, which keeps the lease meanwhile.
                let node = self.clone();
                self.tasks.spawn(async move {
                    node.settle_debts(owed).await;
                    node.make_known(unknown).await;
                });
            }
            sleep(pause).await;
        }
    }

    async fn make_known(&self, sessions: Vec<Weak<Session>>) {
        let enter = async |session: Weak<Session>| {
            let Some(session) = session.upgrade().filter(|session| !session.is_over()) else { return };
            if let Err(error) = self.enter_again(&session).await {
                self.note_presence_error(&error);
                self.attendance.unknown.lock().push(Arc::downgrade(&session));
            }
        };
        let enter: Vec<_> = sessions.into_iter().map(enter).collect();
        futures_util::stream::iter(enter).buffer_unordered(CONCURRENCY).collect::<()>().await;
    }

    /// Enters what the store does not know or has forgotten.
    async fn enter_again(&self, session: &Arc<Session>) -> Result<(), PresenceError> {
        for (who, places) in by_attendee(session, session.seats(), |place| place) {
            // Everybody had a seat, so nobody is turned away now.
            let again: Vec<_> = places.into_iter().map(|room| Place { room, capacity: None }).collect();
            let entered = self.attendance.presence.enter(&who, &again, Arrival::Restored).await?;
            // It may have left while it was entered, and before anybody could know.
            let seats = session.seats();
            let (here, left): (Vec<_>, Vec<_>) =
                again.into_iter().zip(entered).partition(|(place, _)| seats.contains(&place.room));
            let left: Vec<_> = left.into_iter().map(|(place, _)| place.room).collect();
            if !left.is_empty() {
                self.give_up_seats(session, left, false).await;
            }
            let returned = here.into_iter().filter(|(_, entered)| *entered == Entered::First);
            self.tell(returned.map(|(place, _)| Change::Returned(session.clone(), place.room)).collect());
        }
        Ok(())
    }

    /// Counts a session in the namespace. If that cannot be done now, it will be.
    pub async fn count_in(&self, session: &Arc<Session>) {
        let everybody = RoomName::everybody(&session.namespace);
        if session.seat(&everybody) && self.take_seat(session, &everybody, None).await.is_err() {
            self.attendance.unknown.lock().push(Arc::downgrade(session));
        }
    }

    /// Counts a session with the next beat in rooms that it is in and where nobody was counted before.
    pub fn count_in_rooms(&self, session: &Arc<Session>, rooms: impl IntoIterator<Item = RoomName>) {
        let seated = rooms.into_iter().filter(|room| !session.is_seated(room) && session.seat(room)).count();
        if seated > 0 {
            self.attendance.unknown.lock().push(Arc::downgrade(session));
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
        // Noted first: whatever of it is entered is given up again if something fails.
        names.iter().for_each(|(via, name)| _ = session.take_name(via, name));
        let seats = rooms.iter().filter_map(|wanted| Some((&wanted.room, wanted.seat?.capacity)));
        let seats = seats.filter(|(room, _)| session.seat(room));
        let names = names.iter().map(|(_, name)| (name, Some(1)));
        let places = seats.chain(names).map(|(room, capacity)| Place { room: room.clone(), capacity }).collect();
        let mut seats = Reseated::default();
        for (who, places) in by_attendee(session, places, |place: &Place| &place.room) {
            let entered = self.attendance.presence.enter(&who, &places, Arrival::Newest).await;
            let entered = entered.map_err(|error| RecoveryError::Unavailable(self.without_presence(&error)))?;
            for (Place { room, .. }, entered) in places.into_iter().zip(entered) {
                match (entered, room.held_name()) {
                    (Entered::First, None) => seats.firsts.push(room),
                    (Entered::Full, None) => {
                        self.leave_room(session, &room);
                        session.gate.forget(&room);
                        seats.lost_rooms.push(room);
                    }
                    (Entered::Full, Some(name)) => {
                        session.drop_name(&room);
                        seats.lost_names.push(name.to_owned());
                    }
                    _ => {}
                }
            }
        }
        Ok(seats)
    }

    /// Has a session hold a name that nobody else in the cluster holds: no other user, and no other anonymous session.
    /// It lets go of the one that it claimed by the same event before.
    ///
    /// # Errors
    /// [`Refusal::Taken`], or the store of presence or of sessions cannot be reached.
    pub async fn claim_name(&self, session: &Arc<Session>, via: &Arc<str>, name: &str) -> Result<(), Refusal> {
        let place = RoomName::claimed(&session.namespace, name);
        self.take_seat(session, &place, Some(1)).await.map_err(|refusal| match refusal {
            Refusal::RoomFull { .. } => Refusal::Taken,
            other => other,
        })?;
        if let Some(let_go) = session.take_name(via, &place) {
            self.give_up_seats(session, vec![let_go], false).await;
        }
        self.save(session).await.map(|_| ())
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

    fn without_presence(&self, error: &PresenceError) -> Refusal {
        self.note_presence_error(error);
        Refusal::Unavailable
    }

    /// It is counted where it came from.
    fn note_presence_error(&self, error: &PresenceError) {
        self.troubles.presence.note(|what| tracing::warn!(%error, "{what}"));
    }
}
