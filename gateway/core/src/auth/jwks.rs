//! The keys that `auth.jwks_url` serves: fetched, kept, fetched again. What the other end does never empties them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use reqwest::header::ACCEPT;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior};

use super::keys::{Jwk, Key, KeyError};
use crate::config;
use crate::domain::Refusal;
use crate::metrics::Metrics;

/// How long one fetch may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest set that is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// The most keys that are taken from a set. Issuers have a handful.
const MAX_KEYS: usize = 100;
/// The longest name of a key that is asked for, in bytes.
const MAX_KID_BYTES: usize = 256;
/// The most names that are remembered between two fetches.
const MAX_NAMES: usize = 1024;

/// The keys of one URL.
#[derive(Debug)]
pub(super) struct Jwks {
    client: Client,
    url: Url,
    refresh: Duration,
    cooldown: Duration,
    /// None until a fetch succeeded.
    set: ArcSwapOption<Set>,
    /// Who holds it fetches, or finds out that it need not.
    fetching: tokio::sync::Mutex<()>,
    asked: Mutex<Asked>,
    metrics: Arc<Metrics>,
}

/// Keys by name, and those without one. A name may stand for one key of each kind.
#[derive(Debug, Default)]
struct Set {
    named: HashMap<String, Vec<Key>>,
    nameless: Vec<Key>,
}

/// The fetches that tokens caused. Those of the schedule do not count: what they miss may be asked for at once.
#[derive(Debug, Default)]
struct Asked {
    began: Option<Instant>,
    /// When the last that brought a set was done.
    succeeded: Option<Instant>,
    /// Asked for while it was too early to fetch again.
    waiting: HashSet<String>,
    /// Not there when it was fetched.
    absent: HashSet<String>,
}

/// Why a fetch brought nothing.
enum Failure {
    Unreachable(String),
    Unusable(String),
}

impl Jwks {
    /// The keys that are configured; none if none are. Nothing is fetched yet.
    pub(super) fn new(settings: &config::Auth, metrics: Arc<Metrics>) -> Result<Option<Arc<Self>>, KeyError> {
        if settings.jwks_url.is_empty() {
            return Ok(None);
        }
        let error = |why: String| KeyError { setting: "auth.jwks_url".into(), why };
        let url = Url::parse(settings.jwks_url.expose()).map_err(|why| error(why.to_string()))?;
        // A redirect would let whoever answers choose where keys come from.
        let client = Client::builder().timeout(TIMEOUT).redirect(Policy::none()).build();
        Ok(Some(Arc::new(Self {
            client: client.map_err(|why| error(why.to_string()))?,
            url,
            refresh: settings.jwks_refresh,
            cooldown: settings.jwks_cooldown,
            set: ArcSwapOption::empty(),
            fetching: tokio::sync::Mutex::default(),
            asked: Mutex::default(),
            metrics,
        })))
    }

    /// The keys of a name that are known now; none if there is no such name.
    pub(super) fn known(&self, kid: &str) -> Option<Vec<Key>> {
        self.set.load().as_ref()?.named.get(kid).cloned()
    }

    /// The keys that may have signed a token, after fetching them if need be: those of its `kid`. Without one, the keys
    /// that have no name, or the only key that there is.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`]: the keys cannot be fetched, or not so soon again.
    pub(super) async fn find(self: &Arc<Self>, kid: Option<&str>) -> Result<Vec<Key>, Refusal> {
        if kid.is_some() || self.set.load().is_none() {
            self.learn(kid).await?;
        }
        let set = self.set.load();
        let set = set.as_ref().ok_or(Refusal::Unavailable)?;
        let keys = match kid {
            Some(kid) => set.named.get(kid),
            None if set.nameless.is_empty() && set.named.len() == 1 => set.named.values().next(),
            None => Some(&set.nameless),
        };
        Ok(keys.cloned().unwrap_or_default())
    }

    fn has(&self, kid: Option<&str>) -> bool {
        let set = self.set.load();
        set.as_ref().is_some_and(|set| kid.is_none_or(|kid| set.named.contains_key(kid)))
    }

