//! The gate: the one way by which frames reach a client's queue, in order, and where they wait when they have to.
//!
//! A client's last offset stands for all its rooms, so whatever moves it must be handed over in the order of offsets.
//! Live frames come in that order from the fan-out. While a replay is on they wait here, bounded in number, bytes and
//! time; otherwise they wait for the client at the edge, and a client that has too much waiting there is closed.

mod hold;
#[cfg(test)]
mod tests;

pub use hold::Hold;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::outlet::{CloseReason, Outlet, Undelivered};
use crate::config::Limits;
use crate::domain::{Frame, Offset, RoomName};

/// How often a full queue is looked at again. A healthy client empties it in less.
const PAUSE: Duration = Duration::from_millis(10);
/// What a client of a large replay is handed beyond what it has taken, in bytes: at each look that much, which is 25 MB/s.
const PACE_BYTES: usize = 256 * 1024;
/// Frames that are handed over at a time while the lock is held, which the fan-out may want.
const BATCH: usize = 128;

/// What may wait for one client.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Frames.
    pub events: usize,
    /// Their bytes.
    pub bytes: usize,
    /// How long the client's queue may stay full.
    pub time: Duration,
}

impl Patience {
    /// As configured: `time` is how long a write may take.
    #[must_use]
    pub fn new(limits: &Limits, time: Duration) -> Self {
        Self { events: limits.backlog_events, bytes: limits.backlog_bytes, time }
    }
}

pub(in crate::node) struct Gate {
    outlet: Box<dyn Outlet>,
    patience: Patience,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// A session begins, or a replay is on: nothing live passes. How many of these there are, one in another.
    held: u32,
    /// The client was given up: nothing is accepted any more.
    shut: bool,
    /// The offset of the last frame that was handed over and moves the client's.
    handed: Offset,
    reached: Reached,
}

struct Waiting {
    room: RoomName,
    /// None for what has no place in the log.
    offset: Option<Offset>,
    frame: Arc<Frame>,
}

/// How far a session was handed what its rooms had. Rooms may be silent for longer than the log keeps anything; then an
/// offset that the client knows says nothing by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Reached {
    /// The newest offset that it was handed.
    pub(in crate::node) handed: Offset,
    /// A client that has heard that has everything up to here.
    pub(in crate::node) complete_to: Offset,
}

/// What becomes of a frame that does not fit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Overflow {
    /// It is dropped.
    Drop,
    /// The client is closed: a hole would never be noticed.
    Close,
}

/// How far handing over came.
enum Progress {
    /// Nothing waits any more, or nothing may pass.
    Done,
    /// Something was handed over and something waits.
    Some,
    /// The client's queue is full.
    Stuck,
}

impl Gate {
    pub(in crate::node) fn new(outlet: Box<dyn Outlet>, patience: Patience) -> Self {
        Self { outlet, patience, state: Mutex::default() }
    }

    pub(in crate::node) fn outlet(&self) -> &dyn Outlet {
        &*self.outlet
    }

    /// Takes a live frame for the client, an event with its offset or a signal; false if it will not get it. A signal
    /// that does not fit is dropped, as signals may be.
    pub(in crate::node) fn deliver(
        self: &Arc<Self>,
        room: &RoomName,
        offset: Option<Offset>,
        frame: &Arc<Frame>,
    ) -> bool {
        self.take(room, offset, frame, if offset.is_some() { Overflow::Close } else { Overflow::Drop })
    }

    /// Whether something waits for the client, here or behind.
    pub(in crate::node) fn is_busy(&self) -> bool {
        let state = self.state.lock();
        state.held > 0 || !state.waiting.is_empty() || self.outlet.waiting().packets > 0
    }

    /// Takes a notice that the client must not miss.
    pub(in crate::node) fn notify(self: &Arc<Self>, room: &RoomName, notice: &Arc<Frame>) {
        self.take(room, None, notice, Overflow::Close);
    }

    fn take(self: &Arc<Self>, room: &RoomName, offset: Option<Offset>, frame: &Arc<Frame>, overflow: Overflow) -> bool {
        let mut state = self.state.lock();
        if state.shut {
            return false;
        }
        // Signals leave room for what must not be dropped.
        if overflow == Overflow::Drop && self.outlet.waiting().packets >= self.patience.events / 2 {
            return false;
        }
        if state.held == 0 && state.waiting.is_empty() {
            match self.outlet.deliver(frame) {
                Ok(()) => {
                    state.handed = offset.unwrap_or(state.handed);
                    return true;
                }
                Err(Undelivered::Gone) => {
                    state.shut = true;
                    return false;
                }
                Err(Undelivered::Full) => {
                    if overflow == Overflow::Close {
                        self.give_up(&mut state);
                    }
                    return false;
                }
            }
        }
        let bytes = state.bytes + frame.size();
        let events = if overflow == Overflow::Close { self.patience.events } else { self.patience.events / 2 };
        if state.waiting.len() >= events || (bytes > self.patience.bytes && !state.waiting.is_empty()) {
            if overflow == Overflow::Close {
                self.give_up(&mut state);
            }
            return false;
        }
        state.bytes = bytes;
        state.waiting.push_back(Waiting { room: room.clone(), offset, frame: frame.clone() });
        true
    }

