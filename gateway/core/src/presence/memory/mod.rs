//! The presence of one process: several nodes of it can share the places, and all is gone when it ends.

mod places;
mod series;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use self::places::{Home, PlaceState, Record};
use self::series::Series;
use super::{
    Arrival, Attendee, Beat, Beating, Busy, BusyRooms, Cause, Departed, Directory, Entry, Member, Numbered, Page,
    Place, Presence,
};
use crate::config;
use crate::domain::{RoomName, SessionId};
use crate::outbox::{Happening, Scribe};
use crate::port::PortError;

/// What the presences of one process share.
#[derive(Debug, Default)]
pub struct MemoryPlaces {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    nodes: HashMap<u64, Node>,
    places: BTreeMap<RoomName, PlaceState>,
    series: HashMap<Numbered, Series>,
    /// Entries that no node has any more, by when their time is over. The number tells two of the same time apart.
    lingering: BTreeMap<(Instant, u64), (SessionId, RoomName)>,
    lingered: u64,
    /// Entries whose node's lease ran out.
    dead: Vec<(u64, SessionId, RoomName)>,
    /// The last sequence number.
    sequence: u64,
    /// What happens now and is to be told to outboxes, where somebody does that.
    happened: Option<Vec<Happening>>,
    /// Until when nobody's lease counts as run out, and from when on that may be again.
    grace: Option<(Instant, Instant)>,
}

#[derive(Debug)]
struct Node {
    name: String,
    until: Instant,
    entries: HashSet<(SessionId, RoomName)>,
}

/// The presence of one node of a [`MemoryPlaces`].
#[derive(Debug)]
pub struct MemoryPresence {
    places: Arc<MemoryPlaces>,
    name: String,
    lease: Duration,
    page: usize,
    scribe: Option<Arc<dyn Scribe>>,
    identity: Mutex<Identity>,
}

/// What is forgotten comes back under another number, so that the entries it no longer cares for end with the old one.
#[derive(Debug)]
struct Identity {
    instance: u64,
    /// To be told by the next beat.
    forgotten: bool,
}

impl MemoryPresence {
    /// The presence of a node whose lease begins now; the name is for people.
    #[must_use]
    pub fn new(places: Arc<MemoryPlaces>, name: &str, settings: &config::Presence) -> Self {
        let identity = Mutex::new(Identity { instance: rand::random(), forgotten: false });
        let (lease, page) = (settings.lease, settings.page);
        let presence = Self { places, name: name.to_owned(), lease, page, scribe: None, identity };
        let instance = presence.identity.lock().instance;
        presence.places.state.lock().nodes.insert(instance, presence.node());
        presence
    }

    /// The same, and outboxes are told who comes and leaves.
    #[must_use]
    pub fn with_outbox(self, scribe: Arc<dyn Scribe>) -> Self {
        Self { scribe: Some(scribe), ..self }
    }

    /// Has what happens noted, if it is to be told.
    fn listen(&self, state: &mut State) {
        state.happened = self.scribe.as_ref().filter(|scribe| scribe.is_wanted()).map(|_| Vec::new());
    }

    /// Tells what happened, in its order; to be called before the lock is given back.
    fn tell(&self, state: &mut State) {
        let happened = state.happened.take().unwrap_or_default();
        if let Some(scribe) = self.scribe.as_ref().filter(|_| !happened.is_empty()) {
            scribe.put(happened);
        }
    }

    /// Returns when what was told is written.
    async fn told(&self) {
        if let Some(scribe) = &self.scribe {
            scribe.written().await;
        }
    }

    fn node(&self) -> Node {
        Node { name: self.name.clone(), until: Instant::now() + self.lease, entries: HashSet::new() }
    }

    /// The state, with this node in it, and its number there.
    fn enlisted(&self) -> (MutexGuard<'_, State>, u64) {
        let mut identity = self.identity.lock();
        let mut state = self.places.state.lock();
        let is_known = state.nodes.contains_key(&identity.instance);
        if !is_known {
            *identity = Identity { instance: rand::random(), forgotten: true };
            state.nodes.insert(identity.instance, self.node());
        }
        (state, identity.instance)
    }
}

impl State {
    /// Takes out the entries whose time is over, up to so many departures; returns the names of nodes that are lost as well.
    fn settle(&mut self, now: Instant, most: usize) -> (Vec<Departed>, Vec<String>) {
        let mut departed = Vec::new();
        while departed.len() < most
            && let Some(due) = self.lingering.first_entry().filter(|due| due.key().0 <= now)
        {
            let (session, place) = due.get().clone();
            departed.extend(self.remove(session, &place, Cause::Lingered));
        }
        let mut lost = Vec::new();
        if self.grace.is_none_or(|(until, _)| until <= now) {
            let dead: Vec<_> = self.nodes.extract_if(|_, node| node.until <= now).collect();
            for (instance, node) in dead {
                if !node.entries.is_empty() {
                    lost.push(node.name);
                }
                let entries = node.entries.into_iter().map(|(session, place)| (instance, session, place));
                self.dead.extend(entries);
            }
        }
        while departed.len() < most
            && let Some((instance, session, place)) = self.dead.pop()
        {
            // It may have come back elsewhere meanwhile.
            if self.is_of(instance, session, &place) {
                departed.extend(self.remove(session, &place, Cause::Lease));
            }
        }
        (departed, lost)
    }

