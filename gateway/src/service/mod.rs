//! Service: what back ends may have the deployment do, whatever edge they come through: say something, read, look who is
//! there, decide about sessions. All of it is for somebody who was let in already.

mod reading;
mod saying;

pub use crate::node::{Allowed, KeyLimiter};
pub use reading::{Bounded, History, Member, Members, Said};
pub use saying::Saying;

use std::sync::Arc;

use crate::content::Bounds;
use crate::node::Node;

/// What back ends may have done, on this node or by way of it on all.
#[derive(Debug)]
pub struct Service {
    node: Arc<Node>,
    bounds: Bounds,
    /// What a page of history weighs at the most, in bytes.
    page_bytes: usize,
}

impl Service {
    /// The service of a node. Events are within `bounds`; a page of history weighs `page_bytes` at the most.
    #[must_use]
    pub fn new(node: Arc<Node>, bounds: Bounds, page_bytes: usize) -> Self {
        Self { node, bounds, page_bytes }
    }
}
