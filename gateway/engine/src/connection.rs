//! A connection: one client's transport, from its handshake to its end, and what its user can do with it.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::connections::Traffic;
use crate::handler::{End, Gone, Guest, Session, Transport};
use crate::handshake::Id;
use crate::heartbeat::{Heartbeat, millis};
use crate::intake::Inbox;
use crate::outbox::{Outbox, Phase, SendError, Sent, Waiting, Way};
use crate::packet::{Kind, Packet};
use crate::seats::Seats;
use crate::server::Shared;

/// Never, as a time of the clock.
const NEVER: u64 = u64::MAX;

/// A client's connection. Cloning gives another handle of the same.
#[derive(Clone)]
pub struct Connection(pub(crate) Arc<Inner>);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("transport", &self.transport()).finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: Id,
    pub(crate) guest: Arc<dyn Guest>,
    pub(crate) heart: Heartbeat,
    pub(crate) out: Mutex<Outbox>,
    pub(crate) inbox: Mutex<Inbox>,
    pub(crate) seats: Mutex<Seats>,
    /// Why it ends, once it does.
    end: Mutex<Option<End>>,
    /// When what waits for a websocket has waited too long.
    write_by: AtomicU64,
    /// When an upgrade that is under way has taken too long.
    pub(crate) upgrade_by: AtomicU64,
    /// Bytes that were read.
    pub(crate) received: AtomicU64,
    /// How many want nothing read from the client.
    pauses: AtomicU32,
    /// Whether a body of its client is being read.
    pub(crate) is_posting: AtomicBool,
    /// Whether another server passes its websocket on.
    pub(crate) is_passed: AtomicBool,
    /// Wakes the task of the websocket.
    pub(crate) stream_waker: AtomicWaker,
    /// Wakes the poll that waits.
    pub(crate) poll_waker: AtomicWaker,
    /// Wakes requests that wait for a pause to end.
    pub(crate) resumed: tokio::sync::Notify,
}

impl Connection {
    /// Sends a packet: writes it, or has it wait for the client.
    ///
    /// # Errors
    /// It will not be sent.
    pub fn send(&self, packet: &Arc<Packet>) -> Result<(), SendError> {
        self.0.send(packet)
    }

    /// What waits for the client.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        self.0.out.lock().waiting()
    }

    /// Whether it ends, or has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.end.lock().is_some()
    }

    /// Over what packets go now.
    #[must_use]
    pub fn transport(&self) -> Transport {
        match self.0.out.lock().way {
            Way::Polling(_) => Transport::Polling,
            Way::Websocket(_) => Transport::Websocket,
        }
    }

    /// Tells it from the others that there are at the same time.
    #[must_use]
    pub fn number(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Ends the connection in a moment. Nothing is read any more, and what is sent until then is still written. Clients
    /// see their transport close, and official ones come back. The first reason counts.
    pub fn end_softly(&self, reason: &'static str) {
        self.0.end_softly(End::Ended(reason));
    }

    /// Ends the connection at once; what waits for the client is lost.
    pub fn end_now(&self, reason: &'static str) {
        self.0.end_now(End::Ended(reason));
    }

    /// Ends the session of a namespace, and tells the client so, also one that is just being let in. Official clients do not
    /// come back by themselves. A connection without a session ends softly.
    pub fn leave(&self, namespace: &str, reason: &'static str) {
        let Some(session) = self.0.vacate(namespace) else { return };
        let told = if session.is_some() {
            Packet::message(Kind::Disconnect, namespace, None, "", &[])
        } else {
            Packet::message(Kind::ConnectError, namespace, None, "{\"message\":\"the session was ended\"}", &[])
        };
        if self.send(&told).is_err() {
            self.0.end_now(End::Ended(reason));
        } else if self.0.seats.lock().is_empty() {
            self.end_softly(reason);
        }
        // Not here: whoever ends a session may hold what its end needs.
        if let Some(session) = session {
            self.0.shared.keeper.bury_session(session, End::Ended(reason));
        }
    }

    /// Has nothing more read from the client until [`Self::resume`] was called as often. Over polling its next request
    /// waits instead.
    pub fn pause(&self) {
        self.0.pauses.fetch_add(1, Ordering::AcqRel);
    }

    /// Has the client read again, as far as one of those who paused it is concerned.
    pub fn resume(&self) {
        if self.0.pauses.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.stream_waker.wake();
            self.0.resumed.notify_waiters();
        }
    }

    pub(crate) fn accept(
        &self,
        namespace: &str,
        number: u64,
        session: Arc<dyn Session>,
        sid: &str,
        pid: Option<&str>,
    ) -> Result<(), Gone> {
        // Under the lock: the client must not be told twice, and not after its end.
        let mut seats = self.0.seats.lock();
        if !seats.take(number, session) {
            return Err(Gone);
        }
        self.0.heart.settle();
        let pid = pid.map(|pid| format!(",\"pid\":\"{pid}\"")).unwrap_or_default();
        let json = format!("{{\"sid\":\"{sid}\"{pid}}}");
        let sent = self.send(&Packet::message(Kind::Connect, namespace, None, &json, &[]));
        if sent.is_err() {
            seats.forget(number);
            drop(seats);
            self.0.end_now(End::Slow);
            return Err(Gone);
        }
        Ok(())
    }

    pub(crate) fn refuse(&self, namespace: &str, number: u64, message: &str, data: Option<&str>) {
        if !self.0.seats.lock().forget(number) {
            return;
        }
        let message = serde_json::to_string(message).unwrap_or_else(|_| "\"\"".into());
        let data = data.map(|data| format!(",\"data\":{data}")).unwrap_or_default();
        let json = format!("{{\"message\":{message}{data}}}");
        if self.send(&Packet::message(Kind::ConnectError, namespace, None, &json, &[])) == Err(SendError::Full) {
            self.0.end_now(End::Slow);
        }
    }

    pub(crate) fn forget_seat(&self, number: u64) {
        self.0.seats.lock().forget(number);
    }
}

