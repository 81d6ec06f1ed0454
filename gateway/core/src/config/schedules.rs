//! `[[schedule]]`: what is to be done by the clock.

use serde::{Deserialize, Serialize};

use super::Config;

/// The longest name of a schedule, in bytes: it stands in the ids of its jobs.
const MAX_NAME_BYTES: usize = 64;

/// `[[schedule]]`: one thing that is done again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// By which it is known: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// When: five fields, or six with seconds first, names, or `@daily` and its kin.
    pub cron: String,
    /// Where the clock hangs that it goes by, as in `Europe/Berlin`.
    #[serde(default = "utc")]
    pub timezone: String,
    /// The kind of the jobs.
    pub kind: String,
    /// What they are given.
    #[serde(default)]
    pub data: toml::Table,
    /// The queue that they go into.
    #[serde(default = "queue")]
    pub queue: String,
    /// How often each is tried.
    #[serde(default = "attempts")]
    pub attempts: u32,
    /// What becomes of ticks at which no node was there.
    #[serde(default)]
    pub missed: Missed,
}

/// What becomes of ticks at which no node was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// They are left out.
    #[default]
    Skip,
    /// The last of them is made up for when a node is there again.
    Once,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn queue() -> String {
    "default".to_owned()
}

fn attempts() -> u32 {
    3
}

impl Config {
    pub(super) fn validate_schedules(&self) -> Result<(), (&'static str, String)> {
        let mut names = std::collections::BTreeSet::new();
        for Schedule { name, kind, queue, attempts, .. } in &self.schedule {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            if !(1..=MAX_NAME_BYTES).contains(&name.len()) || !name.bytes().all(is_plain) {
                let why = format!("the name {name:?} is none: 1 to {MAX_NAME_BYTES} letters, digits, -, _ and .");
                return Err(("schedule", why));
            }
            if !names.insert(name) {
                return Err(("schedule", format!("there are two named {name}")));
            }
            if kind.is_empty() || queue.is_empty() {
                return Err(("schedule", format!("{name}: kind and queue must not be empty")));
            }
            if *attempts == 0 {
                return Err(("schedule", format!("{name}: attempts must be at least 1")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::config::{ConfigError, load};

    fn read(text: &str) -> Result<Config, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        load(Some(file.path()), std::iter::empty())
    }

    #[test]
    fn a_schedule_has_a_name_of_its_own_and_defaults() {
        let read_one = read("[[schedule]]\nname = \"report\"\ncron = \"0 9 * * *\"\nkind = \"http\"\n").unwrap();
        let one = &read_one.schedule[0];
        assert_eq!((&*one.timezone, &*one.queue, one.attempts, one.missed), ("UTC", "default", 3, Missed::Skip));
        let schedule = |name: &str, more: &str| {
            format!("[[schedule]]\nname = \"{name}\"\ncron = \"@daily\"\nkind = \"http\"\n{more}\n")
        };
        for (text, word) in [
            (schedule("a b", ""), "the name"),
            (schedule("", ""), "the name"),
            (schedule("a", "") + &schedule("a", ""), "two named a"),
            (schedule("a", "attempts = 0"), "attempts"),
            (schedule("a", "queue = \"\""), "queue"),
            (schedule("a", "missed = \"all\""), "unknown variant"),
            (schedule("a", "when = 1"), "unknown field"),
        ] {
            let said = read(&text).unwrap_err().to_string();
            assert!(said.starts_with("schedule") && said.contains(word), "{said}");
        }
    }
}
