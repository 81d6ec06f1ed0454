//! Seating: how a session's claims to its seats are ordered, and whether it is just taking one.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::Session;

/// Where a session is in the order of what presence is asked for it.
#[derive(Debug, Default)]
pub(super) struct Seating {
    /// Which of the holders that the session had its lease makes this one.
    term: AtomicU32,
    /// How many times presence was asked something.
    steps: AtomicU32,
    /// How many seats it is just taking: of these the store may know more than the session, or less.
    taking: AtomicU32,
    /// Whether the store has it somewhere for a later holder.
    elsewhere: AtomicBool,
}

/// A session that is just taking a seat, of which nobody knows yet.
#[must_use = "the seat is taken when this is dropped"]
pub(in crate::node) struct Taking<'a>(&'a Session);

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.0.seating.taking.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Session {
    /// Notes which of its holders this one is, before anything is done for it: the session had others.
    pub fn begin_term(&self, term: u32) {
        self.seating.term.store(term, Ordering::Release);
    }

    /// Which of its holders this one is.
    pub(in crate::node) fn term(&self) -> u32 {
        self.seating.term.load(Ordering::Acquire)
    }

    /// The number of what presence is asked next: below those of all that is decided later.
    pub(in crate::node) fn next_step(&self) -> u32 {
        self.seating.steps.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Notes that it takes a seat, as long as what this returns is there.
    pub(in crate::node) fn take_seat(&self) -> Taking<'_> {
        self.seating.taking.fetch_add(1, Ordering::AcqRel);
        Taking(self)
    }

    pub(in crate::node) fn is_taking_seats(&self) -> bool {
        self.seating.taking.load(Ordering::Acquire) > 0
    }

    /// Notes that the store has it somewhere for another holder: it is known to be missing.
    pub(in crate::node) fn note_elsewhere(&self) {
        self.seating.elsewhere.store(true, Ordering::Release);
    }

    /// Whether that was noted. It may have changed since if it `may_be_over`: then that is to be found out anew.
    pub(in crate::node) fn is_elsewhere(&self, may_be_over: bool) -> bool {
        if may_be_over {
            self.seating.elsewhere.store(false, Ordering::Release);
        }
        self.seating.elsewhere.load(Ordering::Acquire)
    }
}
