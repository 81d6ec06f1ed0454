//! Nodes: where the others are, as far as this one knows. Asking for a node costs nothing if it is known, and whoever asks for what
//! nobody is shares one question with all others.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::{NoWay, Tag};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::proof::Secrets;
use gateway_core::config::Secret;
use gateway_core::metrics::Metrics;
use gateway_core::port::PortError;
use gateway_core::recurring::Recurring;
use gateway_core::whereabouts::{Whereabout, Whereabouts};

/// How often a node says that it is there, and learns who is.
const BEAT: Duration = Duration::from_secs(2);
/// How long what it says holds.
const KEPT: Duration = Duration::from_secs(30);
/// How long a node is remembered of which nothing is said any more: what says so may have been lost.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How far apart questions for unknown nodes are.
const APART: Duration = Duration::from_millis(250);
/// How long one may wait for them.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a node is left alone that could not be reached.
const LEFT_ALONE: Duration = Duration::from_secs(1);
/// Connections that are being made to one node at the same time, by this one.
const DIALS: usize = 32;
/// And by all nodes together: half of the places of an admin listener, where each has one until it is proven. More would put each other
/// out, and operators.
const DIALS_OF_ALL: usize = 64;

/// The nodes that are known.
pub(super) struct Nodes {
    whereabouts: Arc<dyn Whereabouts>,
    me: Whereabout,
    /// What the configuration says; otherwise the deployment's is found.
    configured: Option<Secret>,
    pub(super) secrets: Secrets,
    known: Mutex<HashMap<Tag, Known>>,
    /// When the last question began.
    asked: tokio::sync::Mutex<Option<Instant>>,
    leaving: AtomicBool,
    trouble: Recurring,
    metrics: Arc<Metrics>,
}

/// A node that is known.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) address: Arc<str>,
    /// By which it is not called by all at once.
    pub(super) dials: Arc<Semaphore>,
    /// Since when nothing is said of it.
    missing: Option<Instant>,
    /// Until when it is left alone, and why.
    trouble: Option<(Instant, NoWay)>,
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nodes").field("me", &self.me).field("known", &self.known.lock().len()).finish_non_exhaustive()
    }
}

impl Nodes {
    pub(super) fn new(
        whereabouts: Arc<dyn Whereabouts>,
        me: Whereabout,
        configured: Option<Secret>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let secrets = Secrets::default();
        configured.iter().for_each(|secret| secrets.know(secret));
        let (known, asked, leaving) = (Mutex::default(), tokio::sync::Mutex::default(), AtomicBool::new(false));
        let trouble = Recurring::new("other nodes cannot be told where this one is, or be found");
        Self { whereabouts, me, configured, secrets, known, asked, leaving, trouble, metrics }
    }

    /// Waits until a node may be called once more; nothing if it is gone.
    pub(super) async fn dialling<'a>(&self, node: &'a Known) -> Option<SemaphorePermit<'a>> {
        let others = self.known.lock().len();
        node.dials.acquire_many(weight(others)).await.ok()
    }

    pub(super) fn address(&self) -> &str {
        &self.me.address
    }

    /// Tells the others where this node is, and learns where they are.
    pub(super) async fn note(&self) -> Result<(), PortError> {
        let offered = Secret::from(hex(rand::random::<[u8; 32]>()));
        let noted = self.whereabouts.note(&self.me, KEPT, &offered).await?;
        if self.configured.is_none() {
            self.secrets.know(&noted.secret);
        }
        let now = Instant::now();
        let mut known = self.known.lock();
        for node in known.values_mut() {
            node.missing.get_or_insert(now);
        }
        for Whereabout { name, address } in noted.nodes {
            let Ok(tag) = name.parse::<Tag>() else { continue };
            let node = known.entry(tag).or_insert_with(|| Known {
                address: address.as_str().into(),
                dials: Arc::new(Semaphore::new(DIALS)),
                missing: None,
                trouble: None,
            });
            node.missing = None;
            if *node.address != *address {
                node.address = address.into();
            }
        }
        known.retain(|_, node| node.missing.is_none_or(|since| now - since < REMEMBERED));
        self.metrics.passing_nodes.set(u32::try_from(known.len()).unwrap_or(u32::MAX));
        Ok(())
    }

    /// The same, for ever. While it cannot be told, what is known stays.
    pub(super) async fn keep_noted(&self, mut each: impl FnMut()) {
        let mut tick = interval(BEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if !self.leaving.load(Ordering::Acquire)
                && let Err(error) = self.note().await
            {
                self.trouble.note(|what| error.tell(what));
            }
            each();
        }
    }

    /// Says that this node is not there any more.
    pub(super) async fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        // Where it cannot be said, it is forgotten in a while.
        timeout(PATIENCE, self.whereabouts.forget(&self.me.name)).await.ok();
    }

    /// Whether there is such a node. If it is not known, somebody asks, for all who want to know.
    pub(super) async fn knows(&self, tag: Tag) -> bool {
        if self.known.lock().contains_key(&tag) {
            return true;
        }
        timeout(PATIENCE, self.ask()).await.ok();
        self.known.lock().contains_key(&tag)
    }

    async fn ask(&self) {
        let wanted = Instant::now();
        let mut asked = self.asked.lock().await;
        match *asked {
            // Somebody has asked since.
            Some(began) if began >= wanted => return,
            Some(began) => sleep_until(began + APART).await,
            None => {}
        }
        if self.leaving.load(Ordering::Acquire) {
            return;
        }
        // Whoever comes from now on asks the next one: this may be told too early for it.
        *asked = Some(Instant::now());
        if let Err(error) = self.note().await {
            self.trouble.note(|what| error.tell(what));
        }
    }

    /// A node, unless it is to be left alone.
    pub(super) fn get(&self, tag: Tag) -> Result<Known, NoWay> {
        let known = self.known.lock();
        let node = known.get(&tag).ok_or(NoWay::Gone)?;
        match node.trouble {
            Some((until, why)) if Instant::now() < until => Err(why),
            _ => Ok(node.clone()),
        }
    }

    /// Leaves a node alone for a moment.
    pub(super) fn note_trouble(&self, tag: Tag, why: NoWay) {
        if let Some(node) = self.known.lock().get_mut(&tag) {
            node.trouble = Some((Instant::now() + LEFT_ALONE, why));
        }
    }
}

fn hex(bytes: [u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How much of [`DIALS`] one is where so many nodes call another.
fn weight(nodes: usize) -> u32 {
    let weight = (DIALS * nodes).div_ceil(DIALS_OF_ALL).clamp(1, DIALS);
    u32::try_from(weight).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nodes_together_leave_places_at_the_one_that_they_call() {
        for nodes in 1..=64 {
            let each = DIALS / usize::try_from(weight(nodes)).unwrap();
            assert!((1..=DIALS).contains(&each) && each * nodes <= DIALS_OF_ALL, "{nodes} nodes: {each} each");
        }
        assert_eq!((weight(1), weight(2), weight(1_000)), (1, 1, 32), "few call as fast as they may, many one by one");
    }
}
