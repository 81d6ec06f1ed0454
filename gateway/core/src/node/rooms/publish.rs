//! Publishing: what is said in rooms, into the log, and out of it as history.

use tokio::time::Instant;

use super::{Rooms, Stretch};
use crate::domain::{Event, Offset, Refusal, RoomName};
use crate::log::{AppendError, Appended, Dedupe, ENTRY_BYTES, ROOM_BYTES, Range, Terms};
use crate::node::limits::Account;
use crate::node::session::Session;

impl Rooms {
    /// Publishes an event to a room, on somebody's account if that has limits.
    pub(in crate::node) async fn publish(
        &self,
        room: &RoomName,
        event: &Event,
        terms: Terms<'_>,
        account: Option<&Account>,
    ) -> Result<Appended, Refusal> {
        let started = Instant::now();
        if let Some(account) = account {
            let key = terms.dedupe.map_or(0, |Dedupe(key)| key.len());
            account.keep(event.size() + ENTRY_BYTES + key)?;
        }
        // Whether a room is new costs nothing to ask this way, and another round trip when it is.
        let mut appended = self.log.append(room, event, Terms { known_room: true, ..terms }).await;
        if matches!(appended, Err(AppendError::NewRoom)) {
            if let Some(account) = account {
                account.begin_room(ROOM_BYTES)?;
            }
            appended = self.log.append(room, event, Terms { known_room: false, ..terms }).await;
            if appended.is_ok() {
                self.metrics.log_new_rooms.increment(1);
            }
        }
        let appended = appended.map_err(|error| match error {
            AppendError::Full | AppendError::NewRoom => {
                self.full.note(|what| tracing::error!("{what}"));
                Refusal::LogFull
            }
            AppendError::Failed(error) => self.unavailable_in(room, &error),
        })?;
        self.metrics.log_append_duration.record(started.elapsed().as_secs_f64());
        Ok(appended)
    }

    /// Sends an event to a room without keeping it.
    pub(in crate::node) async fn signal(&self, room: &RoomName, event: &Event) -> Result<(), Refusal> {
        self.log.signal(room, event).await.map_err(|error| self.unavailable_in(room, &error))
    }

    /// Reads a part of the history of a room. `limit` is cut to the configured page.
    pub(in crate::node) async fn history(
        &self,
        room: &RoomName,
        range: Range,
        bytes: usize,
    ) -> Result<Stretch, Refusal> {
        let page = self.limits.history_page;
        let range = match range {
            Range::After { offset, limit } => Range::After { offset, limit: limit.clamp(1, page) },
            Range::Newest { before, limit } => Range::Newest { before, limit: limit.clamp(1, page) },
        };
        let stretch = self.past.read(room, range, bytes).await.map_err(|error| self.unavailable_in(room, &error))?;
        if stretch.archived {
            self.count_archived(stretch.whole);
        }
        Ok(stretch)
    }

    /// Whether an event is where it is said to be, in the log or in the archive.
    pub(in crate::node) async fn has_said(&self, room: &RoomName, offset: Offset) -> Result<bool, Refusal> {
        self.past.has(room, offset).await.map_err(|error| self.unavailable_in(room, &error))
    }

    /// Where the log stands, and from where on it has everything of a room.
    pub(in crate::node) async fn log_reaches(&self, room: &RoomName) -> Result<(Offset, Offset), Refusal> {
        let page = self.log.read(room, Range::Newest { before: None, limit: 0 }, 0).await;
        let page = page.map_err(|error| self.unavailable_in(room, &error))?;
        Ok((page.head.offset, page.reaches_back()))
    }

    /// Where the log stands: the newest position of all rooms.
    pub(in crate::node) async fn position(&self, room: &RoomName) -> Result<Offset, Refusal> {
        let page = self.log.read(room, Range::Newest { before: None, limit: 0 }, 0).await;
        page.map(|page| page.head.offset).map_err(|error| self.unavailable(&error))
    }
}

/// The key by which a publish of a session to a room is known again: its author's id for it.
#[must_use]
pub fn dedupe(session: &Session, room: &RoomName, id: &str) -> Dedupe {
    dedupe_of(&session.author(), room, id)
}

/// The same for an author that is no session: one letter and a colon say what else it is.
#[must_use]
pub fn dedupe_of(author: &str, room: &RoomName, id: &str) -> Dedupe {
    // With their lengths in front, no three of them read like three others.
    let room = room.as_str();
    Dedupe(format!("{}:{author}:{}:{room}:{id}", author.len(), room.len()))
}
