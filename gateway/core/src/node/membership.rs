//! Membership: how sessions enter the rooms that they ask for, are counted there and stored, and leave them.

use std::sync::Arc;

use serde::Serialize;

use super::rooms::{Lost, Told};
use super::session::Stay;
use super::{CloseReason, Departure, Hold, Missing, Node, RecoveryError, Seat, Session, Turn, Unrecovered, Wanted};
use crate::domain::{Frame, Mark, Offset, Refusal, RoomName};
use crate::presence::Numbered;

/// What a join came to.
#[derive(Debug)]
pub struct Joined {
    /// The session has, or will hear, everything of the room after this.
    pub offset: Offset,
    /// For a join that named an offset: whether everything since then was delivered, or why not. What was is delivered all the
    /// same if a part will do.
    pub recovered: Option<Result<(), Unrecovered>>,
    /// The turn of the coming of the session's user, or of the anonymous session, if it was not in the room before, as far
    /// as that is tracked.
    pub first: Option<Turn>,
}

/// How a session enters a room.
#[derive(Clone, Debug)]
pub struct Entrance<'a> {
    /// The client event that asked for it.
    pub via: &'a Arc<str>,
    /// Everything of the room since this offset is delivered first.
    pub after: Option<Offset>,
    /// If the log no longer has everything since then, what it has, instead of nothing.
    pub partial: bool,
    /// Whether the session is counted among the members of the room.
    pub seat: Option<Seat>,
}

/// What a client is told when the replay of a join has ended.
#[derive(Serialize)]
struct Replayed<'a> {
    room: Option<&'a str>,
    events: usize,
}

impl Node {
    /// Puts a session into a room. With `after`, everything of the room since that offset is delivered first, or
    /// nothing of it if the log no longer has it all.
    ///
    /// # Errors
    /// Too many rooms, no free seat, or the log or a store cannot be reached.
    pub async fn join(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        entrance: &Entrance<'_>,
    ) -> Result<Joined, Refusal> {
        self.quarter(session).rooms.check(session, room)?;
        let Some(seat) = entrance.seat.filter(|_| !session.is_seated(room)) else {
            return self.enter_room(session, room, entrance).await;
        };
        let _taking = session.take_seat();
        let first = self.quarter(session).attendance.take_seat(session, room, seat.capacity).await?;
        self.enter_seated(session, room, entrance, first).await
    }

