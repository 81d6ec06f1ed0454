//! Taps: what a room says, for readers that are no clients. To the hub and the log a tap is a session in one room, of which
//! nobody else knows; so it hears what members hear, in their order.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    Client, CloseReason, Limiters, Missing, Node, Outlet, Patience, RecoveryError, Session, Slot, Slots, Undelivered,
    Unrecovered, Waiting, Wanted,
};
use crate::config::Limits;
use crate::domain::{Frame, Mark, Offset, Pid, Refusal, RoomName, SessionId};
use crate::metrics::Metrics;
use crate::sessions::Lease;

/// What is heard by a tap is entered by this, which is no client event.
const TAPPED: &str = "$tapped";

/// Opens taps, and bounds how many there are.
#[derive(Debug)]
pub struct Taps {
    node: Arc<Node>,
    open: Arc<Slots>,
    limiters: Limiters,
    patience: Patience,
    metrics: Arc<Metrics>,
}

/// What one room says, in order, from an offset on or from now on.
#[derive(Debug)]
pub struct Tap {
    node: Arc<Node>,
    session: Arc<Session>,
    pipe: Arc<Pipe>,
    /// Cancelled when the node leaves.
    leaving: CancellationToken,
    _place: Arc<Place>,
}

/// Something that a tap hears.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The JSON array of the event's name and arguments.
    pub text: String,
    /// Binary that they refer to by placeholder.
    pub attachments: Vec<Bytes>,
    /// The event's place, if it was published.
    pub offset: Option<Offset>,
}

/// A tap's being open, as the gauge has it.
#[derive(Debug)]
struct Place {
    _slot: Slot,
    metrics: Arc<Metrics>,
}

/// What waits for the reader.
#[derive(Debug)]
struct Pipe {
    state: Mutex<State>,
    news: Notify,
    patience: Patience,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Heard>,
    bytes: usize,
    closed: Option<CloseReason>,
}

impl Heard {
    fn of(frame: &Frame) -> Self {
        let offset = frame.moves().and_then(Offset::parse);
        Self { text: frame.text(false), attachments: frame.attachments().to_vec(), offset }
    }

    fn size(&self) -> usize {
        self.text.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }
}

impl Outlet for Arc<Pipe> {
    fn deliver(&self, frame: &Frame) -> Result<(), Undelivered> {
        let heard = Heard::of(frame);
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return Err(Undelivered::Gone);
        }
        let bytes = state.bytes + heard.size();
        let is_full = state.waiting.len() >= self.patience.events || bytes > self.patience.bytes;
        if is_full && !state.waiting.is_empty() {
            return Err(Undelivered::Full);
        }
        state.bytes = bytes;
        state.waiting.push_back(heard);
        drop(state);
        self.news.notify_one();
        Ok(())
    }

    fn waiting(&self) -> Waiting {
        let state = self.state.lock();
        Waiting { packets: state.waiting.len(), bytes: state.bytes }
    }

    fn close(&self, reason: CloseReason) {
        self.state.lock().closed.get_or_insert(reason);
        self.news.notify_one();
    }
}

impl Taps {
    /// Taps of a node, `most` of them at a time. What waits for a reader is bounded as for clients, and `time` is how long it
    /// may take none of it.
    #[must_use]
    pub fn new(node: Arc<Node>, limits: &Limits, most: usize, time: Duration, metrics: Arc<Metrics>) -> Self {
        let (open, limiters) = (Arc::new(Slots::new(most)), Limiters::new(limits, metrics.clone()));
        Self { node, open, limiters, patience: Patience::new(limits, time), metrics }
    }

