//! The balance of an audit, and which parts of it break a promise.

use std::fmt;

use serde::Serialize;

use crate::tally::Tally;

/// The whole run's balance. Publishes are counted once, deliveries once per member.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Findings {
    pub(crate) acked: u64,
    pub(crate) refused: Tally,
    pub(crate) unanswered: u64,
    /// Publishes that the generator could not get out: a publisher was closed or blocked
    pub(crate) unsent: u64,
    /// Deliveries that acked publishes owe
    pub(crate) expected: u64,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    /// Offsets that did not grow
    pub(crate) reordered: u64,
    /// Deliveries of another room or another run
    pub(crate) misrouted: u64,
    /// Acks and deliveries that gave one publish different offsets
    pub(crate) contradicted: u64,
    /// Messages without a stamp or an offset, and acks that are no acks
    pub(crate) unreadable: u64,
    /// Deliveries of publishes that were refused or not answered: allowed, but worth a look
    pub(crate) unpromised: u64,
    /// Connections that ended during the run
    pub(crate) closed: Tally,
}

impl Findings {
    /// Whether waiting longer could not change anything for the better.
    pub(crate) fn is_settled(&self) -> bool {
        self.lost == 0 && self.unanswered == 0
    }

    /// What breaks a promise. A refusal breaks none.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures: Vec<String> = [
            (self.lost, "deliveries lost"),
            (self.duplicated, "deliveries duplicated"),
            (self.reordered, "deliveries out of order"),
            (self.misrouted, "deliveries in a wrong room"),
            (self.contradicted, "offsets contradicted"),
            (self.unreadable, "messages or acks unreadable"),
            (self.unanswered, "publishes not answered"),
            (self.closed.total(), "connections closed"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        if self.expected == 0 {
            failures.push("no publish was acked".to_owned());
        }
        failures
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "publishes    {} acked, refused {}, unanswered {}, unsent {}",
            self.acked, self.refused, self.unanswered, self.unsent
        )?;
        writeln!(
            f,
            "deliveries   {} of {} expected, lost {}, duplicated {}, out of order {}, misrouted {}, \
             offsets contradicted {}, unreadable {}, unpromised {}",
            self.received,
            self.expected,
            self.lost,
            self.duplicated,
            self.reordered,
            self.misrouted,
            self.contradicted,
            self.unreadable,
            self.unpromised
        )?;
        write!(f, "closed       {}", self.closed)
    }
}
