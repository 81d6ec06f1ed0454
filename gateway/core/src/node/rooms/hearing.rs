//! Hearing: whether this node hears what the others publish. A deaf node among nodes that hear should get no clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Rooms;
use crate::bus::Bus;
use crate::supervisor::Supervisor;

/// Asks another node whether it hears. The way must not lead through what this node may be deaf on.
#[async_trait]
pub trait Ask: Send + Sync + 'static {
    /// Whether the node at an admin address says that it hears; false if it does not answer.
    async fn hears(&self, address: &str) -> bool;
}

/// Whether the node hears, for others to ask and for readiness.
#[derive(Debug, Default)]
pub struct Hearing {
    silent: AtomicBool,
    deaf: AtomicBool,
    /// Whether it has been deaf for so long that its clients are better off elsewhere.
    given_up: watch::Sender<bool>,
}

impl Hearing {
    /// Whether the node has heard itself recently.
    #[must_use]
    pub fn hears(&self) -> bool {
        !self.silent.load(Ordering::Acquire)
    }

    /// Whether the node hears nothing while others do, or nothing at all if it is alone.
    #[must_use]
    pub fn deaf(&self) -> bool {
        self.deaf.load(Ordering::Acquire)
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

/// How a node finds out whether others hear.
pub struct Listening {
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
    /// After which silence a node counts as deaf.
    pub deaf_after: Duration,
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
        let Listening { is_alone, bus, roll, address, ask, deaf_after, drain_after, supervisor } = listening;
        let (mut others, mut deaf_since) = (Vec::new(), None);
        let mut tick = interval((deaf_after / 4).min(Duration::from_secs(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let hears = self.hub.canary_heard().elapsed() < deaf_after;
            self.hearing.silent.store(!hears, Ordering::Release);
            let others_hear = match bus.attest(&roll, &address, hears, deaf_after).await {
                Ok(hearing) => {
                    others = hearing;
                    self.metrics.hearing_peers.set(u32::try_from(others.len()).unwrap_or(u32::MAX));
                    !others.is_empty()
                }
                // Who cannot reach Redis asks those that it last saw there.
                Err(_) if hears => false,
                Err(_) => any_hears(&*ask, &others).await,
            };
            let deaf = !hears && (others_hear || is_alone);
            if deaf != self.hearing.deaf.swap(deaf, Ordering::AcqRel) {
                self.metrics.deaf.set(f64::from(u8::from(deaf)));
                if deaf {
                    tracing::error!(?deaf_after, "this node hears nothing of its own: it is not ready");
                } else {
                    tracing::info!("this node hears again");
                }
            }
            let since = deaf.then(|| *deaf_since.get_or_insert_with(Instant::now));
            deaf_since = since;
            let is_too_long = since.is_some_and(|since| !drain_after.is_zero() && since.elapsed() >= drain_after);
            let changed = self
                .hearing
                .given_up
                .send_if_modified(|given_up| std::mem::replace(given_up, is_too_long) != is_too_long);
            if changed && is_too_long {
                if is_alone {
                    // There is nobody to hand clients over to; a new process may hear.
                    supervisor
                        .give_up("hearing", format!("the node was deaf for {drain_after:?}, and there is no other"));
                } else {
                    tracing::error!(?drain_after, "this node is deaf for too long: its clients are handed over");
                }
            }
        }
    }
}

async fn any_hears(ask: &dyn Ask, others: &[String]) -> bool {
    let answers = futures_util::future::join_all(others.iter().map(|address| ask.hears(address))).await;
    answers.contains(&true)
}
