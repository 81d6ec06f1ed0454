//! The welcome: whether a client gets its session back, and what it is told first.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};

use super::Edge;
use super::auth::{Auth, Wish};
use gateway_core::auth::{Admitted, Identity};
use gateway_core::domain::{Frame, Mark, Offset, Pid, Refusal, RoomName, SessionId, UserId};
use gateway_core::node::{
    CloseReason, Firsts, GIVEN, Hold, PUT, RecoveryError, Replay, STANDING, Seat, Session, Unrecovered, Wanted, wanted,
};
use gateway_core::routes::{AuthFields, Namespace};
use gateway_core::sessions::{Claimed, Lease};

/// How long a session waits for being stored before its client is answered. What takes longer goes on beside it: nobody
/// is kept out by a store that is slow to write.
const STORING: Duration = Duration::from_millis(100);

/// The first event of every connection.
const EVENT: &str = "gateway:session";

/// Who a connection is for, as its session will know it.
pub(super) struct Newcomer {
    pub(super) identity: Identity,
    pub(super) auth: AuthFields,
}

/// How a session begins: what the client is told, and what it missed.
pub(super) struct Welcome {
    pub(super) hello: Frame,
    /// Keeps what is live until the session begins.
    pub(super) hold: Hold,
    pub(super) replay: Option<Replay>,
    /// What its client may come back with. Without offsets nobody could tell what it heard, so it has none.
    pub(super) pid: Option<String>,
    /// Whether it is a new session, not one that came back.
    pub(super) is_new: bool,
    /// Rooms that a back end put it into, and in which its user was not before.
    pub(super) given: Firsts,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hello<'a> {
    recovered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<Vec<&'a str>>,
    /// Rooms and names of the session that others have taken meanwhile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost_rooms: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost_names: Vec<&'a str>,
    /// What a back end has to say to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

/// Makes the session of a connection, with an id and the right to come back.
pub(super) trait MakeSession: Fn(Newcomer, SessionId, Lease) -> Arc<Session> + Send + Sync {}
impl<F: Fn(Newcomer, SessionId, Lease) -> Arc<Session> + Send + Sync> MakeSession for F {}

/// What welcoming a client needs at every step.
struct Reception<'a, M> {
    namespace: &'a Namespace,
    identity: &'a Identity,
    /// What was decided about it.
    admitted: &'a Admitted,
    auth: AuthFields,
    wants_offsets: bool,
    make: M,
}

impl<M: MakeSession> Reception<'_, M> {
    fn make(&self, id: SessionId, lease: Lease, term: u32, identified: Option<UserId>) -> Arc<Session> {
        let identity = self.identity.clone();
        let session = (self.make)(Newcomer { identity, auth: self.auth.clone() }, id, lease);
        session.begin_term(term);
        // Whose it is to come back to says its token alone, each time that it comes.
        if identified.is_some() && self.identity.user.is_none() {
            session.identify(Identity { user: identified, ..self.identity.clone() });
        }
        session
    }

    fn pid(&self, pid: Pid) -> Option<String> {
        self.wants_offsets.then(|| pid.to_string())
    }

    /// The rooms that the gateway itself puts a session into. Where a new one is counted, it is when it begins.
    fn standing(&self, user: Option<&UserId>) -> Vec<(RoomName, Option<Seat>)> {
        let name = &self.namespace.name;
        let counted = self.namespace.facts.tracks_connections.then_some(Seat { capacity: None });
        let personal = user.map(|user| (RoomName::personal(name, user), None));
        std::iter::once((RoomName::everybody(name), counted)).chain(personal).collect()
    }

    /// The rooms that a back end puts a session into.
    fn given(&self) -> Vec<(RoomName, Option<Seat>)> {
        let seat = |room: &RoomName| (room.clone(), self.namespace.given_seat(self.identity, room));
        self.admitted.rooms.iter().map(seat).collect()
    }

    /// As the others, if it is one of those.
    fn given_again(&self, room: &RoomName) -> Option<Option<Seat>> {
        let is_given = self.admitted.rooms.contains(room);
        is_given.then(|| self.namespace.given_seat(self.identity, room))
    }
}

type Welcomed = (Arc<Session>, Welcome, Option<Unrecovered>);

