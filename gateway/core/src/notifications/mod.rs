//! PORT: notifications that wait to be read, per user; the trait is the contract, `tests/contract/notifications.rs` checks
//! every backend against it.

mod kept;
mod memory;

pub use kept::KeptNotifications;
pub use memory::MemoryNotifications;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::domain::UserId;
use crate::port::PortError;

/// What users are to be told, and whether they know.
///
/// **Once.** A notification that is added again under the key that it came with is the first one; what became of that since
/// stays. A key is known for as long as its notification is kept.
///
/// **Newest first.** A user's notifications have one order, that in which they were added. Who reads page by page
/// misses none of those that were there when it began, and sees none twice.
///
/// **Collapsed.** One that comes with a collapse key takes the place of an unread one of the same user and key: that is gone.
///
/// **Bounds.** Of each user the newest are kept, as many as it is said when one is added. What is past its time is
/// not read any more, and [`Notifications::forget`] takes it out.
#[async_trait]
pub trait Notifications: Send + Sync + 'static {
    /// Adds notifications, each by itself, and keeps `kept` of each user. Tells what became of each, in their order.
    async fn add(&self, all: &[New], kept: usize) -> Result<Vec<Added>, PortError>;

    /// Reads a part of a user's notifications, newest first.
    async fn list(&self, user: &UserId, which: Which<'_>) -> Result<Listed, PortError>;

    /// Marks as read. Returns the ids of those that were unread, newest first, 1,000 at the most: who asks goes on until there
    /// are none.
    async fn mark_read(&self, user: &UserId, which: Marked<'_>) -> Result<Vec<NotificationId>, PortError>;

    /// Takes one out; false if the user has none of that id.
    async fn remove(&self, user: &UserId, id: &NotificationId) -> Result<bool, PortError>;

    /// How many are unread.
    async fn unread(&self, user: &UserId) -> Result<u64, PortError>;

    /// Forgets what is past its time, and what is older than `keep`: `most` at the most. Returns how many went.
    async fn forget(&self, keep: Option<Duration>, most: usize) -> Result<u64, PortError>;
}

/// To whom notifications belong. The same backends know it; who asks knows nothing but an id.
#[async_trait]
pub trait Owners: Send + Sync + 'static {
    /// The user whose notification this is; nothing if there is none, or its time is over.
    async fn owner(&self, id: &NotificationId) -> Result<Option<UserId>, PortError>;
}

/// By what a notification is known: 24 hexadecimal digits, as front ends of MongoDB expect. They grow with time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct NotificationId(String);

impl NotificationId {
    /// A new one. Of two that are made in the same second, neither is known to be the older.
    #[must_use]
    pub fn new(at: SystemTime) -> Self {
        let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() & 0xffff_ffff;
        Self(format!("{seconds:08x}{:016x}", rand::random::<u64>()))
    }

    /// Reads one; nothing if it cannot be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 24 && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        fits.then(|| Self(text.to_owned()))
    }

    /// When it was made, in milliseconds since 1970: the beginning of that second.
    #[must_use]
    pub fn made_at_ms(&self) -> u64 {
        u64::from_str_radix(&self.0[..8], 16).unwrap_or_default() * 1_000
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// As what it is to be known.
    pub id: NotificationId,
    /// For whom.
    pub receiver: UserId,
    /// From whom, if it is a user's.
    pub sender: Option<UserId>,
    /// What it says: any JSON value, as text.
    pub message: String,
    /// What comes with it: any JSON value, as text.
    pub data: Option<String>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// When it is past its time, likewise.
    pub until_ms: Option<u64>,
    /// By what it is known again when it is added twice.
    pub key: Option<String>,
    /// Of those that are unread with the same of these, the newest alone is kept.
    pub collapse: Option<String>,
}

/// What became of one that was to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is there, and with what went for it.
    New {
        /// The unread one in whose place it is.
        instead_of: Option<NotificationId>,
        /// How many of the oldest went, because there were too many.
        dropped: u64,
    },
    /// It was there already, as this.
    Known(NotificationId),
}

/// Which part of a user's notifications to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Which<'a> {
    /// Those after this one in the order of reading, which are older; from the newest on if there is none. If the user has
    /// none of that id any more, those that were added before its time.
    pub after: Option<&'a NotificationId>,
    /// Only those that are unread.
    pub unread: bool,
    /// How many at the most.
    pub limit: usize,
}

/// Which are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked<'a> {
    /// One.
    One(&'a NotificationId),
    /// It and all that are older.
    UpTo(&'a NotificationId),
    /// All.
    All,
}

/// A part of a user's notifications.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Newest first.
    pub notifications: Vec<Notification>,
    /// Whether there are older ones.
    pub more: bool,
}

/// One that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// What was added.
    pub new: New,
    /// Whether it was read.
    pub is_read: bool,
}
