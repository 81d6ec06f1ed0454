//! Orders: what operators have nodes do that is not about sessions, on whichever node it is.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::wire::{Answer, Request, Wish};
use super::{Control, ControlError};

/// What a node can be ordered to do. Implemented by whoever builds it; no order waits for its end but reading routes.
pub trait Orders: Send + Sync + 'static {
    /// How it stands.
    fn standing(&self) -> Standing;

    /// Begins to hand its clients over to the others, and takes none any more.
    fn drain(&self);

    /// Takes clients again.
    fn resume(&self);

    /// Reads its routes again; if `dry`, only tells what that would change. A mistake changes nothing.
    fn reload(&self, dry: bool) -> BoxFuture<'static, Reloaded>;
}

/// How a node stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether clients are sent to it.
    pub ready: bool,
    /// Whether it hands its clients over, or has.
    pub draining: bool,
}

/// What reading routes again changed, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Routes that come, as people read them.
    pub added: Vec<String>,
    /// Routes that go.
    pub removed: Vec<String>,
    /// Why nothing changed: the mistakes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What became of an order to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// It is being done.
    Heeded,
    /// No node that answered is called so.
    Unknown,
    /// There is no other node to which clients could go.
    Alone,
}

impl Control {
    /// Says who heeds orders on this node. Without anybody they are ignored.
    pub fn obeying(&self, orders: std::sync::Arc<dyn Orders>) {
        self.orders.set(orders).ok();
    }

    /// Has a node, by its name, hand its clients over to the others, and take no more.
    ///
    /// # Errors
    /// The bus is away.
    pub async fn drain_node(&self, name: &str) -> Result<Ordered, ControlError> {
        let (nodes, missing) = self.describe_nodes().await?;
        let is_open = |about: &super::About| about.ready && !about.draining;
        if !nodes.iter().any(|(node, ..)| node == name) {
            return Ok(Ordered::Unknown);
        }
        if missing == 0 && !nodes.iter().any(|(node, _, about)| node != name && is_open(about)) {
            return Ok(Ordered::Alone);
        }
        self.order(Wish::Drain, name).await
    }

    /// Has a node, by its name, take clients again.
    ///
    /// # Errors
    /// The bus is away.
    pub async fn resume_node(&self, name: &str) -> Result<Ordered, ControlError> {
        self.order(Wish::Resume, name).await
    }

    async fn order(&self, wish: Wish, name: &str) -> Result<Ordered, ControlError> {
        let (answers, _) = self.ask(Request { name: Some(name.to_owned()), ..Request::new(wish) }).await?;
        let heeded = answers.iter().any(|answer| answer.sessions > 0);
        Ok(if heeded { Ordered::Heeded } else { Ordered::Unknown })
    }

    /// Has all nodes read their routes again, or only tell what that would change: each by its name, and how many did not
    /// answer.
    ///
    /// # Errors
    /// The bus is away.
    pub async fn reload_nodes(&self, dry: bool) -> Result<(Vec<(String, Reloaded)>, usize), ControlError> {
        let (answers, missing) = self.ask(Request { dry, ..Request::new(Wish::Reload) }).await?;
        let reloaded = answers.into_iter().filter_map(|answer| Some((answer.node, answer.reloaded?)));
        Ok((reloaded.collect(), missing))
    }

    /// Does what this node is ordered, if it is the one: then one is counted.
    pub(super) fn obey(&self, wish: Wish, name: &str) -> Answer {
        let Some(orders) = self.orders.get().filter(|_| name == self.name) else { return Answer::default() };
        if wish == Wish::Drain {
            orders.drain()
        } else {
            orders.resume()
        }
        Answer { sessions: 1, ..Answer::default() }
    }

    pub(super) async fn reload_here(&self, dry: bool) -> Answer {
        let reloaded = match self.orders.get() {
            Some(orders) => Some(orders.reload(dry).await),
            None => None,
        };
        Answer { reloaded, ..Answer::default() }
    }
}
