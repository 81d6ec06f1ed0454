//! `[caching]`: how long what is asked often is used again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[caching]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Caching {
    #[serde(with = "humantime_serde")]
    pub presence_counts: Duration,
    #[serde(with = "humantime_serde")]
    pub unread_counts: Duration,
}
