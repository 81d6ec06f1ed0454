//! `[emitters]`: which libraries of back ends are heard through Redis.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Config, RedisUrl};

/// The shortest lease: it is renewed three times in it.
const SHORTEST_LEASE: Duration = Duration::from_millis(300);

/// `[emitters]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Emitters {
    pub redis: bool,
    pub prefix: String,
    pub python: bool,
    pub python_channel: String,
    pub durable: bool,
    pub streams: bool,
    pub stream: String,
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
}

impl Emitters {
    /// Whether any are heard.
    #[must_use]
    pub fn any(&self) -> bool {
        self.channels() || self.streams
    }

    /// Whether any are heard on channels.
    #[must_use]
    pub fn channels(&self) -> bool {
        self.redis || self.python
    }

    /// Whether one node takes something for all.
    #[must_use]
    pub fn by_turns(&self) -> bool {
        self.durable || self.streams
    }
}

impl Config {
    pub(super) fn validate_emitters(&self) -> Result<(), (&'static str, String)> {
        let emitters = &self.emitters;
        let switches = [
            ("emitters.redis", emitters.redis),
            ("emitters.python", emitters.python),
            ("emitters.streams", emitters.streams),
        ];
        if let Some((key, _)) = switches.into_iter().find(|(_, on)| *on && self.redis_url.is_empty()) {
            return Err((key, "needs redis_url: emitters speak through Redis".into()));
        }
        if emitters.durable && !emitters.channels() {
            return Err((
                "emitters.durable",
                "needs emitters.redis or emitters.python; streams are always kept".into(),
            ));
        }
        let names = [
            ("emitters.prefix", &emitters.prefix),
            ("emitters.python_channel", &emitters.python_channel),
            ("emitters.stream", &emitters.stream),
        ];
        let own = format!("{}:", self.redis.prefix);
        for (key, name) in names {
            if name.is_empty() || name.starts_with(&own) {
                return Err((key, "must not be empty, nor begin like the keys of the gateway".into()));
            }
        }
        if emitters.lease < SHORTEST_LEASE {
            return Err(("emitters.lease", "must be at least 300ms".into()));
        }
        let is_cluster = RedisUrl::parse(self.redis_url.expose()).is_ok_and(|url| url.is_cluster());
        if is_cluster && emitters.streams {
            let prefix = &self.redis.prefix;
            let tag = hash_tag(prefix).map_or_else(|| prefix.replace(['{', '}'], "_"), str::to_owned);
            if hash_tag(&emitters.stream) != Some(&tag) {
                let why =
                    format!("must have the hash tag of redis.prefix in a Redis Cluster, as in \"{{{tag}}}socket.io\"");
                return Err(("emitters.stream", why));
            }
        }
        Ok(())
    }
}

/// What of a key says where it is in a Redis Cluster, if that is not all of it.
fn hash_tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    rest.split_once('}').map(|(tag, _)| tag).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::load;

    #[test]
    fn what_cannot_be_heard_is_told() {
        let redis = ("GATEWAY_REDIS_URL", "redis://h");
        let cluster = ("GATEWAY_REDIS_URL", "redis-cluster://h");
        let (on, streams) = (("GATEWAY_EMITTERS__REDIS", "true"), ("GATEWAY_EMITTERS__STREAMS", "true"));
        let durable = ("GATEWAY_EMITTERS__DURABLE", "true");
        let result = |pairs: &[(&str, &str)]| {
            load(None, pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
        };
        for good in
            [&[][..], &[redis, on, streams, durable], &[cluster, streams, ("GATEWAY_EMITTERS__STREAM", "{gateway}s")]]
        {
            assert!(result(good).is_ok(), "{good:?}");
        }
        for (bad, expected) in [
            (&[on][..], "emitters.redis: needs redis_url"),
            (&[streams], "emitters.streams: needs redis_url"),
            (&[redis, streams, durable], "emitters.durable: needs emitters.redis or emitters.python"),
            (&[redis, on, ("GATEWAY_EMITTERS__PREFIX", "")], "emitters.prefix: must not be empty"),
            (
                &[redis, on, ("GATEWAY_EMITTERS__STREAM", "gateway:x")],
                "emitters.stream: must not be empty, nor begin like",
            ),
            (&[redis, on, ("GATEWAY_EMITTERS__LEASE", "10ms")], "emitters.lease: must be at least"),
            (
                &[cluster, streams],
                "emitters.stream: must have the hash tag of redis.prefix in a Redis Cluster, as in \"{gateway}socket.io\"",
            ),
        ] {
            let said = result(bad).unwrap_err().to_string();
            assert!(said.starts_with(expected), "{said}");
        }
    }
}
