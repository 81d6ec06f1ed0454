//! What was missed: a session's rooms are entered and read, all of them or none, and what they had is handed over before
//! what is live.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};

use super::Rooms;
use super::reading::{Budget, Part, read_some};
use super::turns::{Held, SMALL_BYTES, Size};
use crate::domain::{Frame, Offset, RoomName};
use crate::node::session::{Hold, Session, Stay};
use crate::node::wanted::{Missing, RecoveryError, Unrecovered, Wanted};

/// Rooms that are entered, or requests that are under way, at the same time for one session.
const CONCURRENCY: usize = 4;
/// Rooms that are read by one request. Redis serves nobody else meanwhile: about 5 µs for each, and what is read of it.
const AT_ONCE: usize = 16;

/// What a session missed and is about to be handed.
#[derive(Debug)]
pub(in crate::node) struct Missed {
    rooms: Vec<RoomName>,
    frames: Vec<(Offset, Frame)>,
    /// Up to here the frames are complete in all its rooms.
    upto: Offset,
    /// What is missing in a room that need not be whole.
    missing: Option<Missing>,
    /// Whether its client is handed only so much of it at a time as it takes.
    at_pace: bool,
    /// Its part of what replays may take.
    _held: Held,
}

impl Missed {
    /// The rooms that were read.
    pub(in crate::node) fn rooms(&self) -> &[RoomName] {
        &self.rooms
    }

    /// How many events there are.
    pub(in crate::node) fn events(&self) -> usize {
        self.frames.len()
    }

    /// Up to here the events are complete in all these rooms.
    pub(in crate::node) fn upto(&self) -> Offset {
        self.upto
    }

    /// What is missing, if something may be and need not be there.
    pub(in crate::node) fn missing(&self) -> Option<Missing> {
        self.missing
    }
}

impl Rooms {
    /// Puts a session that comes back into all its rooms, each since when it wants it: whoever stores it before it has what it
    /// missed must not store that it has.
    pub(in crate::node) async fn enter_all(
        &self,
        session: &Arc<Session>,
        wanted: &[Wanted],
    ) -> Result<(), RecoveryError> {
        let enter: Vec<_> = wanted
            .iter()
            .map(|room| {
                let stay = Stay { complete_from: room.complete_from, ..Stay::new(room.after, &room.via) };
                self.hub.enter_as(session, &room.room, move |_| stay.clone())
            })
            .collect();
        let mut entered = futures_util::stream::iter(enter).buffer_unordered(CONCURRENCY);
        while entered.try_next().await?.is_some() {}
        drop(entered);
        // It may have been put into one of them meanwhile, from then on.
        for room in wanted {
            session.stay_since(&room.room, room.after, room.complete_from);
        }
        Ok(())
    }

    /// Reads what a session missed in rooms that it entered, and has the hub skip it.
    pub(in crate::node) async fn read_missed(
        &self,
        session: &Session,
        rooms: Vec<Wanted>,
    ) -> Result<Missed, RecoveryError> {
        let mut turn = self.turns.wait(Size::Small, session.address, SMALL_BYTES).await?;
        let mut size = Size::Small;
        let mut parts = self.read_rooms(session, &rooms, &Budget::small(&self.recovery)).await?;
        if parts.is_none() {
            drop(turn);
            // As much as it may come to, before it is read: whoever waits for memory has nothing in it yet.
            turn = self.turns.wait(Size::Large, session.address, self.recovery.max_bytes).await?;
            size = Size::Large;
            parts = self.read_rooms(session, &rooms, &Budget::new(&self.recovery)).await?;
        }
        let parts = parts.ok_or(Unrecovered::TooMuch)?;
        let upto = parts.iter().map(|part| part.upto).min().unwrap_or_default();
        let missing = parts.iter().filter_map(|part| part.missing).fold(None, |all, one| Some(Missing::with(all, one)));
        // What one room's log had beyond the others' comes through the feed: only so are all rooms in one order.
        let mut frames: Vec<_> = parts.into_iter().flat_map(|part| part.frames).collect();
        frames.retain(|(offset, _)| *offset <= upto);
        frames.sort_by_key(|(offset, _)| *offset);
        let rooms: Vec<_> = rooms.into_iter().map(|wanted| wanted.room).collect();
        for room in &rooms {
            self.hub.skip_to(session, room, upto);
        }
        let held = turn.hold(frames.iter().map(|(_, frame)| frame.size()).sum());
        Ok(Missed { rooms, frames, upto, missing, at_pace: size == Size::Large, _held: held })
    }

    /// What a session missed that has everything up to an offset, and hears the rest: nothing, and the hub skips what it has.
    pub(super) async fn missed_nothing(
        &self,
        session: &Session,
        room: RoomName,
        upto: Offset,
    ) -> Result<Missed, RecoveryError> {
        self.hub.skip_to(session, &room, upto);
        let held = self.turns.wait(Size::Small, session.address, 0).await?.hold(0);
        Ok(Missed { rooms: vec![room], frames: Vec::new(), upto, missing: None, at_pace: false, _held: held })
    }

    /// Reads all rooms; nothing if a larger budget may do.
    async fn read_rooms(
        &self,
        session: &Session,
        rooms: &[Wanted],
        budget: &Budget,
    ) -> Result<Option<Vec<Part>>, RecoveryError> {
        let reads: Vec<_> =
            rooms.chunks(AT_ONCE).map(|some| read_some(&*self.log, &self.doubt, some, session, budget)).collect();
        let parts = futures_util::stream::iter(reads).buffer_unordered(CONCURRENCY);
        let parts: Vec<Option<Vec<Part>>> = parts.try_collect().await?;
        Ok(parts.into_iter().collect::<Option<Vec<_>>>().map(|parts| parts.into_iter().flatten().collect()))
    }

    /// Hands over what a session missed that came back, then what waited meanwhile; from then on it hears what is live.
    pub(in crate::node) async fn replay(&self, session: &Session, hold: Hold, missed: Missed) {
        for (offset, frame) in &missed.frames {
            if missed.at_pace {
                session.gate.keep_pace().await;
            }
            session.gate.overtake(frame, Some(*offset)).await;
        }
        self.metrics.replayed_events.increment(missed.frames.len() as u64);
        hold.release_after(&missed.rooms, missed.upto).await;
    }

    /// The same for a session that joined a room while it was connected: in that room only, without moving the
    /// client's offset, which stands for its other rooms too. Ends with a notice, so that a client that breaks off is
    /// known to have got everything or not.
    pub(in crate::node) async fn replay_out_of_order(
        &self,
        session: &Session,
        missed: Missed,
        end: Option<Frame>,
        hold: Hold,
    ) {
        self.metrics.replayed_events.increment(missed.frames.len() as u64);
        for (_, frame) in missed.frames {
            if missed.at_pace {
                session.gate.keep_pace().await;
            }
            session.gate.overtake(&frame.out_of_order(), None).await;
        }
        if let Some(end) = end {
            session.gate.overtake(&end, None).await;
        }
        hold.release_after(&missed.rooms, missed.upto).await;
    }
}
