//! How much memory Redis uses, and how much it may.

use deadpool_redis::redis;

use super::primary::field;
use super::safety::allowed;
use super::{CommandError, Commands};

/// The memory of the primary, in bytes, as it compares it with its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What is used, by whomever.
    pub used: u64,
    /// `maxmemory`, if there is one.
    pub max: Option<u64>,
}

impl Memory {
    /// Reads what INFO says of memory; nothing if it says something else.
    fn read(info: &str) -> Option<Self> {
        let number = |name: &str| field(info, name).and_then(|value| value.parse::<u64>().ok());
        // What waits for the file and for replicas does not count against the limit.
        let uncounted = number("mem_not_counted_for_evict").unwrap_or(0);
        let used = number("used_memory")?.saturating_sub(uncounted);
        Some(Self { used, max: number("maxmemory").filter(|max| *max > 0) })
    }
}

impl Commands {
    /// Asks how much memory Redis uses; nothing if that may not be known.
    ///
    /// # Errors
    /// Redis cannot be reached, or takes too long.
    pub async fn memory(&self) -> Result<Option<Memory>, CommandError> {
        let info: Option<String> = allowed(self.query(redis::cmd("INFO").arg("memory")).await)?;
        Ok(info.and_then(|info| Memory::read(&info)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_info_says_of_memory() {
        let info =
            |max: u64| format!("# Memory\r\nused_memory:1000\r\nmaxmemory:{max}\r\nmem_not_counted_for_evict:10\r\n");
        assert_eq!(Memory::read(&info(2_000)), Some(Memory { used: 990, max: Some(2_000) }));
        assert_eq!(Memory::read(&info(0)), Some(Memory { used: 990, max: None }));
        assert_eq!(Memory::read("# Server\r\n"), None);
    }
}
