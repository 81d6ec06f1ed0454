//! The hub: the sessions of this node by room, and which rooms' logs the node listens to.
//!
//! A room is listened to from its first local member on, and for a while after its last one left. Each room has
//! a last position: what is at or before it was fanned out or belongs to nobody here, what comes after is still to
//! be delivered. Members are added under the same lock that fan-out takes, so the boundary of a join is exact.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indexmap::IndexMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Session;
use super::session::Stay;
use crate::domain::{Frame, Offset, Position, RoomName, SessionId};
use crate::log::{Log, LogError, Range};
use crate::metrics::Metrics;

/// The sessions of this node, by room.
#[derive(Debug)]
pub struct Hub {
    log: Arc<dyn Log>,
    linger: Duration,
    metrics: Arc<Metrics>,
    rooms: Mutex<HashMap<RoomName, Arc<Room>>>,
    /// How many gaps the feed had. Whoever asks where the log stands must ask again if one came meanwhile.
    gaps: AtomicU64,
    canary_heard: Mutex<Instant>,
}

#[derive(Debug, Default)]
struct Room {
    /// Held while listening begins or ends, so that members wait for it and it happens once.
    listening: tokio::sync::Mutex<Listening>,
    members: Mutex<Members>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Listening {
    #[default]
    NotYet,
    Yes,
    /// The room was taken out of the hub; whoever still holds it must look it up again.
    Over,
}

#[derive(Debug, Default)]
struct Members {
    /// By connection: for a moment, a session that came back and the one that it replaces may both be here.
    sessions: IndexMap<u64, Member>,
    last: Option<Position>,
    /// Since when there is no member.
    empty_since: Option<Instant>,
}

#[derive(Debug)]
struct Member {
    session: Arc<Session>,
    /// Published events up to here are not for it: it was given them from the log.
    from: Offset,
}

impl Hub {
    pub(super) fn new(log: Arc<dyn Log>, linger: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            log,
            linger,
            metrics,
            rooms: Mutex::default(),
            gaps: AtomicU64::new(0),
            canary_heard: Mutex::new(Instant::now()),
        }
    }

    /// Puts a session into a room, unless it is in it or over; returns the position after which it hears everything
    /// there.
    ///
    /// # Errors
    /// The log cannot be reached.
    pub(super) async fn enter(
        &self,
        session: &Arc<Session>,
        name: &RoomName,
        via: &Arc<str>,
    ) -> Result<Position, LogError> {
        loop {
            let room = self.rooms.lock().entry(name.clone()).or_default().clone();
            let mut listening = room.listening.lock().await;
            match *listening {
                Listening::Over => continue,
                Listening::NotYet => {
                    if let Err(error) = self.listen(name, &room).await {
                        self.discard_if_unused(name, &room, &mut listening);
                        return Err(error);
                    }
                    *listening = Listening::Yes;
                    self.metrics.subscriptions.increment(1.0);
                }
                Listening::Yes => {}
            }
            return Ok(self.add(session, name, &room, via));
        }
    }

    /// Begins to listen, then asks where the log stands: everything after that will be in the feed.
    async fn listen(&self, name: &RoomName, room: &Room) -> Result<(), LogError> {
        self.log.subscribe(name).await?;
        loop {
            let gaps = self.gaps.load(Ordering::Acquire);
            let head = match self.log.read(name, Range::Newest { before: None, limit: 0 }).await {
                Ok(page) => page.head,
                Err(error) => {
                    self.log.unsubscribe(name).await;
                    return Err(error);
                }
            };
            let mut members = room.members.lock();
            if gaps == self.gaps.load(Ordering::Acquire) {
                // An event may have overtaken the answer. Nobody was here to hear it, and it must not be heard twice.
                let overtaken = members.last.filter(|last| last.epoch == head.epoch && last.offset > head.offset);
                members.last = Some(overtaken.unwrap_or(head));
                members.empty_since = Some(Instant::now());
                return Ok(());
            }
        }
    }

    fn discard_if_unused(&self, name: &RoomName, room: &Arc<Room>, listening: &mut Listening) {
        *listening = Listening::Over;
        let mut rooms = self.rooms.lock();
        if rooms.get(name).is_some_and(|current| Arc::ptr_eq(current, room)) {
            rooms.remove(name);
        }
    }

    fn add(&self, session: &Arc<Session>, name: &RoomName, room: &Room, via: &Arc<str>) -> Position {
        let mut members = room.members.lock();
        let mut boundary = members.last.expect("a room that is listened to has a position");
        // Where the feed lags, this may lie before what the session was handed from the log of its other rooms.
        boundary.offset = boundary.offset.max(session.floor());
        let was_member = members.sessions.contains_key(&session.lease.holder);
        if was_member || !session.remember(name, Stay::new(boundary.offset, via)) {
            return boundary;
        }
        if members.sessions.is_empty() {
            members.empty_since = None;
            self.count_room(name, 1.0);
        }
        members.sessions.insert(session.lease.holder, Member { session: session.clone(), from: session.floor() });
        boundary
    }

