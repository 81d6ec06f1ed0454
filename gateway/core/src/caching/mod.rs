//! Caching: what is asked often, kept in memory for a while and bounded in bytes. Of all who ask for the same at the same time
//! one asks, and the others wait for what it learns.

mod counts;

pub use counts::Counts;

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use moka::Expiry;
use moka::future::Cache;

use crate::metrics::{Metrics, Share};

/// What an entry takes beside its key and its value, about, in bytes.
const ENTRY_BYTES: usize = 128;

/// What was learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned<V> {
    /// What it is.
    pub value: V,
    /// How long it is good. With nothing it is for those who wait for it now, and nobody else.
    pub keep: Duration,
    /// From whom.
    pub source: Source,
}

/// From whom something was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Who knows it was asked.
    Asked,
    /// Another node had asked.
    Shared,
    /// The same, and it is a little old: it is just being asked for anew.
    Old,
}

/// What is kept of one kind, by its key. Cloning gives another handle of the same.
///
/// What cannot be learned is not kept: whoever comes next asks again.
#[derive(Clone)]
pub struct Kept<K, V> {
    entries: Cache<K, Entry<V>>,
    /// Its name, as metrics have it.
    name: &'static str,
    /// What it has of what all of its name take.
    bytes: Arc<Share>,
    metrics: Arc<Metrics>,
}

#[derive(Clone)]
struct Entry<V> {
    value: V,
    keep: Duration,
}

/// Entries live as long as they say.
struct AsLearned;

#[expect(clippy::disallowed_types, reason = "the cache has this clock")]
impl<K, V> Expiry<K, Entry<V>> for AsLearned {
    fn expire_after_create(&self, _: &K, entry: &Entry<V>, _: std::time::Instant) -> Option<Duration> {
        Some(entry.keep)
    }

    fn expire_after_update(
        &self,
        _: &K,
        entry: &Entry<V>,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.keep)
    }
}

