//! A socket's beginning and end: everything that a session needs is registered in the middleware, before the client
//! learns that it is connected. What it sends at once would find nobody otherwise.

use std::fmt::Display;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
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
use super::welcome::{Auth, Newcomer, Welcome};
use super::{Adapter, Edge};
use crate::domain::{Refusal, SessionId};
use crate::node::{Client, Party, Patience, Place, Places, Session};
use crate::sessions::Lease;

/// How long a connection that was killed has to end before socketioxide writes a refusal to it: a polling client is
/// ended by a request of its own.
const UNHEARD: Duration = Duration::from_secs(1);

/// What the transport's handshake left for the session that comes over it. It travels in the request's extensions.
#[derive(Debug)]
pub(super) struct Handshake {
    /// The websocket's own stream; none for polling.
    pub(super) io: Option<Arc<IoControl>>,
    /// The token of the Authorization header.
    pub(super) bearer: Option<Box<str>>,
    /// What carries its sessions, from the first one on.
    pub(super) link: OnceLock<Arc<Link>>,
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

/// Admits the sockets of a namespace, and begins their sessions once their clients know that they are connected.
#[derive(Clone)]
pub(super) struct Connecting {
    pub(super) edge: Arc<Edge>,
    pub(super) namespace: Arc<str>,
}

impl ConnectHandler<Adapter, ()> for Connecting {
    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket<Adapter>>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn Display + Send>>> + Send + 'a>> {
        Box::pin(async move {
            let Ok(TryData(auth)) = TryData::<Auth>::from_connect_parts(&socket, auth);
            let admitted = self.admit(&socket, auth.unwrap_or_default()).await;
            let worded = |refusal| self.edge.router.worded(&refusal).message;
            admitted.map_err(|refusal| Box::new(worded(refusal)) as Box<dyn Display + Send>)
        })
    }

    /// Called after the CONNECT reply was queued. Until then socketioxide drops what is emitted, without a word.
    fn call(&self, socket: Arc<Socket<Adapter>>, _: Option<Value>) {
        let start = self.edge.starting.lock().remove(&(socket.id, self.namespace.clone()));
        if let Some(Start { mailbox, welcome }) = start {
            mailbox.open(welcome);
        }
    }
}

/// A session that was admitted and whose client does not know it yet.
pub(super) struct Start {
    mailbox: Arc<Mailbox>,
    welcome: Welcome,
}

impl Connecting {
    /// Admits a socket or refuses it. The official client takes a refusal here as final, so transient trouble is
    /// refused at the handshake instead, or ends the connection.
    async fn admit(&self, socket: &Arc<Socket<Adapter>>, auth: Auth) -> Result<(), Refusal> {
        let edge = &self.edge;
        let handshake = socket.req_parts().extensions.get::<Arc<Handshake>>().ok_or(Refusal::Unauthorized)?;
        let attempts = handshake.connects.fetch_add(1, Ordering::Relaxed) + 1;
        let limit = edge.settings.limits.connects_per_connection;
        let link = handshake.link.get_or_init(|| edge.links.connect(socket.id, handshake.io.clone())).clone();
        if limit > 0 && attempts > limit {
            link.kill("bad_packet");
            return Err(edge.refuse("too_many", Refusal::TooManyConnects));
        }
        let token = auth.token.as_deref().or(handshake.bearer.as_deref());
        let identity = match edge.router.tokens().identify(token).await {
            Ok(identity) => identity,
            Err(Refusal::Unavailable) => return Err(edge.put_off(&link, Refusal::Unavailable).await),
            Err(refusal) => return Err(edge.refuse("auth", refusal)),
        };
        let Some(namespace) = Place::take(&handshake.namespaces) else {
            let limit = edge.settings.limits.namespaces_per_connection;
            return Err(edge.refuse("too_many", Refusal::TooManyNamespaces { limit }));
        };
        let user = identity.user.as_ref();
        // Without a place only who may have had one before goes on.
        let place = match edge.limiters.session(user) {
            Err(refusal) if !auth.names_session() => return Err(edge.refuse("too_many", refusal)),
            place => place,
        };
        let allowance = Arc::new(edge.limiters.allowance(user, handshake.client));
        let make = |newcomer: Newcomer, id: SessionId, lease: Lease| {
            let outlet = SocketOutlet { socket: Arc::downgrade(socket), link: link.clone() };
            let patience = Patience::new(&edge.settings.limits, edge.settings.socket.write_timeout);
            let client = Client { identity: newcomer.identity, namespace: self.namespace.clone(), auth: newcomer.auth };
            Arc::new(Session::new(id, client, lease, allowance.clone(), patience, Box::new(outlet)))
        };
        let (session, welcome) = match edge.welcome(&self.namespace, auth, &identity, make).await {
            Ok(welcomed) => welcomed,
            Err(Refusal::Unavailable) => return Err(edge.put_off(&link, Refusal::Unavailable).await),
            Err(refusal) => return Err(edge.refuse("not_allowed", refusal)),
        };
        let place = match place {
            Ok(place) => place,
            Err(_) if welcome.replay.is_some() => edge.limiters.session_again(user),
            Err(refusal) => {
                edge.router.node().depart(&session, false);
                return Err(edge.refuse("too_many", refusal));
            }
        };
        link.announce(&self.namespace, session.lease.pid);
        let mailbox = Mailbox::new(
            edge.router.clone(),
            session.clone(),
            link.clone(),
            &edge.settings,
            edge.metrics.clone(),
            edge.tasks.clone(),
        );
        socket.on_fallback::<_, ()>(Inlet(mailbox.clone()));
        link.opened(&edge.metrics);
        let at = (socket.id, self.namespace.clone());
        edge.starting.lock().insert(at.clone(), Start { mailbox, welcome });
        let stay = Stay { edge: edge.clone(), at, session, link, _places: (namespace, place) };
        socket.on_disconnect::<_, ()>(Departure(stay));
        edge.metrics.connects.with("ok").increment(1);
        Ok(())
    }
}

impl Edge {
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
struct Stay {
    edge: Arc<Edge>,
    at: (Sid, Arc<str>),
    session: Arc<Session>,
    link: Arc<Link>,
    /// Count the session, for its connection and its user.
    _places: (Place, Option<Place<Party>>),
}

impl Stay {
    /// With `keep`, the client may come back to its session.
    fn end(&self, reason: &'static str, keep: bool) {
        self.edge.starting.lock().remove(&self.at);
        self.edge.router.node().depart(&self.session, keep);
        self.link.closed(reason, &self.edge.metrics);
    }
}

/// Not every socket that was admitted is told of its end: one whose CONNECT could not be sent is just dropped.
impl Drop for Stay {
    fn drop(&mut self) {
        if self.link.left(&self.at.1) {
            self.end("transport_error", true);
        }
    }
}

/// Called by socketioxide when the socket is over.
struct Departure(Stay);

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
        let Stay { link, at, .. } = &self.0;
        // Who leaves on purpose, or is shown the door, does not come back to where it was.
        if link.left(&at.1) {
            self.0.end(label, transport_is_over);
        }
        if !transport_is_over && link.sessions() == 0 {
            // Without a session in any namespace the transport has no purpose.
            link.close_softly(label);
        }
        defer(socket);
    }
}
