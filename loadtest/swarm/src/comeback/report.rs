//! What came of a run of `comeback`, and which parts of it break a promise.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::returner::Heard;
use crate::latency::Quantiles;
use crate::tally::Tally;

/// Seconds after the first connection was lost until so many of all that were lost were back; nothing if they never were.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct SecondsTo {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) all: Option<f64>,
}

/// Of the times after which each was back, of `expected` ones.
pub(crate) fn shares(back: &mut [Duration], expected: u32) -> SecondsTo {
    back.sort_unstable();
    let after = |percent: u64| {
        let needed = (u64::from(expected) * percent).div_ceil(100);
        let place = usize::try_from(needed).unwrap_or(usize::MAX).checked_sub(1)?;
        back.get(place).map(Duration::as_secs_f64)
    };
    SecondsTo { p50: after(50), p99: after(99), all: after(100) }
}

/// What members heard, set against what was acknowledged.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Findings {
    pub(crate) acked: usize,
    pub(crate) expected: usize,
    pub(crate) lost: usize,
    /// Offsets that did not grow: what came twice or in another order
    pub(crate) reordered: usize,
}

pub(crate) fn audit(acked: &[Vec<u64>], heard: &[Heard]) -> Findings {
    let mut findings = Findings { acked: acked.iter().map(Vec::len).sum(), ..Findings::default() };
    for member in heard {
        let offsets = member.offsets.borrow();
        findings.reordered += offsets.windows(2).filter(|pair| pair[0] >= pair[1]).count();
        let known: HashSet<_> = offsets.iter().collect();
        let due = acked[member.room].iter().filter(|offset| **offset > member.joined_at);
        for offset in due {
            findings.expected += 1;
            findings.lost += usize::from(!known.contains(offset));
        }
    }
    findings
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) connections: u32,
    pub(crate) rooms: usize,
    pub(crate) nodes: usize,
    /// Members of the node that was killed
    pub(crate) of_the_node: u32,
    pub(crate) lost: u32,
    pub(crate) back: u32,
    pub(crate) all_back: bool,
    pub(crate) seconds_to: SecondsTo,
    pub(crate) refused: Tally,
    pub(crate) unrecovered: Tally,
    pub(crate) closed: Tally,
    /// Of publishes on a node that stayed, from the kill until all were back
    pub(crate) ack_latency: Quantiles,
    #[serde(flatten)]
    pub(crate) findings: Findings,
    pub(crate) unanswered: u64,
    pub(crate) server_cpu_seconds: f64,
    pub(crate) redis_cpu_seconds: f64,
    pub(crate) swarm_cpu_seconds: f64,
    pub(crate) measured_seconds: f64,
}

impl Report {
    /// One sentence per broken promise; `within` is how long it may take until 99 % are back.
    pub(crate) fn failures(&self, within: Duration) -> Vec<String> {
        let mut failures: Vec<String> = [
            (self.findings.lost as u64, "deliveries lost"),
            (self.findings.reordered as u64, "deliveries twice or out of order"),
            (self.unrecovered.total(), "sessions did not come back"),
            (self.closed.total(), "connections to other nodes closed"),
            (self.unanswered, "publishes not answered"),
            (u64::from(self.of_the_node.saturating_sub(self.lost)), "connections survived their node"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        if self.findings.expected == 0 {
            failures.push("nothing was published".to_owned());
        }
        if !self.seconds_to.p99.is_some_and(|seconds| seconds <= within.as_secs_f64()) {
            failures.push(format!("99 % were not back within {within:?}"));
        }
        failures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { findings, seconds_to, .. } = self;
        let seconds = |value: Option<f64>| value.map_or_else(|| "never".to_owned(), |value| format!("{value:.2} s"));
        writeln!(
            f,
            "clients      {} in {} rooms on {} nodes; {} lost their node, {} came back",
            self.connections, self.rooms, self.nodes, self.lost, self.back
        )?;
        writeln!(
            f,
            "back         50 % after {}, 99 % after {}, all after {}",
            seconds(seconds_to.p50),
            seconds(seconds_to.p99),
            seconds(seconds_to.all)
        )?;
        writeln!(
            f,
            "refused      {}; not recovered {}; others closed {}",
            self.refused, self.unrecovered, self.closed
        )?;
        writeln!(
            f,
            "deliveries   {} publishes acked, {} expected, {} lost, {} twice or out of order",
            findings.acked, findings.expected, findings.lost, findings.reordered
        )?;
        writeln!(f, "ack latency  {}", self.ack_latency)?;
        write!(
            f,
            "cpu          servers {:.1} s, Redis {:.1} s, swarm {:.1} s in {:.1} s",
            self.server_cpu_seconds, self.redis_cpu_seconds, self.swarm_cpu_seconds, self.measured_seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;

    use super::{Findings, Heard, SecondsTo, audit, shares};

    #[test]
    fn shares_are_of_all_that_were_lost() {
        let mut back: Vec<_> = (1..=99).rev().map(Duration::from_secs).collect();
        let expected = SecondsTo { p50: Some(50.0), p99: Some(99.0), all: None };
        assert_eq!(shares(&mut back, 100), expected);
        assert_eq!(shares(&mut [], 10), SecondsTo::default());
    }

    #[test]
    fn what_was_acknowledged_since_the_join_is_owed_once() {
        let heard = |offsets: &[u64]| Heard { room: 0, joined_at: 5, offsets: Rc::new(RefCell::new(offsets.to_vec())) };
        let acked = [vec![5, 6, 7, 9]];
        let whole = Findings { acked: 4, expected: 3, lost: 0, reordered: 0 };
        assert_eq!(audit(&acked, &[heard(&[6, 7, 8, 9])]), whole);
        assert_eq!(audit(&acked, &[heard(&[6, 9])]), Findings { lost: 1, ..whole });
        assert_eq!(audit(&acked, &[heard(&[6, 7, 7, 9])]), Findings { reordered: 1, ..whole });
        assert_eq!(audit(&acked, &[heard(&[6, 9, 7])]), Findings { reordered: 1, ..whole });
    }
}