impl<K, V> std::fmt::Debug for Kept<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<K, V> Kept<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Nothing is kept yet. `name` is one of `metrics::CACHES`; all of it takes `bytes` at the most, as `weigh` says of keys
    /// and values.
    #[must_use]
    pub fn new(
        name: &'static str,
        bytes: u64,
        weigh: impl Fn(&K, &V) -> usize + Send + Sync + 'static,
        metrics: Arc<Metrics>,
    ) -> Self {
        let weigh = move |key: &K, entry: &Entry<V>| {
            u32::try_from(weigh(key, &entry.value).saturating_add(ENTRY_BYTES)).unwrap_or(u32::MAX)
        };
        let entries = Cache::builder().max_capacity(bytes).weigher(weigh).expire_after(AsLearned).build();
        Self { entries, name, bytes: Arc::new(Share::of(metrics.cache_bytes.with(name))), metrics }
    }

    /// What is kept, or what `learn` learns if nothing is and nobody else is just learning it.
    ///
    /// # Errors
    /// Why it could not be learned, told to all who waited for it.
    pub async fn get_or_learn<E: Send + Sync + 'static>(
        &self,
        key: K,
        learn: impl Future<Output = Result<Learned<V>, E>> + Send,
    ) -> Result<V, Arc<E>> {
        let count = |result: &str| self.metrics.cache_requests.with(self.name, result).increment(1);
        if let Some(entry) = self.entries.get(&key).await {
            count("hit");
            return Ok(entry.value);
        }
        let is_mine = AtomicBool::new(false);
        let learning = async {
            is_mine.store(true, Ordering::Relaxed);
            let learned = learn.await;
            count(match learned.as_ref().map_or(Source::Asked, |learned| learned.source) {
                Source::Asked => "miss",
                Source::Shared => "shared",
                Source::Old => "old",
            });
            learned.map(|Learned { value, keep, .. }| Entry { value, keep })
        };
        let entry = self.entries.try_get_with(key, Box::pin(learning)).await;
        if !is_mine.load(Ordering::Relaxed) {
            count("wait");
        }
        entry.map(|entry| entry.value)
    }

    /// Forgets what is kept under a key. What is just being learned comes in all the same.
    pub async fn forget(&self, key: &K) {
        self.entries.invalidate(key).await;
    }

    /// Publishes what it takes; to be called every few seconds.
    pub async fn upkeep(&self) {
        self.entries.run_pending_tasks().await;
        self.bytes.set(self.entries.weighted_size() as f64);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    fn kept(bytes: u64) -> Kept<String, Arc<str>> {
        Kept::new("calls", bytes, |key: &String, value: &Arc<str>| key.len() + value.len(), Arc::new(Metrics::new()))
    }

    fn learned(value: &str, keep: Duration) -> Learned<Arc<str>> {
        Learned { value: value.into(), keep, source: Source::Asked }
    }

    async fn ask(kept: &Kept<String, Arc<str>>, key: &str, value: &str, keep: Duration) -> Arc<str> {
        let learn = async { Ok::<_, ()>(learned(value, keep)) };
        kept.get_or_learn(key.to_owned(), learn).await.unwrap()
    }

    fn counted(kept: &Kept<String, Arc<str>>, result: &str) -> String {
        let series = format!("gateway_cache_requests_total{{cache=\"calls\",result=\"{result}\"}} ");
        let text = kept.metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().to_owned()
    }

    #[tokio::test]
    async fn what_is_kept_is_not_asked_for_again() {
        let kept = kept(1 << 20);
        assert_eq!(&*ask(&kept, "a", "1", LONG).await, "1");
        assert_eq!(&*ask(&kept, "a", "2", LONG).await, "1");
        assert_eq!(&*ask(&kept, "b", "2", LONG).await, "2", "each key for itself");
        kept.forget(&"a".to_owned()).await;
        assert_eq!(&*ask(&kept, "a", "3", LONG).await, "3");
        assert_eq!((counted(&kept, "hit"), counted(&kept, "miss")), ("1".into(), "3".into()));
        assert_eq!(&*ask(&kept, "short", "1", Duration::ZERO).await, "1");
        assert_eq!(&*ask(&kept, "short", "2", Duration::ZERO).await, "2", "its time was over at once");
    }

    #[tokio::test]
    async fn of_a_hundred_one_asks_and_all_get_its_answer() {
        let (kept, gate) = (kept(1 << 20), Semaphore::new(0));
        let asks = AtomicBool::new(false);
        let one = || {
            kept.get_or_learn("a".to_owned(), async {
                assert!(!asks.swap(true, Ordering::Relaxed), "somebody asks already");
                gate.acquire().await.unwrap().forget();
                Ok::<_, ()>(learned("1", LONG))
            })
        };
        let all = join_all((0..100).map(|_| one()));
        let open = async {
            tokio::task::yield_now().await;
            gate.add_permits(1);
        };
        let (answers, ()) = tokio::join!(all, open);
        assert!(answers.into_iter().all(|answer| &*answer.unwrap() == "1"));
        assert_eq!((counted(&kept, "miss"), counted(&kept, "wait")), ("1".into(), "99".into()));
    }

    #[tokio::test]
    async fn what_cannot_be_learned_is_not_kept() {
        let kept = kept(1 << 20);
        let failed = kept.get_or_learn("a".to_owned(), async { Err("away") }).await;
        assert_eq!(*failed.unwrap_err(), "away");
        assert_eq!(&*ask(&kept, "a", "1", LONG).await, "1");
    }

    #[tokio::test]
    async fn it_takes_no_more_than_it_may() {
        let kept = kept(100_000);
        let value = "x".repeat(1_000);
        for key in 0..1_000 {
            ask(&kept, &key.to_string(), &value, LONG).await;
        }
        kept.upkeep().await;
        let (count, bytes) = (kept.entries.entry_count(), kept.entries.weighted_size());
        assert!((50..=100).contains(&count) && bytes <= 100_000, "{count} entries have {bytes} bytes");
        assert!(kept.metrics.render().contains(&format!("gateway_cache_bytes{{cache=\"calls\"}} {bytes}")));
    }
}
