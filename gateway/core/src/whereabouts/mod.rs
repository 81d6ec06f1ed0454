//! PORT: whereabouts. Where the nodes that clients come to reach each other, and the secret by which they know each other; the trait
//! is the contract, `tests/contract/whereabouts.rs` checks every backend against it.

mod redis;

pub use redis::RedisWhereabouts;

use std::time::Duration;

use async_trait::async_trait;

use crate::config::Secret;
use crate::port::PortError;

/// Where the nodes of a deployment are.
///
/// **Noted** is a node for a time, under a name that no other one has; a node that goes on says so again before that is over. What
/// is told with it are all that are noted, and the secret.
///
/// **The secret** is what whoever is first says, and the same for all from then on.
///
/// **Losses.** A store may forget all of it: then each node is noted again when it next says so, and there is another secret.
#[async_trait]
pub trait Whereabouts: Send + Sync + 'static {
    /// Notes a node for a time, and offers a secret for a deployment that has none.
    async fn note(&self, me: &Whereabout, kept: Duration, offered: &Secret) -> Result<Noted, PortError>;

    /// Forgets a node.
    async fn forget(&self, name: &str) -> Result<(), PortError>;
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabout {
    /// What it is known by.
    pub name: String,
    /// Host and port.
    pub address: String,
}

/// What is known of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// What only its nodes know.
    pub secret: Secret,
    /// Those that are noted.
    pub nodes: Vec<Whereabout>,
}
