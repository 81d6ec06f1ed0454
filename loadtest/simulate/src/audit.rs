//! The promises, compared with what clients heard: per room in order, exactly once, recovered or told.

use std::collections::{BTreeMap, BTreeSet};

use crate::clients::Record;
use crate::log::Room;
use crate::token::Partition;

/// All that was ever acknowledged in a room: the offset, and the change with which it was lost, if it was.
pub(crate) type Said = BTreeMap<u64, Option<u32>>;

/// What is wrong, and what is excused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Deliveries that were due and are there.
    pub(crate) exact: u64,
    /// Due, not heard, and nobody was told.
    pub(crate) lost: u64,
    /// Heard more than once.
    pub(crate) doubled: u64,
    /// Heard after something newer of the same room.
    pub(crate) reordered: u64,
    /// Heard and never said.
    pub(crate) invented: u64,
    /// Lost with a server, and told.
    pub(crate) told: u64,
    /// Not kept for so long, and told.
    pub(crate) dropped: u64,
}

impl Findings {
    /// Whether everything was kept that was promised.
    pub(crate) fn clean(&self) -> bool {
        self.lost + self.doubled + self.reordered + self.invented == 0
    }

    /// Together with those of others.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            exact: self.exact + other.exact,
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            reordered: self.reordered + other.reordered,
            invented: self.invented + other.invented,
            told: self.told + other.told,
            dropped: self.dropped + other.dropped,
        }
    }
}

/// Looks at one client.
pub(crate) fn audit(client: &Record, said: &BTreeMap<Room, Said>) -> Findings {
    let rooms = client.rooms.iter().flat_map(|(partition, rooms)| rooms.iter().map(move |room| (*partition, *room)));
    let nothing = Said::new();
    rooms.fold(Findings::default(), |all, (partition, room)| {
        all.plus(of_room(client, partition, room, said.get(&room).unwrap_or(&nothing)))
    })
}

fn of_room(client: &Record, partition: Partition, room: Room, said: &Said) -> Findings {
    let mut found = Findings::default();
    let heard = client.heard.get(&room).map_or(&[][..], Vec::as_slice);
    let (mut once, mut newest) = (BTreeSet::new(), 0);
    for offset in heard {
        if !once.insert(*offset) {
            found.doubled += 1;
        } else if *offset < newest {
            found.reordered += 1;
        }
        newest = newest.max(*offset);
        found.invented += u64::from(!said.contains_key(offset));
    }
    // Who never came in has nothing to miss.
    let Some(joined) = client.joined.get(&room) else { return found };
    let told = client.told.get(&partition).copied().unwrap_or_default();
    let dropped = client.dropped.get(&room).copied().unwrap_or_default();
    for (offset, lost) in said.range(joined + 1..) {
        match lost {
            _ if once.contains(offset) => found.exact += 1,
            Some(change) if told >= *change => found.told += 1,
            _ if *offset <= dropped => found.dropped += 1,
            _ => found.lost += 1,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events 1 to 5 in room 9, of which 4 was lost with change 2.
    fn audited(heard: &[u64], told: u32, dropped: u64) -> Findings {
        let said = BTreeMap::from([(9, (1..=5).map(|offset| (offset, (offset == 4).then_some(2))).collect::<Said>())]);
        let client = Record {
            rooms: BTreeMap::from([(3, vec![9])]),
            joined: BTreeMap::from([(9, 1)]),
            heard: BTreeMap::from([(9, heard.to_vec())]),
            told: BTreeMap::from([(3, told)]),
            dropped: BTreeMap::from([(9, dropped)]),
            ..Record::default()
        };
        audit(&client, &said)
    }

    #[test]
    fn each_fault_is_found() {
        assert!(audited(&[2, 3, 4, 5], 0, 0).clean());
        assert_eq!(audited(&[2, 3, 5], 0, 0).lost, 1, "nobody told it of the change");
        assert_eq!(audited(&[2, 3, 5], 1, 0).lost, 1, "it was told of another one");
        assert_eq!((audited(&[2, 3, 5], 2, 0).clean(), audited(&[2, 3, 5], 2, 0).told), (true, 1));
        assert_eq!(audited(&[2, 5], 2, 0).lost, 1, "being told of a change does not excuse what was kept");
        assert_eq!(audited(&[2, 4, 5], 0, 2).lost, 1, "what was dropped ends before it");
        assert_eq!(audited(&[4, 5], 0, 3).dropped, 2);
        assert_eq!(audited(&[2, 3, 3, 4, 5], 0, 0).doubled, 1);
        assert_eq!(audited(&[2, 4, 3, 5], 0, 0).reordered, 1);
        assert_eq!(audited(&[2, 3, 4, 5, 6], 0, 0).invented, 1);
    }
}
