//! `[asks]`: what back ends may ask clients.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[asks]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Asks {
    pub sessions: usize,
    pub answer_bytes: usize,
    pub bytes: usize,
    pub in_flight: usize,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Asks {
    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        let positive = [
            ("asks.sessions", self.sessions),
            ("asks.answer_bytes", self.answer_bytes),
            ("asks.bytes", self.bytes),
            ("asks.in_flight", self.in_flight),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err((key, "must be at least 1".into()));
        }
        if self.timeout < Duration::from_millis(1) {
            return Err(("asks.timeout", "must be at least 1ms".into()));
        }
        Ok(())
    }
}
