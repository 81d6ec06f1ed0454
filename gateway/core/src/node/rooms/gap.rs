//! Gaps: what the rooms of this node missed while the feed was interrupted is read from the log and delivered, before
//! anything newer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use serde::Serialize;

use super::Rooms;
use super::fanout::published;
use super::hub::{Kind, Message};
use super::reading::{PAGE, PAGE_BYTES};
use crate::domain::{Epoch, Event, Frame, Offset, Position, RoomName};
use crate::log::Range;
use crate::node::wanted::{Missing, Unrecovered};
use crate::port::PortError;

/// What is held in memory at a time of what all rooms missed, in bytes. The rest is read when that has been delivered.
pub(super) const BUDGET: usize = 32 * 1024 * 1024;
/// What an event takes beside its text.
const OVERHEAD: usize = 256;
/// How long to wait before a gap is tried again that could not be filled because the log is away.
const RETRY: Duration = Duration::from_millis(250);
/// After how many tries a room that cannot be read is given up for lost, if others can: one key must not silence the node. If
/// it is damaged, trying is no use, and it is given up at once.
const TRIES: u32 = 20;
/// Rooms that are read at the same time.
const CONCURRENCY: usize = 16;
/// How often it is looked whether a doubt is over.
const LOOK: Duration = Duration::from_millis(50);

/// Delivers what the rooms of this node missed, from the log, before anything newer: the earliest events of all rooms,
/// as many as fit into the budget, then the next. Nothing else is fanned out meanwhile, so the order stays whole. While it is
/// in doubt what the log lost, nothing is: whoever heard something newer could not be told in time.
pub(super) async fn fill_gap(rooms: &Rooms, budget: usize) {
    let (mut lost, mut given_up) = (HashMap::new(), HashSet::new());
    let heard = Heard { upto: rooms.hub.dispatched_to(), histories: rooms.hub.histories() };
    let mut events = 0;
    loop {
        let round = persist(rooms, budget, &heard, &given_up).await;
        rooms.metrics.feed_gap_rounds.increment(1);
        for (room, Missing { why, through }) in round.lost_rooms {
            if round.unreadable.contains(&room) {
                given_up.insert(room.clone());
            }
            // Once, however many rounds it takes to come to where it is whole again; but what goes meanwhile is told, too.
            if lost.get(&room).is_none_or(|told| through > *told) {
                lost.insert(room.clone(), through);
                let told = Lost {
                    room: room.shown(),
                    reason: why.reason(),
                    through: through.map(|offset| offset.to_string()),
                };
                let frame = Arc::new(Frame::notice("gateway:gap", &told, None));
                let message = Message { kind: Kind::Notice, frame, except: None, taken_ms: None };
                rooms.hub.dispatch(&room, message, false).await;
            }
        }
        events += round.events.len();
        for ((_, room), (position, event)) in round.events {
            if let Some(message) = published(position, &event) {
                rooms.hub.dispatch(&room, message, false).await;
            }
        }
        for (room, head) in round.heads {
            rooms.hub.catch_up(&room, head);
        }
        if !round.more {
            break;
        }
    }
    rooms.metrics.feed_gaps.with(if lost.is_empty() { "filled" } else { "lost" }).increment(1);
    tracing::info!(events, lost_rooms = lost.len(), "filled a gap of the feed from the log");
}

/// What members had heard before a gap, whatever they are handed while it is filled.
struct Heard {
    /// Up to where, in any room.
    upto: Offset,
    /// Of which history each room was: from the second round on it is of the one that is.
    histories: HashMap<RoomName, Epoch>,
}

/// Tries until all rooms could be read, or some cannot although others can.
async fn persist(rooms: &Rooms, budget: usize, heard: &Heard, given_up: &HashSet<RoomName>) -> Round {
    let mut tries = 1;
    loop {
        let round = read_round(rooms, budget, heard, given_up).await;
        if let Some(room) = &round.doubted {
            until_certain(rooms, room).await;
            continue;
        }
        let Some(error) = &round.failure else { return round };
        rooms.metrics.log_errors.with(error.operation).increment(1);
        if (error.is_permanent() || tries >= TRIES) && !round.heads.is_empty() {
            error.tell("a room's part of a gap of the feed is given up for lost");
            return round;
        }
        if tries == 1 {
            error.tell("a gap of the feed waits for the log");
        }
        tries += 1;
        tokio::time::sleep(RETRY).await;
    }
}

