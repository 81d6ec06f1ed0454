//! Entering and leaving, in the state that the nodes of one process share.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::State;
use crate::domain::{RoomName, SessionId, UserId};
use crate::outbox::{Happening, What};
use crate::presence::{Arrival, Attendee, Cause, Departed, Entered, Entry as Answer, Held, Numbered};

/// A place that has members.
#[derive(Debug, Default)]
pub(super) struct PlaceState {
    pub(super) members: BTreeMap<String, Record>,
    sessions: HashMap<SessionId, Entry>,
    /// Which of numbered ones it is, if they are in use.
    pub(super) number: Option<(Numbered, u32)>,
}

/// A member of a place.
#[derive(Debug)]
pub(super) struct Record {
    sessions: usize,
    pub(super) since_ms: u64,
    pub(super) user: Option<UserId>,
}

/// A session in a place.
#[derive(Clone, Debug)]
struct Entry {
    holder: u64,
    term: u32,
    /// By which of its holder's steps it is as it is.
    step: u32,
    member: String,
    home: Home,
}

/// Who takes care of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Home {
    Node(u64),
    /// Its key among the lingering ones.
    Lingering((Instant, u64)),
}

impl PlaceState {
    /// The members behind one, in the order of their bytes.
    pub(super) fn after(&self, after: Option<&str>) -> impl Iterator<Item = (&String, &Record)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.members.range::<str, _>((from, Bound::Unbounded))
    }
}

impl State {
    pub(super) fn enter(
        &mut self,
        instance: u64,
        who: &Attendee,
        room: &RoomName,
        capacity: Option<usize>,
        arrival: Arrival,
    ) -> Answer {
        let entered = self.enter_as(instance, who, room, capacity, arrival);
        let sequence = if entered == Entered::First { self.next_sequence() } else { 0 };
        if entered == Entered::First {
            self.note([What::Connected, What::Joined], room, sequence, |happening| {
                (happening.session, happening.user) = (Some(who.session), who.user.clone());
                happening.member = Some(who.member.clone());
            });
        }
        Answer { entered, sequence }
    }

    /// Notes for outboxes what happened in a place: the first of both if sessions are counted there, else the second.
    fn note(&mut self, kinds: [What; 2], room: &RoomName, number: u64, add: impl FnOnce(&mut Happening)) {
        let Some(happened) = &mut self.happened else { return };
        let is_of_sessions = room.namespace().is_some_and(|name| *room == RoomName::everybody(name));
        if room.shown().is_none() && !is_of_sessions {
            return;
        }
        let what = if is_of_sessions { kinds[0] } else { kinds[1] };
        let mut happening = Happening::new(what, room.clone(), number, now_ms());
        add(&mut happening);
        happened.push(happening);
    }

    /// Never below the clock, as in Redis.
    fn next_sequence(&mut self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.sequence = (self.sequence + 1).max(u64::try_from(now.as_micros()).unwrap_or_default());
        self.sequence
    }

    /// What a node has entered.
    pub(super) fn held(&self, instance: u64) -> Vec<Held> {
        let entries = self.nodes.get(&instance).into_iter().flat_map(|node| &node.entries);
        let held = |(session, place): &(SessionId, RoomName)| {
            let Entry { holder, term, step, .. } = *self.places.get(place)?.sessions.get(session)?;
            Some(Held { session: *session, holder, term, step, place: place.clone() })
        };
        entries.filter_map(held).collect()
    }

    /// Whether an entry is still a node's.
    pub(super) fn is_of(&self, instance: u64, session: SessionId, room: &RoomName) -> bool {
        let entry = self.places.get(room).and_then(|place| place.sessions.get(&session));
        entry.is_some_and(|entry| matches!(entry.home, Home::Node(home) if home == instance))
    }

