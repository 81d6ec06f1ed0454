//! The budget of a log: how much it keeps in all, how much it may, and whether more is taken in.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::Retention;

/// What an event weighs in the log beside its own bytes: its entry, and the key by which it is known again while that lives.
/// Measured with Redis 7.0: 50 for a small event, 350 for one of 10 kB; 140 for the key.
pub const ENTRY_BYTES: usize = 250;
/// What a room weighs beside its events: Redis sets so much aside for the next ones.
pub const ROOM_BYTES: usize = 4_500;

/// How often it is looked at how much there is. More often when much is written.
const EVERY: Duration = Duration::from_secs(1);

/// What a log may keep in all, and what it keeps as far as that was measured. Whoever has the log measures; what is written
/// in between counts only to measure sooner: a room that is as long as it may be gets no larger by it.
#[derive(Debug)]
pub struct Budget {
    max_bytes: u64,
    max_percent: u64,
    used: AtomicU64,
    limit: AtomicU64,
    /// What was written since it was measured.
    written: AtomicU64,
    /// Whether what is said is refused, and whether what happened is, too.
    is_full: AtomicBool,
    is_spent: AtomicBool,
    due: Notify,
}

impl Budget {
    /// One of which nothing is used, as far as is known.
    #[must_use]
    pub(super) fn new(retention: &Retention) -> Self {
        Self {
            max_bytes: retention.max_bytes,
            max_percent: retention.max_percent.into(),
            used: AtomicU64::new(0),
            limit: AtomicU64::new(retention.max_bytes),
            written: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            is_spent: AtomicBool::new(false),
            due: Notify::new(),
        }
    }

    /// How many bytes were used when it was last measured.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// At how many bytes what is said is refused, 0 for no limit.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Whether another event is taken in.
    pub(super) fn admits(&self, reserve: bool) -> bool {
        !if reserve { &self.is_spent } else { &self.is_full }.load(Ordering::Relaxed)
    }

    /// Notes how much is used, and how much the store has, if that is known and has an end.
    pub(super) fn measured(&self, used: u64, has: Option<u64>) {
        let share = has.map_or(0, |has| (has / 100).saturating_mul(self.max_percent));
        let limit = [self.max_bytes, share].into_iter().filter(|bytes| *bytes > 0).min().unwrap_or(0);
        self.used.store(used, Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
        self.written.store(0, Ordering::Relaxed);
        // Each ends a little below where it began: otherwise every event that goes would let one in.
        let reserve = limit / 16;
        let was_full = decide(&self.is_full, limit > 0 && used >= limit, limit == 0 || used < limit - limit / 32);
        let was_spent = decide(&self.is_spent, limit > 0 && used >= limit + reserve, limit == 0 || used < limit);
        if (was_full, was_spent) != (!self.admits(false), !self.admits(true)) {
            // Whoever is refused is told of by the node.
            let (said, happened) = (self.admits(false), self.admits(true));
            tracing::info!(used, limit, said, happened, "what the log admits has changed");
        }
    }

    /// Notes that it cannot be known how much is used: then only the store itself refuses.
    pub(super) fn unmeasured(&self) {
        self.is_full.store(false, Ordering::Relaxed);
        self.is_spent.store(false, Ordering::Relaxed);
    }

    /// Notes that the store itself has refused: it need not be asked again before it was measured.
    pub(super) fn refused_by_store(&self) {
        self.is_full.store(true, Ordering::Relaxed);
        self.is_spent.store(true, Ordering::Relaxed);
    }

    /// Notes that an event of this size was written.
    pub(super) fn note(&self, bytes: usize) {
        let bytes = u64::try_from(bytes + ENTRY_BYTES).unwrap_or(u64::MAX);
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        let step = self.step();
        if before < step && before + bytes >= step {
            self.due.notify_one();
        }
    }

    /// After how many written bytes it is measured again: so few that ten nodes together cannot write more than is left and the
    /// sixth of a store that is beyond its limit, but not so few that measuring is all that is done.
    fn step(&self) -> u64 {
        let limit = self.limit();
        let left = limit.saturating_sub(self.used());
        if limit == 0 { u64::MAX } else { (left / 16).max(limit / 64) }
    }

    /// Whether so much was written that it is to be measured again.
    pub(super) fn is_due(&self) -> bool {
        self.written.load(Ordering::Relaxed) >= self.step()
    }

    /// Waits until it is to be measured again.
    pub(super) async fn due(&self) {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = self.due.notified() => {}
        }
    }

    /// How long a measurement is good for if little is written.
    pub(super) const fn interval() -> Duration {
        EVERY
    }
}

/// Sets a flag at one point and takes it back at another; returns how it was.
fn decide(flag: &AtomicBool, begins: bool, ends: bool) -> bool {
    let was = flag.load(Ordering::Relaxed);
    flag.store(begins || (was && !ends), Ordering::Relaxed);
    was
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(max_bytes: u64, max_percent: u8) -> Budget {
        let retention = Retention::of_events(1, EVERY, EVERY);
        Budget::new(&Retention { max_bytes, max_percent, ..retention })
    }

    #[test]
    fn the_lower_limit_holds_and_none_is_none() {
        for (max_bytes, max_percent, has, limit) in [
            (0, 0, Some(1_000), 0),
            (0, 85, None, 0),
            (0, 85, Some(1_000), 850),
            (500, 85, Some(1_000), 500),
            (900, 85, Some(1_000), 850),
            (900, 0, Some(1_000), 900),
            (900, 85, None, 900),
        ] {
            let budget = budget(max_bytes, max_percent);
            budget.measured(800, has);
            assert_eq!((budget.used(), budget.limit()), (800, limit));
            assert_eq!(budget.admits(false), limit == 0 || limit > 800);
        }
    }

    #[test]
    fn what_happened_is_kept_for_longer_and_each_ends_below_where_it_began() {
        let budget = budget(3_200, 0);
        let course = [
            (3_199, true, true),
            (3_200, false, true),
            (3_100, false, true),
            (3_399, false, true),
            (3_400, false, false),
            (3_200, false, false),
            (3_199, false, true),
            (3_099, true, true),
            (3_199, true, true),
        ];
        for (used, said, happened) in course {
            budget.measured(used, None);
            assert_eq!((budget.admits(false), budget.admits(true)), (said, happened), "at {used}");
        }
        budget.measured(4_000, None);
        budget.unmeasured();
        assert!(budget.admits(false) && budget.admits(true));
        budget.refused_by_store();
        assert!(!budget.admits(false) && !budget.admits(true));
        budget.measured(0, None);
        assert!(budget.admits(false) && budget.admits(true));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_measured_sooner_when_much_is_written() {
        let budget = budget(64_000, 0);
        budget.measured(24_000, None);
        let waited = async || {
            let since = tokio::time::Instant::now();
            budget.due().await;
            since.elapsed()
        };
        budget.note(2_000);
        assert!(!budget.is_due());
        assert_eq!(waited().await, EVERY);
        budget.note(1);
        assert!(budget.is_due());
        assert_eq!(waited().await, Duration::ZERO);
        budget.measured(63_900, None);
        budget.note(500);
        assert!(!budget.is_due(), "near the limit it is not measured with each event");
        budget.note(500);
        assert!(budget.is_due());
    }
}
