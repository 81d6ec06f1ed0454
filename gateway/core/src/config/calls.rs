//! `[calls]`: how much back ends may be asked, and what is kept of what they answer.

use serde::{Deserialize, Serialize};

/// `[calls]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Calls {
    pub in_flight: usize,
    pub answer_bytes: usize,
    pub cache_bytes: u64,
}
