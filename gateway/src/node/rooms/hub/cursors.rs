//! Cursors: how far a session is in what is dispatched to its rooms.
//!
//! They are the one place that decides whether a session is handed something, under a lock of its own: once a session
//! has left a room, or needs no event of it up to an offset, nothing of that is on its way any more.

use super::room::Ticket;
use super::shard::{Delivery, Dispatch, Kind};
use crate::domain::Offset;
use crate::node::Session;

/// How far a session is, in all its rooms.
#[derive(Debug, Default)]
pub(in crate::node) struct Cursors {
    /// By the number of the room: sessions are in few.
    rooms: Vec<Cursor>,
    /// What was dispatched up to here was handed over, or was not for it.
    upto: Ticket,
}

#[derive(Debug)]
struct Cursor {
    room: u64,
    joined: Ticket,
    /// Published events up to here are not for it: it was given them from the log.
    from: Offset,
}

impl Cursors {
    fn find(&self, room: u64) -> Result<usize, usize> {
        self.rooms.binary_search_by_key(&room, |cursor| cursor.room)
    }

    pub(super) fn is_in(&self, room: u64) -> bool {
        self.find(room).is_ok()
    }

    /// Notes that the session joined a room that it is not in.
    pub(super) fn enter(&mut self, room: u64, joined: Ticket, from: Offset) {
        let at = self.find(room).unwrap_or_else(|at| at);
        self.rooms.insert(at, Cursor { room, joined, from });
    }

    /// Notes that the session left a room; returns when it had joined, if it was in it.
    pub(super) fn leave(&mut self, room: u64) -> Option<Ticket> {
        self.find(room).ok().map(|at| self.rooms.remove(at).joined)
    }

    pub(super) fn skip_to(&mut self, room: u64, from: Offset) {
        if let Ok(at) = self.find(room) {
            self.rooms[at].from = from;
        }
    }

    /// Hands a dispatch over unless the session got it before; what is older and has not come to the session yet goes
    /// first. Returns how many events and signals its client was handed.
    pub(super) fn hand(&mut self, session: &Session, dispatch: &Dispatch, older: &[Delivery]) -> usize {
        if dispatch.ticket <= self.upto {
            return 0;
        }
        let overdue = older.iter().map(|delivery| &delivery.dispatch).filter(|older| older.ticket > self.upto);
        let handed = overdue.chain([dispatch]).map(|dispatch| usize::from(self.offer(session, dispatch))).sum();
        self.upto = dispatch.ticket;
        handed
    }

    fn offer(&self, session: &Session, Dispatch { room, ticket, message }: &Dispatch) -> bool {
        let Ok(at) = self.find(room.number) else { return false };
        let Cursor { joined, from, .. } = self.rooms[at];
        if joined > *ticket || message.except == Some(session.id) {
            return false;
        }
        match message.kind {
            Kind::Event(position) if position.offset <= from => false,
            Kind::Event(position) => session.deliver(&room.name, Some(position.offset), &message.frame),
            Kind::Signal => session.deliver(&room.name, None, &message.frame),
            Kind::Notice => {
                session.notify_in(&room.name, &message.frame);
                false
            }
        }
    }
}
