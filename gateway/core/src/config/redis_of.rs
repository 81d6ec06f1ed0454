//! Which Redis has which namespaces: the main one, and those that are named under `redis.of`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::redis_url::RedisUrl;
use super::{Config, Redis, Secret};

/// The longest name of a Redis.
const MAX_NAME: usize = 32;

/// `[redis.of.NAME]`: a Redis that namespaces have of their own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct RedisOf {
    pub namespaces: Vec<String>,
    pub url: Secret,
    pub prefix: String,
    pub tls_ca: PathBuf,
    pub tls_certificate: PathBuf,
    pub tls_key: PathBuf,
}

/// One Redis of a deployment, with everything that is configured of it.
#[derive(Clone, Debug)]
pub struct OneRedis {
    /// Where it is, and who the gateway is to it.
    pub url: Secret,
    /// How it is used; its name is in there.
    pub settings: Redis,
    /// The namespaces that it has; none for the main one, which has all others.
    pub namespaces: Vec<String>,
}

impl Redis {
    /// The name of the main one. It has the namespaces that no other has, and everything that is the deployment's.
    pub const MAIN: &str = "main";

    /// What it is called, in metrics and in the log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is the main one.
    #[must_use]
    pub fn is_main(&self) -> bool {
        self.name == Self::MAIN
    }

    /// The name of one of its own settings, as people write it.
    #[must_use]
    pub fn key(&self, setting: &str) -> String {
        match (self.is_main(), setting) {
            (true, "url") => "redis_url".into(),
            (true, _) => format!("redis.{setting}"),
            (false, _) => format!("redis.of.{}.{setting}", self.name),
        }
    }

    pub(super) fn main() -> String {
        Self::MAIN.into()
    }
}

impl Config {
    /// Every Redis of the deployment, the main one first; none in embedded mode.
    #[must_use]
    pub fn every_redis(&self) -> Vec<OneRedis> {
        if self.redis_url.is_empty() {
            return Vec::new();
        }
        let main = OneRedis { url: self.redis_url.clone(), settings: self.redis.clone(), namespaces: Vec::new() };
        let others = self.redis.of.iter().map(|(name, of)| {
            let RedisOf { namespaces, url, prefix, tls_ca, tls_certificate, tls_key } = of.clone();
            let settings = Redis { name: name.clone(), prefix, tls_ca, tls_certificate, tls_key, ..self.redis.clone() };
            OneRedis { url, settings, namespaces }
        });
        std::iter::once(main).chain(others).collect()
    }

    /// Fills in what those that namespaces have of their own take from the main one.
    pub(super) fn complete_redis_of(&mut self) {
        for of in self.redis.of.values_mut() {
            if of.prefix.is_empty() {
                of.prefix.clone_from(&self.redis.prefix);
            }
        }
    }

