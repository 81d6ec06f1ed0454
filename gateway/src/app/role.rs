//! What a process is for.

use gateway_core::config::Config;

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It lets clients and back ends in, and works.
    Serve,
    /// It works, as one of the nodes, and lets nobody in but operators.
    Work,
}

impl Role {
    /// Looks whether a process would have something to do.
    ///
    /// # Errors
    /// Why it would not, in words that begin with the setting.
    pub fn check(self, config: &Config) -> Result<(), &'static str> {
        match self {
            Self::Work if config.redis_url.is_empty() => {
                Err("redis_url: `gateway work` works for a cluster; in embedded mode the one process does everything")
            }
            Self::Work if config.jobs.workers == 0 => Err("jobs.workers: is 0, so `gateway work` would do nothing"),
            _ => Ok(()),
        }
    }
}
