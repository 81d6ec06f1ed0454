//! The whereabouts in Redis: one hash, one script, `{prefix}:whereabouts` as `note.lua` has it.

use std::time::Duration;

use async_trait::async_trait;
use deadpool_redis::redis::{Script, cmd};

use super::{Noted, Whereabout, Whereabouts};
use crate::config::Secret;
use crate::port::{Port, PortError};
use crate::redis::{Commands, milliseconds};

/// Whereabouts that all nodes of a deployment share.
pub struct RedisWhereabouts {
    commands: Commands,
    key: String,
    note: Script,
}

impl std::fmt::Debug for RedisWhereabouts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisWhereabouts").field("key", &self.key).finish_non_exhaustive()
    }
}

impl RedisWhereabouts {
    /// Whereabouts whose key starts with `prefix`.
    #[must_use]
    pub fn new(commands: Commands, prefix: &str) -> Self {
        let note = commands.script(include_str!("note.lua"));
        Self { commands, key: format!("{prefix}:whereabouts"), note }
    }
}

#[async_trait]
impl Whereabouts for RedisWhereabouts {
    async fn note(&self, me: &Whereabout, kept: Duration, offered: &Secret) -> Result<Noted, PortError> {
        let noted = self.commands.run(&self.note, |script| {
            script.key(&self.key).arg(&me.name).arg(&me.address).arg(milliseconds(kept)).arg(offered.expose());
        });
        let (secret, nodes): (String, Vec<(String, String)>) =
            noted.await.map_err(|error| Port::Whereabouts.failed("note", error))?;
        let nodes = nodes.into_iter().map(|(name, address)| Whereabout { name, address }).collect();
        Ok(Noted { secret: Secret::from(secret), nodes })
    }

    async fn forget(&self, name: &str) -> Result<(), PortError> {
        let mut forget = cmd("HDEL");
        forget.arg(&self.key).arg(format!("n:{name}"));
        let _: u64 = self.commands.query(&forget).await.map_err(|error| Port::Whereabouts.failed("forget", error))?;
        Ok(())
    }
}