/// Waits until it is known whether the log lost something, which the log does not leave open for long; or until it does not
/// answer.
async fn until_certain(rooms: &Rooms, room: &RoomName) {
    tracing::info!(
        "the log may have lost its last writes: nothing is delivered until all nodes have said what they know"
    );
    let ask = || rooms.log.read(room, Range::Newest { before: None, limit: 0 }, 0);
    while ask().await.is_ok_and(|page| page.in_doubt_before.is_some()) {
        tokio::time::sleep(LOOK).await;
    }
}

/// What the members of a room are told when events for them were lost: a gap is never silent.
#[derive(Serialize)]
pub(in crate::node) struct Lost<'a> {
    /// Nothing for what is sent to a user or to everybody.
    pub(in crate::node) room: Option<&'a str>,
    pub(in crate::node) reason: &'static str,
    /// Up to which offset events may be missing, if also between some that still come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::node) through: Option<String>,
}

/// Events in the one order of all rooms.
type Events = BTreeMap<(Offset, RoomName), (Position, Event)>;

/// What is read at a time of what was missed.
#[derive(Default)]
struct Round {
    events: Events,
    /// Up to where the events are complete, in every room that could be read.
    heads: Vec<(RoomName, Position)>,
    /// Rooms of which events are gone, or could not be read, and why.
    lost_rooms: Vec<(RoomName, Missing)>,
    /// Those of them that could not be read.
    unreadable: HashSet<RoomName>,
    /// Why some room could not be read; of one for which trying again may help, if there is one.
    failure: Option<PortError>,
    /// Whether there is more than there was room for.
    more: bool,
    /// A room of which it is not known yet whether events are gone: nothing of all this may be handed out.
    doubted: Option<RoomName>,
}

/// The earliest of what was missed, as much as fits.
struct Earliest {
    events: Events,
    bytes: usize,
    budget: usize,
    /// What comes after this does not fit.
    upto: Offset,
}

impl Earliest {
    fn new(budget: usize) -> Self {
        Self { events: Events::new(), bytes: 0, budget, upto: Offset(u64::MAX) }
    }

    /// One event always fits.
    fn add(&mut self, room: &RoomName, position: Position, event: Event) {
        if position.offset > self.upto {
            return;
        }
        self.bytes += event.size() + OVERHEAD;
        self.events.insert((position.offset, room.clone()), (position, event));
        while self.bytes > self.budget
            && self.events.len() > 1
            && let Some(((offset, _), (_, event))) = self.events.pop_last()
        {
            self.bytes -= event.size() + OVERHEAD;
            self.upto = Offset(offset.0 - 1);
        }
    }
}

/// Reads what every room missed, sorted over all rooms: a session's one last offset must cover them all.
async fn read_round(rooms: &Rooms, budget: usize, heard: &Heard, given_up: &HashSet<RoomName>) -> Round {
    let positions = rooms.hub.positions_at_gap().into_iter().filter(|(room, _)| !given_up.contains(room));
    let earliest = Mutex::new(Earliest::new(budget));
    let reads: Vec<_> = positions.map(|(room, last)| read_room(rooms, room, last, heard, &earliest)).collect();
    let mut reads = futures_util::stream::iter(reads).buffer_unordered(CONCURRENCY);
    let mut round = Round::default();
    while let Some(read) = reads.next().await {
        match read {
            Ok(Read { room, in_doubt: true, .. }) => round.doubted = Some(room),
            Ok(Read { room, head, missing, .. }) => {
                round.lost_rooms.extend(missing.map(|missing| (room.clone(), missing)));
                round.heads.push((room, head));
            }
            Err((room, error)) => {
                round.unreadable.insert(room.clone());
                round.lost_rooms.push((room, Missing { why: Unrecovered::Unreadable, through: None }));
                round.failure = round.failure.filter(|known| !known.is_permanent()).or(Some(error));
            }
        }
    }
    drop(reads);
    let Earliest { events, upto: fitting, .. } = earliest.into_inner();
    // Rooms are read one after the other. What one had beyond the earliest of these reads comes through the feed, in its
    // place among the others'; what did not fit comes in the next round.
    let read_to = round.heads.iter().map(|(_, head)| head.offset).min().unwrap_or_default();
    round.more = fitting < read_to;
    let upto = read_to.min(fitting);
    round.events = events;
    round.events.retain(|(offset, _), _| *offset <= upto);
    for (_, head) in &mut round.heads {
        head.offset = upto;
    }
    round
}

