//! Stalls: what should have come and does not, although nobody does any harm.

use std::time::Duration;

use tokio::time::Instant;

/// How long what is due may take while nothing is being done to the node or to Redis. What was done to them before has
/// to be over by then, too.
pub(super) const STALL: Duration = Duration::from_secs(10);
/// A client that looks again later than this was busy itself.
const BUSY: Duration = Duration::from_millis(500);

/// The time that counts for what is due.
#[derive(Debug)]
pub(super) struct Quiet {
    passed: Duration,
    looked: Instant,
}

impl Quiet {
    pub(super) fn new() -> Self {
        Self { passed: Duration::ZERO, looked: Instant::now() }
    }

    /// Looks at the clock; the time since the last look counts if all was quiet.
    pub(super) fn look(&mut self, now: Instant, is_quiet: bool) {
        let since = now.saturating_duration_since(self.looked);
        self.looked = now;
        if is_quiet && since <= BUSY {
            self.passed += since;
        }
    }

    /// How much of it there has been.
    pub(super) fn passed(&self) -> Duration {
        self.passed
    }
}

/// Watches whether a member gets on in one room, over one connection.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: u64,
    /// By when it should have got further, in quiet time.
    by: Option<Duration>,
}

impl Watch {
    /// Looks at what the member heard last and what there is to hear; whether that is a stall. Each is told once.
    pub(super) fn look(&mut self, (last, newest): (u64, u64), quiet: Duration) -> bool {
        if last >= newest {
            self.by = None;
        } else if self.by.is_none() || last != self.last {
            self.by = Some(quiet + STALL);
        } else if self.by.is_some_and(|by| quiet >= by) {
            self.by = Some(Duration::MAX);
            return true;
        }
        self.last = last;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// In how many of a minute's looks, a second apart, a watch finds a stall.
    fn stalls(standing: impl Fn(u64) -> (u64, u64)) -> Vec<u32> {
        let mut watch = Watch::default();
        (0..60_u32).filter(|second| watch.look(standing(u64::from(*second)), SECOND * *second)).collect()
    }

    #[test]
    fn whoever_hears_nothing_stalls_once() {
        assert_eq!(stalls(|_| (7, 8)), [10]);
        assert_eq!(stalls(|second| (7, 8 + second)), [10]);
        assert_eq!(stalls(|second| (second.min(20), 100)), [30]);
        assert_eq!(stalls(|second| (second / 30 + 7, 9)), [10, 40], "again");
    }

    #[test]
    fn whoever_gets_on_does_not() {
        assert!(stalls(|second| (second, second + 1)).is_empty());
        assert!(stalls(|second| (second / 9, 100)).is_empty(), "slowly");
        assert!(stalls(|_| (8, 8)).is_empty(), "nothing to hear");
        assert!(stalls(|second| (8, if second % 10 == 0 { 8 } else { 9 })).is_empty(), "in time");
    }

    #[tokio::test(start_paused = true)]
    async fn time_under_a_fault_does_not_count_nor_what_the_client_slept_through() {
        let (mut quiet, began) = (Quiet::new(), Instant::now());
        let tick = Duration::from_millis(100);
        for number in 1..=100 {
            quiet.look(began + tick * number, number <= 30 || number > 60);
        }
        assert_eq!(quiet.passed(), tick * 70);
        quiet.look(began + tick * 100 + SECOND * 15, true);
        assert_eq!(quiet.passed(), tick * 70);
    }
}
