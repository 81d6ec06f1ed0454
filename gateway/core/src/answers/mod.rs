//! PORT: answers. What back ends said a moment ago, for all nodes; the trait is the contract, `tests/contract/answers.rs` checks
//! every backend against it.

mod redis;

pub use redis::RedisAnswers;

use std::time::Duration;

use async_trait::async_trait;

use crate::port::PortError;

/// The answers that the nodes of a deployment share.
///
/// **One asks.** Of all who recall a name at the same time, on whichever nodes, when nothing good is kept under it, one is told
/// [`Recalled::Yours`] and asks; the others get what is a little old, or wait. If the one says nothing for its lease, the next
/// who recalls the name asks.
///
/// **Time.** An answer is good for a time, and then for another one it is a little old: given to those who would wait.
///
/// **Late.** Who keeps or gives up after somebody else's turn has begun changes nothing.
///
/// **Losses.** A store may forget what it likes: then somebody asks again.
#[async_trait]
pub trait Answers: Send + Sync + 'static {
    /// What is kept under a name; or the turn to ask, for whoever recalls it, which holds for `lease`.
    async fn recall(&self, name: &str, turn: u64, lease: Duration) -> Result<Recalled, PortError>;

    /// Keeps what whoever has the turn has learned: good for a time, and a little old for another.
    async fn keep(&self, name: &str, turn: u64, answer: &str, times: Times) -> Result<(), PortError>;

    /// Gives the turn back: there was no answer. What was kept before stays.
    async fn give_up(&self, name: &str, turn: u64) -> Result<(), PortError>;
}

/// How long an answer is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long it is good.
    pub good: Duration,
    /// How long after that it is given to those who would wait.
    pub old: Duration,
}

/// What is kept under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recalled {
    /// This, and for so long it is good.
    Good(String, Duration),
    /// This, which is a little old; somebody asks for a new one.
    Old(String),
    /// Nothing, and somebody asks.
    Asked,
    /// Nothing that is good, and whoever recalls it is to ask.
    Yours,
}
