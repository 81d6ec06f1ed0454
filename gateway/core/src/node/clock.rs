//! The clock: the time of day, as events carry it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago an event was taken, in seconds; 0 if its node's clock is ahead of this one's.
pub(in crate::node) fn age_seconds(taken_ms: u64) -> f64 {
    Duration::from_millis(now_ms().saturating_sub(taken_ms)).as_secs_f64()
}
