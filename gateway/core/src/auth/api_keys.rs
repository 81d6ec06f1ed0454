//! Keys of back ends: whose a request is, and what it may do. They are random and long, and only their hashes are kept.
//!
//! A secret has 256 bits of chance, so whoever has its hash cannot guess it: SHA-256 is enough, where a password would
//! need a slow hash, and a request costs a microsecond.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::rights::{Pattern, compile, opens};
use super::suspects::{Suspects, TooMany};
use crate::config::{self, Scope};
use crate::metrics::Metrics;

/// What every key begins with, so that people and scanners of leaked secrets see what it is.
const PREFIX: &str = "gw_";
/// The longest text that is looked at as a key, in bytes.
const MAX_BYTES: usize = 256;

/// A key of a back end, without its secret.
#[derive(Debug)]
pub struct ApiKey {
    /// Whose it is.
    pub name: String,
    /// By which it is found, and named in lines of the log.
    pub id: String,
    hash: [u8; 32],
    scopes: Vec<Scope>,
    rooms: Vec<Pattern>,
    namespaces: Vec<Pattern>,
    reaches_all_rooms: bool,
    reaches_all_namespaces: bool,
}

impl ApiKey {
    /// Whether it may be used for something.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// One that opens everything, of no back end: for operators, who prove themselves in another way.
    ///
    /// # Panics
    /// Never: `*` is a pattern.
    #[must_use]
    pub fn of_everything(name: &str) -> Self {
        let all = || compile(&["*".to_owned()]).expect("it is a pattern");
        let (name, id, scopes) = (name.to_owned(), name.to_owned(), Scope::ALL.to_vec());
        Self {
            name,
            id,
            hash: [0; 32],
            scopes,
            rooms: all(),
            namespaces: all(),
            reaches_all_rooms: true,
            reaches_all_namespaces: true,
        }
    }

    /// Whether it opens a namespace.
    #[must_use]
    pub fn opens_namespace(&self, namespace: &str) -> bool {
        opens(Some(&self.namespaces), namespace)
    }

    /// Whether it opens a room, in a namespace that it opens.
    #[must_use]
    pub fn opens_room(&self, room: &str) -> bool {
        self.reaches_all_rooms || opens(Some(&self.rooms), room)
    }

    /// Whether it is limited to some rooms. Then it does not reach users, everybody or sessions: that would be more.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        !self.reaches_all_rooms
    }

    /// Whether it is limited to some namespaces. Then it reaches nothing that is in none of them or in all: that would be more, too.
    #[must_use]
    pub fn is_limited_to_namespaces(&self) -> bool {
        !self.reaches_all_namespaces
    }
}

/// The keys that there are now.
#[derive(Debug)]
pub struct ApiKeys {
    by_id: ArcSwap<HashMap<String, Arc<ApiKey>>>,
    /// What they were read from.
    configured: Mutex<Vec<config::Key>>,
    suspects: Suspects,
    metrics: Arc<Metrics>,
}

/// Why a request is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// It has a key that is none.
    Wrong,
    /// It has one as well, and so many of its address wait for their answer already that it has to come later.
    TooMany {
        /// When it may.
        retry_after: Duration,
    },
}

impl ApiKeys {
    /// Keys as they are configured.
    ///
    /// # Errors
    /// Which one cannot be used, and why.
    pub fn new(configured: &[config::Key], metrics: Arc<Metrics>) -> Result<Arc<Self>, String> {
        let by_id = ArcSwap::from_pointee(read(configured)?);
        let suspects = Suspects::new("wrong keys for the HTTP API");
        let configured = Mutex::new(configured.to_owned());
        Ok(Arc::new(Self { by_id, configured, suspects, metrics }))
    }

    /// Looks at keys without using them.
    ///
    /// # Errors
    /// Which one cannot be used, and why.
    pub fn check(configured: &[config::Key]) -> Result<(), String> {
        read(configured).map(drop)
    }

    /// Has others from now on; returns whether they are others. What is under way is finished.
    ///
    /// # Errors
    /// Which one cannot be used, and why; then nothing has changed.
    pub fn replace(&self, configured: &[config::Key]) -> Result<bool, String> {
        let by_id = read(configured)?;
        let mut before = self.configured.lock();
        if *before == configured {
            return Ok(false);
        }
        configured.clone_into(&mut before);
        self.by_id.store(Arc::new(by_id));
        Ok(true)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.load().is_empty()
    }

    /// The key that a text is. Secrets are compared without telling by the time how much was right.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<Arc<ApiKey>> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let keys = self.by_id.load();
        let key = keys.get(id)?;
        let given = Sha256::digest(secret);
        let differences = given.iter().zip(&key.hash).fold(0, |differences, (one, other)| differences | (one ^ other));
        (differences == 0).then(|| key.clone())
    }

    /// Has a request wait that came with a key that is none, and returns what it is told. Nobody else waits for it, who is
    /// right at the same address least of all: no key can be guessed, so its answer may be fast.
    pub async fn slow_down(&self, from: IpAddr) -> NoKey {
        self.metrics.api_refused.with("wrong_key").increment(1);
        self.suspects.note(from);
        match self.suspects.wait(from) {
            Ok(waits) => {
                if let Some(waits) = waits {
                    waits.pass().await;
                }
                NoKey::Wrong
            }
            Err(TooMany { retry_after }) => {
                self.metrics.api_refused.with("too_many").increment(1);
                NoKey::TooMany { retry_after }
            }
        }
    }
}

