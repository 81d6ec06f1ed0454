//! `[jobs]`: which queues there are, who works on them, how fast, and for how long what was done is kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{HiddenUrl, Rate, Secret};

/// The queues that there are without being named: for whatever has none of its own, and for mail, which waits for one server.
pub const QUEUES: [&str; 2] = ["default", "mail"];

/// The longest name of a queue or of a back end, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// More queues would be more connections and more work than anybody reads about.
const MAX_QUEUES: usize = 64;
/// More jobs at once are a process of their own.
const MAX_CONCURRENCY: usize = 1_000;
/// As for hooks: a shorter secret could be guessed, and more are no rotation.
const MIN_SECRET_BYTES: usize = 16;
const MAX_SECRETS: usize = 5;
const LONGEST_TIMEOUT: Duration = Duration::from_secs(300);

/// `[jobs]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Jobs {
    pub workers: usize,
    pub prefix: String,
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    pub attempts: u32,
    #[serde(with = "humantime_serde")]
    pub backoff: Duration,
    #[serde(with = "humantime_serde")]
    pub kept: Duration,
    pub kept_jobs: usize,
    pub queue_jobs: usize,
    pub page: usize,
    pub sender_per_second: u32,
    pub sender_burst: u32,
    pub queue: Vec<JobQueue>,
    pub back_end: Vec<BackEnd>,
}

/// `[[jobs.queue]]`: a queue, and how it is worked on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobQueue {
    /// What it is called.
    pub name: String,
    /// How many of its jobs a node works on at the same time; `jobs.workers`, if it does not say. 0: the gateway puts jobs into
    /// it, and others work on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
    /// How many of its jobs all nodes together begin in `per`. 0: as many as they can.
    #[serde(default)]
    pub rate: u32,
    /// In which time.
    #[serde(default = "a_second", with = "humantime_serde")]
    pub per: Duration,
}

/// `[[jobs.back_end]]`: a back end that jobs of the kind `http` call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackEnd {
    /// By what jobs name it.
    pub name: String,
    /// Where it is.
    pub url: HiddenUrl,
    /// By which requests are signed: each makes a signature.
    pub secrets: Vec<Secret>,
    /// How long it may take to answer.
    #[serde(default = "ten_seconds", with = "humantime_serde")]
    pub timeout: Duration,
}

fn a_second() -> Duration {
    Duration::from_secs(1)
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

impl JobQueue {
    /// One of this name, of which nothing is said.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), concurrency: None, rate: 0, per: a_second() }
    }
}

impl Jobs {
    /// All queues: those that are configured, and those that there are anyway.
    #[must_use]
    pub fn queues(&self) -> Vec<JobQueue> {
        let is_configured = |name: &str| self.queue.iter().any(|queue| queue.name == name);
        let own = QUEUES.into_iter().filter(|name| !is_configured(name)).map(JobQueue::named);
        own.chain(self.queue.iter().cloned()).collect()
    }

    /// How many jobs of a queue a node works on at the same time.
    #[must_use]
    pub fn concurrency(&self, queue: &JobQueue) -> usize {
        if self.workers == 0 { 0 } else { queue.concurrency.unwrap_or(self.workers) }
    }

    /// Whether nodes do what is in the queue of this name, and not others.
    #[must_use]
    pub fn is_ours(&self, queue: &str) -> bool {
        self.queues().iter().any(|known| known.name == queue && known.concurrency != Some(0))
    }

    /// How many jobs one user, or one address without a user, may have enqueued by events.
    #[must_use]
    pub fn of_sender(&self) -> Rate {
        Rate { per_second: self.sender_per_second, burst: self.sender_burst }
    }

    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        let positive = [
            ("jobs.attempts", self.attempts as usize),
            ("jobs.kept_jobs", self.kept_jobs),
            ("jobs.queue_jobs", self.queue_jobs),
            ("jobs.page", self.page),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err((key, "must be at least 1".into()));
        }
        if self.workers > MAX_CONCURRENCY {
            return Err(("jobs.workers", format!("must be at most {MAX_CONCURRENCY}: start more processes instead")));
        }
        if self.page > 1_000 {
            return Err(("jobs.page", "must be at most 1000: a page is made in memory".into()));
        }
        if self.backoff < Duration::from_millis(1) {
            return Err(("jobs.backoff", "must be at least 1ms".into()));
        }
        if self.kept < Duration::from_secs(1) {
            return Err(("jobs.kept", "must be at least 1s: an id is known for as long as its job is kept".into()));
        }
        if self.lease < Duration::from_millis(500) {
            return Err(("jobs.lease", "must be at least 500ms: it is renewed while a job runs".into()));
        }
        if self.sender_per_second > 0 && self.sender_burst == 0 {
            return Err(("jobs.sender_burst", "must be at least 1 while sender_per_second is set".into()));
        }
        if self.prefix.contains(':') || self.prefix.chars().any(char::is_control) {
            return Err(("jobs.prefix", "must be a text without colons and control characters, or empty".into()));
        }
        self.validate_queues()?;
        self.validate_back_ends()
    }

    fn validate_queues(&self) -> Result<(), (&'static str, String)> {
        for (index, queue) in self.queue.iter().enumerate() {
            let at = |why: String| ("jobs.queue", format!("[{index}] ({:?}) {why}", queue.name));
            check_name(&queue.name).map_err(at)?;
            if self.queue[..index].iter().any(|earlier| earlier.name == queue.name) {
                return Err(at("is there twice".into()));
            }
            if queue.concurrency.is_some_and(|concurrency| concurrency > MAX_CONCURRENCY) {
                return Err(at(format!("concurrency must be at most {MAX_CONCURRENCY}: start more processes instead")));
            }
            if queue.per < Duration::from_millis(1) {
                return Err(at("per must be at least 1ms".into()));
            }
            if queue.rate > 0 && queue.concurrency == Some(0) {
                return Err(at("rate has no effect: with concurrency 0 no node works on it".into()));
            }
        }
        if self.queue.len() > MAX_QUEUES {
            return Err(("jobs.queue", format!("there are more than {MAX_QUEUES}")));
        }
        Ok(())
    }

    fn validate_back_ends(&self) -> Result<(), (&'static str, String)> {
        for (index, back_end) in self.back_end.iter().enumerate() {
            let at = |why: String| ("jobs.back_end", format!("[{index}] ({:?}) {why}", back_end.name));
            check_name(&back_end.name).map_err(at)?;
            if self.back_end[..index].iter().any(|earlier| earlier.name == back_end.name) {
                return Err(at("is there twice".into()));
            }
            let url = back_end.url.expose();
            if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
                return Err(at("url must begin with https:// or http://".into()));
            }
            if !(1..=MAX_SECRETS).contains(&back_end.secrets.len()) {
                let why = format!("needs 1 to {MAX_SECRETS} secrets: whoever found its URL could call it");
                return Err(at(why));
            }
            if back_end.secrets.iter().any(|secret| secret.expose().len() < MIN_SECRET_BYTES) {
                return Err(at(format!("each of its secrets must have at least {MIN_SECRET_BYTES} bytes")));
            }
            if !(Duration::from_millis(100)..=LONGEST_TIMEOUT).contains(&back_end.timeout) {
                return Err(at(format!("timeout must be 100ms to {LONGEST_TIMEOUT:?}")));
            }
        }
        Ok(())
    }
}

