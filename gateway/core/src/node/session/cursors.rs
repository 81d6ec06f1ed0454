//! Cursors: how far a session is in what is dispatched to its rooms.
//!
//! They are the one place that decides whether a session is handed something, under a lock of its own: once a session
//! has left a room, or needs no event of it up to an offset, nothing of that is on its way any more.

use crate::domain::Offset;

/// A number of the one sequence in which joins and dispatches happen on this node: what has a higher one than a join
/// is for who joined, what has a lower one is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::node) struct Ticket(pub(in crate::node) u64);

/// How far a session is, in all its rooms.
#[derive(Debug, Default)]
pub(in crate::node) struct Cursors {
    /// By the number of the room: sessions are in few.
    rooms: Vec<Cursor>,
    /// What was dispatched up to here was handed over, or was not for it.
    upto: Ticket,
}

/// How far a session is in one of its rooms.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct Cursor {
    room: u64,
    pub(in crate::node) joined: Ticket,
    /// Published events up to here are not for it: it was given them from the log.
    pub(in crate::node) from: Offset,
}

impl Cursors {
    fn find(&self, room: u64) -> Result<usize, usize> {
        self.rooms.binary_search_by_key(&room, |cursor| cursor.room)
    }

    /// How far it is in a room, if it is in it.
    pub(in crate::node) fn of(&self, room: u64) -> Option<Cursor> {
        self.find(room).ok().map(|at| self.rooms[at])
    }

    /// Notes that the session joined a room that it is not in.
    pub(in crate::node) fn enter(&mut self, room: u64, joined: Ticket, from: Offset) {
        let at = self.find(room).unwrap_or_else(|at| at);
        self.rooms.insert(at, Cursor { room, joined, from });
    }

    /// Notes that the session left a room; returns when it had joined, if it was in it.
    pub(in crate::node) fn leave(&mut self, room: u64) -> Option<Ticket> {
        self.find(room).ok().map(|at| self.rooms.remove(at).joined)
    }

    /// Notes that it needs no published events of a room up to an offset.
    pub(in crate::node) fn skip_to(&mut self, room: u64, from: Offset) {
        if let Ok(at) = self.find(room) {
            self.rooms[at].from = from;
        }
    }

    /// Whether it is past what was dispatched with a ticket.
    pub(in crate::node) fn is_past(&self, ticket: Ticket) -> bool {
        ticket <= self.upto
    }

    /// Notes that it is past everything up to a ticket.
    pub(in crate::node) fn pass(&mut self, ticket: Ticket) {
        self.upto = ticket;
    }
}
