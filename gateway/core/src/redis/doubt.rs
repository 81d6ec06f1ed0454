//! Why a server is not, or not yet, the primary that all connections should be to.

use deadpool_redis::redis::{RedisError, ServerErrorKind};

/// What gives reason to connect anew, and to look for the primary again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// It takes no writes: it became a replica.
    #[error("Redis takes no writes any more")]
    ReadOnly,
    /// It says itself that it is a replica.
    #[error("Redis has become a replica")]
    Replica,
    /// A replica without its primary.
    #[error("Redis is a replica that has lost its primary")]
    MasterDown,
    /// It reads its data, and was another process before.
    #[error("Redis is loading its data")]
    Loading,
    /// The keys are elsewhere.
    #[error("Redis says that the data is elsewhere")]
    Moved,
    /// Other connections go to another server, or the same one has begun anew.
    #[error("connections to Redis reach different servers")]
    RunId,
}

impl Doubt {
    /// The word for it in metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::ReadOnly => "readonly",
            Self::Replica => "replica",
            Self::MasterDown => "masterdown",
            Self::Loading => "loading",
            Self::Moved => "moved",
            Self::RunId => "run_id",
        }
    }

    /// What an error of redis-rs gives reason for.
    #[must_use]
    pub fn of(error: &RedisError) -> Option<Self> {
        use deadpool_redis::redis::ErrorKind::Server;
        match error.kind() {
            Server(ServerErrorKind::ReadOnly) => Some(Self::ReadOnly),
            Server(ServerErrorKind::MasterDown) => Some(Self::MasterDown),
            Server(ServerErrorKind::BusyLoading) => Some(Self::Loading),
            Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => Some(Self::Moved),
            _ if error.is_io_error() => None,
            _ => Self::of_text(&error.to_string()),
        }
    }

    /// What the words of an error give reason for. Scripts pass errors on behind words of their own.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        const WORDS: [(&str, Doubt); 7] = [
            ("READONLY", Doubt::ReadOnly),
            ("MASTERDOWN", Doubt::MasterDown),
            ("LOADING", Doubt::Loading),
            ("MOVED", Doubt::Moved),
            ("ASK", Doubt::Moved),
            ("non local key", Doubt::Moved),
            ("read only replica", Doubt::ReadOnly),
        ];
        let begins = |word: &str| {
            let at = text.find(word)?;
            // A word of its own, and not a part of a key.
            let before = text[..at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && c != '_').then_some(())
        };
        WORDS.iter().find(|(word, _)| begins(word).is_some()).map(|(_, doubt)| *doubt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_errors_give_reason_for() {
        let cases = [
            (
                "READONLY You can't write against a read only replica. script: 3f, on @user_script:12.",
                Some(Doubt::ReadOnly),
            ),
            (
                "ERR Error running script (call to f_3): @user_script:1: -READONLY You can't write",
                Some(Doubt::ReadOnly),
            ),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                Some(Doubt::MasterDown),
            ),
            ("LOADING Redis is loading the dataset in memory", Some(Doubt::Loading)),
            ("MOVED 3999 127.0.0.1:6381", Some(Doubt::Moved)),
            ("ERR Script attempted to access a non local key in a cluster node", Some(Doubt::Moved)),
            ("OOM command not allowed when used memory > 'maxmemory'.", None),
            ("NOPERM this user has no permissions to run the 'task' command", None),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Doubt::of_text(text), expected, "{text}");
        }
    }
}