    /// Opens one for a reader at an address; with what is missing after the offset, if something is. Then it begins with what
    /// is still there, also with what is there before something that is missing.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`]: as many are open as may be. [`Refusal::Unavailable`]: the log cannot be reached.
    pub async fn open(
        &self,
        room: &RoomName,
        after: Option<Offset>,
        address: IpAddr,
    ) -> Result<(Tap, Option<Missing>), Refusal> {
        let slot = Slot::take(&self.open).ok_or(Refusal::RateLimited { retry_after: Duration::from_secs(1) })?;
        self.metrics.taps.increment(1.0);
        let place = Arc::new(Place { _slot: slot, metrics: self.metrics.clone() });
        let Some(after) = after else { return Ok((self.live(room, address, place).await?, None)) };
        let why = match self.after(room, after, address, &place, false).await {
            Ok((tap, _)) => return Ok((tap, None)),
            Err(RecoveryError::Unrecovered(why)) => why,
            Err(error) => return Err(self.node.not_now(error)),
        };
        if why == Unrecovered::Offset {
            // It is none of this history, so nothing is said about what is.
            return Ok((self.live(room, address, place).await?, Some(Missing { why, through: None })));
        }
        let opened = self.after(room, after, address, &place, true).await;
        let (tap, missing) = opened.map_err(|error| self.node.not_now(error))?;
        Ok((tap, Some(Missing { why, through: missing.and_then(|missing| missing.through) })))
    }

    async fn live(&self, room: &RoomName, address: IpAddr, place: Arc<Place>) -> Result<Tap, Refusal> {
        let tap = self.tap(room, address, place);
        self.node.settle(&tap.session, std::slice::from_ref(room)).await?;
        Ok(tap)
    }

    async fn after(
        &self,
        room: &RoomName,
        after: Offset,
        address: IpAddr,
        place: &Arc<Place>,
        partial: bool,
    ) -> Result<(Tap, Option<Missing>), RecoveryError> {
        // It lets go of the room when it is dropped, wherever this is given up.
        let tap = self.tap(room, address, place.clone());
        let wanted = Wanted {
            room: room.clone(),
            after,
            complete_from: after,
            kept_at: None,
            since: None,
            via: TAPPED.into(),
            partial,
            seat: None,
        };
        let (hold, replay) = self.node.recover(&tap.session, vec![wanted], &[], Mark::default()).await?;
        let missing = replay.missing();
        let (node, session) = (self.node.clone(), tap.session.clone());
        // Beside the reader, who is handed a large one as fast as it takes it.
        self.node.tasks.spawn(async move { node.replay(&session, hold, replay).await });
        Ok((tap, missing))
    }

    fn tap(&self, room: &RoomName, address: IpAddr, place: Arc<Place>) -> Tap {
        let patience = self.patience;
        let pipe = Arc::new(Pipe { state: Mutex::default(), news: Notify::new(), patience });
        let client = Client {
            identity: Default::default(),
            namespace: room.namespace().unwrap_or("/").into(),
            auth: Default::default(),
            address,
            transport: crate::metrics::TRANSPORTS[0],
        };
        // It sends nothing.
        let allowance = Arc::new(self.limiters.allowance(None, Ipv4Addr::UNSPECIFIED.into()));
        let (id, lease) = (SessionId::random(), Lease::new(Pid::random()));
        let session = Session::new(id, client, lease, allowance, patience, Box::new(pipe.clone()));
        session.hide();
        let leaving = self.node.leaving.lock().clone();
        Tap { node: self.node.clone(), session: Arc::new(session), pipe, leaving, _place: place }
    }
}

impl Tap {
    /// The next that the room says; nothing if the reader was too slow or the node lets nobody listen any more.
    pub async fn next(&self) -> Option<Heard> {
        loop {
            if let Some(heard) = self.pipe.take() {
                return Some(heard);
            }
            if self.pipe.state.lock().closed.is_some() {
                return None;
            }
            tokio::select! {
                () = self.pipe.news.notified() => {}
                () = self.leaving.cancelled() => self.session.close(CloseReason::Draining),
            }
        }
    }
}

impl Tap {
    /// Why there is nothing more.
    #[must_use]
    pub fn ended(&self) -> Option<CloseReason> {
        self.pipe.state.lock().closed
    }

    /// The next that waits already.
    #[must_use]
    pub fn try_next(&self) -> Option<Heard> {
        self.pipe.take()
    }
}

impl Pipe {
    fn take(&self) -> Option<Heard> {
        let mut state = self.state.lock();
        let heard = state.waiting.pop_front()?;
        state.bytes -= heard.size();
        if state.waiting.is_empty() {
            // A burst must not stay in memory.
            state.waiting = VecDeque::new();
        }
        Some(heard)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.session.close(CloseReason::Slow);
        self.node.depart(&self.session, false);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.taps.decrement(1.0);
    }
}
