//! Passing on: what the engine needs to reach the connections of other nodes, where the nodes are, and how they know each other.

mod dial;
mod door;
mod nodes;
mod proof;
mod ways;

pub use dial::{NONCE, PATH, PROOF, PROTOCOL, TO};
pub use door::{Challenge, Door, Unwelcome};

use std::sync::Arc;
use std::time::Duration;

use engine::{Answer, NoWay, Passage, Passed, Tag, Way};

use self::nodes::Nodes;
use self::ways::Ways;
use super::front::refused;
use super::{Edge, SocketServer};
use gateway_core::config::Config;
use gateway_core::domain::Refusal;
use gateway_core::metrics::Metrics;
use gateway_core::port::PortError;
use gateway_core::whereabouts::{Whereabout, Whereabouts};

/// Characters of the proof of who comes in, without the end of its line.
pub const PROOF_LENGTH: usize = proof::PROOF;

/// What a node knows of the others, and its connections to them.
#[derive(Debug)]
pub struct Passing {
    tag: Tag,
    nodes: Nodes,
    ways: Arc<Ways>,
    /// Connections to other nodes, and as many from them.
    places: usize,
    metrics: Arc<Metrics>,
}

impl Passing {
    /// Of a node that others reach at `address`, and whose process may open `max_files` files; nothing, if there are no whereabouts.
    #[must_use]
    pub fn start(
        whereabouts: Option<Arc<dyn Whereabouts>>,
        address: &str,
        config: &Config,
        max_files: usize,
        metrics: &Arc<Metrics>,
    ) -> Option<Arc<Self>> {
        let (whereabouts, settings) = (whereabouts?, &config.passing);
        let (tag, places) = (Tag::random(), settings.places(max_files));
        let me = Whereabout { name: tag.to_string(), address: address.to_owned() };
        let configured = (!settings.secret.is_empty()).then(|| settings.secret.clone());
        metrics.passing_limit.set(u32::try_from(places).unwrap_or(u32::MAX));
        Some(Arc::new(Self {
            tag,
            nodes: Nodes::new(whereabouts, me, configured, metrics.clone()),
            ways: Arc::new(Ways::new(places, settings.timeout, settings.idle, metrics.clone())),
            places,
            metrics: metrics.clone(),
        }))
    }

    /// Tells the others where this node is, for the first time: before clients come whom they may bring here.
    ///
    /// # Errors
    /// It could not be told.
    pub async fn announce(&self) -> Result<(), PortError> {
        self.nodes.note().await
    }

    /// Tells it again, and learns of the others, for ever.
    pub async fn keep_noted(self: Arc<Self>) {
        self.nodes.keep_noted(|| self.ways.sweep()).await;
    }

    /// Says that this node is not there any more.
    pub async fn leave(&self) {
        self.nodes.leave().await;
    }

    /// By which other nodes come to the connections of a server.
    #[must_use]
    pub fn door(self: &Arc<Self>, server: SocketServer) -> Door {
        Door::new(self.clone(), server)
    }

    /// How many connections there may be to other nodes, and from them.
    #[must_use]
    pub(super) fn places(&self) -> usize {
        self.places
    }
}

/// The passage of a server.
pub(super) struct Onward {
    pub(super) passing: Arc<Passing>,
    pub(super) edge: Arc<Edge>,
}

impl Passage for Onward {
    fn tag(&self) -> Tag {
        self.passing.tag
    }

    fn knows(&self, tag: Tag) -> engine::Passing<'_, bool> {
        Box::pin(self.passing.nodes.knows(tag))
    }

    fn way(&self, tag: Tag) -> engine::Passing<'_, Result<Way, NoWay>> {
        Box::pin(self.passing.ways.to(tag, &self.passing.nodes))
    }

    fn full(&self) -> Answer {
        self.edge.count_refused(&Refusal::Capacity, false);
        refused(&self.edge.router.worded(&Refusal::Capacity))
    }

    fn passed(&self, passed: Passed, took: Option<Duration>) {
        let word = match passed {
            Passed::Answered => "answered",
            Passed::Gone => "gone",
            Passed::Refused => "refused",
            Passed::Failed => "failed",
            Passed::Aborted => "aborted",
        };
        self.passing.metrics.passed_on.with(word).increment(1);
        if let Some(took) = took {
            self.passing.metrics.passing_duration.record(took);
        }
    }
}
