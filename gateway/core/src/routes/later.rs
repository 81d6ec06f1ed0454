//! Later: what is to happen after a while, as long as there is reason for it, and no more of it than there may be.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use crate::metrics::Metrics;

/// How much may be to happen later: a few for each of as many sessions as a node has by default. Some hundred bytes each.
const MOST: usize = 100_000;
/// How often it is asked whether there is still reason for it.
const LOOK: Duration = Duration::from_secs(10);

/// What is to happen later on this node.
#[derive(Debug)]
pub(super) struct Later {
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Later {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self::with_room(MOST, metrics)
    }

    fn with_room(most: usize, metrics: Arc<Metrics>) -> Self {
        Self { room: Arc::new(Semaphore::new(most)), metrics }
    }

    /// Does something at a time, unless there is no reason for it any more. Not waited for when the node stops. Where too
    /// much is to happen already, it is left out, and counted.
    pub(super) fn run(
        &self,
        at: Instant,
        has_reason: impl Fn() -> bool + Send + 'static,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let Ok(place) = self.room.clone().try_acquire_owned() else {
            self.metrics.lifecycle_dropped.with("delayed").increment(1);
            tracing::debug!(most = MOST, "something that was to happen later is left out");
            return;
        };
        let metrics = self.metrics.clone();
        metrics.lifecycle_delayed.increment(1.0);
        let counted = Counted(metrics);
        tokio::spawn(async move {
            let _place = (place, counted);
            while has_reason() {
                let now = Instant::now();
                if now >= at {
                    return work.await;
                }
                sleep_until(at.min(now + LOOK)).await;
            }
        });
    }
}

/// Something that is to happen later, as long as it is.
struct Counted(Arc<Metrics>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.lifecycle_delayed.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    fn shown(metrics: &Metrics, line: &str) -> bool {
        metrics.render().lines().any(|shown| shown == line)
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_place_is_left_out_and_what_has_lost_its_reason_gives_its_place_back() {
        let metrics = Arc::new(Metrics::new());
        let later = Later::with_room(2, metrics.clone());
        let (reason, ran) = (Arc::new(AtomicBool::new(true)), Arc::<AtomicUsize>::default());
        let hour = Instant::now() + Duration::from_secs(3600);
        let add = || {
            let (reason, ran) = (reason.clone(), ran.clone());
            let work = async move { _ = ran.fetch_add(1, Ordering::SeqCst) };
            later.run(hour, move || reason.load(Ordering::SeqCst), work);
        };
        (0..3).for_each(|_| add());
        assert!(shown(&metrics, "gateway_lifecycle_delayed 2"));
        assert!(shown(&metrics, "gateway_lifecycle_dropped_total{reason=\"delayed\"} 1"));
        reason.store(false, Ordering::SeqCst);
        tokio::time::sleep(LOOK * 2).await;
        assert!(shown(&metrics, "gateway_lifecycle_delayed 0"), "it is not kept for an hour");
        reason.store(true, Ordering::SeqCst);
        add();
        tokio::time::sleep_until(hour - Duration::from_secs(1)).await;
        assert_eq!(ran.load(Ordering::SeqCst), 0);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(ran.load(Ordering::SeqCst), 1);
        assert!(shown(&metrics, "gateway_lifecycle_delayed 0"));
    }
}
