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

use super::{CloseReason, Joined, Session, Undelivered};
use crate::domain::{Frame, Offset, Position, RoomName, SessionId};
use crate::log::{Log, LogError, Range};
use crate::metrics::Metrics;

/// Events that may arrive for a member while its missed ones are still being read. A member that would need more
/// is closed and comes back.
const MAX_HELD: usize = 4096;
/// How long a replay waits for a client whose queue is full, and how often it looks.
const REPLAY_PATIENCE: Duration = Duration::from_secs(10);
const REPLAY_PAUSE: Duration = Duration::from_millis(10);
/// Events that are read at a time for a member that joins with an offset.
const REPLAY_PAGE: usize = 500;

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
    sessions: IndexMap<SessionId, Member>,
    last: Option<Position>,
    /// Since when there is no member.
    empty_since: Option<Instant>,
}

#[derive(Debug)]
struct Member {
    session: Arc<Session>,
    /// Published events up to here are not for it: it had them before it came to this node.
    from: Offset,
    /// Frames that wait until the member has got what it missed, events with their offset; `None` once it has.
    held: Option<Vec<(Option<Offset>, Frame)>>,
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

    pub(super) async fn join(
        &self,
        session: &Arc<Session>,
        name: &RoomName,
        after: Option<Offset>,
    ) -> Result<Joined, LogError> {
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
            let (boundary, is_new) = self.add(session, name, &room, after.is_some());
            drop(listening);
            return match after.filter(|_| is_new) {
                None => Ok(Joined { offset: boundary.offset, recovered: None }),
                Some(after) => self.replay(session, name, &room, after, boundary).await,
            };
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

    /// Adds a member. Returns the position after which it hears everything, and whether it was not a member before.
    /// With `hold`, a new member's frames wait until [`Self::replay`] lets them go.
    fn add(&self, session: &Arc<Session>, name: &RoomName, room: &Room, hold: bool) -> (Position, bool) {
        let mut members = room.members.lock();
        let boundary = members.last.expect("a room that is listened to has a position");
        if members.sessions.contains_key(&session.id) || !session.remember(name) {
            return (boundary, false);
        }
        if members.sessions.is_empty() {
            members.empty_since = None;
            self.metrics.rooms.increment(1.0);
        }
        members
            .sessions
            .insert(session.id, Member { session: session.clone(), from: Offset::START, held: hold.then(Vec::new) });
        (boundary, true)
    }

    /// Delivers what lies between `after` and the boundary, then what was held meanwhile. All or nothing: if the
    /// log no longer has everything, nothing is replayed and the answer says so; if it cannot be asked, the session
    /// is out of the room again.
    async fn replay(
        &self,
        session: &Arc<Session>,
        name: &RoomName,
        room: &Room,
        after: Offset,
        boundary: Position,
    ) -> Result<Joined, LogError> {
        let missed = match self.read_missed(session, name, after, boundary).await {
            Ok(missed) => missed,
            Err(error) => {
                if session.forget(name) {
                    self.leave(session, name);
                }
                return Err(error);
            }
        };
        let recovered = missed.is_some();
        // A client that comes from a node which was ahead of this one has some of what was held already.
        let from = if recovered { after } else { Offset::START };
        for frame in missed.into_iter().flatten() {
            self.hand_over(session, &frame).await;
        }
        while let Some(held) = take_held(room, session.id, from) {
            for (offset, frame) in held {
                if offset.is_none_or(|offset| offset > from) {
                    self.hand_over(session, &frame).await;
                }
            }
        }
        Ok(Joined { offset: boundary.offset.max(from), recovered: Some(recovered) })
    }

    async fn read_missed(
        &self,
        session: &Session,
        name: &RoomName,
        after: Offset,
        boundary: Position,
    ) -> Result<Option<Vec<Frame>>, LogError> {
        let mut frames = Vec::new();
        let mut from = after;
        loop {
            let page = self.log.read(name, Range::After { offset: from, limit: REPLAY_PAGE }).await?;
            let known_history = page.head.epoch == boundary.epoch && after <= page.head.offset;
            if !known_history || (from == after && !page.reaches_back_to(after)) {
                return Ok(None);
            }
            let more = page.more;
            for (offset, event) in page.events {
                from = offset;
                if offset <= boundary.offset && event.except != Some(session.id) {
                    frames.extend(Frame::published(&event, offset));
                }
            }
            if !more || from >= boundary.offset {
                return Ok(Some(frames));
            }
        }
    }

    /// Hands a frame of a replay over. Replays come faster than any client reads, so a full queue is waited for.
    async fn hand_over(&self, session: &Session, frame: &Frame) {
        let deadline = Instant::now() + REPLAY_PATIENCE;
        loop {
            match session.try_deliver(frame) {
                Ok(()) => return self.metrics.events_delivered.increment(1),
                Err(Undelivered::Gone) => return,
                Err(Undelivered::Full) if Instant::now() >= deadline => return session.close(CloseReason::Slow),
                Err(Undelivered::Full) => tokio::time::sleep(REPLAY_PAUSE).await,
            }
        }
    }

    pub(super) fn leave(&self, session: &Session, name: &RoomName) {
        let Some(room) = self.rooms.lock().get(name).cloned() else { return };
        let mut members = room.members.lock();
        let was_member = members.sessions.swap_remove(&session.id).is_some();
        if was_member && members.sessions.is_empty() {
            members.empty_since = Some(Instant::now());
            self.metrics.rooms.decrement(1.0);
        }
    }

    /// Hands a published event to the members of its room, unless the room is past it.
    pub(super) fn fan_out(&self, name: &RoomName, position: Position, frame: &Frame, except: Option<SessionId>) {
        let Some(room) = self.rooms.lock().get(name).cloned() else { return };
        let mut members = room.members.lock();
        // Another epoch is another history, which begins anew; in the same one, older is a repetition.
        if members.last.is_some_and(|last| last.epoch == position.epoch && position.offset <= last.offset) {
            return;
        }
        members.last = Some(position);
        self.deliver(&mut members, Some(position.offset), frame, except);
    }

    /// Hands a signal to the members of its room.
    pub(super) fn fan_out_signal(&self, name: &RoomName, frame: &Frame, except: Option<SessionId>) {
        let Some(room) = self.rooms.lock().get(name).cloned() else { return };
        self.deliver(&mut room.members.lock(), None, frame, except);
    }

    fn deliver(&self, members: &mut Members, offset: Option<Offset>, frame: &Frame, except: Option<SessionId>) {
        let mut delivered = 0;
        for (id, member) in &mut members.sessions {
            if except == Some(*id) || offset.is_some_and(|offset| offset <= member.from) {
                continue;
            }
            match &mut member.held {
                None => delivered += u64::from(member.session.deliver(frame)),
                Some(held) if held.len() < MAX_HELD => held.push((offset, frame.clone())),
                Some(_) => member.session.close(CloseReason::Slow),
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

/// What is held for a member. When there is nothing left the member hears live from then on, after `from`.
fn take_held(room: &Room, member: SessionId, from: Offset) -> Option<Vec<(Option<Offset>, Frame)>> {
    let mut members = room.members.lock();
    let member = members.sessions.get_mut(&member)?;
    let held = member.held.as_mut().filter(|held| !held.is_empty()).map(std::mem::take);
    if held.is_none() {
        member.held = None;
        member.from = from;
    }
    held
}