/// What one room missed, as far as it fits.
struct Read {
    room: RoomName,
    /// Where the log stood.
    head: Position,
    /// What of it is gone.
    missing: Option<Missing>,
    /// Whether that is not known yet.
    in_doubt: bool,
}

/// Reads what one room missed, as far as it fits. Offsets of a new history are above those of the one that it replaces, so
/// reading goes on where the room stood; but what the old one had after that is gone. What another process of the store gave
/// out before the new history began lies between what members `heard` in any room meanwhile, from the one that is gone: of
/// that, what would come after something later is left out, and told with the rest.
async fn read_room(
    rooms: &Rooms,
    room: RoomName,
    last: Position,
    heard: &Heard,
    earliest: &Mutex<Earliest>,
) -> Result<Read, (RoomName, PortError)> {
    let (mut after, mut missing) = (last.offset, None);
    let history = heard.histories.get(&room).copied().unwrap_or(last.epoch);
    loop {
        let page = match rooms.log.read(&room, Range::After { offset: after, limit: PAGE }, PAGE_BYTES).await {
            Ok(page) => page,
            Err(error) => return Err((room, error)),
        };
        if page.in_doubt_before.is_some() {
            return Ok(Read { room, head: page.head, missing: None, in_doubt: true });
        }
        let is_another = page.head.epoch != history;
        let why = if is_another {
            Some(Unrecovered::History)
        } else if page.unreadable {
            Some(Unrecovered::Unreadable)
        } else {
            (!page.reaches_back_to(after)).then_some(Unrecovered::Retention)
        };
        let another = is_another.then(|| page.began.max(heard.upto));
        missing = why
            .map(|why| Missing::with(missing, Missing { why, through: page.missing_to(after).max(another) }))
            .or(missing);
        after = page.read_to.unwrap_or(after);
        let fitting = {
            let mut earliest = earliest.lock();
            for (offset, event) in page.events.into_iter().filter(|(offset, _)| !is_another || *offset > heard.upto) {
                earliest.add(&room, Position { epoch: page.head.epoch, offset }, event);
            }
            earliest.upto
        };
        // What comes later does not fit, and is read again when this has been delivered.
        if !page.more || after > fitting {
            return Ok(Read { room, head: page.head, missing, in_doubt: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn in_whatever_order_events_come_the_earliest_are_kept_and_nothing_between_them_is_missing(
            order in Just((1..60_u64).collect::<Vec<_>>()).prop_shuffle(),
            sizes in proptest::collection::vec(0..3_000_usize, 60),
            budget in 0..40_000_usize,
        ) {
            let mut earliest = Earliest::new(budget);
            let room = RoomName::parse("r").unwrap();
            for number in &order {
                let args = "x".repeat(sizes[usize::try_from(*number).unwrap()]);
                let event = Event { name: "e".into(), args, attachments: Vec::new(), except: None, at_ms: 0 };
                let weight = event.size() + OVERHEAD;
                earliest.add(&room, Position { epoch: Epoch(1), offset: Offset(*number) }, event);
                prop_assert!(earliest.bytes <= budget.max(weight + 3_000 + OVERHEAD + 64), "it is bounded");
            }
            let kept: Vec<_> = earliest.events.keys().map(|(offset, _)| offset.0).collect();
            prop_assert_eq!(&kept, &(1..=kept.len() as u64).collect::<Vec<_>>());
            prop_assert!(!kept.is_empty());
            if kept.len() < order.len() {
                prop_assert_eq!(earliest.upto.0, kept.len() as u64);
            }
        }
    }
}
