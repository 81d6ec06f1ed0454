//! What Redis lost: up to where the log may lack what members have heard.

use std::sync::atomic::{AtomicU64, Ordering};

use super::harm::now;

/// The last loss, as offsets count. What was appended up to its end may be gone, and what is gone may be appended once more
/// after its beginning: while a failover is under way, there are two primaries.
#[derive(Debug, Default)]
pub(crate) struct Torn {
    began: AtomicU64,
    ended: AtomicU64,
}

impl Torn {
    /// A loss between two offsets.
    pub(crate) fn between(began: u64, ended: u64) -> Self {
        Self { began: began.into(), ended: ended.into() }
    }

    /// Notes that a loss begins, and ends in the same moment unless [`Self::go_on`] says otherwise.
    pub(crate) fn begin(&self) {
        self.began.store(now(), Ordering::Release);
        self.go_on();
    }

    /// Notes that a loss goes on until now.
    pub(crate) fn go_on(&self) {
        self.ended.store(now(), Ordering::Release);
    }

    /// Up to where something may be gone.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether what was appended first may be gone, and have been appended once more.
    pub(crate) fn excuses(&self, first: u64, second: u64) -> bool {
        first <= self.ended() && self.began.load(Ordering::Acquire) < second
    }
}
