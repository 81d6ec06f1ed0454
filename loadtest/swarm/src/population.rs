//! Rooms full of members that publish when told to and have every delivery audited.

use std::rc::Rc;

use crate::audit::SharedAudit;
use crate::crowd::{everybody, gather};
use crate::dial::Dialer;
use crate::entry::fresh_prefix;
use crate::flood::Publishers;
use crate::member::{Room, settle_in};

#[derive(Debug)]
pub(crate) struct Population {
    pub(crate) connections: u32,
    /// Members per room; the last room takes the rest
    pub(crate) room_size: u32,
    /// Length of a published payload
    pub(crate) bytes: u32,
    /// Connections opened per second; 0 = all at once
    pub(crate) connect_rate: u32,
}

impl Population {
    /// Room `r` holds the clients from `r * room_size` on, so that nodes, which take clients in turn,
    /// share every room.
    pub(crate) fn room_sizes(&self) -> Vec<u32> {
        let full = self.connections / self.room_size;
        let rest = self.connections % self.room_size;
        let rest = (rest > 0).then_some(rest);
        (0..full).map(|_| self.room_size).chain(rest).collect()
    }

    /// Has everybody connect and join.
    pub(crate) async fn settle(
        &self,
        scenario: &str,
        dialer: &Rc<Dialer>,
        audit: &SharedAudit,
    ) -> anyhow::Result<Publishers> {
        let prefix = fresh_prefix(scenario);
        let rooms = self.connections.div_ceil(self.room_size) as usize;
        let rooms: Vec<_> = (0..rooms)
            .map(|index| {
                Rc::new(Room { index, name: format!("{prefix}-{index}"), bytes: self.bytes, audit: Rc::clone(audit) })
            })
            .collect();
        let entered = gather(self.connections, self.connect_rate, |client| {
            let room = Rc::clone(&rooms[(client / self.room_size) as usize]);
            let index = room.index;
            let entering = settle_in(Rc::clone(dialer), client, room);
            async move { entering.await.map(|orders| (index, orders)) }
        })
        .await?;
        let mut publishers: Publishers = rooms.iter().map(|_| Vec::new()).collect();
        for (room, orders) in everybody(entered)? {
            publishers[room].push(orders);
        }
        Ok(publishers)
    }
}

#[cfg(test)]
mod tests {
    use super::Population;

    #[test]
    fn the_last_room_takes_the_rest() {
        for (connections, room_size, expected) in [(6, 3, vec![3, 3]), (7, 3, vec![3, 3, 1]), (2, 100, vec![2])] {
            let population = Population { connections, room_size, bytes: 40, connect_rate: 0 };
            assert_eq!(population.room_sizes(), expected);
        }
    }
}