    /// If nobody has beaten for a while, the whole process stood still: its nodes get time to come back. Not twice in a
    /// row, or a single node that beats slowly would keep the dead ones forever.
    fn grant_grace(&mut self, now: Instant, lease: Duration) {
        let newest = self.nodes.values().map(|node| node.until).max();
        let may_be = self.grace.is_none_or(|(_, again)| again <= now);
        if may_be && newest.is_some_and(|until| until < now + lease / 2) {
            self.grace = Some((now + lease, now + lease * 2));
        }
    }

    /// Takes an entry from the node, or the lingering ones, that have it.
    fn disown(&mut self, home: Home, session: SessionId, place: &RoomName) {
        match home {
            Home::Lingering(key) => drop(self.lingering.remove(&key)),
            Home::Node(instance) => {
                if let Some(node) = self.nodes.get_mut(&instance) {
                    node.entries.remove(&(session, place.clone()));
                }
            }
        }
    }

    fn own(&mut self, instance: u64, session: SessionId, place: &RoomName) {
        if let Some(node) = self.nodes.get_mut(&instance) {
            node.entries.insert((session, place.clone()));
        }
    }
}

#[async_trait]
impl Presence for MemoryPresence {
    async fn enter(&self, who: &Attendee, places: &[Place], arrival: Arrival) -> Result<Vec<Entry>, PortError> {
        let entered = {
            let (mut state, instance) = self.enlisted();
            self.listen(&mut state);
            let enter = |place: &Place| state.enter(instance, who, &place.room, place.capacity, arrival);
            let entered = places.iter().map(enter).collect();
            self.tell(&mut state);
            entered
        };
        self.told().await;
        Ok(entered)
    }

    async fn enter_first(
        &self,
        who: &Attendee,
        places: &Numbered,
        capacity: usize,
        arrival: Arrival,
    ) -> Result<(u32, Entry), PortError> {
        let entered = {
            let (mut state, instance) = self.enlisted();
            self.listen(&mut state);
            let entered = state.enter_first(instance, who, places, capacity.max(1), arrival);
            self.tell(&mut state);
            entered
        };
        self.told().await;
        Ok(entered)
    }

    async fn leave(&self, who: &Attendee, places: &[RoomName], linger: Duration) -> Result<Vec<Departed>, PortError> {
        let departed = {
            let mut state = self.places.state.lock();
            self.listen(&mut state);
            let now = Instant::now();
            let leave = |place| state.leave(who, place, linger, now);
            let departed = places.iter().filter_map(leave).collect();
            self.tell(&mut state);
            departed
        };
        self.told().await;
        Ok(departed)
    }

    async fn count(&self, places: &[RoomName]) -> Result<Vec<u64>, PortError> {
        let state = self.places.state.lock();
        let count = |place| state.places.get(place).map_or(0, |place: &PlaceState| place.members.len() as u64);
        Ok(places.iter().map(count).collect())
    }

    async fn list(&self, place: &RoomName, after: Option<&str>, limit: usize) -> Result<Page, PortError> {
        let state = self.places.state.lock();
        let Some(place) = state.places.get(place) else { return Ok(Page::default()) };
        let limit = limit.clamp(1, self.page);
        let mut rest = place.after(after);
        let member = |(member, record): (&String, &Record)| Member {
            member: member.clone(),
            user: record.user.clone(),
            since_ms: record.since_ms,
        };
        let members: Vec<_> = rest.by_ref().take(limit).map(member).collect();
        let next = members.last().filter(|_| rest.next().is_some()).map(|last| last.member.clone());
        Ok(Page { members, next, count: place.members.len() as u64 })
    }

    async fn beat(&self, wish: Beating) -> Result<Beat, PortError> {
        if wish.anew {
            *self.identity.lock() = Identity { instance: rand::random(), forgotten: true };
        }
        let (departed, lost, held, entries) = {
            let (mut state, instance) = self.enlisted();
            self.listen(&mut state);
            let now = Instant::now();
            state.grant_grace(now, self.lease);
            let mut entries = 0;
            if let Some(node) = state.nodes.get_mut(&instance) {
                node.until = now + self.lease;
                entries = node.entries.len() as u64;
            }
            let (departed, lost) = state.settle(now, wish.most);
            let held = wish.review.then(|| state.held(instance));
            self.tell(&mut state);
            (departed, lost, held, entries)
        };
        self.told().await;
        let forgotten = std::mem::take(&mut self.identity.lock().forgotten);
        Ok(Beat { forgotten, departed, lost, entries, held, in_doubt: false })
    }
}

#[async_trait]
impl Directory for MemoryPresence {
    async fn rooms(&self, namespace: &str, after: Option<&RoomName>, limit: usize) -> Result<BusyRooms, PortError> {
        let state = self.places.state.lock();
        let limit = limit.clamp(1, self.page);
        let (first, end) = RoomName::span(namespace);
        let first = after.map_or(Bound::Included(&first), Bound::Excluded);
        let end = end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        if after.is_some_and(|after| matches!(end, Bound::Excluded(end) if after >= end)) {
            return Ok(BusyRooms::default());
        }
        let mut rest = state.places.range::<RoomName, _>((first, end)).filter(|(_, place)| !place.members.is_empty());
        let busy =
            |(room, place): (&RoomName, &PlaceState)| Busy { room: room.clone(), members: place.members.len() as u64 };
        let rooms: Vec<_> = rest.by_ref().take(limit).map(busy).collect();
        let next = rooms.last().filter(|_| rest.next().is_some()).map(|last| last.room.clone());
        Ok(BusyRooms { rooms, next })
    }
}
