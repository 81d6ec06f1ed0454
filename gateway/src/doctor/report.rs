//! What the doctor found: a line for each thing that it looked at, for people and for programs.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// It is as it should be.
    Ok,
    /// It was not looked at.
    Skipped,
    /// Worth knowing, and nothing to do at once.
    Note,
    /// It will hurt one day.
    Warning,
    /// It hurts.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What it is called, as in `redis.eviction`.
    pub(super) check: &'static str,
    /// How it stands.
    pub(super) status: Status,
    /// What of the deployment it is about.
    pub(super) about: String,
    /// What was seen.
    pub(super) seen: String,
    /// What to do about it; nothing where there is nothing to do.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub(super) todo: Option<String>,
    /// Where that is explained, from the root of the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) see: Option<String>,
}

/// All of them, in the order in which they were found.
#[derive(Clone, Debug, Default)]
pub(super) struct Report(Vec<Finding>);

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Report {
    /// It is as it should be.
    pub(super) fn ok(&mut self, check: &'static str, about: impl fmt::Display, seen: impl Into<String>) {
        self.add(Status::Ok, check, about, seen, None);
    }

    /// It was not looked at, and why.
    pub(super) fn skipped(&mut self, check: &'static str, about: impl fmt::Display, why: impl Into<String>) {
        self.add(Status::Skipped, check, about, why, None);
    }

    /// Something that is not as it should be: what was seen, what to do, and where that is explained.
    pub(super) fn found(
        &mut self,
        status: Status,
        check: &'static str,
        about: impl fmt::Display,
        seen: impl Into<String>,
        advice: (impl Into<String>, impl Into<String>),
    ) {
        self.add(status, check, about, seen, Some((advice.0.into(), advice.1.into())));
    }

    fn add(
        &mut self,
        status: Status,
        check: &'static str,
        about: impl fmt::Display,
        seen: impl Into<String>,
        advice: Option<(String, String)>,
    ) {
        let (todo, see) = advice.unzip();
        self.0.push(Finding { check, status, about: about.to_string(), seen: seen.into(), todo, see });
    }

    /// What was looked at later, and elsewhere.
    pub(super) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    #[cfg(test)]
    pub(super) fn findings(&self) -> &[Finding] {
        &self.0
    }

    /// What to exit with: 0 if nothing is wrong, 1 if there are warnings, 2 if there are errors.
    #[must_use]
    pub(super) fn code(&self) -> u8 {
        match self.0.iter().map(|finding| finding.status).max() {
            Some(Status::Error) => 2,
            Some(Status::Warning) => 1,
            _ => 0,
        }
    }

    fn count(&self, status: Status) -> usize {
        self.0.iter().filter(|finding| finding.status == status).count()
    }

    /// The same for programs.
    #[must_use]
    pub(super) fn json(&self) -> Value {
        let counts = [Status::Ok, Status::Skipped, Status::Note, Status::Warning, Status::Error];
        let counts: serde_json::Map<_, _> =
            counts.into_iter().map(|status| (status.word().to_owned(), self.count(status).into())).collect();
        json!({ "code": self.code(), "counts": counts, "findings": self.0 })
    }
}

/// The worst comes last, where people look first.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|finding| finding.status);
        for Finding { check, status, about, seen, todo, see } in sorted {
            writeln!(f, "{:8} {check:22} {about}: {seen}", status.word())?;
            if let Some(todo) = todo {
                writeln!(f, "         do: {todo}")?;
            }
            if let Some(see) = see {
                writeln!(f, "         see: {see}")?;
            }
        }
        let [errors, warnings, notes, skipped] =
            [Status::Error, Status::Warning, Status::Note, Status::Skipped].map(|status| self.count(status));
        write!(
            f,
            "{errors} errors, {warnings} warnings, {notes} notes; {} looked at, {skipped} not",
            self.0.len() - skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides_and_stands_last() {
        let mut report = Report::default();
        assert_eq!(report.code(), 0);
        report.ok("a", "x", "fine");
        report.skipped("b", "x", "no address");
        report.found(Status::Note, "c", "x", "seen", ("do it", "docs/a.md"));
        assert_eq!(report.code(), 0);
        report.found(Status::Error, "e", "x", "broken", ("mend it", "docs/b.md"));
        report.found(Status::Warning, "d", "x", "soon", ("look", "docs/b.md"));
        assert_eq!(report.code(), 2);
        let text = report.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[lines.len() - 4].starts_with("error    e "), "{text}");
        assert_eq!(lines[lines.len() - 3..lines.len() - 1], ["         do: mend it", "         see: docs/b.md"]);
        assert_eq!(lines[lines.len() - 1], "1 errors, 1 warnings, 1 notes; 4 looked at, 1 not");
        let json = report.json();
        assert_eq!((&json["code"], &json["counts"]["ok"]), (&json!(2), &json!(1)));
        let finding = json!({
            "check": "e", "status": "error", "about": "x", "seen": "broken", "do": "mend it", "see": "docs/b.md"
        });
        assert_eq!(json["findings"][3], finding);
        assert_eq!(json["findings"][0], json!({ "check": "a", "status": "ok", "about": "x", "seen": "fine" }));
    }
}
