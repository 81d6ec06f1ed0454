//! The guest: the gateway's part of one connection, from its handshake to its end.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use engine::{Admission, Connection, End, Transport};
use parking_lot::Mutex;
use tracing::Instrument;

use super::Edge;
use gateway_core::auth::Brought;
use gateway_core::node::{self, Party, Slot, Throughput};

/// Count the connection, for its node and for its address.
pub(super) type Held = (Slot, Option<Slot<Party>>);

/// What is kept of a connection.
pub(super) struct Guest {
    pub(super) edge: Arc<Edge>,
    /// The client's address, from the balancer if there is a trusted one.
    pub(super) client: IpAddr,
    /// What its handshake brought.
    pub(super) brought: Brought,
    /// The namespaces in which it has a session.
    pub(super) namespaces: Arc<node::Slots>,
    /// How often a session was asked for.
    connects: AtomicU32,
    throughput: Throughput,
    slots: Mutex<Option<Held>>,
    counted: Mutex<Counted>,
}

/// How a connection counts in the gauge of connections.
#[derive(Clone, Copy)]
enum Counted {
    /// Not before its first session.
    NotYet,
    /// Under this transport.
    As(&'static str),
    /// It is over. A session that was being made meanwhile comes too late to count it.
    NoMore,
}

const WEBSOCKET: &str = "websocket";
const POLLING: &str = "polling";

impl Guest {
    pub(super) fn new(edge: Arc<Edge>, client: IpAddr, brought: Brought, slots: Held) -> Self {
        Self {
            namespaces: Arc::new(node::Slots::new(edge.settings.limits.namespaces_per_connection)),
            throughput: edge.limiters.throughput(),
            edge,
            client,
            brought,
            connects: AtomicU32::new(0),
            slots: Mutex::new(Some(slots)),
            counted: Mutex::new(Counted::NotYet),
        }
    }

    /// Counts another wish for a session; false if there were too many.
    pub(super) fn may_ask(&self) -> bool {
        let limit = self.edge.settings.limits.connects_per_connection;
        let attempts = self.connects.fetch_add(1, Ordering::Relaxed) + 1;
        limit == 0 || attempts <= limit
    }

    /// Counts the connection as open, with its first session.
    pub(super) fn opened(&self, connection: &Connection) {
        let mut counted = self.counted.lock();
        if !matches!(*counted, Counted::NotYet) {
            return;
        }
        // Under the lock: an upgrade is counted before or after this.
        let transport = name(connection.transport());
        *counted = Counted::As(transport);
        self.edge.metrics.connections.with(transport).increment(1.0);
        self.edge.metrics.connections_opened.with(transport).increment(1);
    }
}

impl engine::Guest for Guest {
    fn admits(&self, packets: usize, bytes: usize) -> bool {
        self.throughput.admits(packets, bytes)
    }

    fn connect(self: Arc<Self>, admission: Admission) {
        let edge = self.edge.clone();
        let span = tracing::error_span!("connect", peer = %self.client, room = tracing::field::Empty);
        edge.tasks.clone().spawn(async move { edge.admit(&self, admission).await }.instrument(span));
    }

    fn upgraded(&self) {
        let mut counted = self.counted.lock();
        if matches!(*counted, Counted::As(POLLING)) {
            *counted = Counted::As(WEBSOCKET);
            self.edge.metrics.connections.with(POLLING).decrement(1.0);
            self.edge.metrics.connections.with(WEBSOCKET).increment(1.0);
        }
    }

    fn over(&self, end: &End) {
        self.slots.lock().take();
        if let Counted::As(transport) = std::mem::replace(&mut *self.counted.lock(), Counted::NoMore) {
            self.edge.metrics.connections.with(transport).decrement(1.0);
            self.edge.metrics.connections_closed.with(transport, reason(end)).increment(1);
        }
    }
}

/// A transport as metrics have it.
pub(super) fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::Websocket => WEBSOCKET,
        Transport::Polling => POLLING,
    }
}

/// An end as metrics have it.
fn reason(end: &End) -> &'static str {
    match end {
        End::Closed | End::Left | End::Sessionless => "client_close",
        End::Cut => "transport_close",
        End::Broken => "transport_error",
        // It is this cluster's: clients are handed over by a node that stops.
        End::Parted => "draining",
        End::Silent => "ping_timeout",
        End::BadPacket => "bad_packet",
        End::Flooding => "flooding",
        End::Slow => "slow",
        End::Ended(reason) => reason,
    }
}
