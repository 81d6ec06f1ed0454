//! `[hooks]`: how what happens is told to back ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Limits;

/// `[hooks]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Hooks {
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    pub batch_events: usize,
    pub batch_bytes: usize,
    #[serde(with = "humantime_serde")]
    pub backoff: Duration,
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    #[serde(with = "humantime_serde")]
    pub keep: Duration,
    pub queue_events: usize,
    pub queue_bytes: usize,
    pub given_up: usize,
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
}

impl Hooks {
    pub(super) fn validate(&self, limits: &Limits) -> Result<(), (&'static str, String)> {
        let numbers = [
            ("hooks.batch_events", self.batch_events),
            ("hooks.batch_bytes", self.batch_bytes),
            ("hooks.queue_events", self.queue_events),
            ("hooks.given_up", self.given_up),
        ];
        if let Some((key, _)) = numbers.into_iter().find(|(_, value)| *value == 0) {
            return Err((key, "must be at least 1".into()));
        }
        let durations = [
            ("hooks.interval", self.interval),
            ("hooks.backoff", self.backoff),
            ("hooks.backoff_max", self.backoff_max),
            ("hooks.keep", self.keep),
        ];
        if let Some((key, _)) = durations.into_iter().find(|(_, value)| *value < Duration::from_millis(1)) {
            return Err((key, "must be at least 1ms".into()));
        }
        if self.batch_events > 1000 {
            return Err(("hooks.batch_events", "must be at most 1000: a request is made in memory".into()));
        }
        if self.backoff_max < self.backoff {
            return Err(("hooks.backoff_max", "must not be shorter than hooks.backoff".into()));
        }
        if self.lease < Duration::from_millis(100) {
            return Err(("hooks.lease", "must be at least 100ms: it is renewed three times in it".into()));
        }
        // An event with what the store adds to it.
        if self.queue_bytes < limits.message_bytes.saturating_mul(2) {
            return Err((
                "hooks.queue_bytes",
                "must be at least twice limits.message_bytes, or large events never fit".into(),
            ));
        }
        Ok(())
    }
}
