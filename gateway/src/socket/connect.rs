//! A session's beginning: everything that it needs is registered before the client learns that it is connected. What it
//! sends at once would find nobody otherwise.

use std::sync::Arc;
use std::time::Duration;

use engine::{Admission, Connection};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::Edge;
use super::auth::Auth;
use super::guest::{self, Guest};
use super::inlet::Mailbox;
use super::outlet::SocketOutlet;
use super::welcome::{Newcomer, Welcome};
use gateway_core::auth::{Admitted, Candidate, Denied, Occasion};
use gateway_core::domain::{Pid, Refusal, SessionId};
use gateway_core::node::{Client, Patience, Session, Slot};
use gateway_core::sessions::Lease;

/// What Socket.IO's own server says of a namespace that is not there.
const INVALID_NAMESPACE: &str = "Invalid namespace";

/// How soon a session is tried to be made again that its client waits for.
const AGAIN: Duration = Duration::from_millis(500);

/// A session that is ready for its client.
struct Ready {
    session: Arc<Session>,
    mailbox: Arc<Mailbox>,
    welcome: Welcome,
}

/// Why there is none.
enum NotAdmitted {
    /// It may not come in, and official clients take that as final.
    Refused {
        message: String,
        /// What a back end has to say about it.
        data: Option<Arc<RawValue>>,
    },
    /// Its connection was ended: the client comes back by itself and still has what it needs for it. It must not read a
    /// refusal.
    PutOff,
}

impl Edge {
    /// Admits a client to a namespace, or refuses it.
    pub(super) async fn admit(self: &Arc<Self>, guest: &Arc<Guest>, admission: Admission) {
        match self.prepare(guest, &admission).await {
            Ok(Ready { session, mailbox, welcome }) => {
                guest.opened(&admission.connection);
                self.metrics.connects.with("ok").increment(1);
                let sid = session.id.to_string();
                if admission.accept(mailbox.clone(), &sid, welcome.pid.as_deref()).is_ok() {
                    mailbox.open(welcome);
                } else {
                    self.router.node().depart(&session, true);
                }
            }
            Err(NotAdmitted::Refused { message, data }) => {
                admission.refuse(&message, data.as_deref().map(RawValue::get));
            }
            Err(NotAdmitted::PutOff) => {}
        }
    }

    /// Makes the session. Transient trouble ends the connection instead of being told.
    async fn prepare(self: &Arc<Self>, guest: &Arc<Guest>, admission: &Admission) -> Result<Ready, NotAdmitted> {
        let (connection, namespace) = (&admission.connection, &admission.namespace);
        if !guest.may_ask() {
            connection.end_now("bad_packet");
            self.refuse("too_many", &Refusal::TooManyConnects);
            return Err(NotAdmitted::PutOff);
        }
        let allowed = self.failures.check(guest.client);
        self.count_decision("address_failures", allowed.is_ok());
        if let Err(refusal) = allowed {
            // It may be one of many behind an address: it comes back by itself.
            connection.end_now("flooding");
            self.refuse("too_many", &refusal);
            return Err(NotAdmitted::PutOff);
        }
        let table = self.router.table();
        if table.namespace(namespace).is_none() {
            self.failures.failed(guest.client);
            self.metrics.connects.with("not_allowed").increment(1);
            return Err(NotAdmitted::Refused { message: INVALID_NAMESPACE.into(), data: None });
        }
        let mut auth = Auth::read(admission.auth.as_deref().unwrap_or_default());
        auth.wants_offsets &= table.adds_offsets();
        let admitted = self.identify(guest, admission, &auth).await?;
        let Some(in_namespace) = Slot::take(&guest.namespaces) else {
            let limit = self.settings.limits.namespaces_per_connection;
            return Err(self.refuse("too_many", &Refusal::TooManyNamespaces { limit }));
        };
        let user = admitted.identity.user.as_ref();
        // Without a place only who takes over that of a session here goes on: its old connection may be half open. Who asks
        // for rooms gets a session more, whatever pid it has beside them.
        let is_here = |pid: Pid| self.router.node().roster().has(pid.into());
        let place = match self.limiters.session(user) {
            Err(refusal) if !auth.session(namespace).is_some_and(is_here) => {
                return Err(self.refuse("too_many", &refusal));
            }
            place => place,
        };
        let allowance = Arc::new(self.limiters.allowance(user, guest.client));
        let wants_offsets = auth.wants_offsets;
        let transport = guest::name(connection.transport());
        let make = |newcomer: Newcomer, id: SessionId, lease: Lease| {
            let (connection, namespace) = (connection.clone(), namespace.clone());
            let outlet = SocketOutlet { connection, namespace: namespace.clone(), wants_offsets };
            let patience = Patience::new(&self.settings.limits, self.settings.socket.write_timeout);
            let (identity, auth, address) = (newcomer.identity, newcomer.auth, guest.client);
            let client = Client { identity, namespace, auth, address, transport };
            Arc::new(Session::new(id, client, lease, allowance.clone(), patience, Box::new(outlet)))
        };
        let (session, welcome) = loop {
            match self.welcome(namespace, auth.clone(), &admitted, &make).await {
                Ok(welcomed) => break welcomed,
                Err(Refusal::Unavailable) if self.can_wait(guest, connection) => tokio::time::sleep(AGAIN).await,
                Err(Refusal::Unavailable) => return Err(self.put_off(connection)),
                Err(refusal) => return Err(self.refuse("not_allowed", &refusal)),
            }
        };
        let place = match place {
            Ok(place) => place,
            Err(_) if !welcome.is_new => self.limiters.session_again(user),
            Err(refusal) => {
                self.router.node().depart(&session, false);
                return Err(self.refuse("too_many", &refusal));
            }
        };
        let mailbox = Mailbox::new(self, session.clone(), connection.clone(), (in_namespace, place));
        Ok(Ready { session, mailbox, welcome })
    }

