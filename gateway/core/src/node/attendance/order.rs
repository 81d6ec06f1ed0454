//! Order: what happens to a member of a place is acted on in the order in which it happened, one thing after the other.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::domain::RoomName;

/// How long something waits for what happened before it. A back end that hangs longer loses the order, not what happens.
const PATIENCE: Duration = Duration::from_secs(30);

/// A place and a member of it.
type Key = (RoomName, String);

/// What is to be acted on, by whom it happened to.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Order(Arc<Mutex<HashMap<Key, Line>>>);

/// What happened to one member of one place. Somebody's turn it always is.
#[derive(Debug, Default)]
struct Line {
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The right to act on something, once everything is over that happened before as far as this node knows. It ends when
/// this is dropped.
#[derive(Debug)]
pub struct Turn {
    order: Order,
    key: Key,
    sequence: u64,
    coming: Option<oneshot::Receiver<()>>,
    /// Whether it is its turn, or will be.
    is_in_line: bool,
}

impl Order {
    /// Takes the place of something that happened; to be called as soon as it is known.
    pub(in crate::node) fn enlist(&self, place: &RoomName, member: &str, sequence: u64) -> Turn {
        let key = (place.clone(), member.to_owned());
        let mut lines = self.0.lock();
        let coming = match lines.get_mut(&key) {
            None => {
                lines.insert(key.clone(), Line::default());
                None
            }
            Some(line) => {
                let (turn, coming) = oneshot::channel();
                line.waiting.insert(sequence, turn);
                Some(coming)
            }
        };
        drop(lines);
        Turn { order: self.clone(), key, sequence, coming, is_in_line: true }
    }
}

impl Turn {
    /// Its place in the order of all that happens in a deployment.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns when what happened before is over, or takes too long.
    pub async fn come(&mut self) {
        let Some(coming) = &mut self.coming else { return };
        if timeout(PATIENCE, coming).await.is_err() {
            tracing::warn!(place = %self.key.0, "what happened to a member before is not over yet, and is not waited for");
            let mut lines = self.order.0.lock();
            let line = lines.get_mut(&self.key);
            self.is_in_line = line.is_none_or(|line| line.waiting.remove(&self.sequence).is_none());
        }
        self.coming = None;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_in_line {
            return;
        }
        let mut lines = self.order.0.lock();
        let Some(line) = lines.get_mut(&self.key) else { return };
        if line.waiting.remove(&self.sequence).is_some() {
            // It was given up before it came.
            return;
        }
        match line.waiting.pop_first() {
            Some((_, next)) => _ = next.send(()),
            None => _ = lines.remove(&self.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn room() -> RoomName {
        RoomName::parse("r").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_happened_first_is_acted_on_first_whoever_asks_first() {
        let order = Order::default();
        let mut first = order.enlist(&room(), "alice", 10);
        let (mut third, mut second) = (order.enlist(&room(), "alice", 30), order.enlist(&room(), "alice", 20));
        let mut other = order.enlist(&room(), "bob", 40);
        first.come().now_or_never().unwrap();
        other.come().now_or_never().unwrap();
        assert!(third.come().now_or_never().is_none() && second.come().now_or_never().is_none());
        drop(first);
        assert!(third.come().now_or_never().is_none());
        second.come().now_or_never().unwrap();
        drop(second);
        third.come().now_or_never().unwrap();
        drop((third, other));
        assert!(order.0.lock().is_empty(), "nothing stays");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_up_holds_up_nobody() {
        let order = Order::default();
        let first = order.enlist(&room(), "alice", 1);
        let (given_up, mut last) = (order.enlist(&room(), "alice", 2), order.enlist(&room(), "alice", 3));
        drop(given_up);
        let granted = order.enlist(&room(), "alice", 0);
        drop(first);
        assert!(last.come().now_or_never().is_none(), "the turn is another's, which does not know yet");
        drop(granted);
        last.come().now_or_never().unwrap();
        drop(last);
        assert!(order.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let order = Order::default();
        let hangs = order.enlist(&room(), "alice", 1);
        let mut next = order.enlist(&room(), "alice", 2);
        let mut after = order.enlist(&room(), "alice", 3);
        next.come().await;
        drop(next);
        assert!(after.come().now_or_never().is_none(), "who goes ahead out of order takes nobody with it");
        drop(hangs);
        after.come().now_or_never().unwrap();
        drop(after);
        assert!(order.0.lock().is_empty());
    }
}