    /// The same for the first of numbered rooms that has fewer than `capacity` members, cluster-wide; returns its
    /// number too.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn join_first(
        &self,
        session: &Arc<Session>,
        rooms: &Numbered,
        capacity: usize,
        entrance: &Entrance<'_>,
    ) -> Result<(u32, Joined), Refusal> {
        self.quarter(session).rooms.check(session, &rooms.name(1))?;
        let _taking = session.take_seat();
        let (number, first) = self.quarter(session).attendance.take_first_seat(session, rooms, capacity).await?;
        let joined = self.enter_seated(session, &rooms.name(number), entrance, first).await?;
        Ok((number, joined))
    }

    async fn enter_seated(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        entrance: &Entrance<'_>,
        first: Option<Turn>,
    ) -> Result<Joined, Refusal> {
        let joined = self.enter_room(session, room, entrance).await;
        if joined.is_err() || !session.seat(room) {
            self.quarter(session).attendance.take_back_seat(session, room, first).await;
            return joined;
        }
        joined.map(|joined| Joined { first, ..joined })
    }

    async fn enter_room(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        entrance: &Entrance<'_>,
    ) -> Result<Joined, Refusal> {
        let Entrance { via, after, .. } = *entrance;
        if session.is_in(room) {
            let boundary = self.quarter(session).rooms.enter(session, room, via).await?;
            // The answer to the join may have been lost: what it came to must not sound better the second time.
            let complete_from = session.complete_from(room).unwrap_or(boundary.offset);
            let recovered =
                after.map(|after| if after >= complete_from { Ok(()) } else { Err(Unrecovered::Retention) });
            return Ok(Joined { offset: boundary.offset, recovered, first: None });
        }
        let Some(after) = after else { return self.join_from_now(session, room, via, session.gate.hold()).await };
        // Before anything waits for it: that may take as long as it likes.
        let told =
            self.quarter(session).rooms.tell_archived(session, room, Told::nothing(after), entrance.partial).await;
        let told = told.map_err(|error| self.not_now(error))?;
        let hold = session.gate.hold();
        self.join_after(session, room, told, entrance, hold).await
    }

    async fn join_from_now(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        via: &Arc<str>,
        hold: Hold,
    ) -> Result<Joined, Refusal> {
        let boundary = self.quarter(session).rooms.enter(session, room, via).await?;
        self.save_or_leave(session, room).await?;
        hold.release().await;
        Ok(Joined { offset: boundary.offset, recovered: None, first: None })
    }

    /// Joins while the gate is held, reads and hands over what was missed after what the archive had.
    async fn join_after(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        mut told: Told,
        entrance: &Entrance<'_>,
        hold: Hold,
    ) -> Result<Joined, Refusal> {
        let (via, handed, after) = (entrance.via, hold.handed(), told.upto);
        // What it has everything from, whatever it is handed now.
        let complete_from = |told: &Told| told.missing_to.unwrap_or(entrance.after.unwrap_or(after));
        // Whoever stores the session before this is over must not store that it has everything up to where it entered.
        let number = session.next_replay();
        let stay = |since| Stay { complete_from: complete_from(&told), ..Stay::unproven(since, number, via) };
        let boundary = self.quarter(session).rooms.enter_as(session, room, stay).await?;
        let wanted = Wanted {
            room: room.clone(),
            after,
            complete_from: complete_from(&told),
            kept_at: None,
            since: None,
            via: via.clone(),
            partial: entrance.partial,
            seat: None,
        };
        let missed = match self.quarter(session).rooms.read_behind(session, wanted, &mut told, boundary.offset).await {
            Ok(missed) => missed,
            Err(RecoveryError::Unrecovered(reason)) => {
                // What it has it is not handed again, however far behind the feed of this node may be.
                let has_upto = if reason == Unrecovered::Offset { Offset::START } else { told.upto };
                let offset = boundary.offset.max(has_upto);
                self.quarter(session).rooms.skip_to(session, room, offset);
                let stay = Stay::unproven(offset, number, via);
                self.begin(session, room, stay).await?;
                let lost = Lost { room: room.shown(), reason: reason.reason(), through: None };
                let notice =
                    Frame::notice("gateway:gap", &lost, Some(&Mark { offset: handed, replay: number }.to_string()));
                session.gate.overtake(&notice, None).await;
                self.prove(session, room, handed).await;
                hold.release_after(std::slice::from_ref(room), offset).await;
                return Ok(Joined { offset, recovered: Some(Err(reason)), first: None });
            }
            Err(error) => {
                self.quarter(session).rooms.take_back(session, room);
                return Err(self.not_now(error));
            }
        };
        let (events, offset, missing) = (told.events + missed.events(), missed.upto(), missed.missing());
        let missing_to = missing.map(|missing| missing.through.unwrap_or(offset));
        let complete_from = complete_from(&told).max(missing_to.unwrap_or_default()).min(offset);
        // That something is missing is news, too, although nothing of it comes.
        let has_news = events > 0 || told.missing_to.is_some() || missing.is_some();
        let stay = if has_news { Stay::unproven(offset, number, via) } else { Stay::new(offset, via) };
        self.begin(session, room, Stay { complete_from, ..stay }).await?;
        let end = has_news.then(|| {
            let mark = Mark { offset: handed, replay: number }.to_string();
            Frame::notice("gateway:replayed", &Replayed { room: room.shown(), events }, Some(&mark))
        });
        if let Some(Missing { why, through }) = missing {
            self.quarter(session).rooms.tell_missing(session, room, why, through).await;
        }
        self.quarter(session).rooms.replay_out_of_order(session, missed, end, hold).await;
        if has_news {
            self.prove(session, room, handed).await;
        }
        let why = told.missing_to.map(|_| Unrecovered::Archive).or(missing.map(|missing| missing.why));
        Ok(Joined { offset, recovered: Some(why.map_or(Ok(()), Err)), first: None })
    }

    /// Stores how a session is in a room. If there is news of it, what it missed or that something is gone, only the notice
    /// at their end proves that a client got them. If the join is refused because its record was stored without an answer,
    /// nothing does.
    async fn begin(&self, session: &Arc<Session>, room: &RoomName, stay: Stay) -> Result<(), Refusal> {
        session.remember(room, stay);
        self.save_or_leave(session, room).await
    }

    /// Notes that the notice is on its way to a client that had been handed `handed` before.
    async fn prove(&self, session: &Session, room: &RoomName, handed: Offset) {
        session.replay_ended(room, handed);
        // If it cannot be stored now, it will be; until then a client that breaks off may be told too much.
        self.quarter(session).comebacks.save(session).await.ok();
    }

    /// What was joined must come back with the session; if that cannot be stored, it was not joined.
    async fn save_or_leave(&self, session: &Session, room: &RoomName) -> Result<(), Refusal> {
        match self.quarter(session).comebacks.save(session).await {
            // Taken over meanwhile: nobody waits for the answer.
            Ok(_) => Ok(()),
            Err(refusal) => {
                self.quarter(session).rooms.take_back(session, room);
                Err(refusal)
            }
        }
    }

    /// Takes a session out of a room; nothing happens if it is not in it. Returns which member left with it, and whether
    /// that could be stored.
    ///
    /// # Errors
    /// The store of sessions cannot be reached: the session is out of the room, but would come back into it.
    pub async fn leave(&self, session: &Arc<Session>, room: &RoomName) -> (Vec<Departure>, Result<(), Refusal>) {
        self.quarter(session).rooms.leave_typing(session, Some(room));
        let departed = if self.quarter(session).rooms.leave(session, room).is_some_and(|stay| stay.seated) {
            self.quarter(session).attendance.take_out(session, vec![room.clone()]).await
        } else {
            Vec::new()
        };
        (departed, self.quarter(session).comebacks.save(session).await.map(|_| ()))
    }

    /// Counts a session whose connection is over no longer among those that are connected, and hands it nothing more. It stays
    /// in its rooms until [`Self::depart`], for what its client sent before; what comes of that is not stored. It may come back
    /// as after that.
    pub fn hang_up(&self, session: &Arc<Session>, keep: bool) {
        session.hang_up();
        self.asking.gone(session);
        self.quarter(session).comebacks.depart(session, keep && session.closing() != Some(CloseReason::Kicked));
    }

    /// Takes a session whose connection is over out of everything. It may come back within the recovery window if it
    /// is to be kept, unless it was ended for good.
    pub fn depart(&self, session: &Arc<Session>, keep: bool) {
        let keep = keep && session.closing() != Some(CloseReason::Kicked);
        let quarter = self.quarter(session);
        let seats = quarter.rooms.leave_all(session);
        self.asking.gone(session);
        quarter.attendance.drop_unknown(session);
        quarter.comebacks.depart(session, keep);
        let (rooms, attendance, session) = (quarter.rooms.clone(), quarter.attendance.clone(), session.clone());
        self.tasks.spawn(async move {
            // After what it is still doing: nobody must be told that it has gone before they are told that it came.
            let _busy = session.busy.lock().await;
            rooms.leave_typing(&session, None);
            if !seats.is_empty() {
                attendance.give_up_seats(&session, seats, keep).await;
            }
        });
    }
}
