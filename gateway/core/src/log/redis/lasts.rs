//! The last events of rooms that are archived, as far as this node knows them: so that who appends need not look them up.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::domain::{Offset, RoomName};

/// How many rooms are remembered. A room that was forgotten is looked up once more.
const ROOMS: usize = 16_384;

/// Hints: the script that is given one asks the room whether something came after it.
#[derive(Debug, Default)]
pub(super) struct Lasts(Mutex<HashMap<RoomName, Offset>>);

impl Lasts {
    /// Notes that something was appended to a room, here or on another node.
    pub(super) fn note(&self, room: &RoomName, offset: Offset) {
        let mut lasts = self.0.lock();
        if let Some(last) = lasts.get_mut(room) {
            *last = offset.max(*last);
            return;
        }
        if lasts.len() == ROOMS {
            lasts.clear();
        }
        lasts.insert(room.clone(), offset);
    }

    /// The last that this node knows of.
    pub(super) fn of(&self, room: &RoomName) -> Option<Offset> {
        self.0.lock().get(room).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_remembered_of_so_many_rooms() {
        let (lasts, room) = (Lasts::default(), |number: usize| RoomName::trusted(&number.to_string()));
        for number in 0..ROOMS {
            lasts.note(&room(number), Offset(7));
        }
        lasts.note(&room(0), Offset(9));
        lasts.note(&room(0), Offset(8));
        assert_eq!((lasts.of(&room(0)), lasts.of(&room(1))), (Some(Offset(9)), Some(Offset(7))));
        lasts.note(&room(ROOMS), Offset(10));
        assert_eq!((lasts.of(&room(0)), lasts.of(&room(ROOMS))), (None, Some(Offset(10))));
    }
}
