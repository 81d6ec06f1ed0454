//! Which rooms have somebody, by an index that entering and leaving keep, and reviews mend.

use async_trait::async_trait;

use super::RedisPresence;
use crate::domain::RoomName;
use crate::port::{Port, PortError};
use crate::presence::{Busy, BusyRooms, Directory};

#[async_trait]
impl Directory for RedisPresence {
    async fn rooms(&self, namespace: &str, after: Option<&RoomName>, limit: usize) -> Result<BusyRooms, PortError> {
        let limit = limit.clamp(1, self.page);
        let (first, end) = RoomName::span(namespace);
        let from = after.map_or_else(|| format!("[{first}"), |after| format!("({after}"));
        let to = end.map_or_else(|| "+".to_owned(), |end| format!("({end}"));
        let answer = self.run(&self.rooms, |script| {
            // One more than asked for tells whether there are more.
            script.arg(from).arg(to).arg(limit + 1);
        });
        let listed: Vec<(String, u64)> = answer.await.map_err(|error| Port::Presence.failed("rooms", error))?;
        let has_more = listed.len() > limit;
        let looked_at = &listed[..listed.len().min(limit)];
        let next = looked_at.last().filter(|_| has_more).map(|(room, _)| RoomName::trusted(room));
        // What has nobody is left over from a node that does not know the index.
        let busy = looked_at.iter().filter(|(_, members)| *members > 0);
        let rooms = busy.map(|(room, members)| Busy { room: RoomName::trusted(room), members: *members }).collect();
        Ok(BusyRooms { rooms, next })
    }
}
