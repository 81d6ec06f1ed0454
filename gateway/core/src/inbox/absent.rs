//! Who may be away: for each user that is told something, a job looks later whether that was heard of.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::UserId;
use crate::jobs::{ABSENT, Backoff, Enqueued, JobId, Jobs, NewJob, QueueName};
use crate::node::now_ms;
use crate::notifications::New;
use crate::port::{Port, PortError};
use crate::recurring::Recurring;

/// Jobs of one request that are enqueued at the same time.
const AT_ONCE: usize = 32;

/// What such a job is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Whose notifications are looked at.
    pub user: UserId,
}

/// Looks later after users that are told something.
pub struct Absence {
    jobs: Arc<dyn Jobs>,
    queue: QueueName,
    after: Duration,
    attempts: u32,
    backoff: Backoff,
    trouble: Recurring,
}

impl fmt::Debug for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Absence").field("queue", &self.queue).field("after", &self.after).finish_non_exhaustive()
    }
}

impl Absence {
    /// Looks `after` a notification, by jobs in a queue that are tried so often.
    #[must_use]
    pub fn new(jobs: Arc<dyn Jobs>, queue: QueueName, after: Duration, attempts: u32, backoff: Backoff) -> Self {
        let trouble = Recurring::new("it is not looked later who was away: nobody gets mail of what is told now");
        Self { jobs, queue, after, attempts, backoff, trouble }
    }

    /// How long after a notification it is looked.
    #[must_use]
    pub fn after(&self) -> Duration {
        self.after
    }

    /// Looks after the receivers of notifications. Who tells something does not fail because nobody will look.
    pub(super) async fn mind(&self, told: &[New]) {
        let receivers: BTreeSet<_> = told.iter().map(|new| new.receiver.as_str()).collect();
        let at = now_ms();
        stream::iter(receivers)
            .for_each_concurrent(AT_ONCE, |receiver| async move {
                let Some(user) = UserId::parse(receiver) else { return };
                // One job for what comes in half that time. It is due after the last of these came, by whoever's clock.
                let half = u64::try_from(self.after.as_millis() / 2).unwrap_or(u64::MAX).max(1);
                self.look(&user, &format!("{}", at / half), self.after).await.ok();
            })
            .await;
    }

    /// Looks after a user once more, after another time. `which` tells it from other jobs for the same user; it is said which job
    /// looks, which may be one that was there.
    ///
    /// # Errors
    /// The queue cannot be asked; it is told here.
    pub async fn look(&self, user: &UserId, which: &str, delay: Duration) -> Result<Enqueued, PortError> {
        let enqueued = self.try_look(user, which, delay).await;
        if let Err(error) = &enqueued {
            self.trouble.note(|what| error.tell(what));
        }
        enqueued
    }

    async fn try_look(&self, user: &UserId, which: &str, delay: Duration) -> Result<Enqueued, PortError> {
        let hash: String = Sha256::digest(user.as_str()).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        let id = JobId::new(format!("{ABSENT}-{hash}-{which}")).map_err(|error| Port::Jobs.broken("enqueue", error))?;
        let data = serde_json::value::to_raw_value(&Digest { user: user.clone() });
        let data = data.map_err(|error| Port::Jobs.broken("enqueue", error))?;
        let (attempts, backoff) = (self.attempts, self.backoff);
        let job = NewJob { id: Some(id), delay, attempts, backoff, ..NewJob::new(ABSENT, data) };
        self.jobs.enqueue(&self.queue, &job).await
    }
}
