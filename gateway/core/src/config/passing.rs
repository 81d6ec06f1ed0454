//! `[passing]`, and what it must be to make sense.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Secret;

/// The shortest secret that is one.
const SECRET_BYTES: usize = 16;

/// `[passing]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Passing {
    pub enabled: bool,
    pub secret: Secret,
    pub connections: usize,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
}

impl Passing {
    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        if !self.secret.is_empty() && self.secret.expose().len() < SECRET_BYTES {
            return Err(("passing.secret", format!("must have at least {SECRET_BYTES} characters, or be empty")));
        }
        Ok(())
    }

    /// Connections to other nodes, and as many from them, of a process that may open so many files.
    #[must_use]
    pub fn places(&self, max_files: usize) -> usize {
        let most = (max_files / 8).max(1);
        if self.connections == 0 { most } else { self.connections.min(most) }
    }
}