    /// Lets nothing live pass as long as the hold is there.
    pub(in crate::node) fn hold(self: &Arc<Self>) -> Hold {
        let mut state = self.state.lock();
        state.held += 1;
        Hold::new(self, state.handed)
    }

    /// Hands a frame over before everything that waits, while the gate is held. Waits for a full queue. `moves` is
    /// the offset to which the frame moves the client's.
    pub(in crate::node) async fn overtake(&self, frame: &Frame, moves: Option<Offset>) {
        let mut deadline = None;
        loop {
            {
                let mut state = self.state.lock();
                if state.shut {
                    return;
                }
                match self.outlet.deliver(frame) {
                    Ok(()) => {
                        state.handed = moves.unwrap_or(state.handed);
                        return;
                    }
                    Err(Undelivered::Gone) => {
                        state.shut = true;
                        return;
                    }
                    Err(Undelivered::Full) => {}
                }
                if Instant::now() >= *deadline.get_or_insert_with(|| Instant::now() + self.patience.time) {
                    return self.give_up(&mut state);
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until a client that takes what it is handed has taken most of it: what it is to be handed next stays where
    /// it is counted.
    pub(in crate::node) async fn keep_pace(&self) {
        let deadline = Instant::now() + self.patience.time;
        while self.outlet.waiting().bytes > PACE_BYTES {
            {
                let mut state = self.state.lock();
                if state.shut {
                    return;
                }
                if Instant::now() >= deadline {
                    return self.give_up(&mut state);
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Drops what waits of a room that the client is not in after all.
    pub(in crate::node) fn forget(&self, room: &RoomName) {
        let mut state = self.state.lock();
        state.waiting.retain(|wait| wait.room != *room);
        state.bytes = state.waiting.iter().map(|wait| wait.frame.size()).sum();
    }

    /// How far the client was handed everything, when the gate has been given all up to `complete_to`.
    pub(in crate::node) fn reached(&self, complete_to: Offset) -> Reached {
        let mut state = self.state.lock();
        if !state.shut && state.held == 0 && state.waiting.is_empty() {
            state.reached = Reached { handed: state.handed, complete_to };
        }
        state.reached
    }

    /// What the client was handed so far, for one that comes back and was handed it elsewhere.
    pub(in crate::node) fn begin_at(&self, handed: Offset) {
        self.state.lock().handed = handed;
    }

    /// Hands over what waits, until nothing does or the gate is held.
    async fn drain(&self) {
        let mut deadline = Instant::now() + self.patience.time;
        loop {
            match self.hand_over() {
                Progress::Done => return,
                Progress::Some => deadline = Instant::now() + self.patience.time,
                Progress::Stuck if Instant::now() >= deadline => {
                    let mut state = self.state.lock();
                    return self.give_up(&mut state);
                }
                Progress::Stuck => sleep(PAUSE).await,
            }
        }
    }

    fn hand_over(&self) -> Progress {
        let mut state = self.state.lock();
        let mut count = 0;
        while state.held == 0
            && let Some(next) = state.waiting.front()
        {
            if count == BATCH {
                return Progress::Some;
            }
            match self.outlet.deliver(&next.frame) {
                Ok(()) => {}
                Err(Undelivered::Full) if count > 0 => return Progress::Some,
                Err(Undelivered::Full) => return Progress::Stuck,
                Err(Undelivered::Gone) => {
                    state.shut = true;
                    state.waiting = VecDeque::new();
                    break;
                }
            }
            count += 1;
            if let Some(done) = state.waiting.pop_front() {
                state.bytes -= done.frame.size();
                state.handed = done.offset.unwrap_or(state.handed);
            }
        }
        if state.waiting.is_empty() {
            // A burst must not stay in the memory of an idle session.
            state.waiting = VecDeque::new();
            state.bytes = 0;
        }
        Progress::Done
    }

    /// Lets nothing pass any more, and drops what waits: the session is over before it began, or its connection is.
    pub(in crate::node) fn shut(&self) {
        let mut state = self.state.lock();
        state.shut = true;
        state.waiting = VecDeque::new();
        state.bytes = 0;
    }

    fn give_up(&self, state: &mut State) {
        state.shut = true;
        state.waiting = VecDeque::new();
        state.bytes = 0;
        self.outlet.close(CloseReason::Slow);
    }
}