impl Inner {
    pub(crate) fn new(shared: Arc<Shared>, id: Id, guest: Arc<dyn Guest>, way: Way) -> Arc<Self> {
        let settings = &shared.settings;
        let heart = Heartbeat::new(shared.clock.now(), settings.ping_interval, settings.connect_timeout);
        Arc::new(Self {
            id,
            guest,
            heart,
            out: Mutex::new(Outbox::new(way)),
            inbox: Mutex::default(),
            seats: Mutex::default(),
            end: Mutex::new(None),
            write_by: AtomicU64::new(NEVER),
            upgrade_by: AtomicU64::new(NEVER),
            received: AtomicU64::new(0),
            pauses: AtomicU32::new(0),
            is_posting: AtomicBool::new(false),
            is_passed: AtomicBool::new(false),
            stream_waker: AtomicWaker::new(),
            poll_waker: AtomicWaker::new(),
            resumed: tokio::sync::Notify::new(),
            shared,
        })
    }

    /// Takes a seat away, as [`Seats::leave`] does. With its last session a connection has as long for the next as it had at first:
    /// some clients keep the transport for a namespace that they enter later. Who had none wins no time by leaving.
    pub(crate) fn vacate(&self, namespace: &str) -> Option<Option<Arc<dyn Session>>> {
        // Under the lock: somebody may just be let in.
        let mut seats = self.seats.lock();
        let left = seats.leave(namespace);
        if matches!(left, Some(Some(_))) && !seats.has_session() {
            self.heart.unsettle(self.shared.clock.now(), self.shared.settings.connect_timeout);
        }
        left
    }

    pub(crate) fn send(self: &Arc<Self>, packet: &Arc<Packet>) -> Result<(), SendError> {
        let shared = &self.shared;
        let sent = self.out.lock().send(packet, &shared.settings, &shared.budget);
        self.after(sent)
    }

    pub(crate) fn pong(self: &Arc<Self>, payload: &[u8]) -> Result<(), SendError> {
        let shared = &self.shared;
        let sent = self.out.lock().pong(Packet::pong(payload), &shared.settings, &shared.budget);
        self.after(sent)
    }

