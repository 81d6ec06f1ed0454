//! What can go wrong with Redis, in words for people.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::PoolError;
use deadpool_redis::redis::{ErrorKind, RedisError, ServerErrorKind};

use super::primary::Address;

/// What was configured cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct SettingsError {
    /// The key of the configuration.
    pub key: &'static str,
    /// What is wrong with it.
    pub why: String,
}

/// No connection could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Whoever answered will not have it, now or later: somebody has to change something.
    #[error("{0}")]
    Refused(String),
    /// Nobody answered, or who did cannot serve now.
    #[error("{0}")]
    Away(String),
}

impl ConnectError {
    /// A server that cannot serve now.
    pub fn away(address: &Address, why: impl std::fmt::Display) -> Self {
        Self::Away(format!("{address} {why}"))
    }

    /// What a library said about an address.
    pub(super) fn of(address: &Address, error: &RedisError) -> Self {
        let text = words(error);
        let passes = match error.kind() {
            ErrorKind::Io => !is_about_tls(error),
            ErrorKind::Server(kind) => matches!(
                kind,
                ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown
            ),
            _ => error.is_timeout() || error.is_connection_dropped(),
        };
        // Somebody else's connections end.
        let passes = passes || text.contains("max number of clients");
        if passes { Self::Away(format!("{address}: {text}")) } else { Self::Refused(format!("{address}: {text}")) }
    }

    /// The same, from a server's own words.
    #[must_use]
    pub fn of_text(address: &Address, text: &str) -> Self {
        Self::Away(format!("{address}: {text}"))
    }
}

/// What Redis said, without what the library says about it.
fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

/// Whether the two sides do not agree on TLS, or on whom to trust.
fn is_about_tls(error: &RedisError) -> bool {
    // The source is the pointer itself, and what it points to is passed over by the next one.
    let cause = error.source().and_then(|cause| cause.downcast_ref::<Arc<dyn Error + Send + Sync>>());
    let cause = cause.and_then(|cause| (**cause).downcast_ref::<io::Error>());
    cause.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
}

/// Redis did not do it.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The pool had no connection.
    #[error("no connection to Redis: {0}")]
    Pool(PoolError<ConnectError>),
    /// No connection could be made.
    #[error("no connection to Redis: {0}")]
    Connect(#[from] ConnectError),
    /// Redis or the connection failed; whether the command took effect is unknown.
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    /// There was no answer in time; whether the command took effect is unknown.
    #[error("Redis did not answer within {0:?}")]
    Timeout(Duration),
    /// The node stops.
    #[error("the node has stopped")]
    Stopped,
}

impl From<PoolError<ConnectError>> for CommandError {
    fn from(error: PoolError<ConnectError>) -> Self {
        match error {
            PoolError::Backend(error) => Self::Connect(error),
            error => Self::Pool(error),
        }
    }
}

impl CommandError {
    /// Whether Redis refused because it has as much as it may have. A script that began with a write has done nothing.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Redis(error) if error.code() == Some("OOM"))
    }

    /// Whether the command may have taken effect although there was no answer.
    #[must_use]
    pub fn leaves_doubt(&self) -> bool {
        match self {
            Self::Pool(_) | Self::Connect(_) => false,
            Self::Redis(error) => error.is_io_error() || error.is_timeout() || error.is_connection_dropped(),
            Self::Timeout(_) | Self::Stopped => true,
        }
    }
}
