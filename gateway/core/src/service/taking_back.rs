//! Taking back what was said: one event, or all that a user said in archived rooms.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Service;
use crate::archive::{Archive, Taken};
use crate::domain::{Event, Offset, Refusal, RoomName, UserId};
use crate::log::{Range, Terms};
use crate::node::now_ms;
use crate::port::PortError;

/// The event by which members learn that another one was taken back.
pub const DELETED: &str = "gateway:deleted";

/// How long the archive may take to get what was said before a user's messages are looked for, and how often it is looked.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);
/// How many rooms, entries or tombstones are handled at a time.
const PAGE: usize = 500;
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// How many rooms are looked at in the same moment.
const AT_ONCE: usize = 8;

/// What messages of a user came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenBack {
    /// How many there were.
    pub messages: u64,
}

impl Service {
    /// Takes an event of a room back: it leaves the log in the step in which members are told by [`DELETED`], and leaves a
    /// tombstone in the archive. Nothing if there is no such event. Returns the place of what they are told.
    ///
    /// # Errors
    /// The log or the archive cannot be reached; the event may be gone all the same.
    pub async fn take_back(&self, room: &RoomName, offset: Offset) -> Result<Option<Offset>, Refusal> {
        let node = &self.behind.node;
        if !node.has_said(room, offset).await? {
            return Ok(None);
        }
        let args = json!([{ "room": room.shown(), "offset": offset.to_string() }]).to_string();
        let event = Event { name: DELETED.into(), args, attachments: Vec::new(), except: None, at_ms: now_ms() };
        let terms = Terms { takes_back: Some(offset), reserve: true, ..Terms::default() };
        let told = node.publish(room, &event, terms, None).await?;
        // The archive takes it back when it comes to what was just told. Whoever reads there need not wait for that.
        if let Some(archived) = &self.behind.archived {
            let one = Taken::One { room: room.clone(), offset };
            let taken = archived.archives().of(room).take_back(&one, 1).await;
            if let Err(error) = taken {
                let refusal = self.archive_failed(&error);
                if archived.of(room).is_none() {
                    // Nothing waits for the archive here.
                    return Err(refusal);
                }
            }
        }
        Ok(Some(told.position.offset))
    }

    /// Takes back all that a user said in archived rooms, as far as the archive knows who said it. What is still in the log goes
    /// from there too, and members are told. Nothing if there is no archive. Rooms in which the user said nothing cost nothing,
    /// and what is done need not be done again: who is cut off asks once more, and gets further.
    ///
    /// # Errors
    /// The archive does not have everything yet, or the log or the archive cannot be reached. Then a part may be gone, and the
    /// same may be asked again.
    pub async fn take_back_user(&self, user: &UserId) -> Result<Option<TakenBack>, Refusal> {
        let Some(archived) = &self.behind.archived else { return Ok(None) };
        let archives = archived.archives();
        // It has what was said in all rooms.
        let archive = &**archives.main();
        let failed = |error: PortError| self.archive_failed(&error);
        let waits = archives.all().map(|(nowhere, archive)| self.until_archived(&**archive, nowhere));
        futures_util::future::try_join_all(waits).await?;
        let mut done = TakenBack::default();
        let mut after: Option<RoomName> = None;
        loop {
            let rooms = archive.rooms_of(user, after.as_ref(), PAGE).await.map_err(failed)?;
            let logged = rooms.iter().cloned().map(|room| self.take_back_logged(archive, room, user));
            let taken: Vec<u64> = stream::iter(logged).buffer_unordered(AT_ONCE).try_collect().await?;
            done.messages += taken.iter().sum::<u64>();
            after = rooms.last().cloned();
            if rooms.len() < PAGE {
                break;
            }
        }
        loop {
            let taken = archive.take_back(&Taken::User(user.clone()), PAGE).await.map_err(failed)?;
            done.messages += taken;
            if taken == 0 {
                return Ok(Some(done));
            }
        }
    }

    /// Waits until an archive has what was said until now in its own log, which a room tells: clocks of several differ.
    async fn until_archived(&self, archive: &dyn Archive, of_log: RoomName) -> Result<(), Refusal> {
        let (now, _) = self.behind.node.log_reaches(&of_log).await?;
        let deadline = Instant::now() + PATIENCE;
        while archive.cursor().await.map_err(|error| self.archive_failed(&error))?.is_none_or(|cursor| cursor < now) {
            if Instant::now() >= deadline {
                return Err(Refusal::Unavailable);
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Takes back what a user said in a room whose log still has it.
    async fn take_back_logged(&self, archive: &dyn Archive, room: RoomName, user: &UserId) -> Result<u64, Refusal> {
        let (_, mut after) = self.behind.node.log_reaches(&room).await?;
        let mut taken = 0;
        loop {
            let range = Range::After { offset: after, limit: PAGE };
            let page = archive.read(&room, range, PAGE_BYTES).await.map_err(|error| self.archive_failed(&error))?;
            for entry in &page.entries {
                after = entry.position.offset;
                let is_theirs = entry.user.as_ref() == Some(user) && entry.event.is_some();
                if is_theirs && self.take_back(&room, after).await?.is_some() {
                    taken += 1;
                }
            }
            if !page.more || page.entries.is_empty() {
                return Ok(taken);
            }
        }
    }

    fn archive_failed(&self, error: &PortError) -> Refusal {
        self.behind.metrics.archive_errors.with(error.operation).increment(1);
        error.tell("what was said could not be taken back from the archive");
        Refusal::Unavailable
    }
}
