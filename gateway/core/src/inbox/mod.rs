//! The inbox: what users are told and may read when they like. What is told is kept first and then heard by whatever sessions
//! its user has, on every node; who has none finds it later.

mod absent;
mod author;
mod forms;
mod reading;
mod telling;
mod upkeep;

pub use absent::{Absence, Digest};
pub use author::{Author, Wish};
pub use forms::Form;
pub use reading::{Inboxed, Marking};
pub use telling::{Kept, Told};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Config};
use crate::content::{Bounds, EVENT_NAME, may_be_emitted};
use crate::domain::{Refusal, RoomName, UserId};
use crate::metrics::Metrics;
use crate::node::{Node, NoticeLimiter};
use crate::notifications::{Notifications, Owners};
use crate::port::PortError;
use crate::recurring::Recurring;

/// Where notifications are kept.
#[derive(Clone)]
pub struct Shelf {
    /// What they are.
    pub notifications: Arc<dyn Notifications>,
    /// Whose they are.
    pub owners: Arc<dyn Owners>,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shelf")
    }
}

/// The notifications of all users, as far as this node has to do with them.
#[derive(Debug)]
pub struct Inbox {
    shelf: Option<Shelf>,
    node: Arc<Node>,
    settings: config::Notifications,
    bounds: Bounds,
    /// For how long the log knows what it was told before.
    window: Duration,
    limiter: NoticeLimiter,
    failing: Recurring,
    absence: Option<Absence>,
    metrics: Arc<Metrics>,
}

impl Inbox {
    /// One over a shelf, if there is one: without, users that are connected are told, and nothing is kept.
    #[must_use]
    pub fn new(shelf: Option<Shelf>, node: Arc<Node>, config: &Config, metrics: Arc<Metrics>) -> Self {
        Self {
            shelf,
            node,
            settings: config.notifications.clone(),
            bounds: Bounds::new(&config.limits),
            window: config.log.dedupe_window,
            limiter: NoticeLimiter::new(&config.notifications),
            failing: Recurring::new("the store of notifications failed"),
            absence: None,
            metrics,
        }
    }

    /// Looks whether clients can be told of notifications as it is configured.
    ///
    /// # Errors
    /// What is wrong, in words that name the setting.
    pub fn check(settings: &config::Notifications) -> Result<(), String> {
        if may_be_emitted(&settings.event) { Ok(()) } else { Err(format!("notifications.event: {EVENT_NAME}")) }
    }

    /// The same for whom it is looked later whether its users heard of what they were told.
    #[must_use]
    pub fn minding(self, absence: Option<Absence>) -> Self {
        Self { absence, ..self }
    }

    /// Whether anything is kept.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.shelf.is_some()
    }

    /// The namespace whose sessions hear of notifications.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.settings.namespace
    }

    /// The event by which they do.
    #[must_use]
    pub fn event(&self) -> &str {
        &self.settings.event
    }

    /// Where all sessions of a user hear.
    #[must_use]
    pub fn room_of(&self, user: &UserId) -> RoomName {
        RoomName::personal(&self.settings.namespace, user)
    }

    fn shelf(&self) -> Result<&Shelf, Refusal> {
        self.shelf.as_ref().ok_or(Refusal::NoDatabase)
    }

    /// The one place where a failing store becomes what is read of it; it is logged here and only here.
    fn unavailable(&self, error: &PortError) -> Refusal {
        self.metrics.notification_errors.with(error.operation).increment(1);
        self.failing.note(|what| error.tell(what));
        Refusal::Unavailable
    }
}
