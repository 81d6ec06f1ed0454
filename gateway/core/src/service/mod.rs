//! Service: what back ends may have the deployment do, whatever edge they come through: say something, read, look who is
//! there, tell users what they may read later, decide about sessions, take back, have work done later. All of it is for somebody who was let in already.

mod asking;
mod contacts;
mod deciding;
mod notifying;
mod queueing;
mod reading;
mod saying;
mod streaming;
mod taking_back;

pub use crate::node::{Allowed, KeyLimiter};
pub use crate::presence::{Busy, BusyRooms};
pub use asking::{Answered, Reply, Whom};
pub use contacts::{Address, Contact};
pub use deciding::{About, Listed, Nodes, Outcome, Revoked};
pub use notifying::{Form, Inboxed, Marking, NotificationId, Reading, Told, Wish};
pub use queueing::{
    Backoff, FoundJob, Hand, JobId, JobOutcome, JobState, JobWish, ListedJobs, NotTaken, QueueName, QueueStanding,
    Wanted,
};
pub use reading::{Bounded, History, Member, Members, Said};
pub use saying::Saying;
pub use streaming::{Heard, Missing, Tap};
pub use taking_back::{DELETED, TakenBack};

use std::sync::Arc;

use crate::archive::Archived;
use crate::asks::Asks;
use crate::auth;
use crate::contacts::Contacts;
use crate::content::Bounds;
use crate::control::Control;
use crate::desk::Desk;
use crate::formats::Formats;
use crate::inbox::Inbox;
use crate::metrics::Metrics;
use crate::node::{Node, Taps};
use crate::presence::Directory;

/// What the service has it done by.
#[derive(Clone)]
pub struct Behind {
    /// Says and reads, puts and takes out.
    pub node: Arc<Node>,
    /// Asks all nodes.
    pub control: Arc<Control>,
    /// Asks clients.
    pub asks: Arc<Asks>,
    /// Takes tokens back.
    pub revoked: Arc<auth::Revoked>,
    /// Knows which rooms have somebody.
    pub directory: Arc<dyn Directory>,
    /// Which rooms are archived, if any are.
    pub archived: Option<Archived>,
    /// Keeps what users are told.
    pub inbox: Arc<Inbox>,
    /// Has things done later.
    pub desk: Arc<Desk>,
    /// Knows where users get mail.
    pub contacts: Arc<dyn Contacts>,
    /// Listens to rooms.
    pub taps: Arc<Taps>,
    /// What all nodes read.
    pub formats: Formats,
    /// Counts what fails.
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Behind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Behind").finish_non_exhaustive()
    }
}

/// What back ends may have done, on this node or by way of it on all.
#[derive(Debug)]
pub struct Service {
    behind: Behind,
    bounds: Bounds,
    /// What a page of history weighs at the most, in bytes.
    page_bytes: usize,
}

impl Service {
    /// The service of a node. Events are within `bounds`; a page of history weighs `page_bytes` at the most.
    #[must_use]
    pub fn new(behind: Behind, bounds: Bounds, page_bytes: usize) -> Self {
        Self { behind, bounds, page_bytes }
    }
}
