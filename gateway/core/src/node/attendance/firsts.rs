//! Comings: rooms that a member is in with a session that comes back, until somebody has told of them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Attendance, Change, Turn};
use crate::domain::RoomName;
use crate::node::session::Session;

/// Rooms that a session's user, or the anonymous session, is in again, each with the turn of that. The store counts the member
/// from now on, and nobody else learns that it came: so what is dropped untold, for whatever reason the session does not
/// begin, is told as something that happened without it.
#[derive(Debug)]
pub struct Firsts {
    attendance: Arc<Attendance>,
    session: Arc<Session>,
    rooms: VecDeque<(RoomName, Turn)>,
}

impl Firsts {
    pub(super) fn new(attendance: &Arc<Attendance>, session: &Arc<Session>) -> Self {
        Self { attendance: attendance.clone(), session: session.clone(), rooms: VecDeque::new() }
    }

    pub(super) fn push(&mut self, room: RoomName, turn: Turn) {
        self.rooms.push_back((room, turn));
    }
}

/// Whoever takes one tells of it.
impl Iterator for Firsts {
    type Item = (RoomName, Turn);

    fn next(&mut self) -> Option<Self::Item> {
        self.rooms.pop_front()
    }
}

impl Drop for Firsts {
    fn drop(&mut self) {
        for (room, turn) in std::mem::take(&mut self.rooms) {
            self.attendance.announce(Change::Returned(self.session.clone(), room, turn));
        }
    }
}
