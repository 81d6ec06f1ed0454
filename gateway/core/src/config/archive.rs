//! `[archive]`: which rooms are archived, for how long, and how what they say gets there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Limits;

/// The longest pattern, in bytes: no room has a longer name.
const MAX_PATTERN_BYTES: usize = 255;
/// The most that is written at once.
const MAX_BATCH: usize = 10_000;

/// `[archive]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Archive {
    pub rooms: Vec<String>,
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    pub batch_events: usize,
    pub batch_bytes: usize,
    pub queue_events: usize,
    pub queue_bytes: usize,
    #[serde(with = "humantime_serde")]
    pub backoff: Duration,
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    #[serde(with = "humantime_serde")]
    pub patience: Duration,
    pub keep: Vec<Keep>,
}

/// `[[archive.keep]]`: for how long what some rooms said is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// A pattern of their names.
    pub rooms: String,
    /// For how long.
    #[serde(with = "humantime_serde")]
    pub time: Duration,
}

impl Archive {
    /// Whether anything is archived.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.rooms.is_empty()
    }

    pub(super) fn validate(&self, limits: &Limits) -> Result<(), (&'static str, String)> {
        for (index, pattern) in self.rooms.iter().enumerate() {
            let at = |why: String| ("archive.rooms", format!("[{index}] ({pattern:?}) {why}"));
            check_pattern(pattern).map_err(at)?;
            if self.rooms[..index].contains(pattern) {
                return Err(at("is there twice".into()));
            }
        }
        for (index, Keep { rooms, time }) in self.keep.iter().enumerate() {
            let at = |why: String| ("archive.keep", format!("[{index}] ({rooms:?}) {why}"));
            check_pattern(rooms).map_err(at)?;
            if *time < Duration::from_secs(1) {
                return Err(at("time must be at least 1s".into()));
            }
            if self.keep[..index].iter().any(|earlier| earlier.rooms == *rooms || earlier.rooms == "*") {
                return Err(at("has no effect: the first that fits a room counts".into()));
            }
        }
        if !self.any() && !self.keep.is_empty() {
            return Err(("archive.keep", "has no effect: archive.rooms names none".into()));
        }
        let durations = [("archive.interval", self.interval), ("archive.backoff", self.backoff)];
        if let Some((key, _)) = durations.into_iter().find(|(_, value)| *value < Duration::from_millis(1)) {
            return Err((key, "must be at least 1ms".into()));
        }
        if self.backoff_max < self.backoff {
            return Err(("archive.backoff_max", "must not be shorter than archive.backoff".into()));
        }
        if self.lease < Duration::from_millis(100) {
            return Err(("archive.lease", "must be at least 100ms: it is renewed three times in it".into()));
        }
        if self.patience > Duration::from_secs(60) {
            return Err(("archive.patience", "must be at most 1m: clients wait for it".into()));
        }
        if self.batch_events == 0 || self.batch_events > MAX_BATCH {
            return Err(("archive.batch_events", format!("must be 1 to {MAX_BATCH}: a batch is made in memory")));
        }
        if self.queue_events == 0 {
            return Err(("archive.queue_events", "must be at least 1".into()));
        }
        // An event with what the store adds to it.
        if self.queue_bytes < limits.message_bytes.saturating_mul(2) {
            return Err((
                "archive.queue_bytes",
                "must be at least twice limits.message_bytes, or large events never fit".into(),
            ));
        }
        Ok(())
    }
}

fn check_pattern(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() || pattern.len() > MAX_PATTERN_BYTES {
        return Err(format!("must have 1 to {MAX_PATTERN_BYTES} bytes"));
    }
    if pattern.chars().any(char::is_control) {
        return Err("has control characters, so no room is ever called that".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Config, load};

    fn read(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, text).unwrap();
        load(Some(&file), std::iter::empty()).map_err(|error| error.to_string())
    }

    #[test]
    fn rooms_and_how_long_they_are_kept_are_read() {
        let text =
            "[archive]\nrooms = [\"chat\", \"orders-*\"]\n[[archive.keep]]\nrooms = \"orders-*\"\ntime = \"365d\"\n";
        let archive = read(text).unwrap().archive;
        assert!(archive.any());
        assert_eq!(archive.keep[0].time.as_secs(), 365 * 86_400);
        assert!(!read("").unwrap().archive.any());
    }

    #[test]
    fn mistakes_are_told_with_their_key() {
        for (text, told) in [
            ("rooms = [\"\"]", "archive.rooms"),
            ("rooms = [\"a\", \"a\"]", "twice"),
            ("rooms = [\"a\\u0007\"]", "control characters"),
            ("[[archive.keep]]\nrooms = \"a\"\ntime = \"1d\"", "archive.rooms names none"),
            ("rooms = [\"a\"]\n[[archive.keep]]\nrooms = \"a\"\ntime = \"0s\"", "at least 1s"),
            (
                "rooms = [\"a\"]\n[[archive.keep]]\nrooms = \"*\"\ntime = \"1d\"\n[[archive.keep]]\nrooms = \"a\"\ntime = \"2d\"",
                "no effect",
            ),
            ("batch_events = 0", "archive.batch_events"),
            ("queue_events = 0", "archive.queue_events"),
            ("queue_bytes = 1000", "archive.queue_bytes"),
            ("lease = \"1ms\"", "archive.lease"),
            ("patience = \"2m\"", "archive.patience"),
            ("backoff = \"1m\"\nbackoff_max = \"1s\"", "archive.backoff_max"),
            ("interval = \"0s\"", "archive.interval"),
        ] {
            let error = read(&format!("[archive]\n{text}")).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
        let cluster = "redis_url = \"redis://127.0.0.1:1\"\n[archive]\nrooms = [\"chat\"]\n";
        assert!(read(cluster).unwrap_err().contains("needs database.url"));
        read(&format!("{cluster}[database]\nurl = \"postgres://127.0.0.1:1/gateway\"\n")).unwrap();
    }
}
