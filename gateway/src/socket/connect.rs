//! A socket's beginning and end: everything that a session needs is registered in the middleware, before the client
//! learns that it is connected. What it sends at once would find nobody otherwise.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use serde::Deserialize;
use socketioxide::extract::TryData;
use socketioxide::handler::{DisconnectHandler, FromConnectParts};
use socketioxide::socket::{DisconnectReason, Socket};
use socketioxide_core::Value;

use super::guard::IoControl;
use super::inlet::{Inlet, Mailbox};
use super::link::Link;
use super::outlet::SocketOutlet;
use super::{Adapter, Edge, control};
use crate::domain::{Refusal, SessionId};
use crate::node::{EventLimiter, Session};

/// What the transport's handshake left for the session that comes over it. It travels in the request's extensions.
#[derive(Debug)]
pub(super) struct Handshake {
    /// The websocket's own stream; none for polling.
    pub(super) io: Option<Arc<IoControl>>,
    /// How often a session was asked for.
    pub(super) connects: AtomicU32,
    /// Counts the connection as long as the engine holds its request, which is as long as it lives.
    pub(super) _place: Place,
}

/// The connections of this node from their handshake on, with a session or not yet.
#[derive(Debug, Default)]
pub(super) struct Connections(Arc<AtomicUsize>);

impl Connections {
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn place(&self) -> Place {
        self.0.fetch_add(1, Ordering::AcqRel);
        Place(self.0.clone())
    }
}

/// One connection among them.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The `auth` object of a Socket.IO CONNECT, as far as the gateway reads it.
#[derive(Deserialize)]
pub(super) struct Auth {
    token: Option<String>,
}

/// The socket itself; socketioxide's own reference to it does not give it away.
pub(super) struct Incoming(pub(super) Arc<Socket<Adapter>>);

impl FromConnectParts<Adapter> for Incoming {
    type Error = Infallible;

    fn from_connect_parts(socket: &Arc<Socket<Adapter>>, _: &Option<Value>) -> Result<Self, Infallible> {
        Ok(Self(socket.clone()))
    }
}

impl Edge {
    /// Admits a socket or refuses it. The official client takes a refusal here as final, so transient trouble is
    /// refused at the handshake instead.
    pub(super) fn admit(self: &Arc<Self>, socket: &Arc<Socket<Adapter>>, auth: TryData<Auth>) -> Result<(), Refusal> {
        let handshake = socket.req_parts().extensions.get::<Arc<Handshake>>().ok_or(Refusal::Unauthorized)?;
        let io = handshake.io.clone();
        let attempts = handshake.connects.fetch_add(1, Ordering::Relaxed) + 1;
        let limit = self.settings.limits.connects_per_connection;
        let link = self.links.connect(socket.id, io);
        if limit > 0 && attempts > limit {
            link.kill("bad_packet");
            return Err(self.refuse("too_many", Refusal::TooManyConnects));
        }
        let token = auth.0.ok().and_then(|auth| auth.token);
        let identity = self.tokens.identify(token.as_deref()).map_err(|refusal| self.refuse("auth", refusal))?;
        if let Some(user) = &identity.user {
            socket.join(control::user_room(user));
        }
        let outlet = SocketOutlet { socket: Arc::downgrade(socket), link: link.clone() };
        let limiter = EventLimiter::new(&self.settings.limits);
        let session = Arc::new(Session::new(SessionId::random(), identity, limiter, Box::new(outlet)));
        let mailbox = Mailbox::new(
            self.router.clone(),
            session.clone(),
            link.clone(),
            &self.settings.limits,
            self.metrics.clone(),
            self.tasks.clone(),
        );
        socket.on_fallback::<_, ()>(Inlet(mailbox));
        link.opened(&self.metrics);
        self.sessions.lock().insert(session.id, session.clone());
        socket.on_disconnect::<_, ()>(Departure(Presence { edge: self.clone(), session, link }));
        self.metrics.connects.with("ok").increment(1);
        Ok(())
    }

    fn refuse(&self, result: &str, refusal: Refusal) -> Refusal {
        self.metrics.connects.with(result).increment(1);
        self.metrics.refusals.with(refusal.code()).increment(1);
        refusal
    }
}

/// A session's being here. It ends once, whichever way the socket does.
struct Presence {
    edge: Arc<Edge>,
    session: Arc<Session>,
    link: Arc<Link>,
}

impl Presence {
    fn end(&self, reason: &'static str) {
        if self.edge.sessions.lock().remove(&self.session.id).is_some() {
            self.link.closed(reason, &self.edge.metrics);
            self.edge.router.node().depart(&self.session);
        }
    }
}

/// Not every socket that was admitted is told of its end: one whose CONNECT could not be sent is just dropped.
impl Drop for Presence {
    fn drop(&mut self) {
        self.end("transport_error");
    }
}

/// Called by socketioxide when the socket is over.
struct Departure(Presence);

impl DisconnectHandler<Adapter, ()> for Departure {
    fn call_with_defer(&self, socket: Arc<Socket<Adapter>>, reason: DisconnectReason, defer: fn(Arc<Socket<Adapter>>)) {
        use DisconnectReason as Reason;
        let (label, transport_is_over) = match reason {
            Reason::TransportClose => ("client_close", true),
            Reason::ClientNSDisconnect => ("client_close", false),
            Reason::ServerNSDisconnect => ("kicked", false),
            Reason::TransportError => ("transport_error", true),
            Reason::HeartbeatTimeout => ("ping_timeout", true),
            Reason::PacketParsingError | Reason::MultipleHttpPollingError => ("bad_packet", true),
            Reason::ClosingServer => ("server", true),
        };
        self.0.end(label);
        if !transport_is_over {
            // There is one namespace: without its session the transport has no purpose.
            self.0.link.close_softly(label);
        }
        defer(socket);
    }
}