impl Edge {
    /// Gives a client its session back, or a fresh one with the reason.
    ///
    /// # Errors
    /// What is needed to decide cannot be reached: the client should try again, and lose nothing.
    pub(super) async fn welcome(
        &self,
        namespace: &str,
        auth: Auth,
        admitted: &Admitted,
        make: impl MakeSession,
    ) -> Result<(Arc<Session>, Welcome), Refusal> {
        let started = Instant::now();
        let table = self.router.table();
        // A namespace that a reload took away has no routes, and nobody comes in any more.
        let namespace = table.namespace(namespace).ok_or(Refusal::NotAllowed)?;
        let wish = auth.wish(&namespace.name);
        let asked = !matches!(wish, Wish::Nothing);
        let fields = namespace.facts.auth_fields(&auth.payload, self.settings.limits.json_depth);
        let (identity, wants_offsets) = (&admitted.identity, auth.wants_offsets);
        let reception = Reception { namespace, identity, admitted, auth: fields, wants_offsets, make };
        let result = match wish {
            Wish::Nothing => self.fresh(&reception, SessionId::random(), 0, None).await,
            Wish::Nonsense(why) => self.fresh(&reception, SessionId::random(), 0, Some(why)).await,
            Wish::Session { pid, heard } => self.come_back(&reception, pid, heard).await,
            Wish::Rooms(rooms) => self.come_to_rooms(&reception, rooms).await,
        };
        if asked {
            let outcome = match &result {
                Ok((_, _, None)) => "recovered",
                Ok((_, _, Some(why))) => why.reason(),
                Err(_) => "unavailable",
            };
            self.metrics.recoveries.with(outcome).increment(1);
            self.metrics.recovery_duration.record(started.elapsed().as_secs_f64());
        }
        result.map(|(session, welcome, _)| (session, welcome))
    }

    async fn come_back<M: MakeSession>(
        &self,
        reception: &Reception<'_, M>,
        pid: Pid,
        heard: Mark,
    ) -> Result<Welcomed, Refusal> {
        let node = self.router.node();
        let lease = Lease::new(pid);
        let Some(claimed) = node.claim(lease, &reception.namespace.name, reception.identity.user.as_ref()).await?
        else {
            return self.fresh(reception, SessionId::random(), 0, Some(Unrecovered::Unknown)).await;
        };
        let record = &claimed.record;
        let session = reception.make(record.session, lease, record.term, record.identified.clone());
        node.arrive(&session, self.end_of_life());
        let names: Vec<_> = record.names.iter().map(|(via, name)| (via.as_str().into(), name.clone())).collect();
        let recovered = match rooms_to_return_to(reception, &session, &claimed, heard) {
            Ok(rooms) => node.recover(&session, rooms, &names, heard).await,
            Err(why) => Err(why.into()),
        };
        match recovered {
            Ok(back) => {
                // What it was claimed from stays, for the next attempt.
                let given = node.give(&session, reception.given()).await;
                let given = given.inspect_err(|_| node.depart(&session, true))?;
                if self.store(&session).await {
                    return Ok(recovered_as(reception, session, pid, back, given, None));
                }
                // Who has it now has its seats too.
                node.depart(&session, true);
                self.fresh(reception, SessionId::random(), 0, Some(Unrecovered::Replaced)).await
            }
            Err(RecoveryError::Unrecovered(why)) => {
                node.depart(&session, false);
                // It keeps its id: whatever it published before and sends again is still the same author's. If its client
                // does not learn of it, it may come back to the old one, which then comes after this.
                self.fresh(reception, record.session, record.term + 1, Some(why)).await
            }
            Err(error) => {
                // What it was claimed from stays, for the next attempt.
                node.depart(&session, true);
                Err(node.not_now(error))
            }
        }
    }

    async fn come_to_rooms<M: MakeSession>(
        &self,
        reception: &Reception<'_, M>,
        rooms: Vec<(RoomName, Offset)>,
    ) -> Result<Welcomed, Refusal> {
        let node = self.router.node();
        let pid = Pid::random();
        let session = reception.make(SessionId::random(), Lease::new(pid), 0, None);
        node.arrive(&session, self.end_of_life());
        let limit = self.settings.limits.rooms_per_session;
        let recovered = match rooms_to_come_to(reception, rooms) {
            Err(why) => Err(why.into()),
            Ok(rooms) if limit > 0 && rooms.len() > limit => Err(Unrecovered::TooMuch.into()),
            Ok(rooms) => node.recover(&session, rooms, &[], Mark::default()).await,
        };
        match recovered {
            Ok(back) => {
                let standing = reception.standing(session.identity().user.as_ref());
                let rooms: Vec<_> = standing.into_iter().map(|(room, _)| room).collect();
                let entered = async {
                    node.settle(&session, &rooms).await?;
                    node.give(&session, reception.given()).await
                };
                let given = entered.await.inspect_err(|_| node.depart(&session, false))?;
                self.store(&session).await;
                Ok(recovered_as(reception, session, pid, back, given, Some("0")))
            }
            Err(error) => {
                node.depart(&session, false);
                match error {
                    RecoveryError::Unrecovered(why) => self.fresh(reception, SessionId::random(), 0, Some(why)).await,
                    error => Err(node.not_now(error)),
                }
            }
        }
    }

    /// Stores a session that begins, and waits for it a moment. False if another connection has taken it over; who learns
    /// so later ends this one. What cannot be stored now will be with its next join, or a little later: until then what
    /// the store had of it before is what it would come back to.
    async fn store(&self, session: &Arc<Session>) -> bool {
        let (node, saved) = (self.router.node().clone(), session.clone());
        let mut saving = self.tasks.spawn(async move { node.save(&saved).await });
        let Ok(saved) = timeout(STORING, &mut saving).await else {
            let session = session.clone();
            self.tasks.spawn(async move {
                if matches!(saving.await, Ok(Ok(false))) && !session.has_hung_up() {
                    session.close(CloseReason::Replaced);
                }
            });
            return true;
        };
        !matches!(saved, Ok(Ok(false)))
    }