    /// Notes that a member needs no published events up to an offset: they were read from the log for it.
    pub(super) fn skip_to(&self, session: &Session, name: &RoomName, from: Offset) {
        let Some(room) = self.rooms.lock().get(name).cloned() else { return };
        if let Some(member) = room.members.lock().sessions.get_mut(&session.lease.holder) {
            member.from = from;
        }
    }

    pub(super) fn leave(&self, session: &Session, name: &RoomName) {
        let Some(room) = self.rooms.lock().get(name).cloned() else { return };
        let mut members = room.members.lock();
        let was_member = members.sessions.swap_remove(&session.lease.holder).is_some();
        if was_member && members.sessions.is_empty() {
            members.empty_since = Some(Instant::now());
            self.count_room(name, -1.0);
        }
    }

    /// Those that clients have joined, not those that the gateway puts everybody into.
    fn count_room(&self, name: &RoomName, change: f64) {
        if name.shown().is_some() {
            self.metrics.rooms.increment(change);
        }
    }

    /// Hands a published event to the members of its room, unless the room is past it.
    pub(super) fn fan_out(&self, name: &RoomName, position: Position, frame: &Arc<Frame>, except: Option<SessionId>) {
        let Some(room) = self.rooms.lock().get(name).cloned() else { return };
        let mut members = room.members.lock();
        // Another epoch is another history, which begins anew; in the same one, older is a repetition.
        if members.last.is_some_and(|last| last.epoch == position.epoch && position.offset <= last.offset) {
            return;
        }
        members.last = Some(position);
        self.deliver(name, &members, Some(position.offset), frame, except);
    }

    /// Hands a signal to the members of its room.
    pub(super) fn fan_out_signal(&self, name: &RoomName, frame: &Arc<Frame>, except: Option<SessionId>) {
        let Some(room) = self.rooms.lock().get(name).cloned() else { return };
        self.deliver(name, &room.members.lock(), None, frame, except);
    }

    /// Tells the members of a room something that they must not miss; those who cannot take it are closed.
    pub(super) fn tell_members(&self, name: &RoomName, notice: &Arc<Frame>) {
        let Some(room) = self.rooms.lock().get(name).cloned() else { return };
        for member in room.members.lock().sessions.values() {
            member.session.tell(name, notice);
        }
    }

    fn deliver(
        &self,
        name: &RoomName,
        members: &Members,
        offset: Option<Offset>,
        frame: &Arc<Frame>,
        except: Option<SessionId>,
    ) {
        let mut delivered = 0;
        for member in members.sessions.values() {
            if except != Some(member.session.id) && offset.is_none_or(|offset| offset > member.from) {
                delivered += u64::from(member.session.deliver(name, offset, frame));
            }
        }
        self.metrics.events_delivered.increment(delivered);
    }

    /// Begins to fill a gap: the rooms that are listened to, each with the last position that was fanned out.
    pub(super) fn positions_at_gap(&self) -> Vec<(RoomName, Position)> {
        self.gaps.fetch_add(1, Ordering::AcqRel);
        let rooms: Vec<_> = self.rooms.lock().iter().map(|(name, room)| (name.clone(), room.clone())).collect();
        rooms.into_iter().filter_map(|(name, room)| room.members.lock().last.map(|last| (name, last))).collect()
    }

    /// Moves a room to where the log stands after a gap, so that joins are told a position of the history that is.
    pub(super) fn catch_up(&self, name: &RoomName, head: Position) {
        let Some(room) = self.rooms.lock().get(name).cloned() else { return };
        let mut members = room.members.lock();
        if members.last.is_some_and(|last| last.epoch != head.epoch || last.offset < head.offset) {
            members.last = Some(head);
        }
    }

    /// Stops listening to rooms that have had no member for a while, for ever.
    pub(super) async fn sweep_forever(&self) {
        let mut tick = tokio::time::interval((self.linger / 4).max(Duration::from_millis(100)));
        loop {
            tick.tick().await;
            let rooms: Vec<_> = self.rooms.lock().iter().map(|(name, room)| (name.clone(), room.clone())).collect();
            for (name, room) in rooms {
                self.stop_listening_if_idle(&name, &room).await;
            }
        }
    }

    async fn stop_listening_if_idle(&self, name: &RoomName, room: &Arc<Room>) {
        let idle = || room.members.lock().empty_since.is_some_and(|since| since.elapsed() >= self.linger);
        if !idle() {
            return;
        }
        let mut listening = room.listening.lock().await;
        if *listening == Listening::Yes && idle() {
            self.log.unsubscribe(name).await;
            self.metrics.subscriptions.decrement(1.0);
            self.discard_if_unused(name, room, &mut listening);
        }
    }

    pub(super) fn heard_canary(&self) {
        *self.canary_heard.lock() = Instant::now();
    }

    pub(super) fn canary_heard(&self) -> Instant {
        *self.canary_heard.lock()
    }
}
