//! The node: sessions join, leave, publish, signal and read here, whatever edge they came through.

mod attendance;
mod canary;
mod fanout;
mod gate;
mod hearing;
mod hub;
mod limits;
mod peers;
mod recovery;
mod roster;
mod session;
mod typing;

use attendance::Attendance;
pub use attendance::Change;
pub use gate::Patience;
pub use hearing::{Ask, Hearing, Listening};
pub use hub::Hub;
pub use limits::{AddressLimiter, Allowance, HandshakeLimiter, Limiters, Party, Place, Places, RouteLimiter, Verdict};
pub use peers::count_peers;
use recovery::Recoveries;
pub use recovery::{RecoveryError, Replay, Unrecovered, Wanted, wanted};
pub use roster::Roster;
pub use session::{Client, CloseReason, Outlet, Session, Undelivered};

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use serde::Serialize;

use crate::auth::Identity;
use crate::config::{self, Config};
use crate::domain::{Event, Frame, Mark, Offset, Refusal, RoomName, UserId};
use crate::log::{Dedupe, Log, LogError, Page, Range};
use crate::metrics::Metrics;
use crate::presence::{Numbered, Presence};
use crate::sessions::{Lease, Record, Sessions, SessionsError};
use session::Stay;

/// The limits that the node itself watches over.
#[derive(Clone, Debug)]
struct Limits {
    rooms_per_session: usize,
    history_page: usize,
}

/// One gateway process's part of the cluster: its sessions, their rooms, and the way of every event.
#[derive(Debug)]
pub struct Node {
    log: Arc<dyn Log>,
    sessions: Arc<dyn Sessions>,
    hub: Hub,
    attendance: Attendance,
    roster: Roster,
    hearing: Hearing,
    limits: Limits,
    recovery: config::Recovery,
    recoveries: Recoveries,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
}

/// What a join came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The session has, or will hear, everything of the room after this.
    pub offset: Offset,
    /// For a join that named an offset: whether everything since then was delivered, or why not.
    pub recovered: Option<Result<(), Unrecovered>>,
    /// Whether the session's user, or the anonymous session, was not in the room before, as far as that is tracked.
    pub first: bool,
}

/// How a session enters a room.
#[derive(Clone, Debug)]
pub struct Entrance<'a> {
    /// The client event that asked for it.
    pub via: &'a Arc<str>,
    /// Everything of the room since this offset is delivered first.
    pub after: Option<Offset>,
    /// If the log no longer has everything since then, what it has, instead of nothing.
    pub partial: bool,
    /// Whether the session is counted among the members of the room.
    pub seat: Option<Seat>,
}

/// A session's being counted in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// How many members the room may have.
    pub capacity: Option<usize>,
}

/// The room that the gateway itself puts sessions into is entered by this, which is no client event.
pub const STANDING: &str = "$standing";

/// What a client is told when the replay of a join has ended.
#[derive(Serialize)]
struct Replayed<'a> {
    room: Option<&'a str>,
    events: usize,
}

impl std::fmt::Debug for dyn Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

impl std::fmt::Debug for dyn Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}

impl Node {
    /// A node over a log and a store of sessions. [`Node::run`] must be running for anything to be delivered.
    #[must_use]
    pub fn new(
        log: Arc<dyn Log>,
        sessions: Arc<dyn Sessions>,
        presence: Arc<dyn Presence>,
        config: &Config,
        metrics: Arc<Metrics>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let limits =
            Limits { rooms_per_session: config.limits.rooms_per_session, history_page: config.limits.history_page };
        let attendance = Attendance::new(presence, config.presence.linger);
        let hub = Hub::new(log.clone(), config.rooms.linger, metrics.clone());
        let recovery = config.recovery.clone();
        let (roster, hearing, recoveries) = (Roster::default(), Hearing::default(), Recoveries::default());
        Arc::new(Self { log, sessions, hub, attendance, roster, hearing, limits, recovery, recoveries, metrics, tasks })
    }

