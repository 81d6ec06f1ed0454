//! What the routes of `$join` and `$leave` told about each member, set against what happened.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

/// Opens the name of the room in which comings and goings of a room are told.
pub(crate) const WATCH: &str = "watch/";

/// By user and room.
#[derive(Debug, Default)]
pub(crate) struct Ledger(HashMap<(String, String), Entry>);

#[derive(Debug, Default)]
struct Entry {
    came: u32,
    went: u32,
    told_joined: u32,
    told_left: u32,
    is_in: bool,
    /// Told to have come when it was in, or to have left when it was not
    contradictions: u32,
}

#[derive(Debug, Default, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LedgerFindings {
    pub(crate) came: u64,
    pub(crate) went: u64,
    pub(crate) told_joined: u64,
    pub(crate) told_left: u64,
    /// Told twice, or not true
    pub(crate) joined_too_often: u64,
    pub(crate) left_too_often: u64,
    /// Never told
    pub(crate) joined_missing: u64,
    pub(crate) left_missing: u64,
    /// Told to have come when it was in, or to have left when it was not
    pub(crate) contradictions: u64,
}

impl Ledger {
    /// What happened.
    pub(crate) fn came(&mut self, user: &str, room: &str) {
        self.entry(user, room).came += 1;
    }

    pub(crate) fn goes(&mut self, user: &str, room: &str) {
        self.entry(user, room).went += 1;
    }

    /// What was told: `event` is a JSON array `["joined", user, room, offset]` or the same of `left`. Anything else is
    /// ignored.
    pub(crate) fn hear(&mut self, event: &str) {
        let Ok((name, user, room, _)) = serde_json::from_str::<(String, String, String, String)>(event) else {
            return;
        };
        // In the room where it is told, `{room}` may stand for either.
        let room = room.strip_prefix(WATCH).unwrap_or(&room);
        let is_coming = match name.as_str() {
            "joined" => true,
            "left" => false,
            _ => return,
        };
        let entry = self.entry(&user, room);
        entry.contradictions += u32::from(entry.is_in == is_coming);
        entry.is_in = is_coming;
        if is_coming {
            entry.told_joined += 1;
        } else {
            entry.told_left += 1;
        }
    }

    pub(crate) fn findings(&self) -> LedgerFindings {
        let mut findings = LedgerFindings::default();
        for entry in self.0.values() {
            findings.came += u64::from(entry.came);
            findings.went += u64::from(entry.went);
            findings.told_joined += u64::from(entry.told_joined);
            findings.told_left += u64::from(entry.told_left);
            findings.joined_too_often += u64::from(entry.told_joined.saturating_sub(entry.came));
            findings.left_too_often += u64::from(entry.told_left.saturating_sub(entry.went));
            findings.joined_missing += u64::from(entry.came.saturating_sub(entry.told_joined));
            findings.left_missing += u64::from(entry.went.saturating_sub(entry.told_left));
            findings.contradictions += u64::from(entry.contradictions);
        }
        findings
    }

    fn entry(&mut self, user: &str, room: &str) -> &mut Entry {
        self.0.entry((user.to_owned(), room.to_owned())).or_default()
    }
}

impl LedgerFindings {
    /// Whether waiting longer could not change anything for the better.
    pub(crate) fn is_settled(&self) -> bool {
        self.joined_missing == 0 && self.left_missing == 0
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        [
            (self.joined_too_often, "comings told too often"),
            (self.left_too_often, "goings told too often"),
            (self.joined_missing, "comings never told"),
            (self.left_missing, "goings never told"),
            (self.contradictions, "comings and goings told in a wrong order"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
    }
}

impl fmt::Display for LedgerFindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "joined told {} of {}, too often {}, missing {}; left told {} of {}, too often {}, missing {}; wrong order {}",
            self.told_joined,
            self.came,
            self.joined_too_often,
            self.joined_missing,
            self.told_left,
            self.went,
            self.left_too_often,
            self.left_missing,
            self.contradictions
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;

    const JOINED: &str = r#"["joined","m1","r","7"]"#;
    const LEFT: &str = r#"["left","m1","watch/r","8"]"#;

    #[test]
    fn what_is_told_once_and_in_order_is_right() {
        let mut ledger = Ledger::default();
        for _ in 0..2 {
            ledger.came("m1", "r");
            ledger.hear(JOINED);
            ledger.goes("m1", "r");
            ledger.hear(LEFT);
        }
        ledger.hear(r#"["gateway:session",{"recovered":false},"0"]"#);
        let findings = ledger.findings();
        assert_eq!(findings.failures(), Vec::<String>::new());
        assert!(findings.is_settled());
        assert_eq!((findings.told_joined, findings.told_left), (2, 2));
    }

    #[test]
    fn a_flap_that_is_told_is_told_too_often() {
        let mut ledger = Ledger::default();
        ledger.came("m1", "r");
        for event in [JOINED, LEFT, JOINED] {
            ledger.hear(event);
        }
        assert_eq!(ledger.findings().failures(), ["1 comings told too often", "1 goings told too often"]);
    }

    #[test]
    fn a_double_left_does_not_hide_a_missing_one() {
        let mut ledger = Ledger::default();
        for user in ["m1", "m2"] {
            ledger.came(user, "r");
            ledger.goes(user, "r");
        }
        for event in [JOINED, LEFT, LEFT, r#"["joined","m2","r","9"]"#] {
            ledger.hear(event);
        }
        let findings = ledger.findings();
        assert_eq!((findings.left_too_often, findings.left_missing, findings.contradictions), (1, 1, 1));
        assert!(!findings.is_settled());
    }
}
