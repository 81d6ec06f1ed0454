//! Keeps the books of a run: every publish, who heard it, how often, in which order, how late.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::findings::Findings;
use crate::latency::Latencies;
use crate::packet::Answer;
use crate::stamp::Delivery;
use crate::tally::Tally;

pub(crate) type SharedAudit = Rc<RefCell<Audit>>;

/// Publish number `sequence` belongs to room `sequence % rooms`, so that neither a publish nor a
/// delivery needs to look its room up.
#[derive(Debug)]
pub(crate) struct Audit {
    started: Instant,
    /// Members per room that owe us a hearing
    members: Vec<u32>,
    publishes: Vec<Publish>,
    phase: usize,
    phases: Vec<Phase>,
    heard: u64,
    duplicated: u64,
    reordered: u64,
    misrouted: u64,
    contradicted: u64,
    unreadable: u64,
    refused: Tally,
    closed: Tally,
}

/// Latencies of what was published during one phase of the run, whenever it was heard.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) deliveries: Latencies,
    pub(crate) acks: Latencies,
    /// How long after its due time a publish was scheduled: swarm's own part in the latencies
    pub(crate) lateness: Latencies,
}

#[derive(Debug)]
struct Publish {
    fate: Fate,
    phase: usize,
    sent_ns: u64,
    /// Distinct members that heard it
    heard: u32,
    /// As the ack or the first delivery told it, whichever came first
    offset: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Scheduled,
    Sent,
    Acked,
    Refused,
}

/// One member's memory of what it heard.
#[derive(Debug)]
pub(crate) struct Ear {
    room: usize,
    last_offset: u64,
    /// One bit per publish of the room
    heard: Vec<u64>,
}

impl Ear {
    pub(crate) fn new(room: usize) -> Self {
        Self { room, last_offset: 0, heard: Vec::new() }
    }

    /// False if it was marked before.
    fn mark(&mut self, index: usize) -> bool {
        let (word, bit) = (index / 64, 1 << (index % 64));
        if self.heard.len() <= word {
            self.heard.resize(word + 1, 0);
        }
        let is_new = self.heard[word] & bit == 0;
        self.heard[word] |= bit;
        is_new
    }
}