    /// Starts the node's own work: fan-out, canary, keeping sessions, and listening no longer to rooms that nobody
    /// is in.
    pub fn run(self: &Arc<Self>, name: &str, settings: &Config, stop: &CancellationToken) {
        let room = RoomName::internal(&format!("canary:{name}"));
        let spawn = |work: futures_util::future::BoxFuture<'static, ()>| {
            self.tasks.spawn(stop.clone().run_until_cancelled_owned(work));
        };
        spawn(Box::pin(fanout::run(self.log.feed(), self.clone(), room.clone())));
        spawn(Box::pin(canary::run(self.clone(), room, settings.canary.interval)));
        let (sweeper, keeper, listener, member) = (self.clone(), self.clone(), self.clone(), self.clone());
        spawn(Box::pin(async move { sweeper.hub.sweep_forever().await }));
        let every = self.recovery.window / 4;
        spawn(Box::pin(async move { keeper.renew_forever(every).await }));
        spawn(Box::pin(async move { listener.heed_claims_forever().await }));
        let every = settings.presence.lease / 3;
        spawn(Box::pin(async move { member.beat_forever(every).await }));
    }

    /// Whether it hears the others.
    #[must_use]
    pub fn hearing(&self) -> &Hearing {
        &self.hearing
    }

    /// The sessions that are connected to this node.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Takes over the session of a client that comes back, from whatever connection still has it. Nothing if there is
    /// none, or it is another user's.
    ///
    /// # Errors
    /// The store of sessions cannot be reached.
    pub async fn claim(&self, lease: Lease, user: Option<&UserId>) -> Result<Option<Record>, Refusal> {
        self.sessions.claim(lease, user).await.map_err(|error| self.without_sessions(&error))
    }

    /// Stores a session so that it can come back. False if another connection has taken it over, or it is over.
    ///
    /// # Errors
    /// The store of sessions cannot be reached.
    pub async fn save(&self, session: &Session) -> Result<bool, Refusal> {
        let _saving = session.saving.lock().await;
        let Some(record) = session.record() else { return Ok(false) };
        let saved = self.sessions.save(session.lease, &record).await;
        saved.map_err(|error| {
            session.mark_unsaved();
            self.without_sessions(&error)
        })
    }

    /// Counts a session among those that are connected, until [`Self::depart`]; its connection ends at `ends`. Before
    /// it is stored for the first time: only who is counted learns that somebody else has claimed the session.
    pub fn arrive(&self, session: &Arc<Session>, ends: Option<Instant>) {
        self.roster.insert(session, ends);
    }

    fn release(&self, session: Arc<Session>, keep: bool) {
        let (sessions, metrics) = (self.sessions.clone(), self.metrics.clone());
        self.tasks.spawn(async move {
            // After whatever is being stored: a record must not come back from the dead.
            let _saving = session.saving.lock().await;
            if let Err(error) = sessions.release(session.lease, keep).await {
                // It is forgotten a while later by itself.
                metrics.session_errors.with(error.operation).increment(1);
            }
        });
    }

    /// Puts a session into a room. With `after`, everything of the room since that offset is delivered first, or
    /// nothing of it if the log no longer has it all.
    ///
    /// # Errors
    /// Too many rooms, no free seat, or the log or a store cannot be reached.
    pub async fn join(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        entrance: &Entrance<'_>,
    ) -> Result<Joined, Refusal> {
        self.check_rooms(session, room)?;
        let Some(seat) = entrance.seat.filter(|_| !session.is_in(room)) else {
            return self.enter_room(session, room, entrance).await;
        };
        let first = self.take_seat(session, room, seat.capacity).await?;
        self.enter_seated(session, room, entrance, first).await
    }

    /// The same for the first of numbered rooms that has fewer than `capacity` members, cluster-wide; returns its
    /// number too.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn join_first(
        &self,
        session: &Arc<Session>,
        rooms: &Numbered,
        capacity: usize,
        entrance: &Entrance<'_>,
    ) -> Result<(u32, Joined), Refusal> {
        self.check_rooms(session, &rooms.name(1))?;
        let (number, first) = self.take_first_seat(session, rooms, capacity).await?;
        let joined = self.enter_seated(session, &rooms.name(number), entrance, first).await?;
        Ok((number, joined))
    }

    /// Keeps what is live from a session until [`Self::set_out`] or [`Self::replay`].
    pub fn hold(&self, session: &Session) {
        session.gate.hold();
    }

    /// Lets a held session hear what is live.
    pub async fn set_out(&self, session: &Session) {
        session.gate.release(&[], Offset::START).await;
    }

    /// Puts a session into rooms that nobody asked for: those of its user and of everybody. It is not stored.
    ///
    /// # Errors
    /// The log or the store of presence cannot be reached.
    pub async fn settle(&self, session: &Arc<Session>, rooms: &[(RoomName, Option<Seat>)]) -> Result<(), Refusal> {
        let via: Arc<str> = STANDING.into();
        for (room, seat) in rooms {
            self.hub.enter(session, room, &via).await.map_err(|error| self.unavailable(&error))?;
            if let Some(seat) = seat {
                self.take_seat(session, room, seat.capacity).await?;
                if !session.seat(room) {
                    self.give_up_seats(session, vec![room.clone()], false).await;
                }
            }
        }
        Ok(())
    }

    fn check_rooms(&self, session: &Session, room: &RoomName) -> Result<(), Refusal> {
        let limit = self.limits.rooms_per_session;
        let is_full = limit > 0 && room.shown().is_some() && !session.is_in(room) && session.rooms() >= limit;
        if is_full { Err(Refusal::TooManyRooms { limit }) } else { Ok(()) }
    }

    async fn enter_seated(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        entrance: &Entrance<'_>,
        first: bool,
    ) -> Result<Joined, Refusal> {
        let joined = self.enter_room(session, room, entrance).await;
        if joined.is_err() || !session.seat(room) {
            self.give_up_seats(session, vec![room.clone()], false).await;
        }
        joined.map(|joined| Joined { first, ..joined })
    }

    async fn enter_room(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        entrance: &Entrance<'_>,
    ) -> Result<Joined, Refusal> {
        let Entrance { via, after, .. } = *entrance;
        if session.is_in(room) {
            let boundary = self.hub.enter(session, room, via).await.map_err(|error| self.unavailable(&error))?;
            // The answer to the join may have been lost: what it came to must not sound better the second time.
            let complete_from = session.complete_from(room).unwrap_or(boundary.offset);
            let recovered =
                after.map(|after| if after >= complete_from { Ok(()) } else { Err(Unrecovered::Retention) });
            return Ok(Joined { offset: boundary.offset, recovered, first: false });
        }
        let handed = session.gate.hold();
        let joined = match after {
            None => self.join_from_now(session, room, via).await,
            Some(after) => self.join_after(session, room, after, entrance, handed).await,
        };
        if joined.is_err() {
            // What came for a room that it is not in was never meant for it.
            session.gate.release(std::slice::from_ref(room), Offset(u64::MAX)).await;
        }
        joined
    }

    /// Joins while the gate is held, and opens it unless there is an error.
    async fn join_from_now(&self, session: &Arc<Session>, room: &RoomName, via: &Arc<str>) -> Result<Joined, Refusal> {
        let boundary = self.hub.enter(session, room, via).await.map_err(|error| self.unavailable(&error))?;
        self.save_or_leave(session, room).await?;
        session.gate.release(&[], Offset::START).await;
        Ok(Joined { offset: boundary.offset, recovered: None, first: false })
    }

    /// Joins while the gate is held, reads and hands over what was missed, and opens it unless there is an error.
    async fn join_after(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        after: Offset,
        entrance: &Entrance<'_>,
        handed: Offset,
    ) -> Result<Joined, Refusal> {
        let via = entrance.via;
        let boundary = self.hub.enter(session, room, via).await.map_err(|error| self.unavailable(&error))?;
        let wanted = Wanted {
            room: room.clone(),
            after,
            complete_from: after,
            via: via.clone(),
            partial: entrance.partial,
            seat: None,
        };
        let replay = match self.read_missed(session, vec![wanted]).await {
            Ok(replay) => replay,
            Err(RecoveryError::Unrecovered(reason)) => {
                self.save_or_leave(session, room).await?;
                session.gate.release(&[], Offset::START).await;
                return Ok(Joined { offset: boundary.offset, recovered: Some(Err(reason)), first: false });
            }
            Err(error) => {
                self.leave_room(session, room);
                return Err(self.not_now(error));
            }
        };
        let (events, offset) = (replay.events(), replay.upto);
        let number = if events == 0 { 0 } else { session.next_replay() };
        // Until the replay has ended, only the notice of its end proves that a client got it. If this join is refused
        // because its record was stored without an answer, nothing does.
        let unproven = Stay {
            since: offset,
            complete_from: after,
            replay: number,
            handed: Offset(u64::MAX),
            ..Stay::new(offset, via)
        };
        session.remember(room, unproven);
        self.save_or_leave(session, room).await?;
        let end = (events > 0).then(|| {
            let mark = Mark { offset: handed, replay: number }.to_string();
            Frame::notice("gateway:replayed", &Replayed { room: room.shown(), events }, Some(&mark))
        });
        self.replay_out_of_order(session, replay, end).await;
        if events > 0 {
            session.replay_ended(room, handed);
            // If it cannot be stored now, it will be; until then a client that breaks off may be told too much.
            self.save(session).await.ok();
        }
        Ok(Joined { offset, recovered: Some(Ok(())), first: false })
    }

    /// What was joined must come back with the session; if that cannot be stored, it was not joined.
    async fn save_or_leave(&self, session: &Session, room: &RoomName) -> Result<(), Refusal> {
        match self.save(session).await {
            // Taken over meanwhile: nobody waits for the answer.
            Ok(_) => Ok(()),
            Err(refusal) => {
                self.leave_room(session, room);
                Err(refusal)
            }
        }
    }

    /// Notes that a session without a token is somebody's from now on, as which it is counted and hears what is sent
    /// to that user.
    ///
    /// # Errors
    /// It has a token, or the log or a store cannot be reached.
    pub async fn identify(self: &Arc<Self>, session: &Arc<Session>, user: UserId) -> Result<(), Refusal> {
        if session.has_token() {
            return Err(Refusal::NotAllowed);
        }
        let before = session.identity();
        if before.user.as_ref() == Some(&user) {
            return Ok(());
        }
        let everybody = RoomName::everybody(&session.namespace);
        let seats: Vec<_> = session.seats().into_iter().filter(|seat| *seat != everybody).collect();
        self.give_up_seats(session, seats.clone(), false).await;
        session.identify(Identity { user: Some(user.clone()), ..Identity::default() });
        for seat in seats {
            // It had a seat, and for a moment somebody else may have taken it.
            self.take_seat(session, &seat, None).await?;
        }
        if let Some(before) = &before.user {
            self.leave_room(session, &RoomName::personal(&session.namespace, before));
        }
        self.settle(session, &[(RoomName::personal(&session.namespace, &user), None)]).await?;
        self.save(session).await.map(|_| ())
    }

    fn leave_room(&self, session: &Session, room: &RoomName) -> Option<Stay> {
        let stay = session.forget(room)?;
        self.hub.leave(session, room);
        Some(stay)
    }

    /// Takes a session out of a room; nothing happens if it is not in it.
    ///
    /// # Errors
    /// The store of sessions cannot be reached: the session is out of the room, but would come back into it.
    pub async fn leave(self: &Arc<Self>, session: &Session, room: &RoomName) -> Result<(), Refusal> {
        self.leave_typing(session, Some(room));
        if self.leave_room(session, room).is_some_and(|stay| stay.seated) {
            self.give_up_seats(session, vec![room.clone()], false).await;
        }
        self.save(session).await.map(|_| ())
    }

    /// Takes a session whose connection is over out of everything. It may come back within the recovery window if it
    /// is to be kept.
    pub fn depart(self: &Arc<Self>, session: &Arc<Session>, keep: bool) {
        self.leave_typing(session, None);
        let seats = self.leave_all(session);
        if self.roster.remove(session) {
            self.release(session.clone(), keep);
        }
        if !seats.is_empty() {
            let (node, session) = (self.clone(), session.clone());
            self.tasks.spawn(async move { node.give_up_seats(&session, seats, keep).await });
        }
    }

    /// Returns where it was counted.
    fn leave_all(&self, session: &Session) -> Vec<RoomName> {
        let left = session.depart();
        for room in &left.rooms {
            self.hub.leave(session, room);
        }
        left.seats
    }

    /// Publishes an event to a room. The answer is the event's place in the log.
    ///
    /// # Errors
    /// The log cannot be reached; then, with a key, the same publish may be tried again without the risk of publishing
    /// twice.
    pub async fn publish(&self, room: &RoomName, event: &Event, dedupe: Option<&Dedupe>) -> Result<Offset, Refusal> {
        let started = Instant::now();
        let appended = self.log.append(room, event, dedupe).await.map_err(|error| self.unavailable(&error))?;
        self.metrics.log_append_duration.record(started.elapsed().as_secs_f64());
        Ok(appended.position.offset)
    }

    /// Sends an event to a room without keeping it.
    ///
    /// # Errors
    /// The other nodes cannot be reached.
    pub async fn signal(&self, room: &RoomName, event: &Event) -> Result<(), Refusal> {
        self.log.signal(room, event).await.map_err(|error| self.unavailable(&error))
    }

    /// Reads a part of the history of a room. `limit` is cut to the configured page.
    ///
    /// # Errors
    /// The log cannot be reached.
    pub async fn history(&self, room: &RoomName, range: Range) -> Result<Page, Refusal> {
        let page = self.limits.history_page;
        let range = match range {
            Range::After { offset, limit } => Range::After { offset, limit: limit.clamp(1, page) },
            Range::Newest { before, limit } => Range::Newest { before, limit: limit.clamp(1, page) },
        };
        self.log.read(room, range).await.map_err(|error| self.unavailable(&error))
    }

    fn without_sessions(&self, error: &SessionsError) -> Refusal {
        self.note_sessions_error(error);
        Refusal::Unavailable
    }

    fn note_sessions_error(&self, error: &SessionsError) {
        self.metrics.session_errors.with(error.operation).increment(1);
        tracing::warn!(%error, "the store of sessions failed");
    }

    /// What a client is told whose recovery could not be decided.
    pub fn not_now(&self, error: RecoveryError) -> Refusal {
        match error {
            RecoveryError::Log(error) => self.unavailable(&error),
            RecoveryError::Unavailable(refusal) => refusal,
            RecoveryError::Unrecovered(_) => Refusal::Unavailable,
        }
    }

    /// The one place where a failing log becomes what clients read; it is logged here and only here.
    pub fn unavailable(&self, error: &LogError) -> Refusal {
        self.metrics.log_errors.with(error.operation).increment(1);
        tracing::warn!(%error, "the log failed");
        Refusal::Unavailable
    }
}

/// The key by which a publish of a session is known again: its author's id for it.
#[must_use]
pub fn dedupe(session: &Session, id: &str) -> Dedupe {
    // With its length in front, no author and id read like another author and id.
    let author = session.author();
    Dedupe(format!("{}:{author}:{id}", author.len()))
}

/// Now, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago an event was taken, in seconds; 0 if its node's clock is ahead of this one's.
fn age_seconds(event: &Event) -> f64 {
    Duration::from_millis(now_ms().saturating_sub(event.at_ms)).as_secs_f64()
}
