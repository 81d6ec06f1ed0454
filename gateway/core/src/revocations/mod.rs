//! PORT: revocations. Tokens that were taken back before their time; the trait is the contract,
//! `tests/contract/revocations.rs` checks every backend against it.

mod announcements;
mod memory;
mod redis;
mod sqlite;

pub use memory::MemoryRevocations;
pub use redis::RedisRevocations;
pub use sqlite::SqliteRevocations;

use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde::Serialize;

use crate::domain::UserId;
use crate::port::PortError;

/// How many changes may wait to be heard of; what does not fit becomes a [`News::Gap`].
const ANNOUNCEMENTS: usize = 4096;

/// What was revoked in a deployment.
///
/// **Only more.** Nothing takes a revocation back but time: what was added is there until its `until`, then it may be
/// forgotten. Of several for the same subject, the latest `before` and the latest `until` count.
#[async_trait]
pub trait Revocations: Send + Sync + 'static {
    /// Keeps a revocation. When this returns it outlives this node, and every node that listens is told, this one too.
    async fn add(&self, revocation: &Revocation) -> Result<(), PortError>;

    /// All that are not over, in no order.
    async fn all(&self) -> Result<Vec<Revocation>, PortError>;

    /// What is added from now on, by whichever node, and where some of it may have been missed: then all must be read
    /// again. To be taken once.
    fn changes(&self) -> BoxStream<'static, News>;
}

/// Tokens that are refused although their time is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revocation {
    /// Which ones.
    #[serde(flatten)]
    pub subject: Subject,
    /// When no such token can be good any more, and this may be forgotten: seconds since 1970.
    pub until: u64,
}

/// Which tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Subject {
    /// The one with this `jti`.
    Token {
        /// The `jti`.
        token: String,
    },
    /// A user's that were issued before a time, and those that do not say when they were.
    User {
        /// The user.
        user: UserId,
        /// Seconds since 1970.
        before: u64,
    },
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// This was added.
    Added(Revocation),
    /// Something may have been added that was not heard.
    Gap,
}

impl Revocation {
    /// By what backends tell subjects apart: `t:` and a token's id, or `u:` and a user.
    fn key(&self) -> String {
        match &self.subject {
            Subject::Token { token } => format!("t:{token}"),
            Subject::User { user, .. } => format!("u:{}", user.as_str()),
        }
    }

    /// The time that goes with the key; 0 for a token, which has none.
    fn before(&self) -> u64 {
        match self.subject {
            Subject::Token { .. } => 0,
            Subject::User { before, .. } => before,
        }
    }

    /// Reads what backends store; nothing if this version cannot.
    fn from_parts(key: &str, before: u64, until: u64) -> Option<Self> {
        let subject = match key.split_once(':')? {
            ("t", token) => Subject::Token { token: token.to_owned() },
            ("u", user) => Subject::User { user: UserId::parse(user)?, before },
            _ => return None,
        };
        Some(Self { subject, until })
    }
}

/// The time of the wall clock in seconds since 1970: what tokens are dated by.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