fn read(configured: &[config::Key]) -> Result<HashMap<String, Arc<ApiKey>>, String> {
    let read = |key: &config::Key| {
        let id = key.id.to_lowercase();
        let hash = unhex(&key.hash).ok_or("its hash is no SHA-256")?;
        let (rooms, namespaces) = (compile(&key.rooms)?, compile(&key.namespaces)?);
        let reaches_all_rooms = key.rooms.iter().any(|pattern| pattern == "*");
        // Each begins with a slash.
        let reaches_all_namespaces = key.namespaces.iter().any(|pattern| ["*", "/*"].contains(&pattern.as_str()));
        let (name, scopes) = (key.name.clone(), key.scopes.clone());
        let key = ApiKey { name, id, hash, scopes, rooms, namespaces, reaches_all_rooms, reaches_all_namespaces };
        Ok((key.id.clone(), Arc::new(key)))
    };
    configured.iter().map(|key| read(key).map_err(|why: &str| format!("api.key {:?}: {why}", key.name))).collect()
}

/// A new key with a name, and what is to be kept of it.
#[must_use]
pub fn make_key(name: &str, scopes: Vec<Scope>, rooms: Vec<String>, namespaces: Vec<String>) -> (String, config::Key) {
    let id = format!("{:016x}", rand::random::<u64>());
    let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let hash = Hex(&Sha256::digest(&secret)).to_string();
    let text = format!("{PREFIX}{id}_{secret}");
    (text, config::Key { name: name.to_owned(), id, hash, scopes, rooms, namespaces })
}

struct Hex<'a>(&'a [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let is_hex = text.len() == 64 && text.is_ascii();
    for (place, byte) in bytes.iter_mut().enumerate().filter(|_| is_hex) {
        *byte = u8::from_str_radix(&text[place * 2..place * 2 + 2], 16).ok()?;
    }
    is_hex.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::auth::suspects::{DELAY, WAITING};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn key(rooms: &[&str], namespaces: &[&str]) -> (String, config::Key) {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        make_key("billing", vec![Scope::Publish, Scope::Read], texts(rooms), texts(namespaces))
    }

    fn keys(configured: &[config::Key]) -> Arc<ApiKeys> {
        ApiKeys::new(configured, Arc::default()).unwrap()
    }

    #[test]
    fn a_key_is_found_by_all_of_it() {
        let ((text, kept), (other, other_kept)) = (key(&["*"], &["*"]), key(&["*"], &["*"]));
        let keys = keys(&[kept.clone(), other_kept]);
        assert_eq!(keys.find(&text).unwrap().id, kept.id);
        let (head, secret) = text.split_at(PREFIX.len() + config::Key::ID_DIGITS + 1);
        assert!(secret.len() == 43 && !kept.hash.contains(secret));
        let others_secret = &other[head.len()..];
        let long = format!("{text}{}", "x".repeat(MAX_BYTES));
        for wrong in
            ["", "gw_", "gw__", head, &text[1..], &text[..text.len() - 1], &format!("{head}{others_secret}"), &long]
        {
            assert!(keys.find(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_rotated() {
        let ((old, old_kept), (new, new_kept)) = (key(&["*"], &["*"]), key(&["*"], &["*"]));
        let keys = keys(std::slice::from_ref(&old_kept));
        assert_eq!(keys.replace(std::slice::from_ref(&old_kept)), Ok(false));
        assert_eq!(keys.replace(&[old_kept, new_kept.clone()]), Ok(true));
        assert!(keys.find(&old).is_some() && keys.find(&new).is_some());
        let broken = config::Key { hash: "é".repeat(32), ..new_kept.clone() };
        assert!(keys.replace(&[broken]).unwrap_err().contains("SHA-256"));
        keys.replace(&[new_kept]).unwrap();
        assert!(keys.find(&old).is_none() && keys.find(&new).is_some());
        keys.replace(&[]).unwrap();
        assert!(keys.is_empty() && keys.find(&new).is_none());
    }

    #[test]
    fn a_key_opens_what_its_patterns_match() {
        let (text, kept) = key(&["orders-*", "news"], &["/", "/shop*"]);
        let key = keys(&[kept]).find(&text).unwrap();
        assert!(key.opens_room("orders-7") && key.opens_room("news") && !key.opens_room("newsroom"));
        assert!(key.opens_namespace("/") && key.opens_namespace("/shop/1") && !key.opens_namespace("/other"));
        assert!(key.is_limited() && key.has(Scope::Read) && !key.has(Scope::Control));
        let (text, kept) = key_of_nothing();
        let key = keys(&[kept]).find(&text).unwrap();
        assert!(!key.opens_room("a") && !key.opens_room("*") && !key.opens_namespace("/") && key.is_limited());
    }

    fn key_of_nothing() -> (String, config::Key) {
        key(&[], &[])
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_keys_wait_and_there_are_few_that_do() {
        let metrics = Arc::new(Metrics::new());
        let keys = ApiKeys::new(&[], metrics.clone()).unwrap();
        let began = Instant::now();
        let all = futures_util::future::join_all((0..100).map(|_| keys.slow_down(HERE))).await;
        assert_eq!(began.elapsed(), DELAY);
        assert_eq!(all.iter().filter(|told| **told == NoKey::Wrong).count(), WAITING);
        assert!(metrics.render().contains("gateway_api_refused_total{reason=\"wrong_key\"} 100"));
        assert!(metrics.render().contains("gateway_api_refused_total{reason=\"too_many\"} 96"));
        assert_eq!(keys.slow_down(HERE).await, NoKey::Wrong);
    }
}
