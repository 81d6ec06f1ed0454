//! What nodes tell each other of how they stand: MessagePack maps, so that fields can be added. What is old counts no more.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::course::{Hindrance, View};
use super::shares::Standing;

/// How long what a node tells counts. It tells every second.
const FRESH: Duration = Duration::from_secs(3);
/// Nodes that are remembered: far more than there are, and a bound on what rubbish can do.
const NODES: usize = 1_000;
/// Sessions that one message may name.
pub(super) const MOVED: usize = 4_000;

/// What a node tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Tells this process from any other, whatever they are called.
    pub(super) mark: u64,
    /// What it is called.
    pub(super) node: String,
    pub(super) connections: u32,
    /// How many it may have, 0 for any number.
    pub(super) limit: u32,
    pub(super) weight: u32,
    /// Whether clients may come to it.
    pub(super) open: bool,
    /// How many clients it has asked to go, since it began.
    #[serde(default)]
    pub(super) moves: u64,
    /// Which sessions those were that it has asked since it told last.
    #[serde(default)]
    pub(super) moved: Vec<u64>,
    /// What operators said last about balancing.
    #[serde(default)]
    pub(super) order: Order,
}

/// Whether operators let nodes balance. The later order counts, whichever node was told; of two at once, the one that stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Order {
    /// Counts orders.
    pub(super) number: u64,
    pub(super) stopped: bool,
}

impl Told {
    pub(super) fn standing(&self) -> Standing {
        Standing { connections: self.connections, limit: self.limit, weight: self.weight }
    }
}

/// What the other nodes told last, and when it was heard. Their clocks do not matter.
#[derive(Debug, Default)]
pub(super) struct Book(HashMap<u64, (Duration, Told)>);

impl Book {
    pub(super) fn note(&mut self, now: Duration, told: Told) {
        self.0.retain(|_, (heard, _)| now.saturating_sub(*heard) <= FRESH);
        if self.0.len() < NODES || self.0.contains_key(&told.mark) {
            self.0.insert(told.mark, (now, told));
        }
    }

    /// Nothing that was heard counts any more: something may have been missed.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// What counts.
    pub(super) fn fresh(&self, now: Duration) -> Vec<&Told> {
        let fresh = self.0.values().filter(|(heard, _)| now.saturating_sub(*heard) <= FRESH);
        let mut fresh: Vec<_> = fresh.map(|(_, told)| told).collect();
        fresh.sort_by_key(|told| told.mark);
        fresh
    }

    /// How all nodes stand, if clients may come to so many by another count, this one among them.
    pub(super) fn view(&self, now: Duration, own: &Told, counted: usize) -> Result<View, Hindrance> {
        let others = self.fresh(now);
        let all = || std::iter::once(own).chain(others.iter().copied());
        if all().any(|told| !told.open && (told.mark == own.mark || told.connections > 0)) {
            return Err(Hindrance::Draining);
        }
        let open = || all().filter(|told| told.open);
        match open().count() {
            known if known != counted => return Err(Hindrance::Incomplete),
            1 => return Err(Hindrance::Alone),
            _ => {}
        }
        // The same for the same nodes, in whatever order.
        let set = open().fold(0_u64, |set, told| set.wrapping_add(told.mark.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let moved = all().map(|told| told.moves).fold(0, u64::saturating_add);
        Ok(View { nodes: open().map(Told::standing).collect(), set, moved })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(mark: u64, connections: u32) -> Told {
        let (node, order) = (format!("n{mark}"), Order::default());
        Told { mark, node, connections, limit: 0, weight: 100, open: true, moves: 0, moved: Vec::new(), order }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_old_counts_no_more_whatever_it_said() {
        let mut book = Book::default();
        book.note(seconds(10), told(2, 5));
        assert_eq!(book.view(seconds(13), &told(1, 9), 2).unwrap().nodes.len(), 2);
        assert_eq!(book.view(seconds(14), &told(1, 9), 2).unwrap_err(), Hindrance::Incomplete);
        book.note(seconds(14), told(2, 5));
        assert!(book.view(seconds(14), &told(1, 9), 2).is_ok());
        book.forget();
        assert_eq!(book.view(seconds(14), &told(1, 9), 2).unwrap_err(), Hindrance::Incomplete);
    }

    #[test]
    fn a_node_that_tells_nothing_keeps_the_others_from_it() {
        let mut book = Book::default();
        book.note(seconds(10), told(2, 5));
        assert_eq!(book.view(seconds(10), &told(1, 9), 3).unwrap_err(), Hindrance::Incomplete, "an older version");
        assert_eq!(book.view(seconds(10), &told(1, 9), 1).unwrap_err(), Hindrance::Incomplete, "one has gone");
        assert_eq!(Book::default().view(seconds(10), &told(1, 9), 1).unwrap_err(), Hindrance::Alone);
    }

    #[test]
    fn nodes_that_drain_are_waited_for_and_empty_ones_are_not() {
        let mut book = Book::default();
        book.note(seconds(10), Told { open: false, ..told(2, 5) });
        book.note(seconds(10), told(3, 5));
        assert_eq!(book.view(seconds(10), &told(1, 9), 2).unwrap_err(), Hindrance::Draining);
        book.note(seconds(10), Told { open: false, ..told(2, 0) });
        assert_eq!(book.view(seconds(10), &told(1, 9), 2).unwrap().nodes.len(), 2, "it stays, and is empty");
        let own = Told { open: false, ..told(1, 0) };
        assert_eq!(book.view(seconds(10), &own, 1).unwrap_err(), Hindrance::Draining);
    }

    #[test]
    fn another_node_is_another_set_and_the_order_is_none() {
        let set = |marks: &[u64]| {
            let mut book = Book::default();
            marks.iter().for_each(|mark| book.note(seconds(1), told(*mark, 1)));
            book.view(seconds(1), &told(9, 1), marks.len() + 1).unwrap().set
        };
        assert_eq!(set(&[1, 2]), set(&[2, 1]));
        assert_ne!(set(&[1, 2]), set(&[1, 3]));
        assert_ne!(set(&[1, 2]), set(&[1]));
    }

    #[test]
    fn rubbish_cannot_fill_the_memory() {
        let mut book = Book::default();
        (0..5_000).for_each(|mark| book.note(seconds(1), told(mark, 1)));
        assert_eq!(book.fresh(seconds(1)).len(), NODES);
        book.note(seconds(9), told(7, 1));
        assert_eq!(book.fresh(seconds(9)).len(), 1);
    }

    #[test]
    fn a_field_that_a_newer_node_adds_is_no_obstacle() {
        #[derive(Serialize)]
        struct Newer {
            mark: u64,
            node: &'static str,
            connections: u32,
            limit: u32,
            weight: u32,
            open: bool,
            zone: &'static str,
        }
        let newer = Newer { mark: 7, node: "n7", connections: 3, limit: 0, weight: 100, open: true, zone: "a" };
        let bytes = rmp_serde::to_vec_named(&newer).unwrap();
        assert_eq!(rmp_serde::from_slice::<Told>(&bytes).unwrap(), told(7, 3));
    }

    #[test]
    fn the_later_order_counts_and_of_two_at_once_the_one_that_stops() {
        let order = |number, stopped| Order { number, stopped };
        assert!(order(2, false) > order(1, true));
        assert!(order(2, true) > order(2, false));
    }
}
