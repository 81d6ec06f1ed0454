//! The hub: the sessions of this node by room, and which rooms' logs the node listens to.
//!
//! A room is listened to from its first local member on, and for a while after its last one left. Each room has
//! a last position: what is at or before it was dispatched or belongs to nobody here, what comes after is still to
//! come. Members are added under the lock under which that moves, and joins and dispatches are numbered in one
//! sequence, so the boundary of a join is exact however far the shards are behind.

#[cfg(test)]
mod given_up;
mod handing;
mod heads;
mod inhabited;
#[cfg(test)]
mod model;
mod room;
mod shard;

pub use inhabited::Inhabited;
pub(super) use shard::{Kind, Message, Shard};

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::heads::Heads;
use self::room::{Listening, Room};
use self::shard::Dispatch;
use crate::domain::{Epoch, Offset, Position, RoomName};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::node::session::{Session, Stay, Ticket};
use crate::node::sights::{Seen, Sights};
use crate::port::PortError;

/// Members that are handed a message without waking their shards: about a millisecond, at 8 µs each.
const FEW: usize = 128;

/// The sessions of this node, by room.
#[derive(Debug)]
pub(super) struct Hub {
    log: Arc<dyn Log>,
    linger: Duration,
    sights: Arc<Sights>,
    metrics: Arc<Metrics>,
    rooms: Mutex<HashMap<RoomName, Arc<Room>>>,
    heads: Heads,
    shards: Arc<[Arc<Shard>]>,
    /// The last ticket; rooms are numbered by them too.
    tickets: AtomicU64,
    /// The highest offset of an event that was dispatched, in any room.
    dispatched: AtomicU64,
    /// How many gaps the feed had. Whoever asks where the log stands must ask again if one came meanwhile.
    gaps: AtomicU64,
    gap_came: Notify,
    history_began: Arc<Notify>,
    /// What was appended up to here to any room that is listened to was dispatched.
    complete_to: Mutex<Option<Position>>,
}

impl Hub {
    pub(super) fn new(
        log: Arc<dyn Log>,
        linger: Duration,
        shards: usize,
        sights: Arc<Sights>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let shards = (0..shards.max(1)).map(|number| Arc::new(Shard::new(number, metrics.clone()))).collect();
        Self {
            log,
            linger,
            sights,
            metrics,
            rooms: Mutex::default(),
            heads: Heads::default(),
            shards,
            tickets: AtomicU64::new(0),
            dispatched: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            gap_came: Notify::new(),
            history_began: Arc::default(),
            complete_to: Mutex::new(None),
        }
    }

    /// Puts a session into a room, unless it is in it or over; returns the position after which it hears everything
    /// there. It may be given up at any moment: what it began is ended by the sweep.
    ///
    /// # Errors
    /// The log cannot be reached.
    pub(super) async fn enter(
        &self,
        session: &Arc<Session>,
        name: &RoomName,
        via: &Arc<str>,
    ) -> Result<Position, PortError> {
        self.enter_as(session, name, |offset| Stay::new(offset, via)).await
    }

    /// The same, and how it is in the room from that position on is noted in the same step: whoever stores the session
    /// meanwhile, stores that.
    pub(super) async fn enter_as(
        &self,
        session: &Arc<Session>,
        name: &RoomName,
        stay: impl Fn(Offset) -> Stay,
    ) -> Result<Position, PortError> {
        loop {
            let room = self.rooms.lock().entry(name.clone()).or_insert_with(|| self.new_room(name)).clone();
            let mut listening = room.listening.lock().await;
            match *listening {
                Listening::Over => continue,
                Listening::NotYet | Listening::Begun => {
                    if *listening == Listening::NotYet {
                        self.metrics.subscriptions.increment(1.0);
                    }
                    // Before anything is waited for: whoever is given up meanwhile leaves a room that is known to need
                    // an end.
                    *listening = Listening::Begun;
                    if let Err(error) = self.listen(&room).await {
                        self.stop_listening(&room, &mut listening).await;
                        return Err(error);
                    }
                    *listening = Listening::Yes;
                }
                Listening::Yes => {}
            }
            return Ok(self.add(session, &room, stay));
        }
    }

    fn new_room(&self, name: &RoomName) -> Arc<Room> {
        Arc::new(Room::new(name.clone(), self.next_ticket().0))
    }

