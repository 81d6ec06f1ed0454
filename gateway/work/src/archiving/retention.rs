//! Retention: what rooms said longer ago than it is to be kept is forgotten, a little at a time, by the node that writes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Archiving;
use gateway_core::domain::RoomName;
use gateway_core::outbox::Pattern;
use gateway_core::port::PortError;

/// How often it is looked for what is too old.
const EVERY: Duration = Duration::from_secs(60);
/// Rooms that are asked for at a time.
const ROOMS: usize = 100;
/// Rows that go at once.
const ROWS: usize = 1_000;
/// How long the database is left to others in between.
const BREATH: Duration = Duration::from_millis(20);

/// For how long which rooms are kept.
struct Keeping(Vec<(Pattern, Duration)>);

impl Keeping {
    /// The first that fits counts; what none fits is kept for good.
    fn of(&self, room: &RoomName) -> Option<Duration> {
        let name = room.shown()?;
        self.0.iter().find(|(pattern, _)| pattern.matches(name)).map(|(_, time)| *time)
    }
}

impl Archiving {
    /// Forgets what is too old now and then, for ever.
    pub(super) async fn forget_forever(self: Arc<Self>) {
        let keeping = self.keeping();
        if keeping.0.is_empty() {
            return std::future::pending().await;
        }
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            // Those of other nodes would do the same in the same minute.
            if let Err(error) = self.forget(&keeping, || self.writes_here()).await {
                self.note(&error);
            }
        }
    }

    /// Forgets what is too old now, whoever's turn it is; returns how many events that were.
    ///
    /// # Errors
    /// The archive cannot be reached; some may be gone all the same.
    pub async fn forget_now(&self) -> Result<u64, PortError> {
        self.forget(&self.keeping(), || true).await.inspect_err(|error| self.note(error))
    }

    fn keeping(&self) -> Keeping {
        Keeping(self.settings.keep.iter().map(|keep| (Pattern::new(&keep.rooms), keep.time)).collect())
    }

    /// Forgets what is too old, as long as it may.
    async fn forget(&self, keeping: &Keeping, may: impl Fn() -> bool) -> Result<u64, PortError> {
        let (mut all, mut after) = (0, None);
        while may() {
            let rooms = self.archive.rooms(after.as_ref(), ROOMS).await?;
            for room in &rooms {
                let Some(time) = keeping.of(room) else { continue };
                while may() {
                    let rows = self.archive.forget(room, time, ROWS).await?;
                    self.metrics.archive_forgotten.increment(rows);
                    all += rows;
                    if rows > 0 {
                        sleep(BREATH).await;
                    }
                    if rows < ROWS as u64 {
                        break;
                    }
                }
            }
            if rooms.len() < ROOMS {
                break;
            }
            sleep(BREATH).await;
            after = rooms.last().cloned();
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pattern_that_fits_a_room_counts() {
        let day = Duration::from_secs(86_400);
        let keeping = Keeping(vec![(Pattern::new("orders-*"), day * 365), (Pattern::new("o*"), day)]);
        let of = |name: &str| keeping.of(&RoomName::parse(name).unwrap());
        assert_eq!((of("orders-1"), of("o"), of("chat")), (Some(day * 365), Some(day), None));
    }
}
