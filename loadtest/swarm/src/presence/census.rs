//! Who must be counted, and how often the nodes counted otherwise.

use std::cell::{Cell, RefCell};

use serde::Serialize;
use tokio::time::Instant;

use crate::tally::Tally;

/// Shared by everybody in the scenario; single-threaded, so that a look at it is a moment.
#[derive(Debug)]
pub(crate) struct Census {
    rooms: Vec<String>,
    /// Members that must be counted, by room: from the ack of their join until they go
    present: RefCell<Vec<u32>>,
    /// Nothing happens: the counts have to be exact, not only large enough
    is_still: Cell<bool>,
    /// The latest complete look at all the rooms, by node
    looks: RefCell<Vec<Option<Look>>>,
    findings: RefCell<CountFindings>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    begun: Instant,
    is_exact: bool,
}

#[derive(Debug, Default, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CountFindings {
    /// Counts that nodes answered
    pub(crate) answers: u64,
    /// Counts below those that were certainly there
    pub(crate) too_low: u64,
    /// Counts that were not exact while nobody came or went
    pub(crate) inexact_in_peace: u64,
    /// The first of either, in words
    pub(crate) first_wrong: Option<String>,
    pub(crate) unanswered: Tally,
}

impl Census {
    pub(crate) fn new(rooms: Vec<String>, nodes: usize) -> Self {
        Self {
            present: RefCell::new(vec![0; rooms.len()]),
            rooms,
            is_still: Cell::new(false),
            looks: RefCell::new(vec![None; nodes]),
            findings: RefCell::default(),
        }
    }

    pub(crate) fn rooms(&self) -> &[String] {
        &self.rooms
    }

    /// A join was acknowledged.
    pub(crate) fn came(&self, room: usize) {
        self.present.borrow_mut()[room] += 1;
    }

    /// To be called before the member does anything towards going.
    pub(crate) fn goes(&self, room: usize) {
        let present = &mut self.present.borrow_mut()[room];
        // Whoever could not join cannot leave: that join has failed the run already.
        *present = present.saturating_sub(1);
    }

    /// By room, at this moment.
    pub(crate) fn present(&self) -> Vec<u32> {
        self.present.borrow().clone()
    }

    pub(crate) fn set_still(&self, is_still: bool) {
        self.is_still.set(is_still);
    }

    pub(crate) fn findings(&self) -> CountFindings {
        self.findings.borrow().clone()
    }

    pub(crate) fn not_answered(&self, why: impl std::fmt::Display) {
        self.findings.borrow_mut().unanswered.add(why);
    }

    /// Sets what a node counted, by room, against who was there. `before`: who was there when it was asked; between
    /// question and answer the true count may have been that, or what it is now, or anything between them.
    pub(crate) fn compare(&self, node: usize, begun: Instant, before: &[u32], counted: &[u64]) {
        let after = self.present.borrow();
        let mut findings = self.findings.borrow_mut();
        let mut is_exact = true;
        for (room, &count) in counted.iter().enumerate() {
            findings.answers += 1;
            let least = u64::from(before[room].min(after[room]));
            let is_unchanged = before[room] == after[room];
            is_exact &= is_unchanged && count == least;
            let wrong = if count < least {
                findings.too_low += 1;
                true
            } else if self.is_still.get() && count != least {
                findings.inexact_in_peace += 1;
                true
            } else {
                false
            };
            if wrong && findings.first_wrong.is_none() {
                let name = &self.rooms[room];
                findings.first_wrong = Some(format!("node {} counted {count} of {least} in {name}", node + 1));
            }
        }
        self.looks.borrow_mut()[node] = Some(Look { begun, is_exact });
    }

    /// Whether all these nodes have counted exactly when they were asked after `since`.
    pub(crate) fn is_exact(&self, nodes: &[usize], since: Instant) -> bool {
        let looks = self.looks.borrow();
        nodes.iter().all(|&node| looks[node].is_some_and(|look| look.begun >= since && look.is_exact))
    }
}

impl CountFindings {
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if self.too_low > 0 {
            failures.push(format!("{} counts without members that were there", self.too_low));
        }
        if self.inexact_in_peace > 0 {
            failures.push(format!("{} counts inexact though nobody came or went", self.inexact_in_peace));
        }
        if self.unanswered.total() > 0 {
            failures.push(format!("{} questions for counts not answered", self.unanswered.total()));
        }
        if self.answers == 0 {
            failures.push("nothing was counted".to_owned());
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::Census;

    fn census(present: u32) -> Census {
        let census = Census::new(vec!["r".to_owned()], 2);
        (0..present).for_each(|_| census.came(0));
        census
    }

    #[test]
    fn a_count_below_those_present_is_wrong_at_any_time() {
        let census = census(3);
        census.compare(0, Instant::now(), &[3], &[2]);
        let findings = census.findings();
        assert_eq!((findings.too_low, findings.inexact_in_peace), (1, 0));
        assert_eq!(findings.first_wrong.as_deref(), Some("node 1 counted 2 of 3 in r"));
        assert_eq!(findings.failures(), ["1 counts without members that were there"]);
    }

    #[test]
    fn a_count_above_is_wrong_only_when_nothing_happens() {
        let census = census(3);
        census.compare(0, Instant::now(), &[3], &[4]);
        assert_eq!(census.findings().failures(), Vec::<String>::new());
        census.set_still(true);
        census.compare(0, Instant::now(), &[3], &[4]);
        assert_eq!(census.findings().inexact_in_peace, 1);
    }

    #[test]
    fn who_goes_while_the_answer_is_on_its_way_may_be_counted_or_not() {
        let census = census(3);
        let (asked, before) = (Instant::now(), census.present());
        census.goes(0);
        for count in [2, 3] {
            census.compare(0, asked, &before, &[count]);
        }
        assert_eq!(census.findings().failures(), Vec::<String>::new());
        assert!(!census.is_exact(&[0], asked));
    }

    #[test]
    fn exact_are_all_the_nodes_and_only_by_a_look_that_is_new_enough() {
        let census = census(1);
        let begun = Instant::now();
        census.compare(0, begun, &[1], &[1]);
        assert!(census.is_exact(&[0], begun));
        assert!(!census.is_exact(&[0, 1], begun));
        census.compare(1, begun, &[1], &[1]);
        assert!(census.is_exact(&[0, 1], begun));
        let later = begun + std::time::Duration::from_millis(1);
        assert!(!census.is_exact(&[0, 1], later));
    }
}
