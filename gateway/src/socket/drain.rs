//! Drain: hands the clients of a stopping node over to the others, in random order and at a pace.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::time::{Instant, sleep_until};

use super::SocketServer;
use crate::node::CloseReason;

/// How often leftovers are looked at.
const POLL: Duration = Duration::from_millis(50);

impl SocketServer {
    /// Lets nobody in any more. Sessions that exist go on.
    pub fn stop_admitting(&self) {
        self.edge.draining.store(true, Ordering::Release);
        self.edge.metrics.draining.set(1.0);
    }

    /// Closes every connection softly, so that official clients come back elsewhere by themselves. Takes as long as
    /// the configured pace needs, but not longer than `drain.timeout`: then it goes faster, and whoever is left at
    /// the end is cut off. Returns how many were.
    pub async fn drain(&self) -> usize {
        let settings = &self.edge.settings.drain;
        let deadline = Instant::now() + settings.timeout;
        let roster = self.edge.router.node().roster();
        let mut sessions = roster.all();
        // Not by age: neighbours in time are neighbours behind the same network or release.
        sessions.shuffle(&mut rand::rng());
        let pace = pace(sessions.len(), settings.connections_per_second, settings.timeout);
        tracing::info!(sessions = sessions.len(), per_second = pace, "handing clients over");
        let start = Instant::now();
        for (place, session) in sessions.into_iter().enumerate() {
            // Somewhere in its slot: an even pace would have all nodes of a release beat time together.
            let slots = place as f64 + rand::random::<f64>();
            sleep_until(start + Duration::from_secs_f64(slots / pace as f64)).await;
            session.close(CloseReason::Draining);
        }
        while self.sessions() > 0 && Instant::now() < deadline {
            // Handshakes that were let in before may have become sessions since.
            for session in roster.all() {
                session.close(CloseReason::Draining);
            }
            tokio::time::sleep(POLL).await;
        }
        self.sessions()
    }
}

/// Connections per second: as configured, or more if that would take longer than four fifths of the time there is.
fn pace(sessions: usize, per_second: u32, timeout: Duration) -> usize {
    let budget_ms = usize::try_from(timeout.as_millis() * 4 / 5).unwrap_or(usize::MAX).max(1);
    let needed = sessions.saturating_mul(1000).div_ceil(budget_ms);
    needed.max(per_second as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_the_configured_one_unless_time_is_short() {
        assert_eq!(pace(100, 400, Duration::from_secs(30)), 400);
        assert_eq!(pace(24_000, 400, Duration::from_secs(30)), 1_000);
        assert_eq!(pace(10, 1, Duration::from_millis(10)), 1_250);
    }
}
