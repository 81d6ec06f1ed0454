//! Recovery: what a session missed is read from the log, all of it or nothing, and handed over before what is live.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};

use super::rooms::reading::{Budget, Part, read_room};
use super::rooms::turns::{Held, SMALL_BYTES, Size};
use super::wanted::{RecoveryError, Unrecovered, Wanted};
use super::{Hold, Node, Session, Turn};
use crate::domain::{Frame, Mark, Offset, RoomName};

/// Rooms that are entered or read at the same time for one session.
const CONCURRENCY: usize = 4;

/// What a session missed and is about to be handed.
#[derive(Debug)]
pub struct Replay {
    rooms: Vec<RoomName>,
    frames: Vec<(Offset, Frame)>,
    /// Up to here the frames are complete in all its rooms.
    pub(super) upto: Offset,
    /// What became of its seats.
    seats: Reseated,
    /// Whether its client is handed only so much of it at a time as it takes.
    at_pace: bool,
    /// Its part of what replays may take.
    _held: Held,
}

/// What became of the seats of a session that came back.
#[derive(Debug, Default)]
pub struct Reseated {
    /// Rooms that its user, or the anonymous session, had left for good meanwhile, and is in again.
    pub firsts: Vec<(RoomName, Turn)>,
    /// Rooms whose seats others have taken meanwhile.
    pub lost_rooms: Vec<RoomName>,
    /// Names that others have taken meanwhile.
    pub lost_names: Vec<String>,
}

impl Replay {
    /// The rooms that the session is in again.
    #[must_use]
    pub fn rooms(&self) -> &[RoomName] {
        &self.rooms
    }

    /// What became of its seats.
    #[must_use]
    pub fn seats(&self) -> &Reseated {
        &self.seats
    }

    /// Takes the rooms that its user is in again, each with the turn of that.
    #[must_use]
    pub fn take_firsts(&mut self) -> Vec<(RoomName, Turn)> {
        std::mem::take(&mut self.seats.firsts)
    }

    /// How many events it missed.
    #[must_use]
    pub fn events(&self) -> usize {
        self.frames.len()
    }
}

impl Node {
    /// Puts a session that nobody hears yet into rooms, gives it its names back, and reads what it missed. What is live
    /// waits behind the hold, for [`Node::replay`]. After an error the session is over.
    ///
    /// # Errors
    /// It cannot have everything, or the log cannot be asked.
    pub async fn recover(
        self: &Arc<Self>,
        session: &Arc<Session>,
        wanted: Vec<Wanted>,
        names: &[(Arc<str>, RoomName)],
        heard: Mark,
    ) -> Result<(Hold, Replay), RecoveryError> {
        session.count_replays_from(heard.replay);
        session.gate.begin_at(heard.offset);
        let hold = session.gate.hold();
        match self.enter_and_read(session, wanted, names).await {
            Ok(replay) => Ok((hold, replay)),
            Err(error) => {
                // What came meanwhile is not for the session that the client gets instead.
                session.gate.shut();
                // Whether it comes back for them is to be seen.
                let seats = self.leave_all(session);
                self.give_up_seats(session, seats, true).await;
                Err(error)
            }
        }
    }

    async fn enter_and_read(
        self: &Arc<Self>,
        session: &Arc<Session>,
        mut wanted: Vec<Wanted>,
        names: &[(Arc<str>, RoomName)],
    ) -> Result<Replay, RecoveryError> {
        // All rooms are entered before the first is read: what comes later than that read is in the feed.
        let enter: Vec<_> = wanted.iter().map(|room| self.hub.enter(session, &room.room, &room.via)).collect();
        let mut entered = futures_util::stream::iter(enter).buffer_unordered(CONCURRENCY);
        while entered.try_next().await?.is_some() {}
        drop(entered);
        for room in &wanted {
            session.stay_since(&room.room, room.after, room.complete_from);
        }
        let seats = self.take_seats_again(session, &wanted, names).await?;
        wanted.retain(|room| !seats.lost_rooms.contains(&room.room));
        match self.read_missed(session, wanted).await {
            Ok(replay) => {
                session.raise_floor(replay.upto);
                Ok(Replay { seats, ..replay })
            }
            Err(error) => {
                self.tell_of_firsts(session, seats.firsts);
                Err(error)
            }
        }
    }

    /// Reads what a session missed in rooms that it entered, and has the hub skip it.
    pub(super) async fn read_missed(&self, session: &Session, rooms: Vec<Wanted>) -> Result<Replay, RecoveryError> {
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
        // What one room's log had beyond the others' comes through the feed: only so are all rooms in one order.
        let mut frames: Vec<_> = parts.into_iter().flat_map(|part| part.frames).collect();
        frames.retain(|(offset, _)| *offset <= upto);
        frames.sort_by_key(|(offset, _)| *offset);
        let rooms: Vec<_> = rooms.into_iter().map(|wanted| wanted.room).collect();
        for room in &rooms {
            self.hub.skip_to(session, room, upto);
        }
        let held = turn.hold(frames.iter().map(|(_, frame)| frame.size()).sum());
        Ok(Replay { rooms, frames, upto, seats: Reseated::default(), at_pace: size == Size::Large, _held: held })
    }

    /// Reads all rooms; nothing if a larger budget may do.
    async fn read_rooms(
        &self,
        session: &Session,
        rooms: &[Wanted],
        budget: &Budget,
    ) -> Result<Option<Vec<Part>>, RecoveryError> {
        let reads: Vec<_> =
            rooms.iter().map(|wanted| read_room(&*self.log, &self.doubt, wanted, session.id, budget)).collect();
        let parts = futures_util::stream::iter(reads).buffer_unordered(CONCURRENCY);
        let parts: Vec<Option<Part>> = parts.try_collect().await?;
        Ok(parts.into_iter().collect())
    }

    /// Hands over what a recovered session missed, then what waited meanwhile; from then on it hears what is live.
    pub async fn replay(&self, session: &Session, hold: Hold, replay: Replay) {
        for (offset, frame) in &replay.frames {
            if replay.at_pace {
                session.gate.keep_pace().await;
            }
            session.gate.overtake(frame, Some(*offset)).await;
        }
        self.metrics.replayed_events.increment(replay.frames.len() as u64);
        hold.release_after(&replay.rooms, replay.upto).await;
    }

    /// The same for a session that joined a room while it was connected: in that room only, without moving the
    /// client's offset, which stands for its other rooms too. Ends with a notice, so that a client that breaks off is
    /// known to have got everything or not.
    pub(super) async fn replay_out_of_order(&self, session: &Session, replay: Replay, end: Option<Frame>, hold: Hold) {
        self.metrics.replayed_events.increment(replay.frames.len() as u64);
        for (_, frame) in replay.frames {
            if replay.at_pace {
                session.gate.keep_pace().await;
            }
            session.gate.overtake(&frame.out_of_order(), None).await;
        }
        if let Some(end) = end {
            session.gate.overtake(&end, None).await;
        }
        hold.release_after(&replay.rooms, replay.upto).await;
    }
}
