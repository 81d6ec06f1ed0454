//! PORT: contacts. Where users get mail, whether they want any, and when they were last there; the trait is the contract,
//! `tests/contract/contacts.rs` checks every backend against it.

mod memory;
mod redis;
mod sqlite;

pub use memory::MemoryContacts;
pub use redis::RedisContacts;
pub use sqlite::SqliteContacts;

use async_trait::async_trait;

use crate::domain::UserId;
use crate::port::PortError;

/// The addresses of the users of a deployment.
///
/// **Who says it.** What a back end gave is not changed by a token. What a token brought is, by either.
///
/// **No means no.** That somebody wants no mail is remembered until somebody says otherwise, also while there is no address.
///
/// **Forward.** A mark moves forward only, and only of users who have an address.
#[async_trait]
pub trait Contacts: Send + Sync + 'static {
    /// Keeps an address; false if it stays as it was.
    async fn put(&self, user: &UserId, address: &Address, by: By) -> Result<bool, PortError>;

    /// What is known of a user who has an address.
    async fn find(&self, user: &UserId) -> Result<Option<Contact>, PortError>;

    /// Forgets the address of a user; false if there is none.
    async fn remove(&self, user: &UserId) -> Result<bool, PortError>;

    /// Notes whether a user wants mail.
    async fn subscribe(&self, user: &UserId, wants: bool) -> Result<(), PortError>;

    /// Notes up to when, in milliseconds since 1970, a user was there, or has mail of everything.
    async fn mark(&self, user: &UserId, what: Mark, at_ms: u64) -> Result<(), PortError>;
}

/// Where somebody gets mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub email: String,
    /// How its owner is addressed.
    pub name: Option<String>,
}

/// Who gave an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A back end.
    BackEnd,
    /// The user's token.
    Token,
}

impl By {
    /// The word of it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::BackEnd => "api",
            Self::Token => "token",
        }
    }
}

/// What is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The user was there.
    Seen,
    /// The user has mail of it.
    Mailed,
}

/// What is known of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Where.
    pub address: Address,
    /// Who gave it.
    pub by: By,
    /// Whether the user wants mail.
    pub wants: bool,
    /// When the user was last seen, in milliseconds since 1970; 0 for never.
    pub seen_ms: u64,
    /// Up to when the user has mail of everything, likewise.
    pub mailed_ms: u64,
}
