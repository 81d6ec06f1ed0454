//! Fan-out: takes the feed in its order and dispatches every event to the shards that have members of its room.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use serde::Serialize;

use super::hub::{Kind, Message};
use super::{Node, Unrecovered, age_seconds};
use crate::domain::{Event, Frame, Position, RoomName};
use crate::log::{FeedItem, LogError, Range};

/// Events of one room that are read at a time, and their bytes.
const PAGE: usize = 100;
const PAGE_BYTES: usize = 1024 * 1024;
/// How long to wait before a gap is tried again that could not be filled because the log is away.
const RETRY: Duration = Duration::from_millis(250);
/// After how many tries a room that cannot be read is given up for lost, if others can: one damaged key must not
/// silence the node.
const TRIES: u32 = 20;
/// Rooms that are read at the same time when a gap is filled.
const CONCURRENCY: usize = 16;

/// One task for the whole feed: its order is the order that every session sees, across all its rooms. It encodes an
/// event once and decides what a room is past; delivering is the shards'.
pub(super) async fn run(mut feed: BoxStream<'static, FeedItem>, node: Arc<Node>, canary: RoomName) {
    let (mut next, mut epoch) = (None, None);
    while let Some(item) = match next.take() {
        Some(item) => Some(item),
        None => feed.next().await,
    } {
        next = feed.next().now_or_never().flatten();
        let calm = next.is_none();
        if let FeedItem::Event { position, .. } | FeedItem::Mark { position, .. } = &item
            && epoch.replace(position.epoch) != Some(position.epoch)
            && node.hub.has_another_epoch(position.epoch)
        {
            // A history was lost, and no connection with it: another node found out.
            fill_gap(&node).await;
        }
        match item {
            FeedItem::Event { room, position, event } => {
                node.metrics.feed_items.with("event").increment(1);
                if let Some(message) = published(position, &event) {
                    let message = Message { taken_ms: Some(event.at_ms), ..message };
                    node.hub.dispatch(&room, message, calm).await;
                }
            }
            FeedItem::Mark { room, position, at_ms } if room == canary => {
                node.metrics.canary_lag.record(age_seconds(at_ms));
                node.hub.heard_canary(position);
            }
            FeedItem::Mark { .. } => {}
            FeedItem::Signal { room, event } => {
                node.metrics.feed_items.with("signal").increment(1);
                if let Some(frame) = Frame::signalled(&event) {
                    let (kind, frame) = (Kind::Signal, Arc::new(frame));
                    let message = Message { kind, frame, except: event.except, taken_ms: None };
                    node.hub.dispatch(&room, message, calm).await;
                }
            }
            FeedItem::Gap => fill_gap(&node).await,
        }
    }
}

fn published(position: Position, event: &Event) -> Option<Message> {
    let frame = Arc::new(Frame::published(event, position.offset)?);
    Some(Message { kind: Kind::Event(position), frame, except: event.except, taken_ms: None })
}

/// Delivers what the rooms of this node missed, from the log, before anything newer. Nothing else is fanned out
/// meanwhile, so the order stays whole.
async fn fill_gap(node: &Node) {
    let mut tries = 1;
    let missed = loop {
        let missed = missed(node).await;
        let Some(error) = &missed.failure else { break missed };
        node.metrics.log_errors.with(error.operation).increment(1);
        if tries == 1 {
            tracing::warn!(%error, "a gap of the feed waits for the log");
        }
        if tries >= TRIES && !missed.heads.is_empty() {
            break missed;
        }
        tries += 1;
        tokio::time::sleep(RETRY).await;
    };
    let (events, lost_rooms) = (missed.events.len(), missed.lost_rooms.len());
    for (room, reason) in missed.lost_rooms {
        let frame = Arc::new(Frame::notice("gateway:gap", &Lost { room: room.shown(), reason }, None));
        node.hub.dispatch(&room, Message { kind: Kind::Notice, frame, except: None, taken_ms: None }, false).await;
    }
    for (room, position, event) in missed.events {
        if let Some(message) = published(position, &event) {
            node.hub.dispatch(&room, message, false).await;
        }
    }
    for (room, head) in missed.heads {
        node.hub.catch_up(&room, head);
    }
    node.metrics.feed_gaps.with(if lost_rooms == 0 { "filled" } else { "lost" }).increment(1);
    tracing::info!(events, lost_rooms, "filled a gap of the feed from the log");
}

/// What the members of a room are told when events for them were lost: a gap is never silent.
#[derive(Serialize)]
pub(super) struct Lost<'a> {
    /// Nothing for what is sent to a user or to everybody.
    pub(super) room: Option<&'a str>,
    pub(super) reason: &'static str,
}

#[derive(Default)]
struct Missed {
    events: Vec<(RoomName, Position, Event)>,
    /// Up to where the events are complete, in every room that could be read.
    heads: Vec<(RoomName, Position)>,
    /// Rooms of which events are gone, or could not be read, and why.
    lost_rooms: Vec<(RoomName, &'static str)>,
    /// Why some room could not be read.
    failure: Option<LogError>,
}

/// Reads what every room missed, and sorts it over all rooms: a session's one last offset must cover them all.
async fn missed(node: &Node) -> Missed {
    let rooms = node.hub.positions_at_gap();
    let reads = rooms.into_iter().map(async |(room, last)| {
        let read = read_room(node, room.clone(), last).await;
        read.map_err(|error| (room, error))
    });
    let mut reads = futures_util::stream::iter(reads).buffer_unordered(CONCURRENCY);
    let mut missed = Missed::default();
    while let Some(read) = reads.next().await {
        match read {
            Ok(room) => {
                missed.events.extend(room.events);
                missed.heads.extend(room.heads);
                missed.lost_rooms.extend(room.lost_rooms);
            }
            Err((room, error)) => {
                missed.lost_rooms.push((room, "unreadable"));
                missed.failure = Some(error);
            }
        }
    }
    // Rooms are read one after the other. What one had beyond the earliest of these reads comes through the feed, in its
    // place among the others'.
    let upto = missed.heads.iter().map(|(_, head)| head.offset).min().unwrap_or_default();
    missed.events.retain(|(_, position, _)| position.offset <= upto);
    missed.events.sort_by_key(|(_, position, _)| position.offset);
    for (_, head) in &mut missed.heads {
        head.offset = upto;
    }
    missed
}

/// Reads what one room missed. Offsets of a new history are above those of the one it replaces, so reading goes on
/// where the room stood; but what the old one had after that is gone.
async fn read_room(node: &Node, room: RoomName, last: Position) -> Result<Missed, LogError> {
    let mut missed = Missed::default();
    let mut after = last.offset;
    loop {
        let page = node.log.read(&room, Range::After { offset: after, limit: PAGE }, PAGE_BYTES).await?;
        let why_lost = if page.head.epoch != last.epoch {
            Some(Unrecovered::History)
        } else {
            let why = if page.unreadable { Unrecovered::Unreadable } else { Unrecovered::Retention };
            (page.unreadable || !page.reaches_back_to(after)).then_some(why)
        };
        if let Some(why) = why_lost.filter(|_| missed.lost_rooms.is_empty()) {
            missed.lost_rooms.push((room.clone(), why.reason()));
        }
        let head = page.head;
        after = page.read_to.unwrap_or(after);
        let placed = |(offset, event)| (room.clone(), Position { epoch: head.epoch, offset }, event);
        missed.events.extend(page.events.into_iter().map(placed));
        if !page.more {
            missed.heads.push((room, head));
            return Ok(missed);
        }
    }
}
