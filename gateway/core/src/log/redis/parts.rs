//! Reading a part of each of some rooms, by one script and as of one moment.

use bytes::Bytes;

use super::wire::entry_offset;
use super::{RedisLog, damaged};
use crate::domain::{Event, Offset, RoomName};
use crate::log::{Page, position};
use crate::port::{Port, PortError};

/// In which direction a room is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    After,
    Newest,
}

impl Direction {
    fn word(self) -> &'static str {
        match self {
            Self::After => "after",
            Self::Newest => "newest",
        }
    }
}

impl RedisLog {
    /// Reads a part of each room from a bound on, as of one moment: `limit` entries of each, or nothing.
    pub(super) async fn read_parts(
        &self,
        rooms: &[(&RoomName, String)],
        direction: Direction,
        (limit, nothing): (usize, bool),
        bytes: usize,
    ) -> Result<Vec<Page>, PortError> {
        type Entries = Vec<(String, (String, Bytes))>;
        type Answer = (String, String, String, String, String, Vec<(u8, String, u8, Entries)>);
        let Some(((first, _), others)) = rooms.split_first() else { return Ok(Vec::new()) };
        let mut keys = self.keys(first);
        keys.extend(others.iter().map(|(room, _)| self.room_key(room)));
        // One more than asked for tells whether there are more.
        let wanted = if nothing || limit == 0 { 0 } else { limit.saturating_add(1) };
        let answer = self.commands.run_knowing_process(&self.read, |script| {
            // Whoever comes from another process vouches before it is handed anything of this one.
            let arguments = self.history.arguments_vouching(&self.history.knowledge());
            script.key(keys).arg(arguments).arg(direction.word()).arg(wanted).arg(bytes);
            for (_, bound) in rooms {
                script.arg(bound);
            }
        });
        let (epoch, head, floor, began, in_doubt_before, parts): Answer =
            answer.await.map_err(|error| Port::Log.failed("read", error))?;
        let head = position(&epoch, &head).ok_or_else(|| damaged("read"))?;
        let (floor, began) = Offset::parse(&floor).zip(Offset::parse(&began)).ok_or_else(|| damaged("read"))?;
        let in_doubt_before = Offset::parse(&in_doubt_before);
        if parts.len() != rooms.len() {
            return Err(damaged("read"));
        }
        let page = |((room, _), (trimmed, oldest, cut, entries)): (&(&RoomName, String), (u8, String, u8, Entries))| {
            let more = if limit == 0 { !oldest.is_empty() } else { entries.len() > limit || cut == 1 };
            let readable = |(id, (_, payload)): (String, (String, Bytes))| {
                let entry = entry_offset(&id).zip(Event::decode(&payload));
                if entry.is_none() {
                    // Of a newer version, most likely. One record must not make the whole room unreadable.
                    tracing::error!(%room, id, "skipped a record that this version cannot read");
                }
                entry
            };
            let entries: Vec<_> = entries.into_iter().take(limit).collect();
            let (count, read_to) = (entries.len(), entries.iter().filter_map(|(id, _)| entry_offset(id)).max());
            let mut events: Vec<_> = entries.into_iter().filter_map(readable).collect();
            let unreadable = events.len() < count;
            if direction == Direction::Newest {
                events.reverse();
            }
            let (trimmed, oldest) = (trimmed == 1, entry_offset(&oldest));
            Page { events, read_to, unreadable, more, trimmed, oldest, floor, began, head, in_doubt_before }
        };
        Ok(rooms.iter().zip(parts).map(page).collect())
    }
}
