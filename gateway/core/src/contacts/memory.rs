//! The contacts of one process, gone when it ends.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Address, By, Contact, Contacts, Mark};
use crate::domain::UserId;
use crate::port::PortError;

/// Contacts in memory.
#[derive(Debug, Default)]
pub struct MemoryContacts {
    users: Mutex<HashMap<UserId, Known>>,
}

#[derive(Debug, Default)]
struct Known {
    address: Option<(Address, By)>,
    refuses: bool,
    seen_ms: u64,
    mailed_ms: u64,
}

#[async_trait]
impl Contacts for MemoryContacts {
    async fn put(&self, user: &UserId, address: &Address, by: By) -> Result<bool, PortError> {
        let mut users = self.users.lock();
        let known = users.entry(user.clone()).or_default();
        if by == By::Token && matches!(known.address, Some((_, By::BackEnd))) {
            return Ok(false);
        }
        let new = Some((address.clone(), by));
        let changes = known.address != new;
        known.address = new;
        Ok(changes)
    }

    async fn find(&self, user: &UserId) -> Result<Option<Contact>, PortError> {
        let users = self.users.lock();
        Ok(users.get(user).and_then(|known| {
            let (address, by) = known.address.clone()?;
            let Known { refuses, seen_ms, mailed_ms, .. } = *known;
            Some(Contact { address, by, wants: !refuses, seen_ms, mailed_ms })
        }))
    }

    async fn remove(&self, user: &UserId) -> Result<bool, PortError> {
        let mut users = self.users.lock();
        let Some(known) = users.get_mut(user) else { return Ok(false) };
        let removed = known.address.take().is_some();
        let refuses = known.refuses;
        if refuses {
            *known = Known { refuses, ..Known::default() };
        } else {
            users.remove(user);
        }
        Ok(removed)
    }

    async fn subscribe(&self, user: &UserId, wants: bool) -> Result<(), PortError> {
        let mut users = self.users.lock();
        if wants && !users.contains_key(user) {
            return Ok(());
        }
        let known = users.entry(user.clone()).or_default();
        known.refuses = !wants;
        if wants && known.address.is_none() {
            users.remove(user);
        }
        Ok(())
    }

    async fn mark(&self, user: &UserId, what: Mark, at_ms: u64) -> Result<(), PortError> {
        let mut users = self.users.lock();
        let Some(known) = users.get_mut(user).filter(|known| known.address.is_some()) else { return Ok(()) };
        let mark = match what {
            Mark::Seen => &mut known.seen_ms,
            Mark::Mailed => &mut known.mailed_ms,
        };
        *mark = at_ms.max(*mark);
        Ok(())
    }
}
