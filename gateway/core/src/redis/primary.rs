//! The primary: found anew for each connection, and left by all connections at once when it is none any more.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::TlsCertificates;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::doubt::Doubt;
use super::error::{ConnectError, SettingsError};
use super::tls::Tls;
use crate::config::{self, Host, Location, Login, RedisUrl};
use crate::metrics::Metrics;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host and a port.
    Host(Host),
    /// A unix socket.
    Socket(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

/// The way to the primary of a deployment. Connections belong to a *generation*: whoever finds out that what it speaks
/// with is not the primary, or not what others speak with, ends the generation, and with it all connections.
pub struct Primary {
    /// What it is called in the configuration.
    pub(super) name: String,
    pub(super) url: RedisUrl,
    pub(super) tls: Option<Tls>,
    pub(super) prefix: String,
    pub(super) timeout: Duration,
    /// Nodes of a Redis Cluster that others told of: they may be there when those that were configured are gone.
    pub(super) learned: Mutex<Vec<Host>>,
    generation: watch::Sender<u64>,
    /// The server of a generation, by the id that it gave itself when it started.
    identity: Mutex<Option<(u64, String)>>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Primary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Primary").field("location", &self.url.location).finish_non_exhaustive()
    }
}

impl Primary {
    /// A way; nothing is connected yet.
    ///
    /// # Errors
    /// The URL, or a file with certificates or keys, cannot be used.
    pub fn new(url: &str, settings: &config::Redis, metrics: Arc<Metrics>) -> Result<Arc<Self>, SettingsError> {
        let url = RedisUrl::parse(url).map_err(|why| SettingsError::of(settings, "url", why))?;
        let tls = url.tls.then(|| Tls::read(settings)).transpose()?;
        Ok(Arc::new(Self {
            name: settings.name().to_owned(),
            url,
            tls,
            prefix: settings.prefix.clone(),
            timeout: settings.timeout,
            learned: Mutex::default(),
            generation: watch::Sender::new(0),
            identity: Mutex::default(),
            metrics,
        }))
    }

    /// Finds out whether what is configured can be used. Nothing is connected.
    ///
    /// # Errors
    /// It cannot.
    pub fn check(config: &config::Config) -> Result<(), SettingsError> {
        let every = config.every_redis();
        every.iter().try_for_each(|redis| Self::new(redis.url.expose(), &redis.settings, Arc::default()).map(drop))
    }

    /// Whether it is one of a Redis Cluster, in which messages stay in the shard of their channel.
    #[must_use]
    pub fn is_sharded(&self) -> bool {
        self.url.is_cluster()
    }

    /// Who the gateway is to it.
    #[must_use]
    pub fn login(&self) -> &Login {
        &self.url.login
    }

    /// The number of the database.
    #[must_use]
    pub fn database(&self) -> u8 {
        self.url.database
    }

    /// How connections are encrypted, if they are.
    #[must_use]
    pub fn tls(&self) -> Option<Arc<rustls::ClientConfig>> {
        self.tls.as_ref().map(Tls::config)
    }

    /// The same for redis-rs, and for what is built on it.
    #[must_use]
    pub fn certificates(&self) -> Option<TlsCertificates> {
        self.tls.as_ref().map(Tls::certificates)
    }

    /// The generation that new connections belong to.
    #[must_use]
    pub fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// Changes with each generation.
    #[must_use]
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Where the primary is now, as far as somebody knows. Names are resolved by whoever connects.
    ///
    /// # Errors
    /// Nobody who may know answers, or knows.
    pub async fn locate(&self) -> Result<Address, ConnectError> {
        match &self.url.location {
            Location::Server(host) => Ok(Address::Host(host.clone())),
            Location::Socket(path) => Ok(Address::Socket(path.clone())),
            Location::Sentinel { sentinels, service, login } => {
                self.ask_sentinels(sentinels, service, login).await.map(Address::Host)
            }
            Location::Cluster(nodes) => self.ask_cluster(nodes).await.map(Address::Host),
        }
    }

    /// Ends a generation, unless that has happened already.
    pub fn distrust(&self, generation: u64, doubt: Doubt) {
        let ended = self.generation.send_if_modified(|current| {
            let ends = *current == generation;
            *current += u64::from(ends);
            ends
        });
        if ended {
            self.metrics.redis_distrusted.with(doubt.label()).increment(1);
            tracing::warn!(
                redis = self.name,
                reason = doubt.label(),
                "{doubt}: all connections to Redis are made anew"
            );
        }
    }

    /// Ends the generation if where the primary is said to be is no longer where a connection goes. Only Sentinels and
    /// clusters say it; a name that stands for several addresses may say something else each time.
    pub async fn look_again(&self, generation: u64, address: &Address) {
        let is_told = matches!(self.url.location, Location::Sentinel { .. } | Location::Cluster(_));
        if is_told && self.locate().await.is_ok_and(|now| now != *address) {
            self.distrust(generation, Doubt::Moved);
        }
    }

    /// Takes a new connection in by what the server said of itself; returns the generation that it belongs to. Another
    /// server than that of the generation ends it, and begins the next.
    ///
    /// # Errors
    /// It is no primary, or too old.
    pub fn welcome(&self, generation: u64, address: &Address, server: &Greeting) -> Result<u64, ConnectError> {
        if !server.is_primary() {
            return Err(ConnectError::away(address, "is a replica, and not the primary"));
        }
        if let Some(version) = server.too_old() {
            return Err(ConnectError::Refused(format!(
                "{address} is Redis {version}: the gateway needs Redis {OLDEST}.0 or newer, or Valkey"
            )));
        }
        let Some(id) = &server.run_id else { return Ok(generation) };
        let mut identity = self.identity.lock();
        let generation = match &*identity {
            Some((of, known)) if *of == generation && known != id => {
                self.distrust(generation, Doubt::RunId);
                generation + 1
            }
            // Somebody was quicker, and this connection will be told to go.
            Some((of, _)) if *of > generation => return Ok(generation),
            _ => generation,
        };
        *identity = Some((generation, id.clone()));
        Ok(generation)
    }
}

