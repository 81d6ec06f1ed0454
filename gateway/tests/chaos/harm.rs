//! Harm: what is being done to a node or to Redis, and when it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// For how long what was done shows: a command may be given up after `redis.timeout`, and is told of by the next beat.
const AFTERMATH: Duration = Duration::from_secs(8);

/// Now in microseconds since 1970, as offsets and sequence numbers count.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// When something was being done to anybody.
#[derive(Default)]
pub(crate) struct Harms(Mutex<Vec<(u64, u64)>>);

impl Harms {
    /// Whether something was done, or showed, between two times.
    pub(crate) fn any_between(&self, from: u64, to: u64) -> bool {
        let aftermath = AFTERMATH.as_micros() as u64;
        self.0.lock().iter().any(|(began, ended)| *began <= to && from <= ended.saturating_add(aftermath))
    }
}

/// Counts what is being done to something.
pub(crate) struct Harm {
    count: AtomicUsize,
    all: Arc<Harms>,
}

pub(crate) struct Harming<'a> {
    harm: &'a Harm,
    began: u64,
}

impl Harm {
    pub(crate) fn new(all: &Arc<Harms>) -> Self {
        Self { count: AtomicUsize::new(0), all: all.clone() }
    }

    pub(crate) fn begin(&self) -> Harming<'_> {
        self.count.fetch_add(1, Ordering::AcqRel);
        Harming { harm: self, began: now() }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }
}

impl Drop for Harming<'_> {
    fn drop(&mut self) {
        self.harm.all.0.lock().push((self.began, now()));
        self.harm.count.fetch_sub(1, Ordering::AcqRel);
    }
}
