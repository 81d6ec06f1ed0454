//! The heartbeat of a connection: when it is to be pinged, and until when it has to answer or to have a session.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// No time at all.
const NEVER: u64 = u64::MAX;

/// The clock of a server, in milliseconds since it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(NEVER)
    }
}

/// A duration as the clock counts.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER)
}

/// Looked at a few times a second, by one task for all connections.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    ping_at: AtomicU64,
    pong_by: AtomicU64,
    session_by: AtomicU64,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Ping,
    Silent,
    Sessionless,
}

impl Heartbeat {
    /// Of a connection that opens now.
    pub(crate) fn new(now: u64, interval: Duration, connect: Duration) -> Self {
        Self {
            ping_at: AtomicU64::new(now.saturating_add(millis(interval))),
            pong_by: AtomicU64::new(NEVER),
            session_by: AtomicU64::new(now.saturating_add(millis(connect))),
        }
    }

    /// What is due, once: a ping is due again after its answer.
    pub(crate) fn look(&self, now: u64, timeout: Duration) -> Due {
        if now >= self.session_by.load(Ordering::Relaxed) {
            return Due::Sessionless;
        }
        if now >= self.pong_by.load(Ordering::Relaxed) {
            return Due::Silent;
        }
        if now >= self.ping_at.load(Ordering::Relaxed) {
            self.ping_at.store(NEVER, Ordering::Relaxed);
            self.pong_by.store(now.saturating_add(millis(timeout)), Ordering::Relaxed);
            return Due::Ping;
        }
        Due::Nothing
    }

    /// Something came from the client. Whatever it is, the client is there; an answer to a ping has the next one come.
    pub(crate) fn heard(&self, now: u64, is_pong: bool, interval: Duration, timeout: Duration) {
        if self.pong_by.load(Ordering::Relaxed) == NEVER {
            return;
        }
        if is_pong {
            self.pong_by.store(NEVER, Ordering::Relaxed);
            self.ping_at.store(now.saturating_add(millis(interval)), Ordering::Relaxed);
        } else {
            self.pong_by.store(now.saturating_add(millis(timeout)), Ordering::Relaxed);
        }
    }

    /// It has a session.
    pub(crate) fn settle(&self) {
        self.session_by.store(NEVER, Ordering::Relaxed);
    }

    /// It has none any more.
    pub(crate) fn unsettle(&self, now: u64, connect: Duration) {
        self.session_by.store(now.saturating_add(millis(connect)), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(100);
    const TIMEOUT: Duration = Duration::from_millis(50);
    const CONNECT: Duration = Duration::from_millis(30);

    #[test]
    fn it_pings_after_the_interval_and_waits_for_the_answer() {
        let heart = Heartbeat::new(0, INTERVAL, CONNECT);
        heart.settle();
        assert_eq!(heart.look(99, TIMEOUT), Due::Nothing);
        assert_eq!(heart.look(100, TIMEOUT), Due::Ping);
        assert_eq!(heart.look(149, TIMEOUT), Due::Nothing);
        heart.heard(149, false, INTERVAL, TIMEOUT);
        assert_eq!(heart.look(198, TIMEOUT), Due::Nothing);
        heart.heard(198, true, INTERVAL, TIMEOUT);
        heart.heard(199, true, INTERVAL, TIMEOUT);
        assert_eq!(heart.look(297, TIMEOUT), Due::Nothing, "a pong that nobody asked for changes nothing");
        assert_eq!(heart.look(298, TIMEOUT), Due::Ping);
        assert_eq!(heart.look(348, TIMEOUT), Due::Silent);
    }

    #[test]
    fn who_has_no_session_may_stay_for_a_while() {
        let heart = Heartbeat::new(0, INTERVAL, CONNECT);
        assert_eq!(heart.look(29, TIMEOUT), Due::Nothing);
        assert_eq!(heart.look(30, TIMEOUT), Due::Sessionless);
        heart.settle();
        assert_eq!(heart.look(30, TIMEOUT), Due::Nothing);
        heart.unsettle(50, CONNECT);
        assert_eq!((heart.look(79, TIMEOUT), heart.look(80, TIMEOUT)), (Due::Nothing, Due::Sessionless));
    }
}
