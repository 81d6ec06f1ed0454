//! Times as people write them.

use std::time::{Duration, UNIX_EPOCH};

/// The last millisecond that has a form of four digits for its year.
const LAST_MS: u64 = 253_402_300_799_999;

/// Milliseconds since 1970 in ISO 8601, in UTC.
pub(super) fn iso(ms: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms.min(LAST_MS))).to_string()
}