    /// Has somebody write what waits.
    fn after(self: &Arc<Self>, sent: Result<Sent, SendError>) -> Result<(), SendError> {
        match sent {
            Ok(Sent::Written) => Ok(()),
            Ok(Sent::Queued) => {
                self.poll_waker.wake();
                Ok(())
            }
            Ok(Sent::Waits) => {
                if !self.waits_for_stream() {
                    self.note_progress(false);
                    if self.shared.settings.write_delay.is_zero() {
                        self.stream_waker.wake();
                    } else {
                        self.shared.keeper.delay(self.clone());
                    }
                }
                Ok(())
            }
            Err(SendError::Gone) => {
                self.end_now(self.broken());
                Err(SendError::Gone)
            }
            Err(SendError::Full) => Err(SendError::Full),
        }
    }

    /// Notes that what waits for a websocket has begun to wait, or moved on.
    fn note_progress(&self, is_empty: bool) {
        let by = self.shared.clock.now().saturating_add(millis(self.shared.settings.write_timeout));
        self.write_by.store(if is_empty { NEVER } else { by }, Ordering::Relaxed);
    }

    /// Whether something waits for the websocket to take it.
    pub(crate) fn waits_for_stream(&self) -> bool {
        self.write_by.load(Ordering::Relaxed) != NEVER
    }

    /// Writes what waits; false if the socket takes no more now.
    pub(crate) fn flush(self: &Arc<Self>) -> bool {
        let mut out = self.out.lock();
        let before = out.written;
        match out.flush() {
            Ok(is_empty) => {
                // Of a large packet every byte counts: on a slow line it takes long to be out.
                if is_empty || out.written != before {
                    self.note_progress(is_empty);
                }
                is_empty
            }
            Err(_) => {
                drop(out);
                self.end_now(self.broken());
                true
            }
        }
    }

    /// Whether what waits for a websocket has waited too long.
    pub(crate) fn write_is_late(&self, now: u64) -> bool {
        now >= self.write_by.load(Ordering::Relaxed)
    }

    /// The same, or for an upgrade.
    pub(crate) fn is_late(&self, now: u64) -> bool {
        self.write_is_late(now) || now >= self.upgrade_by.load(Ordering::Relaxed)
    }

    /// Whether it ends for what its client did.
    pub(crate) fn was_wrong(&self) -> bool {
        matches!(*self.end.lock(), Some(End::BadPacket | End::Flooding))
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.pauses.load(Ordering::Acquire) > 0
    }

    pub(crate) fn phase(&self) -> Phase {
        self.out.lock().phase
    }

    pub(crate) fn heard(&self, is_pong: bool) {
        let (shared, settings) = (&self.shared, &self.shared.settings);
        self.heart.heard(shared.clock.now(), is_pong, settings.ping_interval, settings.ping_timeout);
    }

    /// What it means that its websocket broke. What clients do, the server between tells by closing in order.
    pub(crate) fn broken(&self) -> End {
        if self.is_passed.load(Ordering::Relaxed) { End::Parted } else { End::Broken }
    }

    /// Ends it at once.
    pub(crate) fn end_now(self: &Arc<Self>, end: End) {
        self.end.lock().get_or_insert(end);
        let mut out = self.out.lock();
        if out.phase == Phase::Closed {
            return;
        }
        out.close();
        out.shut(Shutdown::Both);
        drop(out);
        self.wake();
        self.shared.keeper.bury(self.clone());
    }

    /// Ends it in a moment.
    pub(crate) fn end_softly(self: &Arc<Self>, end: End) {
        self.end.lock().get_or_insert(end);
        let mut out = self.out.lock();
        if out.phase != Phase::Open {
            return;
        }
        out.phase = Phase::Closing;
        drop(out);
        self.wake();
        self.shared.keeper.see_off(self.clone());
    }

    pub(crate) fn wake(&self) {
        self.stream_waker.wake();
        self.poll_waker.wake();
        self.resumed.notify_waiters();
    }

    /// What was sent and received since this was last asked.
    pub(crate) fn take_traffic(&self) -> Traffic {
        let sent = std::mem::take(&mut self.out.lock().written);
        Traffic { received: self.received.swap(0, Ordering::Relaxed), sent }
    }

    /// Tells its sessions and its guest that it is over.
    pub(crate) fn bury(&self) {
        let end = self.end.lock().unwrap_or(End::Broken);
        let sessions = self.seats.lock().close();
        for session in sessions {
            session.over(&end);
        }
        self.guest.over(&end);
    }
}
