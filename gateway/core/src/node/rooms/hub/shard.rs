//! A shard: the sessions of the node that one task delivers to, and that task.
//!
//! Dispatches come in the feed's order. A large one is worked off in slices, and what comes after it for other rooms
//! does not wait for its end. A session that is in both is handed the older one first, ahead of its turn, so that each
//! session still hears everything in the feed's order; its cursors tell when the older one comes by later.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::handing::hand;
use super::room::Room;
use crate::domain::{Except, Frame, Offset, Position};
use crate::metrics::Metrics;
use crate::node::clock::age_seconds;
use crate::node::session::{Session, Ticket};

/// How many dispatches may wait for a shard. When it is full, the fan-out waits, and then the feed.
const QUEUE: usize = 256;
/// Members of a slice: a quarter of a millisecond, at 8 µs each. Whatever else this thread has to do waits for two of
/// them at the most.
const SLICE: usize = 32;
/// How many deliveries may be under way at the same time: every member of any other room is looked for in each of
/// them. Beyond that, what is new waits for the first to end.
const UNDER_WAY: usize = 16;

/// What the members of a room are to be handed.
#[derive(Clone, Debug)]
pub(in crate::node::rooms) struct Message {
    pub(in crate::node::rooms) kind: Kind,
    pub(in crate::node::rooms) frame: Arc<Frame>,
    /// Who is not to be handed it.
    pub(in crate::node::rooms) except: Option<Except>,
    /// When a live event was taken, in milliseconds since 1970: its lag is measured where its delivery begins.
    pub(in crate::node::rooms) taken_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::node::rooms) enum Kind {
    /// A published event.
    Event(Position),
    Signal,
    /// Something that members must not miss; those who cannot take it are closed.
    Notice,
}

/// A message on its way to the members that its room had when it was dispatched.
#[derive(Clone, Debug)]
pub(super) struct Dispatch {
    pub(super) room: Arc<Room>,
    pub(super) ticket: Ticket,
    pub(super) message: Message,
}

/// A dispatch that was handed to some of a shard's members.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) dispatch: Dispatch,
    /// Members that joined up to here are done.
    done: Ticket,
}

/// The sessions of a node that one task delivers to.
#[derive(Debug)]
pub(in crate::node::rooms) struct Shard {
    queue: mpsc::Sender<Dispatch>,
    work: Mutex<Work>,
    /// What was dispatched up to here was delivered.
    marked: AtomicU64,
}

#[derive(Debug)]
struct Work {
    number: usize,
    /// After how many members a delivery makes way for others.
    slice: usize,
    queue: mpsc::Receiver<Dispatch>,
    /// Deliveries that did not end with their first slice, oldest first.
    under_way: Vec<Delivery>,
    /// Which of them is next.
    turn: usize,
    /// Those of the slice that is being delivered; empty between slices.
    members: Vec<(Ticket, Arc<Session>)>,
    metrics: Arc<Metrics>,
}

impl Shard {
    pub(super) fn new(number: usize, metrics: Arc<Metrics>) -> Self {
        Self::with_slice(number, metrics, SLICE)
    }

    pub(super) fn with_slice(number: usize, metrics: Arc<Metrics>, slice: usize) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let (under_way, turn, members) = (Vec::new(), 0, Vec::new());
        let work = Work { number, slice, queue: receiver, under_way, turn, members, metrics };
        Self { queue, work: Mutex::new(work), marked: AtomicU64::new(0) }
    }

    /// Takes a dispatch that is newer than all before. Waits while the queue is full.
    pub(super) async fn push(&self, dispatch: Dispatch) {
        // The other end is this shard's own.
        self.queue.send(dispatch).await.ok();
    }

    /// Delivers a message at once, however many slices that takes. False if something older is on its way.
    pub(super) fn deliver_now(&self, dispatch: &Dispatch) -> bool {
        // Locked, it is delivering something older.
        let Some(mut work) = self.work.try_lock() else { return false };
        if !work.is_idle() {
            return false;
        }
        work.begin(dispatch.clone());
        while !work.under_way.is_empty() {
            work.deliver(0);
        }
        true
    }

    /// Notes that nothing up to an offset is still to be dispatched, if everything was delivered. Otherwise the next mark
    /// may find it so.
    pub(super) fn mark(&self, offset: Offset) {
        if self.work.try_lock().is_some_and(|work| work.is_idle()) {
            self.marked.store(offset.0, Ordering::Release);
        }
    }

    /// The newest mark before which everything was delivered.
    pub(super) fn marked(&self) -> Offset {
        Offset(self.marked.load(Ordering::Acquire))
    }

    /// Delivers for ever.
    pub(in crate::node::rooms) async fn run(&self) {
        loop {
            while self.round() {
                tokio::task::yield_now().await;
            }
            poll_fn(|context| {
                // Begun under the same lock: nothing newer may come between.
                let mut work = self.work.lock();
                if let Some(dispatch) = ready!(work.queue.poll_recv(context)) {
                    work.begin(dispatch);
                }
                Poll::Ready(())
            })
            .await;
        }
    }

    /// Delivers for about half a millisecond; false if nothing is left.
    pub(super) fn round(&self) -> bool {
        self.work.lock().round()
    }

    /// Whether everything was delivered.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.work.lock().is_idle()
    }
}

impl Work {
    /// One slice for what is new and one for what is under way, so that neither starves the other.
    fn round(&mut self) -> bool {
        let mut spent = 0;
        while spent < self.slice
            && self.under_way.len() < UNDER_WAY
            && let Ok(dispatch) = self.queue.try_recv()
        {
            spent += self.begin(dispatch);
        }
        if !self.under_way.is_empty() {
            self.turn %= self.under_way.len();
            let (_, ended) = self.deliver(self.turn);
            self.turn += usize::from(!ended);
        }
        !self.is_idle()
    }

    fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.queue.is_empty()
    }

    /// Delivers the first slice of a dispatch that is newer than all that is under way; returns what that took.
    fn begin(&mut self, dispatch: Dispatch) -> usize {
        if let Some(taken_ms) = dispatch.message.taken_ms {
            self.metrics.feed_lag.record(age_seconds(taken_ms));
        }
        self.under_way.push(Delivery { dispatch, done: Ticket::default() });
        self.deliver(self.under_way.len() - 1).0
    }

    /// Delivers a slice of what is under way; returns what that took, in frames or members that needed none, and
    /// whether it was the last.
    fn deliver(&mut self, at: usize) -> (usize, bool) {
        let (older, rest) = self.under_way.split_at_mut(at);
        let Delivery { dispatch, done } = &mut rest[0];
        dispatch.room.members(self.number, (*done, dispatch.ticket), self.slice, &mut self.members);
        let mut ended = self.members.len() < self.slice;
        let (mut spent, mut delivered) = (0, 0);
        for (joined, session) in self.members.drain(..) {
            if spent >= self.slice {
                ended = false;
                break;
            }
            let handed = hand(&session, dispatch, older);
            spent += handed.max(1);
            delivered += handed as u64;
            *done = joined;
        }
        self.metrics.events_delivered.increment(delivered);
        if ended {
            self.under_way.remove(at);
        }
        (spent.max(1), ended)
    }
}
