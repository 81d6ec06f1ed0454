//! Having work done later, and deciding about that.

use super::Service;
use crate::desk::Desk;

pub use crate::desk::{Hand, Listed as ListedJobs, NotTaken, QueueStanding, Wanted, Wish as JobWish};
pub use crate::jobs::{Backoff, Found as FoundJob, JobId, Outcome as JobOutcome, QueueName, State as JobState};

impl Service {
    /// Where jobs are handed in and looked after.
    #[must_use]
    pub fn desk(&self) -> &Desk {
        &self.behind.desk
    }
}
