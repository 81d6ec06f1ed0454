//! A log that has lost its last writes, and a gap that is too large to be filled at once: what comes is in order all the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, unfold};
use gateway_core::domain::{Epoch, Event, Offset, Position, RoomName};
use gateway_core::log::{AppendError, Appended, FeedItem, Log, Page, Range, Terms};
use gateway_core::node::Entrance;
use gateway_core::port::{Port, PortError};
use gateway_core::supervisor::Supervisor;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::by_hand::{World, event, room};
use crate::support::{self, eventually};

/// A log as its test has it, whatever is published meanwhile.
struct Written {
    state: Mutex<State>,
    feed: Mutex<Option<mpsc::Receiver<FeedItem>>>,
}

struct State {
    epoch: Epoch,
    began: Offset,
    head: Offset,
    rooms: BTreeMap<RoomName, BTreeMap<Offset, Event>>,
}

#[async_trait]
impl Log for Written {
    async fn append(&self, _: &RoomName, _: &Event, _: Terms<'_>) -> Result<Appended, AppendError> {
        Err(Port::Log.not_now("append", "only read here").into())
    }

    async fn read(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Page, PortError> {
        let state = self.state.lock();
        let all = state.rooms.get(room).cloned().unwrap_or_default();
        let (mut events, mut more, mut used) = (Vec::new(), false, 0);
        if let Range::After { offset, limit } = range {
            for (at, event) in all.iter().filter(|(at, _)| **at > offset) {
                used += event.size();
                if !events.is_empty() && (events.len() == limit || used > bytes) {
                    more = true;
                    break;
                }
                events.push((*at, event.clone()));
            }
        }
        Ok(Page {
            read_to: events.last().map(|(at, _)| *at),
            events,
            unreadable: false,
            more,
            trimmed: false,
            oldest: all.keys().next().copied(),
            floor: Offset(1),
            began: state.began,
            head: Position { epoch: state.epoch, offset: state.head },
            in_doubt_before: None,
        })
    }

    async fn subscribe(&self, _: &RoomName) -> Result<(), PortError> {
        Ok(())
    }

    async fn unsubscribe(&self, _: &RoomName) {}

    async fn signal(&self, _: &RoomName, _: &Event) -> Result<(), PortError> {
        Ok(())
    }

    async fn mark(&self, _: &RoomName, _: u64) -> Result<(), PortError> {
        Ok(())
    }

    fn feed(&self) -> BoxStream<'static, FeedItem> {
        let receiver = self.feed.lock().take().unwrap();
        unfold(receiver, |mut receiver| async { receiver.recv().await.map(|item| (item, receiver)) }).boxed()
    }
}

impl Written {
    /// A new history, whose process of the store has given out offsets up to `head`.
    fn begins(&self, epoch: u64, began: u64, head: u64) {
        let mut state = self.state.lock();
        (state.epoch, state.began, state.head) = (Epoch(epoch), Offset(began), Offset(head));
    }

    fn has(&self, name: &str, offset: u64, args: &str) {
        let event = event(&format!("{name}{offset}"), args);
        self.state.lock().rooms.entry(room(name)).or_default().insert(Offset(offset), event);
    }
}

#[tokio::test]
async fn what_would_come_after_something_later_is_left_out_and_told_in_whatever_round_it_is_read() {
    let (feed, receiver) = mpsc::channel(8);
    let state = State { epoch: Epoch(1), began: Offset(1), head: Offset(10), rooms: BTreeMap::new() };
    let log = Arc::new(Written { state: Mutex::new(state), feed: Mutex::new(Some(receiver)) });
    let world = World::new(support::config(&[]), log.clone());
    world.node.run("node", &world.config, &Supervisor::default());
    let (both, hears_both) = world.session();
    let via = "join".into();
    let entrance = Entrance { via: &via, after: None, partial: false, seat: None };
    for name in ["b", "c"] {
        world.node.join(&both, &room(name), &entrance).await.unwrap();
    }
    // The process that was replaced gave this out when the next one had begun.
    let position = Position { epoch: Epoch(1), offset: Offset(50) };
    feed.send(FeedItem::Event { room: room("b"), position, event: event("b50", "[]") }).await.unwrap();
    eventually("it is heard", || async { hears_both.names() == ["b50"] }).await;
    log.begins(2, 20, 20);
    let (other, hears_other) = world.session();
    world.node.join(&other, &room("a"), &entrance).await.unwrap();
    // More than is held in memory at a time, all of it from before what was heard last.
    let large = format!("[\"{}\"]", "x".repeat(1_500_000));
    let many: Vec<u64> = (21..45).collect();
    many.iter().for_each(|offset| log.has("a", *offset, &large));
    for (name, offset) in [("b", 46), ("b", 65), ("c", 45), ("c", 60), ("c", 70)] {
        log.has(name, offset, "[]");
    }
    log.begins(2, 20, 100);
    feed.send(FeedItem::Gap).await.unwrap();
    eventually("what came later is heard", || async { hears_both.names().last().is_some_and(|name| name == "c70") })
        .await;
    assert_eq!(hears_both.names(), ["b50", "c60", "b65", "c70"], "each after what it comes after");
    let mut gaps = hears_both.notices("gateway:gap");
    gaps.sort_by_key(|gap| gap["room"].to_string());
    let gap = |name: &str| json!({ "room": name, "reason": "history", "through": "50" });
    assert_eq!(gaps, [gap("b"), gap("c")], "once each");
    assert_eq!(hears_other.names(), many.iter().map(|offset| format!("a{offset}")).collect::<Vec<_>>());
    assert_eq!(hears_other.notices("gateway:gap"), Vec::<Value>::new());
}
