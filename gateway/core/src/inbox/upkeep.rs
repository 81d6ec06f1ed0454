//! What is done for notifications without anybody asking: those whose time is over go.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Inbox;
use crate::domain::Refusal;

/// How many go in one step, so that nobody waits for a store that is busy with it.
const AT_ONCE: usize = 1_000;
/// What is left to others between two steps.
const BREATH: Duration = Duration::from_millis(50);

impl Inbox {
    /// Takes out what is past its time, for ever. All nodes do, each at its own moments: what one has taken out the others do
    /// not find.
    pub async fn sweep_forever(self: Arc<Self>) {
        let every = self.settings.sweep;
        // Nodes that were started together must not all come at once.
        sleep(every.mul_f64(rand::random_range(0.0..1.0))).await;
        loop {
            // What failed was noted, and is tried again.
            self.sweep().await.ok();
            sleep(every.mul_f64(rand::random_range(0.8..1.2))).await;
        }
    }

    /// Takes out what is past its time now; returns how much that was.
    ///
    /// # Errors
    /// There is no database, or it cannot be reached; some may be gone all the same.
    pub async fn sweep(&self) -> Result<u64, Refusal> {
        let shelf = self.shelf()?;
        let keep = Some(self.settings.keep).filter(|keep| !keep.is_zero());
        let mut all = 0;
        loop {
            let gone = shelf.notifications.forget(keep, AT_ONCE).await.map_err(|error| self.unavailable(&error))?;
            if gone == 0 {
                return Ok(all);
            }
            self.metrics.notifications_gone.with("forgotten").increment(gone);
            all += gone;
            sleep(BREATH).await;
        }
    }

    /// Forgets what limits need no longer and publishes their sizes; to be called every few seconds.
    pub fn upkeep(&self) {
        let remembered = self.limiter.forget_idle();
        for (limiter, keys) in ["notification_sender", "notification_receiver"].into_iter().zip(remembered) {
            self.metrics.rate_limit_keys.with(limiter).set(u32::try_from(keys).unwrap_or(u32::MAX));
        }
    }
}
