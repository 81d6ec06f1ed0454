//! Drain: hands the clients of a node over to the others, in random order and at a pace; at once where there are none.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::time::{Instant, sleep, sleep_until};

use super::SocketServer;
use engine::Tunnel;
use gateway_core::node::{CloseReason, Peers, Session};

/// How often leftovers are looked at.
const POLL: Duration = Duration::from_millis(50);
/// How long a node that leaves waits for the last polls that are other nodes'.
const LAST_POLLS: Duration = Duration::from_secs(1);
/// How often a node that leaves looks whether others are still there.
const RECOUNT: Duration = Duration::from_millis(250);

impl SocketServer {
    /// Lets nobody in any more. Sessions that exist go on.
    pub fn stop_admitting(&self) {
        self.edge.draining.store(true, Ordering::Release);
        self.edge.metrics.draining.set(1.0);
        self.edge.router.node().leave_readers();
    }

    /// Lets clients in again.
    pub fn admit_again(&self) {
        self.edge.draining.store(false, Ordering::Release);
        self.edge.metrics.draining.set(0.0);
        self.edge.router.node().welcome_readers();
    }

    /// Hands all clients over, and lets nobody in, until this is dropped: what an operator ordered, and the node stays.
    /// Readiness must have gone before.
    pub async fn stay_empty(&self, peers: &Peers) {
        peers.leave().await;
        sleep(self.edge.settings.drain.announce).await;
        self.stop_admitting();
        tokio::select! {
            () = self.hand_over_all() => {}
            () = sleep(self.edge.settings.drain.timeout) => {
                self.note_overrun(peers).await;
                self.hand_over_all().await;
            }
        }
    }

    /// The time for a drain is over: counts it if clients are left.
    async fn note_overrun(&self, peers: &Peers) {
        let left = self.sessions();
        if left > 0 {
            let timeout = self.edge.settings.drain.timeout;
            tracing::warn!(left, ?timeout, "drain.timeout was over before all clients were handed over");
            peers.overran().await;
        }
    }

    /// Closes every connection softly, so that official clients come back by themselves. Readiness must have gone
    /// before: clients are still let in for `drain.announce`, so that balancers can learn of it.
    ///
    /// Then it takes as long as the configured pace needs, but not longer than `drain.timeout`: then it goes faster, and
    /// whoever is left at the end is cut off. Returns how many were. Where no other node is, or none any more, nobody
    /// waits: clients can only come back when this one has ended and its successor is there.
    pub async fn drain(&self, peers: &Peers) -> usize {
        let settings = &self.edge.settings.drain;
        let deadline = Instant::now() + settings.timeout;
        let mut alone = pin!(async {
            if !peers.are_none().await {
                peers.leave().await;
                while !peers.are_none().await {
                    sleep(RECOUNT).await;
                }
            }
        });
        let is_alone = tokio::select! {
            biased;
            () = &mut alone => true,
            () = sleep(settings.announce) => false,
        };
        self.stop_admitting();
        if !is_alone {
            tokio::select! {
                () = self.hand_over(deadline.saturating_duration_since(Instant::now())) => {}
                () = alone => {}
            }
        }
        let roster = self.edge.router.node().roster();
        if !roster.is_empty() && (is_alone || peers.are_none().await) {
            tracing::info!(sessions = roster.len(), "no other node is there: all clients are told at once");
        }
        while !roster.is_empty() && Instant::now() < deadline {
            // Handshakes that were let in before may have become sessions since.
            for session in roster.all() {
                session.close(CloseReason::Draining);
            }
            sleep(POLL).await;
        }
        self.note_overrun(peers).await;
        self.sessions()
    }

    /// Asks the sessions of this moment to go, and the websockets that go on to other nodes, one after the other, within `time`.
    async fn hand_over(&self, time: Duration) {
        let settings = &self.edge.settings.drain;
        let sessions = self.edge.router.node().roster().all().into_iter().map(Leaver::Session);
        let mut leavers: Vec<_> = sessions.chain(self.engine.tunnels().into_iter().map(Leaver::Tunnel)).collect();
        // Not by age: neighbours in time are neighbours behind the same network or release.
        leavers.shuffle(&mut rand::rng());
        let pace = pace(leavers.len(), settings.connections_per_second, time);
        tracing::info!(clients = leavers.len(), per_second = pace, "handing clients over");
        self.engine.hurry_polls();
        let start = Instant::now();
        for (place, leaver) in leavers.into_iter().enumerate() {
            // Somewhere in its slot: an even pace would have all nodes of a release beat time together.
            let slots = place as f64 + rand::random::<f64>();
            sleep_until(start + Duration::from_secs_f64(slots / pace as f64)).await;
            leaver.leave();
        }
    }

    /// Has nothing more passed on, and other nodes pass nothing on to this one: it is empty.
    pub async fn leave(&self) {
        let Some(passing) = &self.passing else { return };
        let deadline = Instant::now() + LAST_POLLS;
        // A client that polls once more before its balancer knows is answered as well.
        while self.engine.passed_on() != (0, 0) && Instant::now() < deadline {
            self.engine.tunnels().iter().for_each(Tunnel::end_softly);
            self.engine.hurry_polls();
            sleep(POLL).await;
        }
        passing.leave().await;
    }

    /// Hands the clients over whenever the node has been deaf for too long, for ever. Until it hears again nobody is let
    /// in: see [`gateway_core::node::Hearing::is_given_up`].
    pub async fn hand_over_when_deaf(self) {
        let mut given_up = self.edge.router.node().hearing().given_up();
        loop {
            if given_up.wait_for(|given_up| *given_up).await.is_err() {
                // The node is the sender's owner, and this one's too.
                return std::future::pending().await;
            }
            self.edge.metrics.deaf_drains.increment(1);
            tokio::select! {
                // It stays with those that it still has if it hears again: they are no worse off here.
                _ = given_up.wait_for(|given_up| !given_up) => {}
                () = self.hand_over_all() => {}
            }
        }
    }

    /// Hands over all clients, and those that come in spite of it.
    async fn hand_over_all(&self) {
        loop {
            if self.sessions() > 0 || self.engine.passed_on() != (0, 0) {
                self.hand_over(self.edge.settings.drain.timeout).await;
            }
            sleep(RECOUNT).await;
        }
    }
}

/// Who is to go: a session of this node, or a websocket of another one's.
enum Leaver {
    Session(Arc<Session>),
    Tunnel(Tunnel),
}

impl Leaver {
    fn leave(self) {
        match self {
            Self::Session(session) => session.close(CloseReason::Draining),
            Self::Tunnel(tunnel) => tunnel.end_softly(),
        }
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
