//! Reading notifications, marking them as read, and taking them out. All devices of a user hear of it.

use serde::Serialize;

use super::Inbox;
use crate::domain::{Refusal, UserId};
use crate::log::Terms;
use crate::notifications::{Listed, Marked, Notification, NotificationId, Which};

/// What clients hear when notifications were read, and when one was taken out.
const READ: &str = "notification:read";
const DELETED: &str = "notification:deleted";

/// A part of a user's notifications, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inboxed {
    /// Those that fit.
    pub notifications: Vec<Notification>,
    /// Whether there are older ones.
    pub more: bool,
}

/// What marking as read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marking {
    /// How many were unread.
    pub read: u64,
    /// How many still are.
    pub unread: u64,
}

/// What clients hear: which were read, these or all up to one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WereRead<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a NotificationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    up_to: Option<&'a NotificationId>,
    unread: u64,
}

/// What clients hear: this one is gone, or all of them.
#[derive(Serialize)]
struct WereDeleted<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a NotificationId>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    all: bool,
    unread: u64,
}

impl Inbox {
    /// Reads a part of a user's notifications: those that are older than one, or the newest; `limit` at the most, and not more
    /// than a page. Of those that weigh more than `bytes` together no more than fit, but one at least.
    ///
    /// # Errors
    /// There is no database, or it cannot be reached.
    pub async fn page(
        &self,
        user: &UserId,
        before: Option<&NotificationId>,
        unread: bool,
        limit: usize,
        bytes: usize,
    ) -> Result<Inboxed, Refusal> {
        let which = Which { after: before, unread, limit: limit.clamp(1, self.settings.page) };
        let listed = self.shelf()?.notifications.list(user, which).await;
        let Listed { mut notifications, more } = listed.map_err(|error| self.unavailable(&error))?;
        let count = notifications.len();
        let mut used = 0;
        let fits = |(index, kept): &(usize, &Notification)| {
            used += weight(kept);
            used <= bytes || *index == 0
        };
        let fitting = notifications.iter().enumerate().take_while(fits).count();
        notifications.truncate(fitting);
        Ok(Inboxed { notifications, more: more || fitting < count })
    }

    /// How many of a user's notifications are unread.
    ///
    /// # Errors
    /// There is no database, or it cannot be reached.
    pub async fn unread(&self, user: &UserId) -> Result<u64, Refusal> {
        self.shelf()?.notifications.unread(user).await.map_err(|error| self.unavailable(&error))
    }

    /// Marks notifications of a user as read, and has its sessions hear that.
    ///
    /// # Errors
    /// There is no database, or it cannot be reached; some may be marked all the same.
    pub async fn mark_read(&self, user: &UserId, which: Marked<'_>) -> Result<Marking, Refusal> {
        let notifications = &self.shelf()?.notifications;
        let mark = async |which| notifications.mark_read(user, which).await.map_err(|error| self.unavailable(&error));
        let first = mark(which).await?;
        let mut read = first.len();
        let newest = first.into_iter().next();
        if let (Some(newest), Marked::UpTo(_) | Marked::All) = (&newest, which) {
            // Only so far: those that come meanwhile nobody has seen.
            loop {
                let more = mark(Marked::UpTo(newest)).await?.len();
                read += more;
                if more == 0 {
                    break;
                }
            }
        }
        let (read, unread) = (read as u64, self.unread(user).await?);
        if let Some(newest) = &newest {
            self.metrics.notifications_read.increment(read);
            let (id, up_to) = match which {
                Marked::One(_) => (Some(newest), None),
                Marked::UpTo(id) => (None, Some(id)),
                Marked::All => (None, Some(newest)),
            };
            let event = self.event_with(READ, &WereRead { id, up_to, unread });
            self.say(user, &event, Terms::default(), None).await;
        }
        Ok(Marking { read, unread })
    }

    /// Takes a notification of a user out, and has its sessions hear that; false if the user has none of that id.
    ///
    /// # Errors
    /// There is no database, or it cannot be reached.
    pub async fn remove(&self, user: &UserId, id: &NotificationId) -> Result<bool, Refusal> {
        let removed = self.shelf()?.notifications.remove(user, id).await;
        if !removed.map_err(|error| self.unavailable(&error))? {
            return Ok(false);
        }
        self.metrics.notifications_gone.with("deleted").increment(1);
        self.tell_deleted(user, Some(id)).await;
        Ok(true)
    }

    /// Takes all notifications of a user out, and has its sessions hear that. Returns how many there were.
    ///
    /// # Errors
    /// There is no database, or it cannot be reached; some may be gone all the same.
    pub async fn clear(&self, user: &UserId) -> Result<u64, Refusal> {
        let notifications = &self.shelf()?.notifications;
        let which = Which { after: None, unread: false, limit: self.settings.page };
        let mut gone = 0;
        loop {
            let page = notifications.list(user, which).await.map_err(|error| self.unavailable(&error))?.notifications;
            if page.is_empty() {
                break;
            }
            for one in page {
                let removed = notifications.remove(user, &one.new.id).await;
                gone += u64::from(removed.map_err(|error| self.unavailable(&error))?);
            }
        }
        if gone > 0 {
            self.metrics.notifications_gone.with("deleted").increment(gone);
            self.tell_deleted(user, None).await;
        }
        Ok(gone)
    }

    /// What is done is done, whether or not it can be told.
    async fn tell_deleted(&self, user: &UserId, id: Option<&NotificationId>) {
        if let Ok(unread) = self.unread(user).await {
            let event = self.event_with(DELETED, &WereDeleted { id, all: id.is_none(), unread });
            self.say(user, &event, Terms::default(), None).await;
        }
    }

    /// Whose notification this is; nothing if there is none.
    ///
    /// # Errors
    /// There is no database, or it cannot be reached.
    pub async fn owner(&self, id: &NotificationId) -> Result<Option<UserId>, Refusal> {
        self.shelf()?.owners.owner(id).await.map_err(|error| self.unavailable(&error))
    }
}

/// What a notification weighs in an answer, in bytes, about.
fn weight(kept: &Notification) -> usize {
    const AROUND: usize = 250;
    AROUND + kept.new.message.len() + kept.new.data.as_ref().map_or(0, String::len)
}
