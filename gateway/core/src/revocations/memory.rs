//! The revocations of one process, gone when it ends.

use std::collections::HashMap;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;

use super::announcements::Announcements;
use super::{News, Revocation, Revocations, now};
use crate::port::PortError;

/// Revocations in memory.
#[derive(Debug, Default)]
pub struct MemoryRevocations {
    /// `before` and `until` by key.
    entries: Mutex<HashMap<String, (u64, u64)>>,
    announcements: Announcements,
}

#[async_trait]
impl Revocations for MemoryRevocations {
    async fn add(&self, revocation: &Revocation) -> Result<(), PortError> {
        {
            let mut entries = self.entries.lock();
            let (before, until) = entries.entry(revocation.key()).or_default();
            (*before, *until) = (revocation.before().max(*before), revocation.until.max(*until));
        }
        self.announcements.announce(revocation);
        Ok(())
    }

    async fn all(&self) -> Result<Vec<Revocation>, PortError> {
        let now = now();
        let mut entries = self.entries.lock();
        entries.retain(|_, (_, until)| *until > now);
        let read = |(key, (before, until)): (&String, &(u64, u64))| Revocation::from_parts(key, *before, *until);
        Ok(entries.iter().filter_map(read).collect())
    }

    fn changes(&self) -> BoxStream<'static, News> {
        self.announcements.take()
    }
}
