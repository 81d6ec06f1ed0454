//! Idle connections: those on which no request is under way. There may be so many; the one that has been idle longest
//! makes room for the next.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The idle connections of a listener.
#[derive(Debug)]
pub(crate) struct Idle {
    limit: usize,
    count: AtomicUsize,
    /// Those that are idle, and some that were, in the order in which they became so.
    line: Mutex<VecDeque<Weak<Notify>>>,
}

/// One connection's being idle.
#[derive(Debug)]
pub(crate) struct Stay<'a> {
    idle: &'a Idle,
    evicted: Arc<Notify>,
}

impl Idle {
    /// At most `limit` connections; 0 is no limit.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = if limit == 0 { usize::MAX } else { limit };
        Self { limit, count: AtomicUsize::new(0), line: Mutex::default() }
    }

    /// A connection becomes idle.
    pub(crate) fn enter(&self) -> Stay<'_> {
        let evicted = Arc::new(Notify::new());
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let mut line = self.line.lock();
        line.push_back(Arc::downgrade(&evicted));
        let excess = count.saturating_sub(self.limit).min(1);
        for _ in 0..excess {
            while let Some(oldest) = line.pop_front() {
                if let Some(oldest) = oldest.upgrade() {
                    oldest.notify_one();
                    break;
                }
            }
        }
        if line.len() > 2 * count + 64 {
            line.retain(|one| one.strong_count() > 0);
        }
        drop(line);
        Stay { idle: self, evicted }
    }
}

impl Stay<'_> {
    /// Returns when others need the place.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.idle.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_one_that_is_idle_longest_makes_room() {
        let idle = Idle::new(2);
        let (one, two) = (idle.enter(), idle.enter());
        assert!(one.evicted().now_or_never().is_none());
        drop(one);
        let three = idle.enter();
        assert!(two.evicted().now_or_never().is_none());
        let _four = idle.enter();
        assert!(two.evicted().now_or_never().is_some());
        assert!(three.evicted().now_or_never().is_none());
    }

    #[test]
    fn coming_and_going_leaves_nothing_behind() {
        let idle = Idle::new(10);
        for _ in 0..10_000 {
            drop(idle.enter());
        }
        assert!(idle.line.lock().len() <= 66);
    }
}