impl Audit {
    pub(crate) fn new(members: Vec<u32>, phases: usize) -> anyhow::Result<Self> {
        let phases = (0..phases)
            .map(|_| Ok(Phase { deliveries: Latencies::new()?, acks: Latencies::new()?, lateness: Latencies::new()? }))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            started: Instant::now(),
            members,
            publishes: Vec::new(),
            phase: 0,
            phases,
            heard: 0,
            duplicated: 0,
            reordered: 0,
            misrouted: 0,
            contradicted: 0,
            unreadable: 0,
            refused: Tally::default(),
            closed: Tally::default(),
        })
    }

    /// Publishes scheduled from now on count into this phase.
    pub(crate) fn enter_phase(&mut self, phase: usize) {
        self.phase = phase;
    }

    pub(crate) fn phase(&self, phase: usize) -> &Phase {
        &self.phases[phase]
    }

    /// Publishes that were due so far.
    pub(crate) fn scheduled(&self) -> u64 {
        self.publishes.len() as u64
    }

    /// Deliveries so far, broken ones included: each was work for the server.
    pub(crate) fn deliveries(&self) -> u64 {
        self.heard + self.duplicated + self.misrouted + self.unreadable
    }

    /// Returns the next sequence.
    pub(crate) fn schedule(&mut self, lateness: Duration) -> u64 {
        self.phases[self.phase].lateness.record(lateness);
        self.publishes.push(Publish { fate: Fate::Scheduled, phase: self.phase, sent_ns: 0, heard: 0, offset: None });
        self.publishes.len() as u64 - 1
    }

    /// Returns the time of sending, in nanoseconds since the audit's start.
    pub(crate) fn send(&mut self, sequence: u64) -> u64 {
        let sent_ns = self.elapsed_ns();
        let publish = &mut self.publishes[sequence as usize];
        publish.fate = Fate::Sent;
        publish.sent_ns = sent_ns;
        sent_ns
    }

    pub(crate) fn answer(&mut self, sequence: u64, answer: Answer) {
        let now_ns = self.elapsed_ns();
        let Some(publish) = self.publishes.get_mut(sequence as usize) else {
            self.unreadable += 1;
            return;
        };
        match answer {
            Ok(offset) => {
                publish.fate = Fate::Acked;
                let latency = Duration::from_nanos(now_ns.saturating_sub(publish.sent_ns));
                self.phases[publish.phase].acks.record(latency);
                match offset {
                    Some(offset) => self.contradicted += u64::from(publish.contradicts(offset)),
                    None => self.unreadable += 1,
                }
            }
            Err(code) => {
                publish.fate = Fate::Refused;
                self.refused.add(code);
            }
        }
    }

    pub(crate) fn hear(&mut self, ear: &mut Ear, delivery: Delivery) {
        let now_ns = self.elapsed_ns();
        let rooms = self.members.len();
        let sequence = delivery.stamp.sequence as usize;
        let publish = match self.publishes.get_mut(sequence) {
            Some(publish) if sequence % rooms == ear.room => publish,
            _ => {
                self.misrouted += 1;
                return;
            }
        };
        if !ear.mark(sequence / rooms) {
            self.duplicated += 1;
            return;
        }
        publish.heard += 1;
        self.heard += 1;
        self.contradicted += u64::from(publish.contradicts(delivery.offset));
        if delivery.offset <= ear.last_offset {
            self.reordered += 1;
        }
        ear.last_offset = ear.last_offset.max(delivery.offset);
        let latency = Duration::from_nanos(now_ns.saturating_sub(delivery.stamp.sent_ns));
        self.phases[publish.phase].deliveries.record(latency);
    }

    pub(crate) fn hear_unreadable(&mut self) {
        self.unreadable += 1;
    }

    pub(crate) fn close(&mut self, reason: impl fmt::Display) {
        self.closed.add(reason);
    }

    pub(crate) fn findings(&self) -> Findings {
        let mut findings = Findings {
            duplicated: self.duplicated,
            reordered: self.reordered,
            misrouted: self.misrouted,
            contradicted: self.contradicted,
            unreadable: self.unreadable,
            refused: self.refused.clone(),
            closed: self.closed.clone(),
            ..Findings::default()
        };
        for (sequence, publish) in self.publishes.iter().enumerate() {
            let members = self.members[sequence % self.members.len()];
            match publish.fate {
                Fate::Scheduled => findings.unsent += 1,
                Fate::Sent => findings.unanswered += 1,
                Fate::Refused => {}
                Fate::Acked => {
                    findings.acked += 1;
                    findings.expected += u64::from(members);
                    findings.received += u64::from(publish.heard);
                    continue;
                }
            }
            findings.unpromised += u64::from(publish.heard);
        }
        findings.lost = findings.expected - findings.received;
        findings
    }

    fn elapsed_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Publish {
    /// The same publish under two offsets means that two members saw two orders.
    fn contradicts(&mut self, offset: u64) -> bool {
        *self.offset.get_or_insert(offset) != offset
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Audit, Ear};
    use crate::stamp::{Delivery, Stamp};

    /// Two rooms of two members each.
    fn audit() -> anyhow::Result<(Audit, [Ear; 4])> {
        let ears = [0, 0, 1, 1].map(Ear::new);
        Ok((Audit::new(vec![2, 2], 1)?, ears))
    }

    fn publish(audit: &mut Audit) -> u64 {
        let sequence = audit.schedule(Duration::ZERO);
        audit.send(sequence);
        sequence
    }

    fn delivery(sequence: u64, offset: u64) -> Delivery {
        let stamp = Stamp { sequence, sent_ns: 0 };
        Delivery { stamp, offset }
    }

    #[test]
    fn a_clean_run_has_no_failures() -> anyhow::Result<()> {
        let (mut audit, mut ears) = audit()?;
        for offset in 10..200 {
            let sequence = publish(&mut audit);
            let first_ear = (sequence % 2) as usize * 2;
            audit.hear(&mut ears[first_ear], delivery(sequence, offset));
            audit.answer(sequence, Ok(Some(offset)));
            audit.hear(&mut ears[first_ear + 1], delivery(sequence, offset));
        }
        let findings = audit.findings();
        assert_eq!(findings.failures(), Vec::<String>::new());
        assert!(findings.is_settled());
        assert_eq!((findings.acked, findings.expected, findings.received), (190, 380, 380));
        assert_eq!(audit.deliveries(), 380);
        assert_eq!(audit.phase(0).deliveries.quantiles().count, 380);
        assert_eq!(audit.phase(0).acks.quantiles().count, 190);
        Ok(())
    }

    #[test]
    fn what_an_acked_publish_owes_is_lost_until_heard() -> anyhow::Result<()> {
        let (mut audit, mut ears) = audit()?;
        let sequence = publish(&mut audit);
        assert_eq!(audit.findings().unanswered, 1);
        audit.answer(sequence, Ok(Some(1)));
        audit.hear(&mut ears[0], delivery(sequence, 1));
        assert_eq!(audit.findings().lost, 1);
        assert!(!audit.findings().is_settled());
        audit.hear(&mut ears[1], delivery(sequence, 1));
        assert!(audit.findings().is_settled());
        Ok(())
    }

    #[test]
    fn a_duplicate_does_not_hide_a_loss() -> anyhow::Result<()> {
        let (mut audit, mut ears) = audit()?;
        let sequence = publish(&mut audit);
        audit.answer(sequence, Ok(Some(1)));
        audit.hear(&mut ears[0], delivery(sequence, 1));
        audit.hear(&mut ears[0], delivery(sequence, 1));
        let findings = audit.findings();
        assert_eq!((findings.duplicated, findings.lost, findings.reordered), (1, 1, 0));
        Ok(())
    }

    #[test]
    fn a_swap_is_seen_by_the_member_that_heard_it() -> anyhow::Result<()> {
        let (mut audit, mut ears) = audit()?;
        let sequences = [0; 3].map(|_| publish(&mut audit));
        for (ear, order) in [(0, [0, 2]), (1, [2, 0])] {
            for sequence in order {
                audit.hear(&mut ears[ear], delivery(sequences[sequence], sequence as u64 + 1));
            }
        }
        let findings = audit.findings();
        assert_eq!((findings.reordered, findings.contradicted), (1, 0));
        Ok(())
    }

    #[test]
    fn one_publish_has_one_offset() -> anyhow::Result<()> {
        let (mut audit, mut ears) = audit()?;
        let sequence = publish(&mut audit);
        audit.answer(sequence, Ok(Some(5)));
        audit.hear(&mut ears[0], delivery(sequence, 5));
        audit.hear(&mut ears[1], delivery(sequence, 6));
        assert_eq!(audit.findings().contradicted, 1);
        Ok(())
    }

    #[test]
    fn another_rooms_or_runs_delivery_is_misrouted() -> anyhow::Result<()> {
        let (mut audit, mut ears) = audit()?;
        let sequence = publish(&mut audit);
        audit.hear(&mut ears[2], delivery(sequence, 1));
        audit.hear(&mut ears[0], delivery(1_000, 2));
        assert_eq!(audit.findings().misrouted, 2);
        Ok(())
    }

    #[test]
    fn a_refused_publish_owes_nothing() -> anyhow::Result<()> {
        let (mut audit, mut ears) = audit()?;
        let sequence = publish(&mut audit);
        audit.answer(sequence, Err("rate_limited".to_owned()));
        audit.schedule(Duration::ZERO);
        let findings = audit.findings();
        assert_eq!((findings.expected, findings.lost, findings.unsent), (0, 0, 1));
        assert_eq!(findings.refused.total(), 1);
        assert_eq!(findings.failures(), ["no publish was acked"]);
        audit.hear(&mut ears[0], delivery(sequence, 1));
        assert_eq!(audit.findings().unpromised, 1);
        Ok(())
    }

    #[test]
    fn an_ack_without_an_offset_is_no_ack_of_a_publish() -> anyhow::Result<()> {
        let (mut audit, _) = audit()?;
        let sequence = publish(&mut audit);
        audit.answer(sequence, Ok(None));
        audit.answer(99, Ok(Some(1)));
        assert_eq!(audit.findings().unreadable, 2);
        Ok(())
    }
}
