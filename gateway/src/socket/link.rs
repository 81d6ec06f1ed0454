//! Links: what carries a session right now, a websocket of its own or long-polling, and how to end it.
//!
//! Polling requests share TCP connections with other clients behind a proxy, so a polling session is ended by
//! telling the engine what the client would: an Engine.IO close packet in its name. Either way the client sees its
//! transport end and comes back; a Socket.IO DISCONNECT would keep it away.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use socketioxide::socket::Sid;

use super::announce::Announcement;
use super::guard::IoControl;
use crate::domain::Pid;
use crate::metrics::Metrics;

/// Ends the polling session of an Engine.IO id after a while.
pub(super) type PollingCloser = Arc<dyn Fn(Sid, Duration) + Send + Sync>;

/// How long a soft close leaves a polling client to fetch what is queued for it: a few round trips.
const POLLING_GRACE: Duration = Duration::from_secs(1);

/// What carries the sessions of one connection, one in each namespace.
pub(super) struct Link {
    sid: Sid,
    state: Mutex<State>,
    links: Arc<Links>,
}

#[derive(Default)]
struct State {
    io: Option<Arc<IoControl>>,
    reason: Option<&'static str>,
    /// What CONNECT replies are to carry, until they did.
    announcements: Vec<Arc<Announcement>>,
    /// How many of its sessions want nothing read.
    pausing: usize,
    /// Where it has a session.
    namespaces: Vec<Arc<str>>,
    /// Set once the connection counts in the gauge of connections, to the transport that it counts under.
    counted: Option<&'static str>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

const WEBSOCKET: &str = "websocket";
const POLLING: &str = "polling";

impl Link {
    /// Ends the connection after what is queued for the client was written. The first reason given counts.
    pub(super) fn close_softly(&self, reason: &'static str) {
        match self.end(reason) {
            (_, Some(io)) => io.close_softly(),
            (true, None) => self.links.close_polling(self.sid, POLLING_GRACE),
            (false, None) => {}
        }
    }

    /// Ends the connection at once.
    pub(super) fn kill(&self, reason: &'static str) {
        match self.end(reason) {
            (_, Some(io)) => io.kill(),
            (true, None) => self.links.close_polling(self.sid, Duration::ZERO),
            (false, None) => {}
        }
    }

    /// Notes why it ends; returns whether this is the first time, and the stream to end.
    fn end(&self, reason: &'static str) -> (bool, Option<Arc<IoControl>>) {
        let mut state = self.state.lock();
        let is_first = state.reason.is_none();
        state.reason.get_or_insert(reason);
        (is_first, state.io.clone())
    }

    /// Has nothing more read from the client until [`Self::resume`] was called as often. Without effect while it is
    /// polling, whose requests carry little.
    pub(super) fn pause(&self) {
        let mut state = self.state.lock();
        state.pausing += 1;
        state.io.iter().for_each(|io| io.pause());
    }

    /// Has the client read again, as far as one of those who paused it is concerned.
    pub(super) fn resume(&self) {
        let mut state = self.state.lock();
        state.pausing = state.pausing.saturating_sub(1);
        if state.pausing == 0 {
            state.io.iter().for_each(|io| io.resume());
        }
    }

    /// Has the CONNECT reply of a namespace carry `pid`, over whichever transport it goes.
    pub(super) fn announce(&self, namespace: &Arc<str>, pid: Pid) {
        let announcement = Arc::new(Announcement::new(self.sid, namespace, pid));
        let mut state = self.state.lock();
        state.namespaces.push(namespace.clone());
        if let Some(io) = &state.io {
            io.announce(announcement.clone());
        }
        state.announcements.push(announcement);
    }

    /// What is still to be announced.
    fn announcements(&self) -> Vec<Arc<Announcement>> {
        let mut state = self.state.lock();
        state.announcements.retain(|announcement| !announcement.made());
        state.announcements.clone()
    }

    /// Notes that the session of a namespace is over; false if it was noted before.
    pub(super) fn left(&self, namespace: &Arc<str>) -> bool {
        let mut state = self.state.lock();
        let place = state.namespaces.iter().position(|one| one == namespace);
        place.map(|place| state.namespaces.swap_remove(place)).is_some()
    }

    /// In how many namespaces it has a session.
    pub(super) fn sessions(&self) -> usize {
        self.state.lock().namespaces.len()
    }

