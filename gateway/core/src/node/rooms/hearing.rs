//! Hearing: whether this node hears what the others publish. A deaf node among nodes that hear should get no clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Rooms;
use crate::bus::Bus;
use crate::metrics::Metrics;
use crate::supervisor::Supervisor;

/// Asks another node whether it hears. The way must not lead through what this node may be deaf on.
#[async_trait]
pub trait Ask: Send + Sync + 'static {
    /// Whether the node at an admin address says that it hears on a ground; false if it does not answer.
    async fn hears(&self, address: &str, ground: &str) -> bool;
}

/// Whether the node hears, for others to ask and for readiness. It may be deaf on one ground and hear on others; its clients are
/// on all of them.
#[derive(Debug)]
pub struct Hearing {
    grounds: Vec<OnOne>,
    /// After which silence it counts as deaf; never, if this is 0.
    deaf_after: Duration,
    /// Whether it has been deaf for so long that its clients are better off elsewhere.
    given_up: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

/// How it is on one ground.
#[derive(Debug)]
struct OnOne {
    ground: String,
    /// When it last heard itself.
    heard: Mutex<Instant>,
    deaf: AtomicBool,
    given_up: AtomicBool,
    /// How many others hear there.
    others: AtomicUsize,
}

/// What one ground has of it.
#[derive(Clone, Debug)]
pub(in crate::node) struct Own {
    hearing: Arc<Hearing>,
    number: usize,
}

impl Hearing {
    /// It hears on all of these grounds, as far as is known yet.
    pub(in crate::node) fn new(grounds: Vec<String>, deaf_after: Duration, metrics: Arc<Metrics>) -> Self {
        let on_one = |ground| OnOne {
            ground,
            heard: Mutex::new(Instant::now()),
            deaf: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            others: AtomicUsize::new(0),
        };
        let grounds = grounds.into_iter().map(on_one).collect();
        Self { grounds, deaf_after, given_up: watch::Sender::default(), metrics }
    }

    /// What the ground with a number has of it.
    pub(in crate::node) fn of(self: &Arc<Self>, number: usize) -> Own {
        Own { hearing: self.clone(), number }
    }

    /// The number of a ground; that of the first for a name that none has.
    pub(in crate::node) fn number_of(&self, ground: &str) -> usize {
        self.grounds.iter().position(|on| on.ground == ground).unwrap_or(0)
    }

    /// Whether the node has heard itself recently, on one ground; nothing if it has none of that name.
    ///
    /// Recently is within half of what makes it deaf. Where nobody hears any more, silences began up to an interval of the
    /// canary apart, which is at most a third of that: whoever counts as deaf first must not find another that still seems to
    /// hear.
    #[must_use]
    pub fn hears(&self, ground: &str) -> Option<bool> {
        let on = self.grounds.iter().find(|on| on.ground == ground)?;
        Some(self.deaf_after.is_zero() || on.silence() < self.deaf_after / 2)
    }

    /// Whether the node hears nothing on some ground while others do, or nothing at all if it is alone.
    #[must_use]
    pub fn deaf(&self) -> bool {
        self.grounds.iter().any(|on| on.deaf.load(Ordering::Acquire))
    }

    /// Whether it has been deaf for `canary.drain_after`: then it lets nobody in, and its clients are handed over.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        *self.given_up.borrow()
    }

    /// Tells when that changes.
    #[must_use]
    pub fn given_up(&self) -> watch::Receiver<bool> {
        self.given_up.subscribe()
    }
}

impl OnOne {
    fn silence(&self) -> Duration {
        self.heard.lock().elapsed()
    }
}

impl Own {
    /// Notes that the node heard itself there.
    pub(super) fn note_heard(&self) {
        *self.on().heard.lock() = Instant::now();
    }

    /// For how long it has not.
    pub(super) fn silence(&self) -> Duration {
        self.on().silence()
    }

    fn on(&self) -> &OnOne {
        &self.hearing.grounds[self.number]
    }

    /// Notes whether the node is deaf there; returns whether that is news.
    fn note_deaf(&self, deaf: bool) -> bool {
        let is_news = self.on().deaf.swap(deaf, Ordering::AcqRel) != deaf;
        if is_news {
            self.hearing.metrics.deaf.set(f64::from(u8::from(self.hearing.deaf())));
        }
        is_news
    }

    /// Notes how many others hear there. Shown is of the ground where they are fewest.
    fn note_others(&self, others: usize) {
        self.on().others.store(others, Ordering::Relaxed);
        let fewest = self.hearing.grounds.iter().map(|on| on.others.load(Ordering::Relaxed)).min().unwrap_or_default();
        self.hearing.metrics.hearing_peers.set(u32::try_from(fewest).unwrap_or(u32::MAX));
    }

    /// Notes whether the node has been deaf there for too long; returns whether that is news.
    fn note_given_up(&self, given_up: bool) -> bool {
        let is_news = self.on().given_up.swap(given_up, Ordering::AcqRel) != given_up;
        let any = self.hearing.grounds.iter().any(|on| on.given_up.load(Ordering::Acquire));
        self.hearing.given_up.send_if_modified(|before| std::mem::replace(before, any) != any);
        is_news
    }
}

