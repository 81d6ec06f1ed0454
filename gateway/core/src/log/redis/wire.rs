//! What of the log stands in Redis, as text: ids of entries, places, and messages of channels.

use crate::domain::{Event, Offset, Position, RoomName};
use crate::log::{FeedItem, position};

/// The digits of an epoch in a message.
const EPOCH_DIGITS: usize = 16;

/// The offset in the id of an entry.
pub(super) fn entry_offset(id: &str) -> Option<Offset> {
    Offset::parse(id.split_once('-')?.0)
}

/// Reads `{epoch}{offset}:`, and returns what comes after it.
pub(super) fn place(text: &[u8]) -> Option<(Position, &[u8])> {
    let (epoch, text) = text.split_at_checked(EPOCH_DIGITS)?;
    let colon = text.iter().position(|byte| *byte == b':')?;
    let offset = std::str::from_utf8(&text[..colon]).ok()?;
    Some((position(std::str::from_utf8(epoch).ok()?, offset)?, &text[colon + 1..]))
}

/// Reads a message of a room's channel.
pub(super) fn item(room: &str, payload: &[u8]) -> Option<FeedItem> {
    let room = RoomName::trusted(room);
    let (kind, rest) = payload.split_first()?;
    match kind {
        b'E' => {
            let (position, event) = place(rest)?;
            Some(FeedItem::Event { room, position, event: Event::decode(event)? })
        }
        b'S' => Some(FeedItem::Signal { room, event: Event::decode(rest)? }),
        b'M' => {
            let (position, at_ms) = place(rest)?;
            let at_ms = std::str::from_utf8(at_ms).ok()?.parse().ok()?;
            Some(FeedItem::Mark { room, position, at_ms })
        }
        _ => None,
    }
}
