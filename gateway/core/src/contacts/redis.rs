//! The contacts in Redis: a hash for each user, one script.
//!
//! The key `{prefix}:contact:{user}` has the fields of `change.lua`, and does not expire.

use async_trait::async_trait;
use deadpool_redis::redis::{Script, cmd};

use super::{Address, By, Contact, Contacts, Mark};
use crate::domain::UserId;
use crate::port::{Port, PortError};
use crate::redis::Commands;

/// What Redis has of a user: the fields of `change.lua`.
type Fields = (Option<String>, Option<String>, Option<String>, Option<u8>, Option<u64>, Option<u64>);

/// Contacts that all nodes of a deployment share.
pub struct RedisContacts {
    commands: Commands,
    prefix: String,
    change: Script,
}

impl std::fmt::Debug for RedisContacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisContacts").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl RedisContacts {
    /// Contacts whose keys start with `prefix`.
    #[must_use]
    pub fn new(commands: Commands, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), change: commands.script(include_str!("change.lua")), commands }
    }

    fn key(&self, user: &UserId) -> String {
        format!("{}:contact:{}", self.prefix, user.as_str())
    }

    async fn change(&self, operation: &'static str, user: &UserId, arguments: [&str; 3]) -> Result<bool, PortError> {
        let answer = self.commands.run(&self.change, |script| {
            script.key(self.key(user)).arg(operation).arg(&arguments[..]);
        });
        let changed: u8 = answer.await.map_err(|error| Port::Contacts.failed(operation, error))?;
        Ok(changed == 1)
    }
}

#[async_trait]
impl Contacts for RedisContacts {
    async fn put(&self, user: &UserId, address: &Address, by: By) -> Result<bool, PortError> {
        let name = address.name.as_deref().unwrap_or_default();
        self.change("put", user, [&address.email, name, by.word()]).await
    }

    async fn find(&self, user: &UserId) -> Result<Option<Contact>, PortError> {
        let mut ask = cmd("HMGET");
        ask.arg(self.key(user)).arg(&["e", "n", "g", "r", "s", "m"]);
        let fields: Fields = self.commands.query(&ask).await.map_err(|error| Port::Contacts.failed("find", error))?;
        let (Some(email), name, given, refuses, seen, mailed) = fields else { return Ok(None) };
        Ok(Some(Contact {
            address: Address { email, name: name.filter(|name| !name.is_empty()) },
            by: if given.as_deref() == Some(By::BackEnd.word()) { By::BackEnd } else { By::Token },
            wants: refuses != Some(1),
            seen_ms: seen.unwrap_or_default(),
            mailed_ms: mailed.unwrap_or_default(),
        }))
    }

    async fn remove(&self, user: &UserId) -> Result<bool, PortError> {
        self.change("remove", user, ["", "", ""]).await
    }

    async fn subscribe(&self, user: &UserId, wants: bool) -> Result<(), PortError> {
        self.change("subscribe", user, [if wants { "1" } else { "0" }, "", ""]).await.map(drop)
    }

    async fn mark(&self, user: &UserId, what: Mark, at_ms: u64) -> Result<(), PortError> {
        let field = match what {
            Mark::Seen => "s",
            Mark::Mailed => "m",
        };
        self.change("mark", user, [field, &at_ms.to_string(), ""]).await.map(drop)
    }
}
