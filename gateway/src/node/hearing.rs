//! Hearing: whether this node hears what the others publish. A deaf node among nodes that hear should get no clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{MissedTickBehavior, interval};

use super::Node;
use crate::bus::Bus;

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
}

impl Hearing {
    /// Whether the node has heard itself recently.
    #[must_use]
    pub fn hears(&self) -> bool {
        !self.silent.load(Ordering::Acquire)
    }

    /// Whether the node hears nothing while others do.
    #[must_use]
    pub fn deaf(&self) -> bool {
        self.deaf.load(Ordering::Acquire)
    }
}

/// How a node finds out whether others hear.
pub struct Listening {
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
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listening").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Node {
    /// Compares what this node hears with what others hear, for ever.
    pub async fn mind_hearing(self: Arc<Self>, listening: Listening) {
        let Listening { bus, roll, address, ask, deaf_after } = listening;
        let mut others = Vec::new();
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
            let deaf = !hears && others_hear;
            if deaf != self.hearing.deaf.swap(deaf, Ordering::AcqRel) {
                self.metrics.deaf.set(f64::from(u8::from(deaf)));
                if deaf {
                    tracing::error!("this node hears nothing while others do: it is not ready");
                } else {
                    tracing::info!("this node hears like the others");
                }
            }
        }
    }
}

async fn any_hears(ask: &dyn Ask, others: &[String]) -> bool {
    let answers = futures_util::future::join_all(others.iter().map(|address| ask.hears(address))).await;
    answers.contains(&true)
}
