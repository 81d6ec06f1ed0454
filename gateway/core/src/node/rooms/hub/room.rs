//! A room on this node: its members by shard, and the last position that was dispatched to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::{Position, RoomName};
use crate::node::session::{Session, Ticket};

#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: RoomName,
    /// Tells it from every other room that this node has, or had.
    pub(super) number: u64,
    /// Held while listening begins or ends, so that members wait for it and it happens once.
    pub(super) listening: tokio::sync::Mutex<Listening>,
    pub(super) state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Listening {
    #[default]
    NotYet,
    /// It was begun, and may have been given up midway: whether the log was told is not known.
    Begun,
    Yes,
    /// The room was taken out of the hub; whoever still holds it must look it up again.
    Over,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// By shard and join. The key of a member never changes, so a delivery can be interrupted anywhere and goes on
    /// after the last member that it came to, whoever has joined or left meanwhile. For a moment, a session that came
    /// back and the one that it replaces may both be here.
    pub(super) members: BTreeMap<(usize, Ticket), Arc<Session>>,
    pub(super) last: Option<Position>,
    /// Since when there is no member; from the beginning, so that a room is swept to which nobody came after all.
    pub(super) empty_since: Option<Instant>,
}

impl State {
    /// The shards that have members.
    pub(super) fn shards(&self) -> impl Iterator<Item = usize> {
        let first_from = |shard| self.members.range((shard, Ticket::default())..).next().map(|(&(shard, _), _)| shard);
        std::iter::successors(first_from(0), move |shard| first_from(shard + 1))
    }
}

impl Room {
    pub(super) fn new(name: RoomName, number: u64) -> Self {
        let state = State { empty_since: Some(Instant::now()), ..State::default() };
        Self { name, number, listening: tokio::sync::Mutex::default(), state: Mutex::new(state) }
    }

    /// Fills `members` with the first few of a shard's members that joined after one ticket and before another.
    pub(super) fn members(
        &self,
        shard: usize,
        (after, before): (Ticket, Ticket),
        limit: usize,
        members: &mut Vec<(Ticket, Arc<Session>)>,
    ) {
        use std::ops::Bound::Excluded;
        members.clear();
        let state = self.state.lock();
        let range = state.members.range((Excluded((shard, after)), Excluded((shard, before))));
        members.extend(range.take(limit).map(|(&(_, joined), session)| (joined, session.clone())));
    }
}
