//! A session: a client's logical presence on this node, and the outlet through which it hears.

mod cursors;
mod gate;
mod life;
mod outlet;
mod refused;
mod seating;
mod stay;
pub(in crate::node) mod typing;

pub(in crate::node) use cursors::{Cursor, Cursors, Ticket};
pub use gate::{Hold, Patience};
pub use outlet::{CloseReason, Outlet, Undelivered, Waiting};
use refused::Refusals;
pub use refused::Refused;
pub(in crate::node) use stay::Stay;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::time::Instant;

use self::gate::{Gate, Reached};
use self::life::{Life, Stored};
use self::seating::Seating;
use self::stay::{Left, Membership};
use self::typing::Typing;
use crate::auth::Identity;
use crate::domain::{Frame, Offset, RoomName, SessionId, UserId};
use crate::node::clock::now_ms;
use crate::node::limits::{Account, Allowance};
use crate::sessions::{Lease, Record, RoomRecord};

/// Who a session is for: what its connection brought.
#[derive(Debug)]
pub struct Client {
    /// Who the token says it is.
    pub identity: Identity,
    /// The namespace that it is in.
    pub namespace: Arc<str>,
    /// Of what it sent along when it connected, the fields that routes read.
    pub auth: BTreeMap<String, Box<RawValue>>,
    /// Where it is, as far as trusted proxies tell.
    pub address: IpAddr,
    /// What carried it when it came: a label of [`crate::metrics::TRANSPORTS`].
    pub transport: &'static str,
}

/// What of a session changes together: who has departed is in nothing, and comes into nothing.
#[derive(Default)]
struct State {
    life: Life,
    membership: Membership,
}

/// One session on this node.
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The namespace that it is in.
    pub namespace: Arc<str>,
    /// Of what it sent along when it connected, the fields that routes read.
    pub auth: BTreeMap<String, Box<RawValue>>,
    /// Where its client is, as far as trusted proxies tell.
    pub address: IpAddr,
    /// What carried it when it came: a label of [`crate::metrics::TRANSPORTS`].
    pub transport: &'static str,
    /// Who it is now: tokens are renewed, and where none is needed, a session may say who it is.
    identity: ArcSwap<Identity>,
    /// The user of the token with which it came: whose it is to come back to.
    owner: Option<UserId>,
    /// Its right to come back.
    pub lease: Lease,
    /// What it may send.
    pub allowance: Arc<Allowance>,
    pub(in crate::node) gate: Arc<Gate>,
    /// How far it is in what is dispatched to its rooms. Locked while it is handed something of that.
    pub(in crate::node) cursors: Mutex<Cursors>,
    state: Mutex<State>,
    pub(in crate::node) typing: Typing,
    /// Where it is in the order of what presence is asked for it.
    seating: Seating,
    /// When it came to this node, in milliseconds since 1970.
    pub came_ms: u64,
    /// The same by a clock that nobody sets.
    pub(in crate::node) came: Instant,
    /// What of its client's events was refused last.
    refusals: Refusals,
    /// Whether it is nobody's, and not shown among the members of rooms.
    hidden: AtomicBool,
    /// Held while something of the session is being done that others must see whole before they see its end.
    pub busy: tokio::sync::Mutex<()>,
    /// Held while the record is stored, so that an older one never comes after a newer one.
    pub(in crate::node) saving: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("identity", &self.identity()).finish_non_exhaustive()
    }
}

impl Session {
    /// A session in no room.
    #[must_use]
    pub fn new(
        id: SessionId,
        client: Client,
        lease: Lease,
        allowance: Arc<Allowance>,
        patience: Patience,
        outlet: Box<dyn Outlet>,
    ) -> Self {
        Self {
            id,
            namespace: client.namespace,
            auth: client.auth,
            address: client.address,
            transport: client.transport,
            owner: client.identity.user.clone(),
            identity: ArcSwap::from_pointee(client.identity),
            lease,
            allowance,
            gate: Arc::new(Gate::new(outlet, patience)),
            cursors: Mutex::default(),
            state: Mutex::default(),
            typing: Typing::default(),
            seating: Seating::default(),
            came_ms: now_ms(),
            came: Instant::now(),
            refusals: Refusals::default(),
            hidden: AtomicBool::new(false),
            busy: tokio::sync::Mutex::default(),
            saving: tokio::sync::Mutex::default(),
        }
    }

    /// Whose publishes are one sequence for deduplication: the user's, or the anonymous session's own. The first
    /// letter keeps a user from being called like a session.
    #[must_use]
    pub fn author(&self) -> String {
        match &self.identity().user {
            None => format!("s:{}", self.id),
            Some(user) => format!("u:{}", user.as_str()),
        }
    }