/// Any text of people's; what a store cannot have in its keys it makes safe by itself.
fn check_name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(format!("needs a name of 1 to {MAX_NAME_BYTES} bytes without control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, load};

    fn with(text: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(Some(file.path()), std::iter::empty()).map_err(|error| error.to_string())
    }

    const BILLING: &str =
        "[[jobs.back_end]]\nname = \"billing\"\nurl = \"http://b.example/\"\nsecrets = [\"0123456789abcdef\"]\n";

    #[test]
    fn queues_are_those_that_are_named_and_those_that_there_are_anyway() {
        let config = with(
            "[jobs]\nworkers = 3\n[[jobs.queue]]\nname = \"mail\"\nconcurrency = 1\nrate = 60\nper = \"1m\"\n[[jobs.queue]]\nname = \"r\u{e4}tsel: 1\"\nconcurrency = 0\n",
        );
        let jobs = config.unwrap().jobs;
        let all: Vec<_> = jobs.queues().into_iter().map(|queue| (jobs.concurrency(&queue), queue.name)).collect();
        assert_eq!(all, [(3, "default".into()), (1, "mail".into()), (0, "r\u{e4}tsel: 1".to_owned())]);
        let idle = with("[jobs]\nworkers = 0\n[[jobs.queue]]\nname = \"a\"\nconcurrency = 5\n").unwrap().jobs;
        assert!(idle.queues().iter().all(|queue| idle.concurrency(queue) == 0), "this node works on none");
    }

    #[test]
    fn secrets_of_back_ends_are_not_printed() {
        let config = with(BILLING).unwrap();
        let printed = toml::to_string(&config).unwrap();
        assert!(printed.contains("billing") && !printed.contains("0123456789abcdef"), "{printed}");
        assert!(!format!("{config:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let queue = |more: &str| format!("[[jobs.queue]]\nname = \"a\"\n{more}");
        for (text, word) in [
            ("[jobs]\nattempts = 0\n".to_owned(), "jobs.attempts"),
            ("[jobs]\nkept = \"1ms\"\n".into(), "jobs.kept"),
            ("[jobs]\nkept_jobs = 0\n".into(), "jobs.kept_jobs"),
            ("[jobs]\nqueue_jobs = 0\n".into(), "jobs.queue_jobs"),
            ("[jobs]\npage = 1001\n".into(), "jobs.page"),
            ("[jobs]\nbackoff = \"0s\"\n".into(), "jobs.backoff"),
            ("[jobs]\nlease = \"1ms\"\n".into(), "jobs.lease"),
            ("[jobs]\nworkers = 1001\n".into(), "jobs.workers"),
            ("[jobs]\nprefix = \"a:b\"\n".into(), "jobs.prefix"),
            ("[jobs]\nsender_burst = 0\n".into(), "jobs.sender_burst"),
            (queue("") + &queue(""), "twice"),
            (queue("concurrency = 1001\n"), "at most 1000"),
            (queue("per = \"0s\"\n"), "per must"),
            (queue("concurrency = 0\nrate = 1\n"), "no effect"),
            (queue("").replace("\"a\"", "\" \""), "name of 1 to 64"),
            (queue("speed = 1\n"), "unknown field"),
            (format!("{BILLING}{BILLING}"), "twice"),
            (BILLING.replace("http://", "ftp://"), "https://"),
            (BILLING.replace("0123456789abcdef", "short"), "at least 16"),
            (BILLING.replace("\"0123456789abcdef\"", ""), "secrets"),
            (format!("{BILLING}timeout = \"1h\"\n"), "timeout must"),
        ] {
            let said = with(&text).unwrap_err();
            assert!(said.contains(word) && said.contains("jobs."), "{said} has no {word}");
        }
    }
}