    fn next_ticket(&self) -> Ticket {
        Ticket(self.tickets.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn shard_of(&self, session: &Session) -> usize {
        shard_of(session, self.shards.len())
    }

    pub(super) fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// Begins to listen, then asks where the log stands: everything after that will be in the feed.
    async fn listen(&self, room: &Room) -> Result<(), PortError> {
        let name = &room.name;
        self.log.subscribe(name).await?;
        loop {
            let gaps = self.gaps.load(Ordering::Acquire);
            let head = self.heads.ask(&*self.log, name).await?;
            let mut state = room.state.lock();
            if gaps == self.gaps.load(Ordering::Acquire) {
                // An event may have overtaken the answer. Nobody was here to hear it, and it must not be heard twice.
                let overtaken = state.last.filter(|last| last.epoch == head.epoch && last.offset > head.offset);
                state.last = Some(overtaken.unwrap_or(head));
                state.empty_since = Some(Instant::now());
                return Ok(());
            }
        }
    }

    /// Ends what was begun, and takes the room out.
    async fn stop_listening(&self, room: &Arc<Room>, listening: &mut Listening) {
        if *listening != Listening::NotYet {
            *listening = Listening::Begun;
            // A subscription that failed may have been made all the same.
            self.log.unsubscribe(&room.name).await;
            self.metrics.subscriptions.decrement(1.0);
        }
        *listening = Listening::Over;
        let mut rooms = self.rooms.lock();
        if rooms.get(&room.name).is_some_and(|current| Arc::ptr_eq(current, room)) {
            rooms.remove(&room.name);
        }
    }

    fn add(&self, session: &Arc<Session>, room: &Room, stay: impl Fn(Offset) -> Stay) -> Position {
        let mut state = room.state.lock();
        let mut boundary = state.last.expect("a room that is listened to has a position");
        // The room's last event may be older than all that the log keeps.
        if let Some(complete_to) = *self.complete_to.lock()
            && complete_to.epoch == boundary.epoch
        {
            boundary.offset = boundary.offset.max(complete_to.offset);
        }
        // Where the feed lags, this may lie before what the session was handed from the log of its other rooms.
        let floor = session.floor();
        boundary.offset = boundary.offset.max(floor);
        let mut cursors = session.cursors.lock();
        if cursors.of(room.number).is_some() || !session.remember(&room.name, stay(boundary.offset)) {
            return boundary;
        }
        if state.members.is_empty() {
            state.empty_since = None;
            self.count_room(&room.name, 1.0);
        }
        let joined = self.next_ticket();
        cursors.enter(room.number, joined, floor);
        state.members.insert((self.shard_of(session), joined), session.clone());
        self.tell_move(session, &room.name, Seen::Joined);
        boundary
    }

    /// Notes that a member needs no published events up to an offset: they were read from the log for it.
    pub(super) fn skip_to(&self, session: &Session, name: &RoomName, from: Offset) {
        let Some(room) = self.rooms.lock().get(name).cloned() else { return };
        session.cursors.lock().skip_to(room.number, from);
    }

    /// Takes a session out of a room. When this returns, nothing that is on its way there will reach it.
    pub(super) fn leave(&self, session: &Session, name: &RoomName) {
        let Some(room) = self.rooms.lock().get(name).cloned() else { return };
        let mut state = room.state.lock();
        let Some(joined) = session.cursors.lock().leave(room.number) else { return };
        state.members.remove(&(self.shard_of(session), joined));
        if state.members.is_empty() {
            state.empty_since = Some(Instant::now());
            self.count_room(name, -1.0);
        }
        self.tell_move(session, name, Seen::Left);
    }

    /// Whether a room has members here.
    pub(super) fn has_members(&self, name: &RoomName) -> bool {
        let room = self.rooms.lock().get(name).cloned();
        room.is_some_and(|room| !room.state.lock().members.is_empty())
    }

    /// The members that a room has here.
    pub(super) fn members(&self, name: &RoomName) -> Vec<Arc<Session>> {
        let room = self.rooms.lock().get(name).cloned();
        room.map_or_else(Vec::new, |room| room.state.lock().members.values().cloned().collect())
    }

    /// Those that clients have joined, not those that the gateway puts everybody into.
    fn count_room(&self, name: &RoomName, change: f64) {
        if name.shown().is_some() {
            self.metrics.rooms.increment(change);
        }
    }

    /// Sends a message to the members that its room has now, unless it is an event that the room is past. Messages
    /// reach every session in the order of these calls, which must come one after the other. Waits for a shard that is
    /// behind. While it is `calm`, nothing else waits to be dispatched, a few members are handed it here and now: waking
    /// the shards would cost more than delivering.
    pub(super) async fn dispatch(&self, name: &RoomName, message: Message, calm: bool) {
        let Some((dispatch, shards, members)) = self.ticket(name, message) else { return };
        for shard in shards {
            let shard = &self.shards[shard];
            if !(calm && members <= FEW && shard.deliver_now(&dispatch)) {
                shard.push(dispatch.clone()).await;
            }
        }
    }

    /// Gives a message its place among the joins; nothing if nobody is to hear it. Tells the shards that have members, and
    /// how many there are.
    fn ticket(&self, name: &RoomName, message: Message) -> Option<(Dispatch, Vec<usize>, usize)> {
        let room = self.rooms.lock().get(name).cloned()?;
        let mut state = room.state.lock();
        if let Kind::Event(position) = message.kind {
            // A repetition: offsets grow over histories, too. What was appended before a history ended may still be on its
            // way when the room was read to a position of the next one.
            if state.last.is_some_and(|last| position.offset <= last.offset) {
                return None;
            }
            state.last = Some(position);
            self.dispatched.fetch_max(position.offset.0, Ordering::Relaxed);
        }
        let (shards, members): (Vec<_>, _) = (state.shards().collect(), state.members.len());
        self.tell_sent(&state, &message);
        let ticket = self.next_ticket();
        drop(state);
        Some((Dispatch { room, ticket, message }, shards, members))
    }

    /// Begins to fill a gap: the rooms that are listened to, each with the last position that was dispatched.
    pub(super) fn positions_at_gap(&self) -> Vec<(RoomName, Position)> {
        self.gaps.fetch_add(1, Ordering::AcqRel);
        self.gap_came.notify_one();
        let rooms: Vec<_> = self.rooms.lock().iter().map(|(name, room)| (name.clone(), room.clone())).collect();
        rooms.into_iter().filter_map(|(name, room)| room.state.lock().last.map(|last| (name, last))).collect()
    }

    /// Up to where events were dispatched. What comes after a later one must not come at all.
    pub(super) fn dispatched_to(&self) -> Offset {
        Offset(self.dispatched.load(Ordering::Relaxed))
    }

    /// Of which history each room is that is listened to.
    pub(super) fn histories(&self) -> HashMap<RoomName, Epoch> {
        let rooms: Vec<_> = self.rooms.lock().iter().map(|(name, room)| (name.clone(), room.clone())).collect();
        rooms.into_iter().filter_map(|(name, room)| room.state.lock().last.map(|last| (name, last.epoch))).collect()
    }

    /// Moves a room to where the log stands after a gap, so that joins are told a position of the history that is.
    pub(super) fn catch_up(&self, name: &RoomName, head: Position) {
        let Some(room) = self.rooms.lock().get(name).cloned() else { return };
        let mut state = room.state.lock();
        if state.last.is_some_and(|last| last.offset <= head.offset) {
            state.last = Some(head);
        }
    }

    /// Stops listening to rooms that have had no member for a while, and to those to which nobody came after all, for ever.
    pub(super) async fn sweep_forever(&self) {
        let mut tick = tokio::time::interval((self.linger / 4).max(Duration::from_millis(100)));
        loop {
            tick.tick().await;
            let rooms: Vec<_> = self.rooms.lock().values().cloned().collect();
            for room in rooms {
                self.sweep(&room).await;
            }
        }
    }

    async fn sweep(&self, room: &Arc<Room>) {
        let idle = || room.state.lock().empty_since.is_some_and(|since| since.elapsed() >= self.linger);
        // Where somebody is just coming, or waits for a log that does not answer, nobody else must wait.
        let Some(mut listening) = room.listening.try_lock().ok().filter(|_| idle()) else { return };
        if *listening != Listening::Over {
            self.stop_listening(room, &mut listening).await;
        }
    }

    /// Waits until a gap of the feed begins to be filled.
    pub(super) async fn gap_came(&self) {
        self.gap_came.notified().await;
    }

    /// Whether a room that is listened to is of another history.
    pub(super) fn has_another_epoch(&self, epoch: Epoch) -> bool {
        self.rooms.lock().values().any(|room| room.state.lock().last.is_some_and(|last| last.epoch != epoch))
    }

    /// Notes that the node's canary came: what was appended before its position was dispatched.
    pub(super) fn heard_canary(&self, position: Position) {
        let before = self.complete_to.lock().replace(position);
        if before.is_some_and(|before| before.epoch != position.epoch) {
            self.history_began.notify_one();
        }
        for shard in self.shards.iter() {
            shard.mark(position.offset);
        }
    }

    /// Up to where sessions were handed everything.
    pub(super) fn marks(&self) -> Marks {
        Marks { shards: self.shards.clone(), history_began: self.history_began.clone() }
    }
}

/// Up to where sessions were handed everything: all that others need to know of the hub.
#[derive(Clone, Debug)]
pub(in crate::node) struct Marks {
    shards: Arc<[Arc<Shard>]>,
    history_began: Arc<Notify>,
}

impl Marks {
    /// Up to where a session was handed everything that its rooms had, or its gate has it.
    pub(in crate::node) fn handed_to(&self, session: &Session) -> Offset {
        self.shards[shard_of(session, self.shards.len())].marked()
    }

    /// Waits until the log is heard in another history than before. For one who waits.
    pub(in crate::node) async fn history_began(&self) {
        self.history_began.notified().await;
    }
}

/// Which of so many shards a session belongs to.
fn shard_of(session: &Session, shards: usize) -> usize {
    // Random, so the remainder is even; the holder of a session never changes.
    (session.lease.holder % shards as u64) as usize
}
