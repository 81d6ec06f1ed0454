//! What a database could not do, in words for operators, and whether trying again may help.

use std::error::Error;
use std::time::Duration;

use gateway_core::port::{Classified, ErrorKind};

/// A database did not do it. The text is for operators and says what they can do; it has nothing secret in it.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct StoreError {
    text: String,
    kind: ErrorKind,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    pub(crate) fn new(text: String, kind: ErrorKind, source: Option<Box<dyn Error + Send + Sync>>) -> Self {
        Self { text, kind, source }
    }

    pub(crate) fn broken(text: String) -> Self {
        Self::new(text, ErrorKind::Permanent, None)
    }

    pub(crate) fn late(whose: &str, timeout: Duration) -> Self {
        let text = format!("{whose}: no answer within {timeout:?}; it is slow, or the way to it is (database.timeout)");
        Self::new(text, ErrorKind::Transient, None)
    }

    #[cfg(feature = "mongodb")]
    pub(crate) fn passing(text: String) -> Self {
        Self::new(text, ErrorKind::Transient, None)
    }

    pub(crate) fn newer(whose: &str) -> Self {
        Self::broken(format!(
            "{whose}: the tables were made by a newer version of the gateway; run that one, or another database"
        ))
    }

    /// Whether trying again does not help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.kind == ErrorKind::Permanent
    }
}

impl Classified for StoreError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}
