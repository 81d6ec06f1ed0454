//! Telling users what they may read later, and deciding about that.

use super::Service;
use crate::domain::{Refusal, UserId};
use crate::inbox::Author;
use crate::notifications::Marked;

pub use crate::inbox::{Form, Inboxed, Marking, Told, Wish};
pub use crate::notifications::{Marked as Reading, NotificationId};

impl Service {
    /// Tells users something, each by itself: kept for all of them, then heard by the sessions that they have.
    ///
    /// # Errors
    /// One of it is no notification, there is no database, or it cannot be reached. Then nobody hears of anything, though some
    /// may be kept; with their ids all may be told again.
    pub async fn notify(&self, author: &str, wishes: Vec<Wish>) -> Result<Vec<Told>, Refusal> {
        self.behind.inbox.tell(&Author::back_end(author), wishes).await
    }

    /// The namespace whose sessions hear of notifications.
    #[must_use]
    pub fn namespace_of_notifications(&self) -> &str {
        self.behind.inbox.namespace()
    }

    /// Reads a part of what a user was told, newest first: what is older than one, or the newest.
    ///
    /// # Errors
    /// There is no database, or it cannot be reached.
    pub async fn notifications(
        &self,
        user: &UserId,
        after: Option<&NotificationId>,
        unread: bool,
        limit: usize,
    ) -> Result<Inboxed, Refusal> {
        self.behind.inbox.page(user, after, unread, limit, self.page_bytes).await
    }

    /// How much of it is unread.
    ///
    /// # Errors
    /// There is no database, or it cannot be reached.
    pub async fn unread_notifications(&self, user: &UserId) -> Result<u64, Refusal> {
        self.behind.inbox.unread(user).await
    }

    /// Marks some of it as read; all devices of the user hear that.
    ///
    /// # Errors
    /// There is no database, or it cannot be reached; some may be marked all the same.
    pub async fn read_notifications(&self, user: &UserId, which: Marked<'_>) -> Result<Marking, Refusal> {
        self.behind.inbox.mark_read(user, which).await
    }

    /// Takes one out; false if the user has none of that id. All devices of the user hear that.
    ///
    /// # Errors
    /// There is no database, or it cannot be reached.
    pub async fn delete_notification(&self, user: &UserId, id: &NotificationId) -> Result<bool, Refusal> {
        self.behind.inbox.remove(user, id).await
    }

    /// Takes all of a user's out; returns how many there were. All devices of the user hear that.
    ///
    /// # Errors
    /// There is no database, or it cannot be reached; some may be gone all the same.
    pub async fn clear_notifications(&self, user: &UserId) -> Result<u64, Refusal> {
        self.behind.inbox.clear(user).await
    }
}
