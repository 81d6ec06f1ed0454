//! Fan-out: takes the feed in its order and dispatches every event to the shards that have members of its room.

use std::sync::Arc;

use futures_util::future::ready;
use futures_util::stream::{BoxStream, once, select};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Rooms;
use super::gap::{self, fill_gap};
use super::hub::{Kind, Message};
use crate::domain::{Event, Frame, Position, RoomName};
use crate::log::FeedItem;
use crate::node::clock::age_seconds;

/// The feed, and between its items what is for members here alone. It ends with the feed: without that a node is deaf.
pub(super) fn with_relays(
    feed: BoxStream<'static, FeedItem>,
    relays: Option<mpsc::Receiver<FeedItem>>,
) -> BoxStream<'static, FeedItem> {
    let Some(relays) = relays else { return feed };
    let until_its_end = feed.map(Some).chain(once(ready(None)));
    select(until_its_end, ReceiverStream::new(relays).map(Some)).scan((), |(), item| ready(item)).boxed()
}

/// One task for the whole feed: its order is the order that every session sees, across all its rooms. It encodes an
/// event once and decides what a room is past; delivering is the shards'.
pub(super) async fn run(mut feed: BoxStream<'static, FeedItem>, rooms: Arc<Rooms>, canary: RoomName) {
    let (mut next, mut epoch) = (None, None);
    while let Some(item) = match next.take() {
        Some(item) => Some(item),
        None => feed.next().await,
    } {
        next = feed.next().now_or_never().flatten();
        let calm = next.is_none();
        if let FeedItem::Event { position, .. } | FeedItem::Mark { position, .. } = &item
            && epoch.replace(position.epoch) != Some(position.epoch)
            && rooms.hub.has_another_epoch(position.epoch)
        {
            // A history was lost, and no connection with it: another node found out.
            fill_gap(&rooms, gap::BUDGET).await;
        }
        match item {
            FeedItem::Event { room, position, event } => {
                rooms.metrics.feed_items.with("event").increment(1);
                if let Some(message) = published(position, &event) {
                    let message = Message { taken_ms: Some(event.at_ms), ..message };
                    rooms.hub.dispatch(&room, message, calm).await;
                }
            }
            FeedItem::Mark { room, position, at_ms } if room == canary => {
                rooms.metrics.canary_lag.record(age_seconds(at_ms));
                rooms.hearing.note_heard();
                rooms.hub.heard_canary(position);
            }
            FeedItem::Mark { .. } => {}
            FeedItem::Signal { room, event } => {
                rooms.metrics.feed_items.with("signal").increment(1);
                if let Some(frame) = Frame::signalled(&event) {
                    let (kind, frame) = (Kind::Signal, Arc::new(frame));
                    let message = Message { kind, frame, except: event.except.clone(), taken_ms: None };
                    rooms.hub.dispatch(&room, message, calm).await;
                }
            }
            FeedItem::Gap => fill_gap(&rooms, gap::BUDGET).await,
        }
    }
}

pub(super) fn published(position: Position, event: &Event) -> Option<Message> {
    let frame = Arc::new(Frame::published(event, position.offset)?);
    Some(Message { kind: Kind::Event(position), frame, except: event.except.clone(), taken_ms: None })
}
