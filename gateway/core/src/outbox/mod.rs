//! PORT: outboxes. What happened, on its way to whoever is to be told outside; the trait is the contract,
//! `tests/contract/outbox.rs` checks every backend against it.

mod claims;
mod happening;
mod memory;
mod redis;
mod scribe;
mod sqlite;
mod wants;

pub use happening::{Happening, Link, What};
pub use memory::MemoryOutbox;
pub use redis::RedisOutbox;
pub use scribe::{By, Scribe};
pub use sqlite::{LOSE, SqliteOutbox, TELL, Telling};
pub use wants::{Bounds, Pattern, Want, Wants};

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::port::PortError;

/// What places of what was dropped begin with, see `settle.lua`.
const LOST: &str = "lost:";

/// The outboxes of a deployment, each with a name: what happened waits in them until it was delivered.
///
/// **In one step.** Who writes are the backends of the log and of presence that share a store with this: what was
/// appended, or who came and left, is in the outboxes that want it ([`Wants`]) by the same step, or the step did not
/// happen. Presence in memory beside an outbox in a file writes behind it, before it answers.
///
/// **In order.** An outbox has one order: that in which things happened. The oldest are read first, and read again until
/// they are settled.
///
/// **One at a time.** Who reads has a claim; as long as its lease runs, nobody else reads. When it has run out another
/// claim takes over, and from then on what the older one still settles changes nothing.
///
/// **Bounds.** What comes while an outbox is full is dropped and counted. Of what was given up, the newest are kept. Of the
/// archive's outbox ([`Wants::ARCHIVE`]) it is told from which number to which something was dropped, again and again until that
/// is settled like an entry. What takes something back is never dropped there: that it is gone has been said.
///
/// **Gone.** An outbox that nobody wants any more stays for the time that [`Outbox::survey`] is told, then it goes.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Claims an outbox, or renews the claim, and reads the oldest that waits. Nothing if somebody else has it.
    async fn read(&self, name: &str, claim: &Claim, most: Most) -> Result<Option<Batch>, PortError>;

    /// Takes out what was read: it was delivered, or is given up. False if the claim was lost; then nothing changes.
    async fn settle(&self, name: &str, claim: &Claim, places: &[Place], fate: Fate<'_>) -> Result<bool, PortError>;

    /// Gives a claim back, if it still holds: somebody else can have it at once.
    async fn let_go(&self, name: &str, claim: &Claim) -> Result<(), PortError>;

    /// Notes which outboxes are wanted, forgets those that were not for the time `keep`, and tells of all others, by name.
    async fn survey(&self, wanted: &[String], keep: Duration) -> Result<Vec<Standing>, PortError>;

    /// What was given up, the oldest first: `most` at the most, those after a place.
    async fn given_up(&self, name: &str, after: Option<&Place>, most: usize) -> Result<Vec<GivenUp>, PortError>;

    /// Has what was given up delivered after all, behind what waits, or forgets it; returns how much of it. What does not
    /// fit stays given up.
    async fn decide(&self, name: &str, places: &[Place], decision: Decision) -> Result<usize, PortError>;
}

/// Who reads an outbox: one that is made anew is nobody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    key: String,
    lease: Duration,
}

impl Claim {
    /// A claim that holds for the time of the lease after it was used, or two thirds of that.
    #[must_use]
    pub fn new(lease: Duration) -> Self {
        Self { key: format!("{:032x}", rand::random::<u128>()), lease }
    }

    /// For how long it holds after it was used, at the most.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }
}

/// How much is read at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Entries; 0 only renews the claim.
    pub entries: usize,
    /// What they weigh together, but one at least.
    pub bytes: usize,
}

impl Most {
    /// Only renews the claim.
    pub const NOTHING: Self = Self { entries: 0, bytes: 0 };
}

/// Where something stands in its outbox, as its backend writes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place(pub(crate) String);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The oldest of what waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In their order.
    pub entries: Vec<Waiting>,
    /// How many wait in all.
    pub waiting: usize,
    /// How many were dropped since this was last told.
    pub dropped: u64,
    /// Between which numbers, in the archive's outbox.
    pub lost: Option<Lost>,
}

/// A part of what happened that was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// What is settled when it is dealt with. It stays if more was dropped meanwhile.
    pub place: Place,
    /// The number of the first that was dropped.
    pub first: u64,
    /// The number of the last.
    pub last: u64,
}

impl Lost {
    /// What was dropped between two numbers.
    #[must_use]
    pub fn new(first: u64, last: u64) -> Self {
        Self { place: Place(format!("{LOST}{first}-{last}")), first, last }
    }

    /// The numbers in a place of one.
    fn at(place: &Place) -> Option<(u64, u64)> {
        let (first, last) = place.0.strip_prefix(LOST)?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    }
}

/// Something that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Where.
    pub place: Place,
    /// For how long.
    pub age: Duration,
    /// What happened; nothing if this version cannot read it.
    pub happening: Option<Happening>,
}

/// What became of something that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate<'a> {
    /// It was delivered.
    Delivered,
    /// It is given up, and of what was given up so many are kept.
    GivenUp {
        /// Why, in a few words.
        why: &'a str,
        /// How many are kept.
        kept: usize,
    },
}

/// What was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Where it stands.
    pub place: Place,
    /// What happened; nothing if this version cannot read it.
    pub happening: Option<Happening>,
    /// Why it was not delivered.
    pub why: String,
}

/// What is to become of what was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is to be delivered after all.
    Again,
    /// It is forgotten.
    Drop,
}

/// How an outbox stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// How many wait.
    pub waiting: usize,
    /// What they weigh, in bytes.
    pub bytes: usize,
    /// For how long the oldest does.
    pub oldest: Option<Duration>,
    /// How many were given up and are kept.
    pub given_up: usize,
    /// How many were dropped because it was full, ever.
    pub dropped: u64,
}
