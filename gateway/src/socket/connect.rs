//! A socket's beginning and end: everything that a session needs is registered in the middleware, before the client
//! learns that it is connected. What it sends at once would find nobody otherwise.

use std::fmt::Display;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use socketioxide::extract::TryData;
use socketioxide::handler::{ConnectHandler, DisconnectHandler, FromConnectParts};
use socketioxide::socket::{DisconnectReason, Sid, Socket};
use socketioxide_core::Value;
use tokio::time::Instant;

use super::guard::IoControl;
use super::inlet::{Inlet, Mailbox};
use super::link::Link;
use super::outlet::SocketOutlet;
use super::welcome::{Auth, Welcome};
use super::{Adapter, Edge, control};
use crate::domain::{Refusal, SessionId};
use crate::node::{Party, Patience, Place, Places, Session};
use crate::sessions::Lease;

/// How long a connection that was killed has to end before socketioxide writes a refusal to it: a polling client is
/// ended by a request of its own.
const UNHEARD: Duration = Duration::from_secs(1);

/// What the transport's handshake left for the session that comes over it. It travels in the request's extensions.
#[derive(Debug)]
pub(super) struct Handshake {
    /// The websocket's own stream; none for polling.
    pub(super) io: Option<Arc<IoControl>>,
    /// How often a session was asked for.
    pub(super) connects: AtomicU32,
    /// The client's address, from the balancer if there is a trusted one.
    pub(super) client: IpAddr,
    /// The namespaces in which it has a session.
    pub(super) namespaces: Arc<Places>,
    /// Count the connection, for its node and its address, as long as the engine holds its request, which is as long
    /// as it lives.
    pub(super) _places: (Place, Option<Place<Party>>),
}

/// Admits sockets, and begins their sessions once their clients know that they are connected.
#[derive(Clone)]
pub(super) struct Connecting(pub(super) Arc<Edge>);

impl ConnectHandler<Adapter, ()> for Connecting {
    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket<Adapter>>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn Display + Send>>> + Send + 'a>> {
        Box::pin(async move {
            let Ok(TryData(auth)) = TryData::<Auth>::from_connect_parts(&socket, auth);
            let admitted = self.0.admit(&socket, auth.unwrap_or_default()).await;
            admitted.map_err(|refusal| Box::new(refusal.message()) as Box<dyn Display + Send>)
        })
    }

    /// Called after the CONNECT reply was queued. Until then socketioxide drops what is emitted, without a word.
    fn call(&self, socket: Arc<Socket<Adapter>>, _: Option<Value>) {
        if let Some(Start { mailbox, welcome }) = self.0.starting.lock().remove(&socket.id) {
            mailbox.open(welcome);
        }
    }
}

/// A session that was admitted and whose client does not know it yet.
pub(super) struct Start {
    mailbox: Arc<Mailbox>,
    welcome: Welcome,
}

impl Edge {
    /// Admits a socket or refuses it. The official client takes a refusal here as final, so transient trouble is
    /// refused at the handshake instead, or ends the connection.
    async fn admit(self: &Arc<Self>, socket: &Arc<Socket<Adapter>>, auth: Auth) -> Result<(), Refusal> {
        let handshake = socket.req_parts().extensions.get::<Arc<Handshake>>().ok_or(Refusal::Unauthorized)?;
        let io = handshake.io.clone();
        let attempts = handshake.connects.fetch_add(1, Ordering::Relaxed) + 1;
        let limit = self.settings.limits.connects_per_connection;
        let link = self.links.connect(socket.id, io);
        if limit > 0 && attempts > limit {
            link.kill("bad_packet");
            return Err(self.refuse("too_many", Refusal::TooManyConnects));
        }
        let identity = match self.tokens.identify(auth.token.as_deref()).await {
            Ok(identity) => identity,
            Err(Refusal::Unavailable) => return Err(self.put_off(&link, Refusal::Unavailable).await),
            Err(refusal) => return Err(self.refuse("auth", refusal)),
        };
        let Some(namespace) = Place::take(&handshake.namespaces) else {
            let limit = self.settings.limits.namespaces_per_connection;
            return Err(self.refuse("too_many", Refusal::TooManyNamespaces { limit }));
        };
        let user = identity.user.as_ref();
        // Without a place only who may have had one before goes on.
        let place = match self.limiters.session(user) {
            Err(refusal) if !auth.names_session() => return Err(self.refuse("too_many", refusal)),
            place => place,
        };
        let allowance = Arc::new(self.limiters.allowance(user, handshake.client));
        let make = |id: SessionId, lease: Lease| {
            let outlet = SocketOutlet { socket: Arc::downgrade(socket), link: link.clone() };
            let patience = Patience::new(&self.settings.limits, self.settings.socket.write_timeout);
            Arc::new(Session::new(id, identity.clone(), lease, allowance.clone(), patience, Box::new(outlet)))
        };
        let (session, welcome) = match self.welcome(&auth, &identity, make).await {
            Ok(welcomed) => welcomed,
            Err(refusal) => return Err(self.put_off(&link, refusal).await),
        };
        let place = match place {
            Ok(place) => place,
            Err(_) if welcome.replay.is_some() => self.limiters.session_again(user),
            Err(refusal) => {
                self.router.node().depart(&session, false);
                return Err(self.refuse("too_many", refusal));
            }
        };
        link.announce(session.lease.pid);
        if let Some(user) = &identity.user {
            socket.join(control::user_room(user));
        }
        let mailbox = Mailbox::new(
            self.router.clone(),
            session.clone(),
            link.clone(),
            &self.settings,
            self.metrics.clone(),
            self.tasks.clone(),
        );
        socket.on_fallback::<_, ()>(Inlet(mailbox.clone()));
        link.opened(&self.metrics);
        self.starting.lock().insert(socket.id, Start { mailbox, welcome });
        let places = (namespace, place);
        let presence = Presence { edge: self.clone(), sid: socket.id, session, link, _places: places };
        socket.on_disconnect::<_, ()>(Departure(presence));
        self.metrics.connects.with("ok").increment(1);
        Ok(())
    }

    /// When a connection that begins now is as old as it may get, give or take a fifth.
    pub(super) fn end_of_life(&self) -> Option<Instant> {
        let age = self.settings.socket.max_age;
        (!age.is_zero()).then(|| Instant::now() + age.mul_f64(rand::random_range(0.8..=1.2)))
    }

    /// Ends a connection whose client comes back by itself and still has what it needs for it. It must not read a
    /// refusal.
    async fn put_off(&self, link: &Link, refusal: Refusal) -> Refusal {
        link.kill("unavailable");
        tokio::time::sleep(UNHEARD).await;
        self.refuse("unavailable", refusal)
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
    sid: Sid,
    session: Arc<Session>,
    link: Arc<Link>,
    /// Count the session, for its connection and its user.
    _places: (Place, Option<Place<Party>>),
}

impl Presence {
    /// With `keep`, the client may come back to its session.
    fn end(&self, reason: &'static str, keep: bool) {
        self.edge.starting.lock().remove(&self.sid);
        self.edge.router.node().depart(&self.session, keep);
        self.link.closed(reason, &self.edge.metrics);
    }
}

/// Not every socket that was admitted is told of its end: one whose CONNECT could not be sent is just dropped.
impl Drop for Presence {
    fn drop(&mut self) {
        self.end("transport_error", true);
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
        // Who leaves on purpose, or is shown the door, does not come back to where it was.
        self.0.end(label, transport_is_over);
        if !transport_is_over {
            // There is one namespace: without its session the transport has no purpose.
            self.0.link.close_softly(label);
        }
        defer(socket);
    }
}