    /// Counts the connection as open, with its first session.
    pub(super) fn opened(&self, metrics: &Metrics) {
        let mut state = self.state.lock();
        if state.counted.is_some() {
            return;
        }
        let transport = if state.io.is_some() { WEBSOCKET } else { POLLING };
        state.counted = Some(transport);
        metrics.connections.with(transport).increment(1.0);
        metrics.connections_opened.with(transport).increment(1);
    }

    /// Counts it as closed, with its last session, for the reason that this side gave or else for the one that the
    /// engine saw.
    pub(super) fn closed(&self, seen: &'static str, metrics: &Metrics) {
        let mut state = self.state.lock();
        if !state.namespaces.is_empty() {
            return;
        }
        let stalled = state.io.as_ref().is_some_and(|io| io.stalled());
        let reason = state.reason.unwrap_or(if stalled { "slow" } else { seen });
        if let Some(transport) = state.counted.take() {
            metrics.connections.with(transport).decrement(1.0);
            metrics.connections_closed.with(transport, reason).increment(1);
        }
    }

    fn upgrade(&self, io: Arc<IoControl>, metrics: &Metrics) {
        let mut state = self.state.lock();
        // The engine takes the first upgrade and refuses others; those must not take the handle of the stream away.
        if state.io.as_ref().is_some_and(|current| !current.gone()) {
            return;
        }
        if state.counted == Some(POLLING) {
            state.counted = Some(WEBSOCKET);
            metrics.connections.with(POLLING).decrement(1.0);
            metrics.connections.with(WEBSOCKET).increment(1.0);
        }
        if state.reason.is_some() {
            io.close_softly();
        }
        if state.pausing > 0 {
            io.pause();
        }
        for announcement in &state.announcements {
            io.announce(announcement.clone());
        }
        state.io = Some(io);
    }
}

/// The links of sessions that began with long-polling, by Engine.IO id, for the websocket that may follow.
pub(super) struct Links {
    by_sid: Mutex<HashMap<Sid, Entry>>,
    closer: OnceLock<PollingCloser>,
    metrics: Arc<Metrics>,
}

/// Either may come first: clients upgrade and ask for their session at the same time.
#[derive(Default)]
struct Entry {
    link: Weak<Link>,
    io: Weak<IoControl>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}

impl Links {
    pub(super) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { by_sid: Mutex::default(), closer: OnceLock::new(), metrics })
    }

    /// Tells how polling sessions are ended; once, before the first one.
    pub(super) fn close_polling_with(&self, closer: PollingCloser) {
        self.closer.get_or_init(|| closer);
    }

    fn close_polling(&self, sid: Sid, after: Duration) {
        if let Some(close) = self.closer.get() {
            close(sid, after);
        }
    }

    /// The link of a new connection: over its own websocket, or over polling.
    pub(super) fn connect(self: &Arc<Self>, sid: Sid, io: Option<Arc<IoControl>>) -> Arc<Link> {
        let is_polling = io.is_none();
        let link = Arc::new(Link { sid, state: Mutex::new(State { io, ..State::default() }), links: self.clone() });
        if is_polling {
            let mut by_sid = self.by_sid.lock();
            let entry = by_sid.entry(sid).or_default();
            entry.link = Arc::downgrade(&link);
            link.state.lock().io = entry.io.upgrade();
        }
        link
    }

    /// What is still to be announced to a polling client.
    pub(super) fn announcements(&self, sid: Sid) -> Vec<Arc<Announcement>> {
        let link = self.by_sid.lock().get(&sid).and_then(|entry| entry.link.upgrade());
        link.map_or_else(Vec::new, |link| link.announcements())
    }

    /// Notes the websocket that takes over from polling.
    pub(super) fn upgraded(&self, sid: Sid, io: &Arc<IoControl>) {
        let link = {
            let mut by_sid = self.by_sid.lock();
            let entry = by_sid.entry(sid).or_default();
            if entry.io.upgrade().is_none_or(|current| current.gone()) {
                entry.io = Arc::downgrade(io);
            }
            entry.link.upgrade()
        };
        if let Some(link) = link {
            link.upgrade(io.clone(), &self.metrics);
        }
    }

    /// Forgets entries of which nothing is left.
    pub(super) fn forget_dead(&self) {
        self.by_sid.lock().retain(|_, entry| entry.link.strong_count() > 0 || entry.io.strong_count() > 0);
    }
}
