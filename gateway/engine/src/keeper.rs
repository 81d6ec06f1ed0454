//! The keeper: what a server does by the clock and behind the scenes, in few tasks for all connections.
//!
//! Ends are told here and not where they are seen: whoever ends a connection may hold locks that its sessions' ends need.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use crate::connection::Inner;
use crate::handler::{End, Session};
use crate::heartbeat::Due;
use crate::outbox::{Phase, Way};
use crate::packet::Packet;
use crate::server::Shared;

/// How long a connection that ends softly is still written to. What its sessions were doing is answered by then.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(50);
/// How often one is looked at that has not taken its last words yet, and for how long in all.
const LOOK: Duration = Duration::from_millis(20);
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// What waits to be done.
#[derive(Default)]
pub(crate) struct Keeper {
    /// No longer than there are connections.
    ended: Mutex<Vec<Over>>,
    leaving: Mutex<Vec<Leaving>>,
    news: Notify,
    delayed: Mutex<Vec<Arc<Inner>>>,
    delays: Notify,
}

enum Over {
    Connection(Arc<Inner>),
    Session(Arc<dyn Session>, End),
}

struct Leaving {
    connection: Arc<Inner>,
    since: Instant,
    look_at: Instant,
    /// Our direction of the stream has ended; the client's may not have.
    shut: bool,
}

impl Keeper {
    /// Has the end of a connection told.
    pub(crate) fn bury(&self, connection: Arc<Inner>) {
        self.ended.lock().push(Over::Connection(connection));
        self.news.notify_one();
    }

    /// Has the end of one session told.
    pub(crate) fn bury_session(&self, session: Arc<dyn Session>, end: End) {
        self.ended.lock().push(Over::Session(session, end));
        self.news.notify_one();
    }

    /// Ends a connection when it has taken its last words.
    pub(crate) fn see_off(&self, connection: Arc<Inner>) {
        let since = Instant::now();
        let leaving = Leaving { connection, since, look_at: since + LAST_WORDS, shut: false };
        self.leaving.lock().push(leaving);
        self.news.notify_one();
    }

    /// Has what waits for a connection written in a moment, together with what comes until then.
    pub(crate) fn delay(&self, connection: Arc<Inner>) {
        self.delayed.lock().push(connection);
        self.delays.notify_one();
    }
}

/// Tells ends, for ever.
pub(crate) async fn tell_ends(shared: Arc<Shared>) {
    let keeper = &shared.keeper;
    loop {
        let next = keeper.leaving.lock().iter().map(|leaving| leaving.look_at).min();
        tokio::select! {
            () = keeper.news.notified() => {}
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut *keeper.leaving.lock()).into_iter().partition(|one| one.look_at <= now);
        let due: Vec<Leaving> = due;
        let again = due.into_iter().filter_map(|leaving| leaving.look(&shared, now)).chain(later).collect::<Vec<_>>();
        keeper.leaving.lock().extend(again);
        let ended = std::mem::take(&mut *keeper.ended.lock());
        for over in ended {
            match over {
                Over::Connection(connection) => {
                    shared.connections.forget(&connection);
                    connection.bury();
                }
                Over::Session(session, end) => session.over(&end),
            }
        }
    }
}

impl Leaving {
    /// Goes on with an end; nothing if it is done.
    fn look(mut self, shared: &Shared, now: Instant) -> Option<Self> {
        let is_late = now >= self.since + GRACE;
        self.look_at = now + LOOK;
        let mut out = self.connection.out.lock();
        if self.shut {
            if is_late {
                out.shut(Shutdown::Both);
                return None;
            }
            drop(out);
            return Some(self);
        }
        if out.phase == Phase::Closed {
            // It ended otherwise, or its client has gone meanwhile.
            return None;
        }
        // A poll that waits is answered by the end; where there is none, one may be on its way.
        let is_heard = match &out.way {
            Way::Websocket(_) => true,
            Way::Polling(poll) => poll.pending,
        };
        let has_heard_all = is_heard && out.waiting().packets == 0;
        if !is_late && !has_heard_all {
            drop(out);
            return Some(self);
        }
        out.close();
        out.shut(Shutdown::Write);
        let is_stream = matches!(out.way, Way::Websocket(_));
        drop(out);
        self.connection.wake();
        shared.keeper.bury(self.connection.clone());
        self.shut = true;
        self.since = now;
        is_stream.then_some(self)
    }
}

/// Writes what was delayed, for ever.
pub(crate) async fn write_delayed(shared: Arc<Shared>) {
    loop {
        shared.keeper.delays.notified().await;
        sleep(shared.settings.write_delay).await;
        let delayed = std::mem::take(&mut *shared.keeper.delayed.lock());
        for connection in delayed {
            if !connection.flush() {
                connection.stream_waker.wake();
            }
        }
    }
}

/// Looks at the hearts of all connections, for ever: pings them, and ends those that are silent, or slow.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let settings = &shared.settings;
    let times = [settings.ping_interval, settings.ping_timeout, settings.connect_timeout, settings.write_timeout];
    let shortest = times.into_iter().min().unwrap_or_default();
    let mut tick = interval((shortest / 20).clamp(Duration::from_millis(5), Duration::from_millis(250)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ping = Packet::engine("2");
    loop {
        tick.tick().await;
        let now = shared.clock.now();
        for connection in shared.connections.due(now, settings.ping_timeout) {
            match connection {
                (connection, Due::Ping) => {
                    // A queue that takes no ping will not be read in time either.
                    connection.send(&ping).ok();
                }
                (connection, Due::Silent) => connection.end_now(End::Silent),
                (connection, Due::Sessionless) => connection.end_now(End::Sessionless),
                (connection, Due::Nothing) => {
                    if connection.write_is_late(now) {
                        connection.end_now(End::Slow);
                    }
                    connection.stream_waker.wake();
                }
            }
        }
    }
}
