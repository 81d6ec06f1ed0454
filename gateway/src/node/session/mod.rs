//! A session: a client's logical presence on this node, and the outlet through which it hears.

mod cursors;
mod gate;
mod outlet;
mod seating;
mod stay;
pub(in crate::node) mod typing;

pub(in crate::node) use cursors::{Cursor, Cursors, Ticket};
pub use gate::{Hold, Patience};
pub use outlet::{CloseReason, Outlet, Undelivered, Waiting};
pub(in crate::node) use stay::Stay;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::value::RawValue;

use self::gate::{Gate, Reached};
use self::seating::Seating;
use self::stay::{Left, Membership};
use self::typing::Typing;
use crate::auth::Identity;
use crate::domain::{Frame, Offset, RoomName, SessionId, UserId};
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
    membership: Mutex<Membership>,
    pub(in crate::node) typing: Typing,
    /// How many replays began.
    replays: AtomicU32,
    /// Whether its beginning is over: until then only who begins it may store it.
    begun: AtomicBool,
    /// Whether the stored record is as the session is.
    saved: AtomicBool,
    /// How often it was to be stored.
    saves: AtomicU32,
    /// Up to where its record says that a client has everything.
    saved_to: AtomicU64,
    /// Nothing up to here is for it in rooms that it joins from now on: it was handed newer events, from the log.
    floor: AtomicU64,
    /// Where it is in the order of what presence is asked for it.
    pub(in crate::node) seating: Seating,
    /// Whether its client was told that it ends.
    ending: AtomicBool,
    /// Why this node ends its connection, if it does.
    closing: Mutex<Option<CloseReason>>,
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
            membership: Mutex::default(),
            typing: Typing::default(),
            replays: AtomicU32::new(0),
            begun: AtomicBool::new(false),
            saved: AtomicBool::new(false),
            saves: AtomicU32::new(0),
            saved_to: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            seating: Seating::default(),
            ending: AtomicBool::new(false),
            closing: Mutex::default(),
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

    /// Whether the session is in a room.
    #[must_use]
    pub fn is_in(&self, room: &RoomName) -> bool {
        self.membership.lock().rooms.contains_key(room)
    }

    /// In how many rooms it is that it asked for.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.membership.lock().rooms.keys().filter(|room| room.shown().is_some()).count()
    }

    /// The rooms that it is in, each with the client event by which it joined.
    #[must_use]
    pub fn stays(&self) -> Vec<(RoomName, Arc<str>)> {
        self.membership.lock().rooms.iter().map(|(room, stay)| (room.clone(), stay.via.clone())).collect()
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

    /// Where it is counted: rooms and names.
    pub(in crate::node) fn seats(&self) -> Vec<RoomName> {
        self.membership.lock().seats()
    }

    /// Whether it is counted in a room.
    pub(in crate::node) fn is_seated(&self, room: &RoomName) -> bool {
        self.membership.lock().rooms.get(room).is_some_and(|stay| stay.seated)
    }

    /// Lets go of a name that somebody else holds.
    pub(in crate::node) fn drop_name(&self, name: &RoomName) {
        self.membership.lock().names.retain(|(_, held)| held != name);
    }

    /// Notes that it is counted in a room that it is in; false if it is not in it any more.
    pub(in crate::node) fn seat(&self, room: &RoomName) -> bool {
        self.membership.lock().rooms.get_mut(room).map(|stay| stay.seated = true).is_some()
    }

    /// Notes that it holds a name; returns the places of the one that it had by the same event, which it lets go. Nothing
    /// is noted, and the name's own come back, if the session is over.
    pub(in crate::node) fn take_name(&self, via: &Arc<str>, name: &RoomName) -> Vec<RoomName> {
        let mut membership = self.membership.lock();
        if membership.departed {
            return name.looks();
        }
        let old = membership.names.iter().position(|(event, _)| event == via);
        let old = old.map(|at| membership.names.swap_remove(at).1);
        membership.names.push((via.clone(), name.clone()));
        let held: Vec<_> = membership.looks().collect();
        let let_go = old.into_iter().flat_map(|old| old.looks());
        let_go.filter(|look| !held.contains(look)).collect()
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
        {
            let mut closing = self.closing.lock();
            if *closing != Some(CloseReason::Kicked) {
                *closing = Some(reason);
            }
        }
        self.gate.outlet().close(reason);
    }

    /// Why this node ends its connection, the last reason of several. Who was ended for good stays so: however the
    /// connection ends, nobody gets the session back.
    pub(in crate::node) fn closing(&self) -> Option<CloseReason> {
        *self.closing.lock()
    }

    /// Notes that the session is in a room, or since when it is; false if it is over and must not be.
    pub(in crate::node) fn remember(&self, room: &RoomName, stay: Stay) -> bool {
        let mut membership = self.membership.lock();
        if !membership.departed {
            membership.rooms.insert(room.clone(), stay);
        }
        !membership.departed
    }

    /// Notes that the replay with which it joined a room has ended, and what it had been handed before.
    pub(in crate::node) fn replay_ended(&self, room: &RoomName, handed: Offset) {
        if let Some(stay) = self.membership.lock().rooms.get_mut(room) {
            stay.handed = handed;
        }
    }

    /// Notes since when it is in a room to which it came back, if it is.
    pub(in crate::node) fn stay_since(&self, room: &RoomName, since: Offset, complete_from: Offset) {
        if let Some(stay) = self.membership.lock().rooms.get_mut(room) {
            (stay.since, stay.complete_from) = (since, complete_from);
        }
    }

    /// Notes that it is no longer; returns how it was, if it was.
    pub(in crate::node) fn forget(&self, room: &RoomName) -> Option<Stay> {
        self.membership.lock().rooms.remove(room)
    }

    /// Notes that its client is told that it ends; false if it was told before.
    #[must_use]
    pub fn ends(&self) -> bool {
        !self.ending.swap(true, Ordering::AcqRel)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.membership.lock().departed
    }

    /// Ends all membership for good; returns what it was in.
    pub(in crate::node) fn depart(&self) -> Left {
        let mut membership = self.membership.lock();
        membership.departed = true;
        let seats = membership.seats();
        membership.names.clear();
        Left { rooms: std::mem::take(&mut membership.rooms).into_keys().collect(), seats }
    }

    /// The number of a replay that begins.
    pub(in crate::node) fn next_replay(&self) -> u32 {
        self.replays.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Counts replays on from those that the session had on another connection.
    pub(in crate::node) fn count_replays_from(&self, last: u32) {
        self.replays.store(last, Ordering::Release);
    }

    /// From which offset on it has, or will have, everything of a room that it is in.
    pub(in crate::node) fn complete_from(&self, room: &RoomName) -> Option<Offset> {
        self.membership.lock().rooms.get(room).map(|stay| stay.complete_from)
    }

    /// Notes that what it joins from now on is nothing to it up to an offset.
    pub(in crate::node) fn raise_floor(&self, upto: Offset) {
        self.floor.fetch_max(upto.0, Ordering::AcqRel);
    }

    pub(in crate::node) fn floor(&self) -> Offset {
        Offset(self.floor.load(Ordering::Acquire))
    }

    /// What must be stored so that it can come back; nothing if it is over, because then its rooms are gone. Whatever
    /// changes from now on makes it stale. `handed_to` is up to where its gate was given everything.
    pub(in crate::node) fn record(&self, handed_to: Offset) -> Option<Record> {
        self.begun.store(true, Ordering::Release);
        self.saved.store(true, Ordering::Release);
        let membership = self.membership.lock();
        if membership.departed {
            return None;
        }
        let room = |(room, stay): (&RoomName, &Stay)| RoomRecord {
            room: room.clone(),
            since: stay.since,
            complete_from: stay.complete_from,
            replay: stay.replay,
            handed: stay.handed,
            via: stay.via.to_string(),
        };
        let rooms = membership.rooms.iter().map(room).collect();
        let version = self.saves.fetch_add(1, Ordering::AcqRel) + 1;
        let names = membership.names.iter().map(|(via, name)| (via.to_string(), name.clone())).collect();
        let identified = self.identity().user.clone().filter(|_| self.owner.is_none());
        let namespace = self.namespace.to_string();
        let Reached { handed, complete_to } = self.gate.reached(handed_to);
        self.saved_to.store(complete_to.0, Ordering::Release);
        let (session, user, term) = (self.id, self.owner.clone(), self.term());
        Some(Record { session, user, version, term, rooms, namespace, identified, names, handed, complete_to })
    }

    /// Notes that what is stored is not what the session is.
    pub(in crate::node) fn mark_unsaved(&self) {
        self.saved.store(false, Ordering::Release);
    }

    pub(in crate::node) fn is_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    pub(in crate::node) fn is_saved(&self) -> bool {
        self.saved.load(Ordering::Acquire)
    }

    /// Up to where the stored record says that a client has everything.
    pub(in crate::node) fn saved_to(&self) -> Offset {
        Offset(self.saved_to.load(Ordering::Acquire))
    }
}