    /// A session in no room but those that everybody is in, and those that a back end puts it into. If it cannot be stored
    /// now, it will be with its first join or a little later.
    async fn fresh<M: MakeSession>(
        &self,
        reception: &Reception<'_, M>,
        id: SessionId,
        term: u32,
        why: Option<Unrecovered>,
    ) -> Result<Welcomed, Refusal> {
        let node = self.router.node();
        let pid = Pid::random();
        let session = reception.make(id, Lease::new(pid), term, None);
        node.arrive(&session, self.end_of_life());
        let hold = node.hold(&session);
        let standing = reception.standing(session.identity().user.as_ref());
        let rooms: Vec<_> = standing.into_iter().map(|(room, _)| room).collect();
        let entered = async {
            node.settle(&session, &rooms).await?;
            node.give(&session, reception.given()).await
        };
        let given = entered.await.inspect_err(|_| node.depart(&session, false))?;
        self.store(&session).await;
        let pid = reception.pid(pid);
        let hello = Hello {
            recovered: false,
            pid: pid.as_deref(),
            reason: why.map(Unrecovered::reason),
            rooms: None,
            lost_rooms: Vec::new(),
            lost_names: Vec::new(),
            data: reception.admitted.data.as_deref(),
        };
        // An official client keeps the offset of its session before: it must not count for this one.
        let hello = Frame::notice(EVENT, &hello, Some("0"));
        Ok((session, Welcome { hello, hold, replay: None, pid, is_new: true, given }, why))
    }
}

/// Where a session that comes back may go on: all its rooms, or it does not come back. Rooms that the gateway put it
/// into are its again if the gateway would do so now.
fn rooms_to_return_to<M: MakeSession>(
    reception: &Reception<'_, M>,
    session: &Session,
    claimed: &Claimed,
    heard: Mark,
) -> Result<Vec<Wanted>, Unrecovered> {
    let identity = session.identity();
    let standing = reception.standing(identity.user.as_ref());
    let mut rooms = Vec::new();
    for mut wanted in wanted(claimed, heard)? {
        if *wanted.via == *STANDING {
            let Some((_, seat)) = standing.iter().find(|(room, _)| *room == wanted.room) else { continue };
            wanted.seat = *seat;
        } else if *wanted.via == *PUT {
            wanted.seat = Some(Seat { capacity: None });
        } else if *wanted.via == *GIVEN {
            let Some(seat) = reception.given_again(&wanted.room) else { continue };
            wanted.seat = seat;
        } else {
            let join = reception.namespace.admits_back(&wanted.via, &identity, &wanted.room);
            wanted.seat = join.ok_or(Unrecovered::NotAllowed)?.seat();
        }
        rooms.push(wanted);
    }
    Ok(rooms)
}

/// The rooms that a client names itself, which it could as well join.
fn rooms_to_come_to<M: MakeSession>(
    reception: &Reception<'_, M>,
    rooms: Vec<(RoomName, Offset)>,
) -> Result<Vec<Wanted>, Unrecovered> {
    let way_in = reception.namespace.way_in(reception.identity);
    let wanted = |(room, after): (RoomName, Offset)| {
        if let Some(seat) = reception.given_again(&room) {
            return Ok(Wanted {
                seat,
                complete_from: after,
                kept_at: None,
                since: None,
                via: GIVEN.into(),
                partial: false,
                room,
                after,
            });
        }
        let via = way_in.clone().ok_or(Unrecovered::NotAllowed)?;
        let join = reception.namespace.admits_back(&via, reception.identity, &room).ok_or(Unrecovered::NotAllowed)?;
        Ok(Wanted {
            seat: join.seat(),
            complete_from: after,
            kept_at: None,
            since: None,
            via: via.clone(),
            partial: false,
            room,
            after,
        })
    };
    rooms.into_iter().map(wanted).collect()
}

/// `moves`: the offset of a session that is new and only brought its rooms back.
fn recovered_as<M: MakeSession>(
    reception: &Reception<'_, M>,
    session: Arc<Session>,
    pid: Pid,
    (hold, replay): (Hold, Replay),
    given: Firsts,
    moves: Option<&str>,
) -> Welcomed {
    let (pid, seats) = (reception.pid(pid), replay.seats());
    let hello = Hello {
        recovered: true,
        pid: pid.as_deref(),
        reason: None,
        rooms: Some(replay.rooms().iter().filter_map(RoomName::shown).collect()),
        lost_rooms: seats.lost_rooms.iter().filter_map(RoomName::shown).collect(),
        lost_names: seats.lost_names.iter().map(String::as_str).collect(),
        data: reception.admitted.data.as_deref(),
    };
    let hello = Frame::notice(EVENT, &hello, moves);
    (session, Welcome { hello, hold, replay: Some(replay), pid, is_new: moves.is_some(), given }, None)
}
