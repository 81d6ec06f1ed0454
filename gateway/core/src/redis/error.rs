//! What can go wrong with Redis, in words for people.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::PoolError;
use deadpool_redis::redis::{ErrorKind, RedisError, ServerErrorKind};

use super::Doubt;
use super::primary::Address;
use crate::config;
use crate::port::{self, Classified};

/// What was configured cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct SettingsError {
    /// The key of the configuration.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
}

impl SettingsError {
    /// What is wrong with a setting of one Redis.
    pub(super) fn of(settings: &config::Redis, setting: &str, why: String) -> Self {
        Self { key: settings.key(setting), why }
    }
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

impl Classified for CommandError {
    fn kind(&self) -> port::ErrorKind {
        match self {
            // At the start somebody has to change something. Later it was right once: a Sentinel that knows nothing learns.
            Self::Connect(ConnectError::Refused(why)) => kind_of_words(why),
            Self::Pool(_) | Self::Connect(ConnectError::Away(_)) | Self::Timeout(_) | Self::Stopped => {
                port::ErrorKind::Transient
            }
            Self::Redis(error) if self.leaves_doubt() || Doubt::of(error).is_some() => port::ErrorKind::Transient,
            // An answer that is not what was asked for: the keys hold something else.
            Self::Redis(error) if error.kind() == ErrorKind::UnexpectedReturnType => port::ErrorKind::Permanent,
            Self::Redis(error) => kind_of_words(&error.to_string()),
        }
    }
}

/// Whether trying again may help, by what Redis says. Scripts pass errors on behind words of their own, so it may stand
/// anywhere. What is not known here (a full memory or disk, a script that runs for long, a proxy's own words) may pass.
#[must_use]
pub fn kind_of_words(text: &str) -> port::ErrorKind {
    const LASTING: [&str; 11] = [
        // A key holds another kind of data, or data that is not ours.
        "WRONGTYPE",
        "is not an integer",
        "is not a valid float",
        "Invalid stream ID",
        // A script met what it does not know how to read.
        ": attempt to ",
        "bad argument #",
        // A right is missing, or the command.
        "NOPERM",
        "NOAUTH",
        "WRONGPASS",
        "can't access",
        "unknown command",
    ];
    let lasts = Doubt::of_text(text).is_none() && LASTING.iter().any(|words| text.contains(words));
    if lasts { port::ErrorKind::Permanent } else { port::ErrorKind::Transient }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_and_what_lasts() {
        let passing = [
            "LOADING Redis is loading the dataset in memory",
            "READONLY You can't write against a read only replica. script: 3f, on @user_script:12.",
            "ERR Script attempted to access a non local key in a cluster node",
            "CLUSTERDOWN Hash slot not served",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "NOREPLICAS Not enough good replicas to write.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            "ERR max number of clients reached",
        ];
        for text in passing {
            assert_eq!(kind_of_words(text), port::ErrorKind::Transient, "{text}");
        }
        let lasting = [
            "WRONGTYPE Operation against a key holding the wrong kind of value script: 3f, on @user_script:12.",
            "ERR value is not an integer or out of range script: 3f, on @user_script:12.",
            "ERR user_script:7: attempt to compare nil with number script: 3f, on @user_script:7.",
            "NOPERM this user has no permissions to run the 'publish' command",
            "ERR unknown command 'EVALSHA', with args beginning with: ",
            "WRONGPASS invalid username-password pair or user is disabled.",
        ];
        for text in lasting {
            assert_eq!(kind_of_words(text), port::ErrorKind::Permanent, "{text}");
        }
        let address = Address::Socket("/tmp/r".into());
        assert_eq!(CommandError::from(ConnectError::away(&address, "is away")).kind(), port::ErrorKind::Transient);
        let refused = |why: &str| CommandError::from(ConnectError::Refused(why.into())).kind();
        assert_eq!(refused("h:1: this Sentinel knows no primary \"main\""), port::ErrorKind::Transient);
        assert_eq!(refused("h:1: WRONGPASS invalid username-password pair"), port::ErrorKind::Permanent);
        assert_eq!(CommandError::Timeout(Duration::from_secs(1)).kind(), port::ErrorKind::Transient);
    }
}
