//! What a node knows of what was kept, to notice that some of it was lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::Offset;

/// What waits to be vouched for, at the most.
const MOST: usize = 64;

/// Something that was kept, and by which process of Redis: its run id, or nothing if that is not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Known {
    pub(super) offset: Offset,
    pub(super) process: Arc<str>,
}

/// What this node knows of what was kept. A history that does not have it has lost writes.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// The highest offset of what each process kept for it, until another one was told. A primary that is none any more may
    /// have taken something after the next one began, so an offset alone does not say who has to have it.
    kept: Vec<Known>,
    /// The highest offset of what it heard of.
    heard: Offset,
    /// What that was whenever a connection was lost, since it last vouched. Only who has the log knows which of them came from
    /// the process before: what the next one has lost lies below what that gives itself.
    missed: BTreeSet<Offset>,
    /// How many connections had been lost by then.
    losses: u64,
    /// The highest of all.
    highest: Offset,
}

impl Witness {
    /// The highest offset that it knows.
    pub(super) fn known(&self) -> Offset {
        self.highest
    }

    /// Notes what a process kept.
    pub(super) fn kept(&mut self, offset: Offset, process: &Arc<str>) {
        self.highest = self.highest.max(offset);
        match self.kept.iter_mut().find(|known| known.process == *process) {
            Some(known) => known.offset = known.offset.max(offset),
            None => {
                if self.kept.len() == MOST {
                    self.kept.remove(0);
                }
                self.kept.push(Known { offset, process: process.clone() });
            }
        }
    }

    /// Notes what was heard.
    pub(super) fn heard(&mut self, offset: Offset) {
        self.highest = self.highest.max(offset);
        self.heard = self.heard.max(offset);
    }

    /// Notes that something may not have been heard: what comes now comes on another connection.
    pub(super) fn missed(&mut self) {
        if self.heard > Offset::START {
            self.missed.insert(self.heard);
        }
        if self.missed.len() > MOST {
            // Not an end: between its neighbours, of which one is higher.
            let middle = self.missed.iter().nth(MOST / 2).copied();
            middle.map(|offset| self.missed.remove(&offset));
        }
    }

    /// Notes how many connections were lost. Whatever is heard after that may be another process' doing.
    pub(super) fn note(&mut self, losses: u64) {
        if losses > self.losses {
            self.losses = losses;
            self.missed();
        }
    }

    /// What is to be vouched for.
    pub(super) fn knowledge(&self) -> Vec<Known> {
        let heard = self.missed.iter().map(|offset| Known { offset: *offset, process: Arc::default() });
        self.kept.iter().cloned().chain(heard).collect()
    }

    /// Notes that a process was told that much: what others had kept is settled.
    pub(super) fn told(&mut self, knowledge: &[Known], process: &Arc<str>) {
        self.kept.retain(|known| known.process == *process || !knowledge.contains(known));
        self.missed.retain(|offset| !knowledge.iter().any(|known| known.process.is_empty() && known.offset == *offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(witness: &Witness) -> Vec<String> {
        witness.knowledge().iter().map(|known| format!("{}:{}", known.process, known.offset)).collect()
    }

    #[test]
    fn what_each_process_kept_is_vouched_for_until_another_one_was_told() {
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let mut witness = Witness::default();
        witness.kept(Offset(10), &one);
        witness.kept(Offset(9), &one);
        witness.told(&witness.knowledge(), &one);
        assert_eq!(texts(&witness), ["one:10"]);
        witness.kept(Offset(90), &two);
        let told = witness.knowledge();
        // An answer of the old one that was looked at late.
        witness.kept(Offset(12), &one);
        witness.told(&told, &two);
        assert_eq!(texts(&witness), ["one:12", "two:90"]);
        witness.told(&witness.knowledge(), &two);
        assert_eq!((texts(&witness), witness.known()), (vec!["two:90".to_owned()], Offset(90)));
    }

    #[test]
    fn what_was_heard_is_vouched_for_at_each_loss() {
        let mut witness = Witness::default();
        witness.note(1);
        assert!(witness.knowledge().is_empty(), "nothing was known");
        witness.heard(Offset(10));
        witness.note(2);
        witness.note(2);
        witness.heard(Offset(20));
        witness.missed();
        assert_eq!(texts(&witness), [":10", ":20"]);
        witness.told(&witness.knowledge(), &Arc::from("one"));
        assert!(witness.knowledge().is_empty());
    }

    #[test]
    fn it_is_bounded_and_the_highest_stays() {
        let mut witness = Witness::default();
        for number in 1..=200 {
            witness.heard(Offset(number));
            witness.note(number);
            witness.kept(Offset(number), &number.to_string().into());
        }
        let all = witness.knowledge();
        assert_eq!(all.len(), 2 * MOST);
        assert!(all.iter().any(|known| known.offset == Offset(1)), "of what was heard");
        assert_eq!(all.iter().filter(|known| known.offset == Offset(200)).count(), 2);
    }
}