    /// Checks those that namespaces have of their own, as [`Self::validate`] checks the rest.
    pub(super) fn validate_redis_of(&self) -> Result<(), (String, String)> {
        let every = self.every_redis();
        if every.is_empty() && !self.redis.of.is_empty() {
            let why = "needs redis_url: what is the whole deployment's stays in the main Redis";
            return Err(("redis.of".into(), why.into()));
        }
        let parsed = |redis: &OneRedis| RedisUrl::parse(redis.url.expose());
        for (number, redis) in every.iter().enumerate().skip(1) {
            let settings = &redis.settings;
            let wrong = |setting: &str, why: String| Err((settings.key(setting), why));
            let name = settings.name();
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            if name == Redis::MAIN || name.len() > MAX_NAME || name.contains("__") || !name.bytes().all(is_plain) {
                let why = format!(
                    "must be called something else than {name:?}: at most {MAX_NAME} of a-z, 0-9 and single _, and not \
                     \"main\""
                );
                return Err(("redis.of".into(), why));
            }
            if redis.url.is_empty() {
                return wrong("url", "is missing: where is the Redis of these namespaces?".into());
            }
            let url = match parsed(redis) {
                Ok(url) => url,
                Err(why) => return wrong("url", why),
            };
            let files = [
                ("tls_ca", &settings.tls_ca),
                ("tls_certificate", &settings.tls_certificate),
                ("tls_key", &settings.tls_key),
            ];
            if let Some((file, _)) = files.iter().find(|(_, path)| !url.tls && !path.as_os_str().is_empty()) {
                return wrong(file, "needs a url with TLS: one that begins with rediss".into());
            }
            if redis.namespaces.is_empty() {
                return wrong("namespaces", "must name at least one".into());
            }
            for namespace in &redis.namespaces {
                if !namespace.starts_with('/') {
                    return wrong("namespaces", format!("{namespace:?} is no namespace: they begin with \"/\""));
                }
                let known = redis.namespaces.iter().filter(|other| *other == namespace).count();
                let other = every[..number].iter().find(|other| other.namespaces.contains(namespace));
                if let Some(other) = other {
                    let other = other.settings.key("namespaces");
                    return wrong("namespaces", format!("{namespace:?} is in {other} as well: it can have one Redis"));
                }
                if known > 1 {
                    return wrong("namespaces", format!("{namespace:?} is there twice"));
                }
            }
            // Without the number of the database: channels are the whole server's.
            let is_same = |other: &&OneRedis| {
                parsed(other).is_ok_and(|other| other.location == url.location)
                    && other.settings.prefix == settings.prefix
            };
            if let Some(other) = every[..number].iter().find(is_same) {
                let why = format!(
                    "is that of {} with the same prefix, so both would hear the same channels, which do not heed the number \
                     of a database: name another Redis, or another prefix",
                    other.settings.key("url")
                );
                return wrong("url", why);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError, load};

    fn from_file(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(Some(file.path()), environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn without_any_there_is_the_main_one_or_none() {
        assert!(from_file("", &[]).unwrap().every_redis().is_empty());
        let config = from_file("redis_url = \"redis://h\"", &[]).unwrap();
        let every = config.every_redis();
        assert_eq!((every.len(), every[0].settings.name(), &*every[0].settings.prefix), (1, "main", "gateway"));
        assert_eq!(
            (every[0].settings.key("url"), every[0].settings.key("tls_ca")),
            ("redis_url".into(), "redis.tls_ca".into())
        );
    }

    #[test]
    fn a_file_or_the_environment_names_them_and_the_rest_is_the_main_one_s() {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "redis-cluster://:hunter2@c\n").unwrap();
        let text = "redis_url = \"redis://h\"\n[redis]\ntimeout = \"3s\"\nprefix = \"p\"\n\
                    [redis.of.chat]\nnamespaces = [\"/chat\"]\nurl = \"redis://c\"\n";
        let environment = [
            ("GATEWAY_REDIS__OF__BIG_GAME__URL_FILE", secret.path().to_str().unwrap()),
            ("GATEWAY_REDIS__OF__BIG_GAME__NAMESPACES", "/game, /lobby"),
            ("GATEWAY_REDIS__OF__CHAT__URL", "redis://other"),
        ];
        let config = from_file(text, &environment).unwrap();
        let every = config.every_redis();
        let names: Vec<_> = every.iter().map(|one| (one.settings.name(), &*one.settings.prefix)).collect();
        assert_eq!(names, [("main", "p"), ("big_game", "{p}"), ("chat", "p")]);
        assert_eq!(
            (&*every[1].namespaces, &*every[2].namespaces),
            (&["/game".to_owned(), "/lobby".into()][..], &["/chat".to_owned()][..])
        );
        assert_eq!(every[2].url.expose(), "redis://other", "the environment wins");
        assert_eq!(every[1].settings.timeout.as_secs(), 3);
        assert_eq!(every[1].settings.key("url"), "redis.of.big_game.url");
        assert!(!format!("{config:?}").contains("hunter2") && !toml::to_string(&config).unwrap().contains("hunter2"));
    }

    #[test]
    fn what_cannot_be_used_is_told_with_its_key() {
        let chat = |rest: &str| format!("redis_url = \"redis://h\"\n[redis.of.chat]\n{rest}\n");
        let both = |url: &str, prefix: &str| {
            format!(
                "redis_url = \"redis://h\"\n[redis.of.a]\nnamespaces = [\"/a\"]\nurl = \"redis://c/1\"\n\
                 [redis.of.b]\nnamespaces = [\"/b\"]\nurl = \"{url}\"\nprefix = \"{prefix}\"\n"
            )
        };
        let cases = [
            ("[redis.of.chat]\nnamespaces = [\"/c\"]\nurl = \"redis://c\"\n".to_owned(), "redis.of: needs redis_url"),
            (chat("namespaces = [\"/c\"]"), "redis.of.chat.url: is missing"),
            (chat("namespaces = [\"/c\"]\nurl = \"c:6379\""), "redis.of.chat.url: must begin with"),
            (chat("url = \"redis://c\""), "redis.of.chat.namespaces: must name at least one"),
            (chat("namespaces = [\"c\"]\nurl = \"redis://c\""), "redis.of.chat.namespaces: \"c\" is no namespace"),
            (
                chat("namespaces = [\"/c\", \"/c\"]\nurl = \"redis://c\""),
                "redis.of.chat.namespaces: \"/c\" is there twice",
            ),
            (
                chat("namespaces = [\"/c\"]\nurl = \"redis://c\"\ntls_ca = \"ca\""),
                "redis.of.chat.tls_ca: needs a url with TLS",
            ),
            (
                chat("namespaces = [\"/c\"]\nurl = \"redis://h\""),
                "redis.of.chat.url: is that of redis_url with the same prefix",
            ),
            (chat("namespaces = [\"/c\"]\nurl = \"redis://u:p@h:6379/0\""), "redis.of.chat.url: is that of redis_url"),
            (chat("nope = 1"), "redis.of.chat.nope: no such key"),
            ("[redis.of]\nchat = 3\n".to_owned(), "redis.of.chat: must be a section"),
            ("[redis]\nof = 3\n".to_owned(), "redis.of: must be a section"),
            (chat("").replace("chat", "main"), "redis.of: must be called something else than \"main\""),
            (chat("").replace("chat", "my-chat"), "redis.of: must be called something else than \"my-chat\""),
            (both("redis://c/1", ""), "redis.of.b.url: is that of redis.of.a.url with the same prefix"),
            // Channels are the same in all databases of a server.
            (both("redis://c/2", ""), "redis.of.b.url: is that of redis.of.a.url with the same prefix"),
            (both("redis://h/2", ""), "redis.of.b.url: is that of redis_url with the same prefix"),
            (
                both("redis://c:1", "").replace("/b", "/a"),
                "redis.of.b.namespaces: \"/a\" is in redis.of.a.namespaces as well",
            ),
        ];
        for (text, expected) in cases {
            let line = from_file(&text, &[]).unwrap_err().to_string();
            assert!(
                line.starts_with(expected) && line.lines().count() == 1,
                "{line:?} does not start with {expected:?}"
            );
        }
        for fine in [both("redis://c:1/1", ""), both("redis://c/1", "q"), both("redis://c/2", "q")] {
            from_file(&fine, &[]).unwrap();
        }
        for (variable, expected) in [
            ("GATEWAY_REDIS__OF__CHAT__NOPE", "redis.of.chat.nope: no such key"),
            ("GATEWAY_REDIS__OF__CHAT", "redis.of.chat: no such key"),
            ("GATEWAY_REDIS__OF", "redis.of: no such key"),
        ] {
            let line = from_file("", &[(variable, "x")]).unwrap_err().to_string();
            assert!(line.starts_with(expected) && line.contains(variable), "{line}");
        }
    }
}
