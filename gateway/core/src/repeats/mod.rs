//! PORT: repeats. Requests that may come again, and what was answered the first time; the trait is the contract,
//! `tests/contract/repeats.rs` checks every backend against it.

mod memory;
mod redis;
mod sqlite;

pub use memory::MemoryRepeats;
pub use redis::RedisRepeats;
pub use sqlite::SqliteRepeats;

use std::time::Duration;

use async_trait::async_trait;

use crate::port::PortError;

/// How long a request may take: whoever does it and says nothing for so long has ended in the middle of it, and the same
/// request may begin anew.
pub const LEASE: Duration = Duration::from_secs(60);

/// The requests of a deployment that may come again.
///
/// **Once.** Of all who begin requests under one name at the same time, on whichever nodes, one is told [`Begun::New`] and does
/// it; the others learn that it is under way, or what came of it, or that it was another request.
///
/// **Time.** What was finished is kept for the time that the store was made with, then its name is free. So it is when it was
/// given up, and [`LEASE`] after it began if nothing was said.
///
/// **Late.** Who finishes or gives up after somebody else has begun anew changes nothing.
#[async_trait]
pub trait Repeats: Send + Sync + 'static {
    /// Begins a request.
    async fn begin(&self, repeat: &Repeat) -> Result<Begun, PortError>;

    /// Keeps the answer of one that this caller has begun.
    async fn finish(&self, repeat: &Repeat, answer: &[u8]) -> Result<(), PortError>;

    /// Frees the name of one that this caller has begun: it is to be done when it comes again.
    async fn give_up(&self, repeat: &Repeat) -> Result<(), PortError>;
}

/// A request that may come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// By which it is known again: printable and short.
    pub name: String,
    /// What tells it from others of that name: equal for equal requests.
    pub print: String,
    /// Who does it: random.
    pub run: u64,
}

/// What is known of a request that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Nothing: whoever asked is to do it.
    New,
    /// It is under way.
    Running,
    /// Another request has the name.
    Different,
    /// This was the answer.
    Done(Vec<u8>),
}

/// Who does it, as backends write it.
fn run(repeat: &Repeat) -> String {
    format!("{:016x}", repeat.run)
}