    /// Makes sure that the set is new enough to tell whether it has a name. Those who ask at the same time share a fetch.
    async fn learn(self: &Arc<Self>, kid: Option<&str>) -> Result<(), Refusal> {
        let name = kid.unwrap_or_default();
        if name.len() > MAX_KID_BYTES {
            return Ok(());
        }
        let arrived = Instant::now();
        let _alone = self.fetching.lock().await;
        {
            let mut asked = self.asked.lock();
            let shared = asked.succeeded.is_some_and(|done| done >= arrived);
            if self.has(kid) {
                return Ok(());
            }
            if shared {
                if asked.absent.len() < MAX_NAMES {
                    asked.absent.insert(name.to_owned());
                }
                return Ok(());
            }
            if asked.began.is_some_and(|began| began.elapsed() < self.cooldown) {
                if asked.absent.contains(name) {
                    return Ok(());
                }
                // It may be brand new. Its bearer comes back; by then another fetch may know.
                if asked.waiting.len() < MAX_NAMES {
                    asked.waiting.insert(name.to_owned());
                }
                return Err(Refusal::Unavailable);
            }
            asked.began = Some(Instant::now());
            asked.waiting.insert(name.to_owned());
        }
        // On its own: it goes on if this client leaves.
        let fetch = tokio::spawn({
            let jwks = self.clone();
            async move {
                let fetched = jwks.fetch().await;
                if fetched {
                    let mut asked = jwks.asked.lock();
                    asked.succeeded = Some(Instant::now());
                    asked.absent = std::mem::take(&mut asked.waiting);
                }
                fetched
            }
        });
        fetch.await.unwrap_or(false).then_some(()).ok_or(Refusal::Unavailable)
    }

    /// Fetches again and again, for ever. A first fetch that failed is tried again soon.
    pub(super) async fn keep_fresh(self: Arc<Self>) {
        let mut tick = tokio::time::interval(self.refresh);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, and then there was a fetch just before.
        tick.tick().await;
        loop {
            if self.set.load().is_none() {
                tick.reset_after(self.cooldown.min(self.refresh));
            }
            tick.tick().await;
            self.fetch().await;
        }
    }

    /// Fetches the set; what cannot be used leaves the old one as it is. Returns whether there is a new one.
    pub(super) async fn fetch(&self) -> bool {
        let (result, why) = match self.download().await {
            Ok(set) => {
                let keys = set.named.values().map(Vec::len).sum::<usize>() + set.nameless.len();
                self.metrics.jwks_keys.set(u32::try_from(keys).unwrap_or(u32::MAX));
                self.metrics.jwks_fetches.with("ok").increment(1);
                self.set.store(Some(Arc::new(set)));
                return true;
            }
            Err(Failure::Unreachable(why)) => ("unreachable", why),
            Err(Failure::Unusable(why)) => ("unusable", why),
        };
        self.metrics.jwks_fetches.with(result).increment(1);
        let kept = self.set.load().is_some();
        tracing::warn!(why, kept, "auth.jwks_url gave no keys");
        false
    }

    async fn download(&self) -> Result<Set, Failure> {
        // The address may have a password in it.
        let unreachable =
            |error: reqwest::Error| Failure::Unreachable(format!("{:#}", anyhow::Error::from(error.without_url())));
        let request = self.client.get(self.url.clone()).header(ACCEPT, "application/json");
        let mut response = request.send().await.map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(Failure::Unreachable(format!("it answered {}", response.status())));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(Failure::Unusable(format!("its answer is larger than {MAX_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Set::read(&body).map_err(Failure::Unusable)
    }
}

impl Set {
    /// Takes the keys that can be used. What else is in a set is an operator's to look at, and no reason to go without
    /// the others.
    fn read(body: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Keys {
            keys: Vec<serde_json::Value>,
        }
        let Keys { keys } = serde_json::from_slice(body)
            .map_err(|error| format!("it is no set of keys (line {}, column {})", error.line(), error.column()))?;
        let mut set = Self::default();
        for (number, value) in keys.into_iter().take(MAX_KEYS).enumerate() {
            if let Err(why) = set.add(value) {
                tracing::warn!(number, why, "a key of auth.jwks_url is not used");
            }
        }
        if set.named.is_empty() && set.nameless.is_empty() {
            return Err("there is no key in it that can be used".into());
        }
        Ok(set)
    }

    fn add(&mut self, value: serde_json::Value) -> Result<(), String> {
        let jwk: Jwk = serde_json::from_value(value).map_err(|error| error.to_string())?;
        let key = jwk.key()?;
        let Some(kid) = jwk.kid else {
            self.nameless.push(key);
            return Ok(());
        };
        let namesakes = self.named.entry(kid).or_default();
        if namesakes.iter().any(|other| other.algorithm == key.algorithm) {
            return Err("an earlier key of its kind has the same kid".into());
        }
        namesakes.push(key);
        Ok(())
    }
}
