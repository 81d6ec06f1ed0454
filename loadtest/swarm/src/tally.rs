//! Counts by reason, for whatever can end in more than one way.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Reason -> how often. Reasons come from a small set: refusal codes, error kinds, close reasons.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Tally(BTreeMap<String, u64>);

impl Tally {
    pub(crate) fn add(&mut self, reason: impl fmt::Display) {
        *self.0.entry(reason.to_string()).or_default() += 1;
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

/// `3` for three of nothing in particular is useless: prints `3 (rate_limited 2, forbidden 1)`.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.total())?;
        let mut separator = " (";
        for (reason, count) in &self.0 {
            write!(f, "{separator}{reason} {count}")?;
            separator = ", ";
        }
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, ")")
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn prints_the_total_and_then_the_reasons() {
        let mut tally = Tally::default();
        assert_eq!(tally.to_string(), "0");
        tally.add("rate_limited");
        tally.add("forbidden");
        tally.add("rate_limited");
        assert_eq!(tally.to_string(), "3 (forbidden 1, rate_limited 2)");
    }
}
