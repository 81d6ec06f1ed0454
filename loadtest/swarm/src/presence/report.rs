//! What came of a run of `presence`, and which parts of it break a promise.

use std::fmt;

use serde::Serialize;

use super::census::CountFindings;
use super::ledger::LedgerFindings;
use crate::tally::Tally;

/// One change, and how long it took until all nodes counted it right.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    pub(crate) what: String,
    /// Up to a second too long, because the nodes are asked every second, and the answer's time; nothing if they were
    /// not right two seconds after the limit
    pub(crate) right_after_seconds: Option<f64>,
    pub(crate) within_seconds: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) members: u32,
    pub(crate) rooms: u32,
    pub(crate) join_seconds: f64,
    pub(crate) connect_retries: u64,
    pub(crate) steps: Vec<Step>,
    pub(crate) counts: CountFindings,
    /// By the routes of `$join` and `$leave`, if they were watched
    pub(crate) told: Option<LedgerFindings>,
    /// Sessions that came back elsewhere after their node was killed
    pub(crate) recovered: u32,
    pub(crate) failed: Tally,
    pub(crate) unrecovered: Tally,
    pub(crate) closed: Tally,
}

impl Report {
    pub(crate) fn failures(&self) -> Vec<String> {
        let late = self.steps.iter().filter(|step| step.right_after_seconds.is_none());
        let mut failures: Vec<_> = late.map(|step| format!("{}: not counted right in time", step.what)).collect();
        failures.extend(self.counts.failures());
        failures.extend(self.told.iter().flat_map(LedgerFindings::failures));
        for (count, what) in [
            (self.failed.total(), "members could not do what they should"),
            (self.unrecovered.total(), "sessions did not come back"),
            (self.closed.total(), "connections closed for no reason"),
        ] {
            if count > 0 {
                failures.push(format!("{count} {what}"));
            }
        }
        failures
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.right_after_seconds {
            Some(seconds) => write!(f, "{}: right after {seconds:.1} s", self.what)?,
            None => write!(f, "{}: NOT right", self.what)?,
        }
        write!(f, " (limit {:.0} s)", self.within_seconds)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "members      {} in {} rooms after {:.1} s, {} connect retries",
            self.members, self.rooms, self.join_seconds, self.connect_retries
        )?;
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        let CountFindings { answers, too_low, inexact_in_peace, first_wrong, unanswered } = &self.counts;
        write!(f, "counts       {answers}, too low {too_low}, inexact in peace {inexact_in_peace}")?;
        writeln!(f, ", unanswered {unanswered}")?;
        if let Some(first_wrong) = first_wrong {
            writeln!(f, "first wrong  {first_wrong}")?;
        }
        match &self.told {
            Some(told) => writeln!(f, "told         {told}")?,
            None => writeln!(f, "told         not watched")?,
        }
        writeln!(f, "recovered    {}, not {}", self.recovered, self.unrecovered)?;
        write!(f, "failed       {}, closed {}", self.failed, self.closed)
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Step};
    use crate::presence::census::CountFindings;
    use crate::presence::ledger::LedgerFindings;
    use crate::tally::Tally;

    fn report(right_after_seconds: Option<f64>) -> Report {
        let step = Step { what: "a fifth has left".to_owned(), right_after_seconds, within_seconds: 1.0 };
        Report {
            members: 10,
            rooms: 2,
            join_seconds: 0.1,
            connect_retries: 0,
            steps: vec![step],
            counts: CountFindings { answers: 1, ..CountFindings::default() },
            told: Some(LedgerFindings::default()),
            recovered: 0,
            failed: Tally::default(),
            unrecovered: Tally::default(),
            closed: Tally::default(),
        }
    }

    #[test]
    fn a_clean_run_has_no_failures() {
        assert_eq!(report(Some(0.4)).failures(), Vec::<String>::new());
    }

    #[test]
    fn everything_that_went_wrong_is_told() {
        let mut report = report(None);
        report.told = Some(LedgerFindings { left_too_often: 2, ..LedgerFindings::default() });
        report.counts.answers = 0;
        report.unrecovered.add("not recovered");
        assert_eq!(
            report.failures(),
            [
                "a fifth has left: not counted right in time",
                "nothing was counted",
                "2 goings told too often",
                "1 sessions did not come back",
            ]
        );
    }
}