/// How a node finds out whether others hear.
pub struct Listening {
    /// On which ground.
    pub ground: String,
    /// Whether there are no others, as in embedded mode. Then its silence alone makes it deaf: what it sends itself goes
    /// no way that somebody else could have cut.
    pub is_alone: bool,
    /// The bus, on which nodes attest that they hear.
    pub bus: Arc<dyn Bus>,
    /// Where they do.
    pub roll: String,
    /// The admin address by which others reach this node.
    pub address: String,
    /// How they are asked when the bus cannot be reached.
    pub ask: Arc<dyn Ask>,
    /// How long it may be deaf until its clients are handed over; 0 for as long as it likes.
    pub drain_after: Duration,
    /// Who is told that a node cannot go on that is deaf for so long, and alone.
    pub supervisor: Supervisor,
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listening").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Rooms {
    /// Compares what this node hears with what others hear, for ever.
    pub(in crate::node) async fn mind_hearing(&self, listening: Listening) {
        let Listening { ground, is_alone, bus, roll, address, ask, drain_after, supervisor } = listening;
        let (hearing, deaf_after) = (&self.hearing.hearing, self.hearing.hearing.deaf_after);
        let (mut others, mut deaf_since) = (Vec::new(), None);
        let (mut told, mut looked, proven_after) = (Told::default(), Instant::now(), deaf_after / 2);
        // So often that the roll forgets who hears no more before anybody counts as deaf: see `hears`.
        let mut tick = interval((deaf_after / 8).min(Duration::from_secs(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let is_silent = self.hearing.silence() >= deaf_after;
            if is_silent {
                bus.listen_anew();
            }
            let hears = hearing.hears(&ground).unwrap_or(true);
            let others_hear = match bus.attest(&roll, &address, hears, deaf_after).await {
                Ok(hearing) => {
                    // Redis hung, or this process stood still: what others said before is of another time.
                    if looked.elapsed() >= proven_after {
                        told = Told::default();
                    }
                    others = hearing;
                    self.hearing.note_others(others.len());
                    !others.is_empty()
                }
                // Who cannot reach Redis asks those that it last saw there.
                Err(_) => is_silent && any_hears(&*ask, &others, &ground).await,
            };
            looked = Instant::now();
            let is_proof = told.is_proof(others_hear, proven_after);
            let deaf = is_silent && (is_proof || is_alone);
            if self.hearing.note_deaf(deaf) {
                if deaf {
                    tracing::error!(?deaf_after, ground, "this node hears nothing of its own: it is not ready");
                } else {
                    tracing::info!(ground, "this node hears again");
                }
            }
            let since = deaf.then(|| *deaf_since.get_or_insert_with(Instant::now));
            deaf_since = since;
            let is_too_long = since.is_some_and(|since| !drain_after.is_zero() && since.elapsed() >= drain_after);
            if self.hearing.note_given_up(is_too_long) && is_too_long {
                if is_alone {
                    // There is nobody to hand clients over to; a new process may hear.
                    supervisor
                        .give_up("hearing", format!("the node was deaf for {drain_after:?}, and there is no other"));
                } else {
                    tracing::error!(
                        ?drain_after,
                        ground,
                        "this node is deaf for too long: its clients are handed over"
                    );
                }
            }
        }
    }
}

/// Since when others say that they hear, without a word to the contrary.
#[derive(Debug, Default)]
struct Told(Option<Instant>);

impl Told {
    /// Whether that proves that somebody hears what this node does not: whether others have said so for a time.
    ///
    /// Where nobody hears any more, the last that each heard may be far apart on a busy machine, and who has heard itself within
    /// the time says that it hears: only who says so again after it has heard itself since it was asked first. And when it is over,
    /// the first that hears again is not to make those deaf that need a moment longer.
    fn is_proof(&mut self, others_hear: bool, within: Duration) -> bool {
        if !others_hear {
            self.0 = None;
            return false;
        }
        self.0.get_or_insert_with(Instant::now).elapsed() >= within
    }
}

async fn any_hears(ask: &dyn Ask, others: &[String], ground: &str) -> bool {
    let answers = futures_util::future::join_all(others.iter().map(|address| ask.hears(address, ground))).await;
    answers.contains(&true)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const WITHIN: Duration = Duration::from_millis(1500);

    #[tokio::test(start_paused = true)]
    async fn only_who_hears_on_proves_that_this_node_is_deaf() {
        let mut told = Told::default();
        // Each moment by the time since the one before, what others say then, and whether it is proof. When nobody hears any more, whoever
        // hears again first proves nothing at once; and where answers are long in coming, they prove it all the same.
        let moments = [
            (0, true, false),
            (1499, true, false),
            (1, true, true),
            (300, false, false),
            (300, true, false),
            (1000, true, false),
            (4000, true, true),
        ];
        for (number, (after, others_hear, expected)) in moments.into_iter().enumerate() {
            advance(Duration::from_millis(after)).await;
            assert_eq!(told.is_proof(others_hear, WITHIN), expected, "moment {number}");
        }
    }
}
