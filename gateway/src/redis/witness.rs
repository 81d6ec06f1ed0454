//! What a node knows of what was kept, to notice that some of it was lost.

use crate::domain::Offset;

/// Offsets that wait to be vouched for, at the most: as many connections as may be lost between two marks, and more.
const MOST: usize = 64;

/// What this node knows of what was kept. A history that does not have it has lost writes.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// The highest offset of what it had kept itself.
    kept: Offset,
    /// The highest offset of what it heard of.
    heard: Offset,
    /// What both were whenever a connection was lost, since it last vouched. Only who has the log knows which of them came
    /// from the process before: what the next one has lost lies below what that gives itself.
    knew: Vec<Offset>,
    /// How many connections had been lost by then.
    losses: u64,
}

impl Witness {
    /// The highest offset that it knows.
    pub(super) fn known(&self) -> Offset {
        self.kept.max(self.heard)
    }

    /// Notes what was kept, by an answer on a connection that was made after so many losses.
    pub(super) fn kept(&mut self, offset: Offset, losses: u64) {
        self.note(losses);
        self.kept = self.kept.max(offset);
        if losses < self.losses {
            // It was kept before that loss, which was noticed first.
            self.add(offset);
        }
    }

    /// Notes what was heard.
    pub(super) fn heard(&mut self, offset: Offset) {
        self.heard = self.heard.max(offset);
    }

    /// Notes that something may not have been heard: what comes now comes on another connection.
    pub(super) fn missed(&mut self) {
        self.add(self.heard);
    }

    /// Notes how many connections were lost. Whatever comes after that may be another process' doing.
    pub(super) fn note(&mut self, losses: u64) {
        if losses > self.losses {
            self.losses = losses;
            self.add(self.kept);
            self.add(self.heard);
        }
    }

    /// Takes what is to be vouched for.
    pub(super) fn take(&mut self) -> Vec<Offset> {
        std::mem::take(&mut self.knew)
    }

    /// Puts back what was not vouched for after all.
    pub(super) fn put_back(&mut self, knew: &[Offset]) {
        knew.iter().for_each(|offset| self.add(*offset));
    }

    fn add(&mut self, offset: Offset) {
        if offset == Offset::START || self.knew.contains(&offset) {
            return;
        }
        if self.knew.len() == MOST {
            // Between its neighbours, of which one is higher.
            self.knew.sort_unstable();
            self.knew.remove(MOST / 2);
        }
        self.knew.push(offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_known_at_each_loss_is_to_be_vouched_for_once() {
        let mut witness = Witness::default();
        witness.note(1);
        assert!(witness.take().is_empty(), "nothing was known");
        witness.kept(Offset(10), 1);
        witness.note(2);
        witness.note(2);
        witness.kept(Offset(20), 2);
        witness.note(3);
        assert_eq!(witness.take(), [Offset(10), Offset(20)]);
        witness.note(3);
        assert!(witness.take().is_empty());
        witness.put_back(&[Offset(10)]);
        assert_eq!((witness.take(), witness.known()), (vec![Offset(10)], Offset(20)));
    }

    #[test]
    fn an_answer_that_is_looked_at_after_the_loss_is_from_before_it() {
        let mut witness = Witness::default();
        witness.kept(Offset(10), 0);
        witness.note(1);
        witness.kept(Offset(12), 0);
        witness.kept(Offset(90), 1);
        assert_eq!((witness.take(), witness.known()), (vec![Offset(10), Offset(12)], Offset(90)));
    }

    #[test]
    fn what_was_heard_before_a_gap_is_not_hidden_by_what_was_kept_after_it() {
        let mut witness = Witness::default();
        witness.note(1);
        witness.kept(Offset(90), 1);
        witness.heard(Offset(12));
        witness.missed();
        assert_eq!(witness.take(), [Offset(12)]);
    }

    #[test]
    fn it_is_bounded_and_the_highest_stays() {
        let mut witness = Witness::default();
        for number in 1..=200 {
            witness.kept(Offset(number), number - 1);
            witness.note(number);
        }
        let knew = witness.take();
        assert!(knew.len() == MOST && knew.contains(&Offset(1)) && knew.contains(&Offset(200)));
    }
}
