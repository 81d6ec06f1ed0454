//! `[balance]`: when nodes hand clients to those that have fewer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Below this a change could not be told from figures that are old.
const SHORTEST: Duration = Duration::from_secs(3);

/// `[balance]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Balance {
    pub enabled: Balancing,
    pub tolerance_percent: u32,
    pub connections_per_second: u32,
    pub min_connections: u32,
    #[serde(with = "humantime_serde")]
    pub after: Duration,
    #[serde(with = "humantime_serde")]
    pub rest: Duration,
    pub weight: u32,
}

/// Whether nodes hand clients to those that have fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Balancing {
    /// Where nodes have many.
    Auto,
    /// However few they have.
    On,
    /// Never.
    Off,
}

impl Balance {
    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        if !(2..=50).contains(&self.tolerance_percent) {
            return Err(("balance.tolerance_percent", "must be from 2 to 50".into()));
        }
        if self.connections_per_second == 0 {
            return Err((
                "balance.connections_per_second",
                "must be at least 1; balance.enabled switches it off".into(),
            ));
        }
        if self.after < SHORTEST {
            return Err((
                "balance.after",
                "must be at least 3s: nodes tell each other every second how they stand".into(),
            ));
        }
        if self.rest < self.after {
            return Err(("balance.rest", "must be at least as long as balance.after".into()));
        }
        if !(1..=10_000).contains(&self.weight) {
            return Err(("balance.weight", "must be from 1 to 10000".into()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        let wrong = [
            ("TOLERANCE_PERCENT", "1"),
            ("TOLERANCE_PERCENT", "51"),
            ("CONNECTIONS_PER_SECOND", "0"),
            ("AFTER", "2s"),
            ("REST", "9s"),
            ("WEIGHT", "0"),
            ("WEIGHT", "10001"),
            ("ENABLED", "yes"),
        ];
        for (key, value) in wrong {
            let name = format!("GATEWAY_BALANCE__{key}");
            let error = crate::config::load(None, [(name, value.to_owned())].into_iter()).unwrap_err().to_string();
            assert!(error.to_lowercase().contains(&key.to_lowercase()), "{key} = {value}: {error}");
        }
    }
}
