//! Claims of outboxes whose readers are all in this process.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Claim;

/// Who has which outbox, and until when.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<HashMap<String, (String, Instant)>>);

impl Claims {
    /// Claims an outbox or renews that; false if somebody else has it.
    pub(super) fn take(&self, name: &str, claim: &Claim) -> bool {
        let mut all = self.0.lock();
        let now = Instant::now();
        if all.get(name).is_some_and(|(holder, until)| *holder != claim.key && *until > now) {
            return false;
        }
        all.insert(name.to_owned(), (claim.key.clone(), now + claim.lease));
        true
    }

    /// Renews a claim; false if somebody else has taken over.
    pub(super) fn renew(&self, name: &str, claim: &Claim) -> bool {
        self.0.lock().get_mut(name).filter(|(holder, _)| *holder == claim.key).is_some_and(|(_, until)| {
            *until = Instant::now() + claim.lease;
            true
        })
    }

    pub(super) fn let_go(&self, name: &str, claim: &Claim) {
        let mut all = self.0.lock();
        if all.get(name).is_some_and(|(holder, _)| *holder == claim.key) {
            all.remove(name);
        }
    }
}
