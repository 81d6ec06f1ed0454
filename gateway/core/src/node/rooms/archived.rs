//! What the archive has of a room is handed to a session that joins it, as fast as it takes it, before the log is read.

use std::sync::Arc;

use super::Rooms;
use super::gap::Lost;
use super::missed::Missed;
use super::turns::{SMALL_BYTES, SMALL_EVENTS, Size};
use crate::domain::{Frame, Offset, Refusal, RoomName};
use crate::node::session::Session;
use crate::node::wanted::{RecoveryError, Unrecovered, Wanted};

/// What a session was handed from the archive.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct Told {
    /// It has everything of the room up to here, as far as there is anything.
    pub(in crate::node) upto: Offset,
    /// Up to where something is missing, if something is.
    pub(in crate::node) missing_to: Option<Offset>,
    /// How many events it was.
    pub(in crate::node) events: usize,
}

impl Told {
    /// Nothing yet, to one who has everything up to an offset.
    pub(in crate::node) fn nothing(upto: Offset) -> Self {
        Self { upto, missing_to: None, events: 0 }
    }
}

impl Rooms {
    /// Hands a session that is about to join a room what the archive has of it after what it was told, up to where the log
    /// reaches back: page by page, each in its turn, and none before the client has taken most of the last. None of it moves the
    /// client's offset, so one that breaks off joins again as it did. What is missing is told where it is.
    ///
    /// If it need not be whole, an archive that does not answer is something that is missing.
    pub(in crate::node) async fn tell_archived(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        told: Told,
        partial: bool,
    ) -> Result<Told, RecoveryError> {
        self.tell_archived_to(session, room, told, Offset(u64::MAX), partial).await
    }

    /// The same, and no further than to where an offset is covered.
    async fn tell_archived_to(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        mut told: Told,
        end: Offset,
        partial: bool,
    ) -> Result<Told, RecoveryError> {
        let before = told.events;
        while self.past.is_archived(room) && told.upto < end && session.closing().is_none() {
            let turn = self.turns.wait(Size::Small, session.address, SMALL_BYTES).await?;
            let read = self.past.before_log(room, told.upto, SMALL_EVENTS, SMALL_BYTES).await;
            let stretch = match read {
                Ok(Some(stretch)) => stretch,
                Ok(None) => break,
                Err(error) if partial => {
                    self.unavailable_in(room, &error);
                    // What the log has goes out all the same.
                    self.tell_missing(session, room, Unrecovered::Archive, None).await;
                    told.missing_to = Some(Offset(u64::MAX));
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            self.count_archived(stretch.whole);
            if !stretch.whole {
                let missing_to = stretch.missing_to.or(stretch.events.first().map(|(offset, _)| *offset));
                self.tell_missing(session, room, Unrecovered::Archive, missing_to).await;
                told.missing_to = told.missing_to.max(missing_to.or(Some(told.upto)));
            }
            let _held = turn.hold(stretch.events.iter().map(|(_, event)| event.size()).sum());
            for (offset, event) in &stretch.events {
                if event.except.as_ref().is_some_and(|except| session.is_excepted(except)) {
                    continue;
                }
                let Some(frame) = Frame::published(event, *offset) else { continue };
                session.gate.keep_pace().await;
                session.gate.overtake(&frame.out_of_order(), None).await;
                told.events += 1;
            }
            told.upto = told.upto.max(stretch.read_to.unwrap_or_default());
            if !stretch.from_archive_goes_on {
                // The log has the rest, or had: it may have gone on while the client took this.
                told.upto = told.upto.max(stretch.log_from);
            }
        }
        self.metrics.replayed_events.increment((told.events - before) as u64);
        Ok(told)
    }

    /// Reads what a session missed in a room that it has just entered and hears from an offset on. The log may have gone on since
    /// the archive was read: what it does not reach back to any more comes from there, up to that offset.
    pub(in crate::node) async fn read_behind(
        &self,
        session: &Arc<Session>,
        wanted: Wanted,
        told: &mut Told,
        hears_after: Offset,
    ) -> Result<Missed, RecoveryError> {
        let (room, is_archived) = (wanted.room.clone(), self.past.is_archived(&wanted.room));
        loop {
            // In part only what is nowhere as a whole.
            let whole = Wanted { after: told.upto, partial: wanted.partial && !is_archived, ..wanted.clone() };
            let why = match self.read_missed(session, vec![whole]).await {
                Err(RecoveryError::Unrecovered(why)) if is_archived => why,
                read => return read,
            };
            let before = told.upto;
            if matches!(why, Unrecovered::Retention | Unrecovered::History) {
                *told = self.tell_archived_to(session, &room, *told, hears_after, wanted.partial).await?;
                if told.upto >= hears_after {
                    return self.missed_nothing(session, room, told.upto).await;
                }
            }
            if told.upto == before {
                return if wanted.partial {
                    self.read_missed(session, vec![Wanted { after: told.upto, ..wanted }]).await
                } else {
                    Err(why.into())
                };
            }
        }
    }

    /// Tells a session that something of a room is missing before what it is handed next.
    pub(in crate::node) async fn tell_missing(
        &self,
        session: &Session,
        room: &RoomName,
        why: Unrecovered,
        through: Option<Offset>,
    ) {
        let through = through.map(|offset| offset.to_string());
        let lost = Lost { room: room.shown(), reason: why.reason(), through };
        session.gate.overtake(&Frame::notice("gateway:gap", &lost, None), None).await;
    }

    pub(super) fn count_archived(&self, whole: bool) {
        self.metrics.archive_reads.with(if whole { "whole" } else { "incomplete" }).increment(1);
    }

    /// What a client is told that cannot be told what it wants.
    pub(in crate::node) fn refused(&self, error: RecoveryError) -> Refusal {
        match error {
            RecoveryError::Log(error) => self.unavailable(&error),
            RecoveryError::Unavailable(refusal) => refusal,
            RecoveryError::Unrecovered(_) => Refusal::Unavailable,
        }
    }
}
