//! Whether Redis is set up to keep what the gateway keeps there: told when it is not, and shown by a metric.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis;

use super::primary::field;
use super::{CommandError, Commands};
use crate::metrics::{Metrics, Share};

/// How often the settings are looked at.
const EVERY: Duration = Duration::from_secs(60);

/// What is known of the settings. Nothing where the gateway may not read them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// `maxmemory-policy`
    policy: Option<String>,
    /// Whether anything is written to a disk.
    persists: Option<bool>,
    /// Whether its memory has an end: `maxmemory`.
    is_bounded: Option<bool>,
}

impl Settings {
    /// Reads what CONFIG GET and INFO say. INFO knows nothing of save points, and may be read where CONFIG may not.
    fn read(config: Option<&HashMap<String, String>>, info: Option<&str>) -> Self {
        let of_config = |name: &str| config.and_then(|config| config.get(name)).cloned();
        let of_info = |name: &str| info.and_then(|info| field(info, name));
        let policy = of_config("maxmemory-policy").or_else(|| of_info("maxmemory_policy").map(str::to_owned));
        let appends = of_config("appendonly").map(|value| value == "yes");
        let appends = appends.or_else(|| of_info("aof_enabled").map(|value| value == "1"));
        let saves = of_config("save").map(|points| !points.is_empty());
        let persists = match (appends, saves) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        };
        let max = of_config("maxmemory").or_else(|| of_info("maxmemory").map(str::to_owned));
        Self { policy, persists, is_bounded: max.map(|max| max != "0") }
    }

    /// The words for what is not safe, with what to say about it. `has_budget`: whether `log.max_bytes` is set.
    pub(super) fn risks(&self, has_budget: bool) -> Vec<(&'static str, String)> {
        let mut risks = Vec::new();
        match self.policy.as_deref() {
            None | Some("noeviction") => {}
            Some(policy) => risks.push((
                "eviction",
                format!(
                    "Redis throws keys away when it is full (maxmemory-policy {policy}), and with them events, sessions \
                     and offsets: set maxmemory-policy to noeviction"
                ),
            )),
        }
        if self.persists == Some(false) {
            let words = "Redis writes nothing to a disk: what was acknowledged is lost when it restarts; set appendonly to \
                         yes";
            risks.push(("persistence", words.to_owned()));
        }
        if self.is_bounded == Some(false) && !has_budget {
            let words = "Redis has no maxmemory, and log.max_bytes is not set: the log may grow until the machine has no \
                         memory left; set maxmemory";
            risks.push(("unbounded", words.to_owned()));
        }
        if self.policy.is_none() || self.persists.is_none() {
            let words = "the settings of Redis cannot all be read: allow the gateway CONFIG GET and INFO, or see to it that \
                         maxmemory-policy is noeviction and appendonly is yes; without INFO it is not known how full Redis \
                         is, and nobody is refused before Redis itself refuses";
            risks.push(("unknown", words.to_owned()));
        }
        risks
    }
}

/// Looks at the settings now and then, and whenever the primary is another one, for ever. `has_budget`: whether the log has a
/// limit of its own.
pub async fn watch_settings(commands: Commands, has_budget: bool, metrics: Arc<Metrics>) {
    let mut generations = commands.primary.generations();
    let shares: Vec<_> = metrics.redis_unsafe.iter().map(|(risk, whole)| (risk, Share::of(whole))).collect();
    let mut told = Vec::new();
    loop {
        if let Ok(settings) = look(&commands).await {
            let risks = settings.risks(has_budget);
            for (risk, share) in &shares {
                share.set(f64::from(u8::from(risks.iter().any(|(word, _)| word == risk))));
            }
            for (risk, words) in risks.iter().filter(|risk| !told.contains(*risk)) {
                tracing::warn!(redis = commands.primary.name, setting = risk, "{words}");
            }
            told = risks;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            Ok(()) = generations.changed() => {}
        }
    }
}

/// Reads the settings. What Redis does not allow is not known; that it did not answer is an error.
pub(super) async fn look(commands: &Commands) -> Result<Settings, CommandError> {
    let mut question = redis::cmd("CONFIG");
    question.arg("GET").arg("maxmemory-policy").arg("appendonly").arg("save").arg("maxmemory");
    let config = allowed(commands.query(&question).await)?;
    let mut info = String::new();
    for section in ["memory", "persistence"] {
        let answer: Option<String> = allowed(commands.query(redis::cmd("INFO").arg(section)).await)?;
        info.extend(answer);
    }
    Ok(Settings::read(config.as_ref(), Some(&info)))
}

/// Nothing for what Redis does not allow.
pub(super) fn allowed<T>(answer: Result<T, CommandError>) -> Result<Option<T>, CommandError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(CommandError::Redis(error)) if !CommandError::Redis(error.clone()).leaves_doubt() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_safe() {
        let config = |policy: &str, appends: &str, save: &str| {
            let values = [("maxmemory-policy", policy), ("appendonly", appends), ("save", save)];
            values.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<HashMap<_, _>>()
        };
        let words = |config: Option<&HashMap<String, String>>, info: Option<&str>| {
            Settings::read(config, info).risks(false).into_iter().map(|(word, _)| word).collect::<Vec<_>>()
        };
        assert!(words(Some(&config("noeviction", "yes", "")), None).is_empty());
        assert!(words(Some(&config("noeviction", "no", "3600 1")), None).is_empty());
        assert_eq!(words(Some(&config("allkeys-lru", "no", "")), None), ["eviction", "persistence"]);
        assert_eq!(words(None, Some("maxmemory_policy:volatile-ttl\r\naof_enabled:1\r\n")), ["eviction"]);
        assert_eq!(words(None, Some("maxmemory_policy:noeviction\r\naof_enabled:0\r\n")), ["unknown"]);
        assert_eq!(words(None, None), ["unknown"]);
        let info = "maxmemory_policy:noeviction\r\naof_enabled:1\r\nmaxmemory:0\r\n";
        assert_eq!(words(None, Some(info)), ["unbounded"]);
        assert_eq!(words(None, Some(&info.replace(":0", ":1000"))), [""; 0]);
        assert!(Settings::read(None, Some(info)).risks(true).is_empty());
    }
}
