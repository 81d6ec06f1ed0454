//! Who is connected: all that others need to know of comebacks.

use std::sync::Arc;

use super::roster::Roster;
use crate::node::namespaces::Namespaces;
use crate::node::session::Session;
use crate::sessions::Sessions;

/// The sessions that are connected to this node, and whether they are still its own.
#[derive(Debug)]
pub(in crate::node) struct Connected {
    roster: Arc<Roster>,
    namespaces: Namespaces,
    sessions: Arc<dyn Sessions>,
}

impl Connected {
    pub(super) fn new(roster: Arc<Roster>, namespaces: Namespaces, sessions: Arc<dyn Sessions>) -> Self {
        Self { roster, namespaces, sessions }
    }

    /// All of them, in no order.
    pub(in crate::node) fn all(&self) -> Vec<Arc<Session>> {
        self.roster.of(&self.namespaces)
    }

    /// Whether a session is this node's as far as the store of sessions knows: false also if it cannot be asked.
    pub(in crate::node) async fn holds(&self, session: &Session) -> bool {
        self.sessions.renew(&[session.lease]).await.is_ok_and(|lost| lost.is_empty())
    }
}
