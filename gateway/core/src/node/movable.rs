//! Who may be asked to come back by another connection, if it need not be: nobody in the middle of something.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Node, Session};

impl Node {
    /// The connections whose sessions all came before a moment and could go now, each as its sessions, in no order.
    #[must_use]
    pub fn movable(&self, came_before: Instant) -> Vec<Vec<Arc<Session>>> {
        let mut connections: HashMap<usize, Vec<Arc<Session>>> = HashMap::new();
        let mut alone = Vec::new();
        for session in self.roster().all() {
            match session.gate.outlet().connection() {
                Some(connection) => connections.entry(connection).or_default().push(session),
                None => alone.push(vec![session]),
            }
        }
        alone.extend(connections.into_values());
        alone.retain(|sessions| sessions.iter().all(|session| session.came < came_before && self.may_go(session)));
        alone
    }

    /// Whether a session is not in the middle of something: an event of its client that is handled, something that waits for
    /// its client or is asked of it, or being stored.
    #[must_use]
    pub fn may_go(&self, session: &Session) -> bool {
        !session.is_hidden()
            && !session.is_over()
            && session.closing().is_none()
            && session.busy.try_lock().is_ok()
            && session.waiting().packets == 0
            && session.stored().is_some_and(|stored| stored.is_current)
            && !self.asking.waits_for(session)
    }
}