/// The oldest Redis that counts what was added to a stream (`entries-added` of XINFO STREAM, since 7.0). Without that, nobody
/// learns that old events of a room went.
const OLDEST: u32 = 7;

/// What a server says of itself when a connection begins.
#[derive(Clone, Debug, Default)]
pub struct Greeting {
    /// What it is, as HELLO says: "master" or "replica".
    pub role: Option<String>,
    /// Which version, as HELLO says.
    pub version: Option<String>,
    /// What it called itself when it started, if the gateway may know.
    pub run_id: Option<String>,
}

impl Greeting {
    /// Whether it is a primary. What does not say is taken at its word that it is Redis.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.role.as_deref().is_none_or(|role| role == "master")
    }

    /// Its version, if it is one with which events could get lost without a word.
    fn too_old(&self) -> Option<&str> {
        let version = self.version.as_deref()?;
        let major = version.split('.').next()?.parse::<u32>().ok()?;
        (major < OLDEST).then_some(version)
    }

    /// Takes what there is to know from the answer to INFO.
    #[must_use]
    pub fn with_info(mut self, info: &str) -> Self {
        self.run_id = field(info, "run_id").map(str::to_owned);
        self
    }
}

/// A field of what INFO answers.
pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// What most of those who answered say: at once when more than half of all agree.
#[derive(Debug, Default)]
pub(super) struct Votes(HashMap<Host, usize>);

impl Votes {
    /// Counts a vote; returns whether more than half of `voters` have cast this one.
    pub(super) fn count(&mut self, host: &Host, voters: usize) -> bool {
        let votes = self.0.entry(host.clone()).or_default();
        *votes += 1;
        *votes * 2 > voters
    }

    /// Who has most.
    pub(super) fn winner(self) -> Option<Host> {
        self.0.into_iter().max_by_key(|(_, votes)| *votes).map(|(host, _)| host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(role: &str, run_id: &str) -> Greeting {
        Greeting { role: Some(role.into()), ..Greeting::default() }
            .with_info(&format!("# Server\r\nrun_id:{run_id}\r\n"))
    }

    fn primary() -> Arc<Primary> {
        let config = config::load(None, std::iter::empty()).unwrap();
        Primary::new("redis://h", &config.redis, Arc::default()).unwrap()
    }

    #[test]
    fn a_generation_ends_once() {
        let primary = primary();
        primary.distrust(0, Doubt::ReadOnly);
        primary.distrust(0, Doubt::Loading);
        assert_eq!(primary.generation(), 1);
        let shown = primary.metrics.render();
        assert!(shown.contains("gateway_redis_distrusted_total{reason=\"readonly\"} 1"), "{shown}");
        assert!(shown.contains("gateway_redis_distrusted_total{reason=\"loading\"} 0"), "{shown}");
    }

    #[test]
    fn all_connections_of_a_generation_go_to_one_server() {
        let (primary, address) = (primary(), Address::Socket("/s".into()));
        assert_eq!(primary.welcome(0, &address, &greeting("master", "a")).unwrap(), 0);
        assert_eq!(primary.welcome(0, &address, &greeting("master", "a")).unwrap(), 0);
        assert_eq!(primary.welcome(0, &address, &greeting("master", "b")).unwrap(), 1, "the others go");
        assert_eq!(primary.generation(), 1);
        assert_eq!(primary.welcome(0, &address, &greeting("master", "a")).unwrap(), 0, "of the one that has ended");
        assert_eq!(primary.welcome(1, &address, &greeting("master", "b")).unwrap(), 1);
        let refused = primary.welcome(1, &address, &greeting("replica", "b")).unwrap_err();
        assert_eq!(refused.to_string(), "/s is a replica, and not the primary");
        assert_eq!(primary.generation(), 1);
    }

    #[test]
    fn a_server_that_is_too_old_is_refused_in_words() {
        let (primary, address) = (primary(), Address::Socket("/s".into()));
        let of = |version: &str| Greeting { version: Some(version.into()), ..greeting("master", "a") };
        for version in ["7.0.0", "7.2.4", "8.0.1", "10.1", "unstable"] {
            primary.welcome(0, &address, &of(version)).unwrap();
        }
        let refused = primary.welcome(0, &address, &of("6.2.14")).unwrap_err();
        assert_eq!(refused.to_string(), "/s is Redis 6.2.14: the gateway needs Redis 7.0 or newer, or Valkey");
        assert!(matches!(refused, ConnectError::Refused(_)), "waiting does not help");
    }

    #[test]
    fn most_votes_win_and_more_than_half_at_once() {
        let host = |name: &str| Host { name: name.into(), port: 1 };
        let mut votes = Votes::default();
        assert!(!votes.count(&host("a"), 4) && !votes.count(&host("b"), 4) && !votes.count(&host("b"), 4));
        assert!(votes.count(&host("b"), 4));
        assert_eq!(votes.winner(), Some(host("b")));
        assert_eq!(Votes::default().winner(), None);
    }
}