    fn enter_as(
        &mut self,
        instance: u64,
        who: &Attendee,
        room: &RoomName,
        capacity: Option<usize>,
        arrival: Arrival,
    ) -> Entered {
        let was = self.places.get(room).and_then(|place| place.sessions.get(&who.session)).cloned();
        if let Some(was) = &was {
            match was.holder == who.holder {
                true if was.step > who.step => return Entered::Again,
                false if arrival == Arrival::Restored || was.term > who.term => return Entered::Elsewhere,
                _ => {}
            }
            self.disown(was.home, who.session, room);
        }
        let is_in = |place: &PlaceState| place.members.contains_key(&who.member);
        let is_full = |place: &PlaceState| capacity.is_some_and(|capacity| place.members.len() >= capacity);
        let place = self.places.get(room);
        let entered = if was.is_some() || place.is_some_and(is_in) { Entered::Again } else { Entered::First };
        if entered == Entered::First && (place.is_some_and(is_full) || capacity == Some(0)) {
            return Entered::Full;
        }
        let place = self.places.entry(room.clone()).or_default();
        let member = was.as_ref().map_or(&who.member, |was| &was.member).clone();
        if was.is_none() {
            let new = || Record { sessions: 0, since_ms: now_ms(), user: who.user.clone() };
            place.members.entry(member.clone()).or_insert_with(new).sessions += 1;
        }
        let Attendee { holder, term, step, .. } = *who;
        place.sessions.insert(who.session, Entry { holder, term, step, member, home: Home::Node(instance) });
        self.own(instance, who.session, room);
        entered
    }

    pub(super) fn leave(
        &mut self,
        who: &Attendee,
        room: &RoomName,
        linger: Duration,
        now: Instant,
    ) -> Option<Departed> {
        let is_meant = |entry: &&Entry| entry.holder == who.holder && entry.step <= who.step;
        let entry = self.places.get(room)?.sessions.get(&who.session).filter(is_meant)?;
        if linger.is_zero() {
            return self.remove(who.session, room, Cause::Left);
        }
        if let home @ Home::Node(_) = entry.home {
            self.disown(home, who.session, room);
            self.lingered += 1;
            let key = (now + linger, self.lingered);
            self.lingering.insert(key, (who.session, room.clone()));
            let entry = self.places.get_mut(room)?.sessions.get_mut(&who.session)?;
            (entry.home, entry.step) = (Home::Lingering(key), who.step);
        }
        None
    }

    /// Takes a session out of a place; tells whose last one it was there, if it was.
    pub(super) fn remove(&mut self, session: SessionId, room: &RoomName, cause: Cause) -> Option<Departed> {
        let place = self.places.get_mut(room)?;
        let entry = place.sessions.remove(&session)?;
        let record = place.members.get_mut(&entry.member)?;
        record.sessions -= 1;
        let gone = if record.sessions == 0 { place.members.remove(&entry.member) } else { None };
        self.disown(entry.home, session, room);
        let gone = gone?;
        self.vacate(room, &entry.member);
        let sequence = self.next_sequence();
        let left = |happening: &mut Happening| {
            (happening.session, happening.user) = (Some(session), gone.user.clone());
            happening.member = Some(entry.member.clone());
            happening.cause = Some(cause.as_str().to_owned());
        };
        self.note([What::Ended, What::Left], room, sequence, left);
        if room.shown().is_some() && !self.places.contains_key(room) {
            self.note([What::Ended, What::Emptied], room, sequence, left);
        }
        Some(Departed { place: room.clone(), session, member: entry.member, user: gone.user, cause, sequence })
    }

    /// A member has left a place: it ends if that was the last one, and if it has a number, that can be had again.
    fn vacate(&mut self, room: &RoomName, member: &str) {
        let Some(place) = self.places.get(room) else { return };
        let (is_empty, number) = (place.members.is_empty(), place.number.clone());
        if is_empty {
            self.places.remove(room);
        }
        if let Some((series, number)) = number {
            self.reopen(&series, number, member, is_empty);
        }
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
