//! How queues stand: looked at now and then, for metrics and so that what waits stays bounded.

use std::sync::Arc;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Desk;
use crate::domain::Refusal;
use crate::jobs::{Counts, Found, Part, QueueName, Standing, State};
use crate::node::now_ms;
use crate::port::PortError;

impl Desk {
    /// Looks how queues stand, for ever, and publishes it.
    pub async fn watch(self: Arc<Self>) {
        let mut tick = interval(Self::LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Err(error) = self.look().await {
                self.unavailable(&error);
            }
        }
    }

    async fn look(&self) -> Result<(), PortError> {
        let standings = self.survey().await?;
        let mut sum = Counts::default();
        let mut lag = 0;
        for standing in &standings {
            let Counts { waiting, delayed, active, completed, failed } = standing.counts;
            sum.waiting += waiting;
            sum.delayed += delayed;
            sum.active += active;
            sum.completed += completed;
            sum.failed += failed;
            // What was paused waits because somebody wants it to.
            if waiting > 0 && !standing.paused {
                let next = self.queues.list(&standing.queue, State::Waiting, Part { skip: 0, most: 1 }).await?;
                lag = lag.max(next.first().map_or(0, |next| now_ms().saturating_sub(due_since(next))));
            }
        }
        for state in State::ALL {
            self.metrics.jobs.with(state.word()).set(sum.of(state) as f64);
        }
        self.metrics.jobs_lag.set(lag as f64 / 1_000.0);
        self.metrics.queues_paused.set(standings.iter().filter(|standing| standing.paused).count() as f64);
        Ok(())
    }

    /// How queues stand, and how full they are from now on known to be.
    pub(super) async fn survey(&self) -> Result<Vec<Standing>, PortError> {
        let standings = self.queues.survey().await?;
        let waiting = standings.iter().map(|it| (it.queue.clone(), it.counts.waiting + it.counts.delayed));
        let mut levels = self.levels.lock();
        levels.waiting = waiting.collect();
        levels.asked = Some(Instant::now());
        Ok(standings)
    }

    /// Whether one more may wait in a queue. What other nodes enqueued since they were counted is not known, so there may be
    /// some more.
    pub(super) async fn has_room(&self, queue: &QueueName) -> Result<bool, Refusal> {
        let most = self.settings.queue_jobs as u64;
        let look = || {
            let levels = self.levels.lock();
            let is_fresh = levels.asked.is_some_and(|asked| asked.elapsed() < Self::FRESH);
            (levels.waiting.get(queue).is_none_or(|waiting| *waiting < most), is_fresh)
        };
        let (has_room, is_fresh) = look();
        if has_room || is_fresh {
            return Ok(has_room);
        }
        // It was full a while ago.
        self.survey().await.map_err(|error| self.unavailable(&error))?;
        Ok(look().0)
    }

    pub(super) fn note_one_more(&self, queue: &QueueName) {
        let mut levels = self.levels.lock();
        match levels.waiting.get_mut(queue) {
            Some(waiting) => *waiting += 1,
            None => drop(levels.waiting.insert(queue.clone(), 1)),
        }
    }
}

/// Since when it could be done, in milliseconds since 1970.
fn due_since(found: &Found) -> u64 {
    found.due_at_ms.unwrap_or(0).max(found.job.enqueued_at_ms)
}