    /// Finds out who a client is.
    async fn identify(&self, guest: &Guest, admission: &Admission, auth: &Auth) -> Result<Admitted, NotAdmitted> {
        let entry = self.router.entry();
        // Whoever sends something for a token has one, and must not be let in as if there were none.
        if auth.has_odd_token() && entry.configured() {
            self.failures.failed(guest.client);
            return Err(self.refuse("auth", &Refusal::Unauthorized));
        }
        let said = auth.for_back_ends(self.settings.limits.json_depth);
        let candidate = Candidate {
            occasion: Occasion::Connect,
            namespace: &admission.namespace,
            address: guest.client,
            token: auth.token().or(guest.brought.token()),
            auth: &said,
            brought: &guest.brought,
        };
        let Denied { refusal, data } = match entry.admit(&candidate).await {
            Ok(admitted) => return Ok(admitted),
            Err(denied) => denied,
        };
        match refusal {
            Refusal::Unavailable => return Err(self.put_off(&admission.connection)),
            Refusal::Unauthorized | Refusal::TokenRevoked | Refusal::Rejected(_) => self.failures.failed(guest.client),
            _ => {}
        }
        Err(match self.refuse("auth", &refusal) {
            NotAdmitted::Refused { message, .. } => NotAdmitted::Refused { message, data },
            put_off @ NotAdmitted::PutOff => put_off,
        })
    }

    /// Whether a client is not answered until its session can be made, instead of coming back for it: its other sessions would
    /// end with the connection, and what they need may be in another Redis, and well.
    fn can_wait(&self, guest: &Guest, connection: &Connection) -> bool {
        !self.settings.redis.of.is_empty() && guest.namespaces.taken() > 1 && !connection.is_over()
    }

    /// When a connection that begins now is as old as it may get, give or take a fifth.
    pub(super) fn end_of_life(&self) -> Option<Instant> {
        let age = self.settings.socket.max_age;
        (!age.is_zero()).then(|| Instant::now() + age.mul_f64(rand::random_range(0.8..=1.2)))
    }

    fn put_off(&self, connection: &Connection) -> NotAdmitted {
        connection.end_now("unavailable");
        self.refuse("unavailable", &Refusal::Unavailable);
        NotAdmitted::PutOff
    }

    fn refuse(&self, result: &str, refusal: &Refusal) -> NotAdmitted {
        self.metrics.connects.with(result).increment(1);
        self.metrics.refusals.with(refusal.code()).increment(1);
        NotAdmitted::Refused { message: self.router.worded(refusal).message, data: None }
    }
}
