//! Who is where on this node: the rooms that have members, and what is told of these to whoever watches.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Hub;
use super::room::State;
use super::shard::{Kind, Message};
use crate::domain::RoomName;
use crate::node::session::Session;
use crate::node::sights::{Seen, Sight};

/// A room that has members on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inhabited {
    /// Which.
    pub room: RoomName,
    /// How many sessions are in it here.
    pub members: usize,
}

impl Hub {
    /// The rooms after one that clients can name and that have members, in order, `limit` at the most.
    pub(in crate::node::rooms) fn inhabited(
        &self,
        after: Option<&RoomName>,
        limit: usize,
        is_meant: impl Fn(&RoomName) -> bool,
    ) -> Vec<Inhabited> {
        let mut found = BTreeMap::new();
        for (name, room) in &*self.rooms.lock() {
            let is_next = name.shown().is_some() && after.is_none_or(|after| name > after);
            // Of those that came so far the first are kept: rooms may be very many.
            let is_one =
                is_next && (found.len() < limit || found.last_key_value().is_some_and(|(last, _)| name < last));
            if !is_one || !is_meant(name) {
                continue;
            }
            let members = room.state.lock().members.values().filter(|session| !session.is_hidden()).count();
            if members > 0 {
                found.insert(name.clone(), members);
                if found.len() > limit {
                    found.pop_last();
                }
            }
        }
        found.into_iter().map(|(room, members)| Inhabited { room, members }).collect()
    }

    /// Tells of a session that is in a room that clients can name, or no longer.
    pub(super) fn tell_move(&self, session: &Session, room: &RoomName, what: fn(RoomName) -> Seen) {
        if session.is_hidden() || room.shown().is_none() {
            return;
        }
        self.sights.tell_move(|| {
            let (namespace, what) = (session.namespace.clone(), what(room.clone()));
            Some(Sight { session: session.id, namespace, what })
        });
    }

    /// Tells of what the members of a room are handed, at one of them.
    pub(super) fn tell_sent(&self, state: &State, message: &Message) {
        if matches!(message.kind, Kind::Notice) {
            return;
        }
        self.sights.tell_event(|| {
            let is_shown = |session: &&Arc<Session>| {
                !session.is_hidden() && !message.except.as_ref().is_some_and(|except| session.is_excepted(except))
            };
            let session = state.members.values().find(is_shown)?;
            let (namespace, what) = (session.namespace.clone(), Seen::Sent(message.frame.text(false)));
            Some(Sight { session: session.id, namespace, what })
        });
    }
}