    /// On whose account is kept what it publishes: that of the user of its token, or of its address; none if nothing limits
    /// that.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        self.allowance.account(self.owner.as_ref(), self.address)
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> Arc<Identity> {
        self.identity.load_full()
    }

    /// Whether it came with a token.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.owner.is_some()
    }

    /// Notes who it is from now on.
    pub fn identify(&self, identity: Identity) {
        self.identity.store(Arc::new(identity));
    }

    /// Notes that it is no client's.
    pub(in crate::node) fn hide(&self) {
        self.hidden.store(true, Ordering::Relaxed);
    }

    /// Whether it is no client's.
    pub(in crate::node) fn is_hidden(&self) -> bool {
        self.hidden.load(Ordering::Relaxed)
    }

    /// What waits for its client.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        self.gate.outlet().waiting()
    }

    /// Hands a frame that has no place in the log to this client alone, before what waits already. Waits for a full
    /// queue.
    pub async fn say(&self, frame: &Frame) {
        self.gate.overtake(frame, None).await;
    }

    /// The same after what waits already, without waiting; if the client cannot take it, it is closed.
    pub fn notify(&self, frame: Frame) {
        self.gate.notify(&RoomName::everybody(&self.namespace), &Arc::new(frame));
    }

    /// Hands a live frame of a room to the client, at once or after what waits already; false if it will not get it.
    pub(in crate::node) fn deliver(&self, room: &RoomName, offset: Option<Offset>, frame: &Arc<Frame>) -> bool {
        self.gate.deliver(room, offset, frame)
    }

    /// Hands a notice to the client after what waits already; if it cannot take it, it is closed.
    pub(in crate::node) fn notify_in(&self, room: &RoomName, notice: &Arc<Frame>) {
        self.gate.notify(room, notice);
    }

    /// Ends the session's connection.
    pub fn close(&self, reason: CloseReason) {
        self.state.lock().life.close(reason);
        self.gate.outlet().close(reason);
    }

    /// Why this node ends its connection, the last reason of several. Who was ended for good stays so: however the
    /// connection ends, nobody gets the session back.
    pub(in crate::node) fn closing(&self) -> Option<CloseReason> {
        self.state.lock().life.why()
    }

    /// Notes that its client is told that it ends; false if it was told before.
    #[must_use]
    pub fn ends(&self) -> bool {
        self.state.lock().life.tell()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state.lock().life.has_departed()
    }

    /// Whether its connection is over; what its client sent before may still be done.
    #[must_use]
    pub fn has_hung_up(&self) -> bool {
        self.state.lock().life.has_hung_up()
    }

    /// Notes that its connection is over: nothing is stored of it any more, and nothing handed to its client.
    pub(in crate::node) fn hang_up(&self) {
        self.state.lock().life.hang_up();
        self.gate.shut();
    }

    /// Ends all membership for good; returns what it was in.
    pub(in crate::node) fn depart(&self) -> Left {
        let State { life, membership } = &mut *self.state.lock();
        life.depart();
        let seats = membership.seats();
        membership.names.clear();
        Left { rooms: std::mem::take(&mut membership.rooms).into_keys().collect(), seats }
    }

    /// What must be stored so that it can come back; nothing if it is over, because then its rooms are gone. Its beginning is
    /// over with it, and whatever changes from now on makes it stale. `handed_to` is up to where its gate was given
    /// everything.
    pub(in crate::node) fn record(&self, handed_to: Offset) -> Option<Record> {
        let State { life, membership } = &mut *self.state.lock();
        let Reached { handed, complete_to } = self.gate.reached(handed_to);
        let version = life.store(complete_to)?;
        let room = |(room, stay): (&RoomName, &Stay)| RoomRecord {
            room: room.clone(),
            since: stay.since,
            complete_from: stay.complete_from,
            replay: stay.replay,
            handed: stay.handed,
            via: stay.via.to_string(),
        };
        let rooms = membership.rooms.iter().map(room).collect();
        let names = membership.names.iter().map(|(via, name)| (via.to_string(), name.clone())).collect();
        let identified = self.identity().user.clone().filter(|_| self.owner.is_none());
        let namespace = self.namespace.to_string();
        let (session, user, term) = (self.id, self.owner.clone(), self.term());
        Some(Record { session, user, version, term, rooms, namespace, identified, names, handed, complete_to })
    }

    /// Notes that what is stored is not what the session is.
    pub(in crate::node) fn mark_unsaved(&self) {
        self.state.lock().life.unstore();
    }

    /// How it is stored; nothing while only who begins it may store it, and once it is over.
    pub(in crate::node) fn stored(&self) -> Option<Stored> {
        self.state.lock().life.stored()
    }
}
