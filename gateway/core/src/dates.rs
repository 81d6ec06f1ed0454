//! Dates: the time of day as what outlives the process is dated by it, in the numbers that databases have.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of the wall clock in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// A duration in the unit of [`now_ms`].
#[must_use]
pub fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
