//! Counts that are kept with the changes that they have seen: who asks after a change that this node knows of is told what
//! has become of it.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Kept, Learned, Source};
use crate::metrics::Metrics;

/// In how many groups keys are watched for changes: one that changes makes all of its group be counted anew.
const GROUPS: usize = 4096;
/// How often a count is asked for again because its key changed meanwhile, before it is asked for past what is kept.
const ATTEMPTS: usize = 3;

/// What is counted for each of many keys, kept for a while.
pub struct Counts<K> {
    kept: Kept<K, Count>,
    keep: Duration,
    /// How many changes are known of, by group.
    changes: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// A count, and how many changes were known of when it was asked for.
#[derive(Clone, Copy)]
struct Count {
    count: u64,
    changes: u64,
}

impl<K> std::fmt::Debug for Counts<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counts").field("keep", &self.keep).finish_non_exhaustive()
    }
}

impl<K> Counts<K>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
{
    /// Nothing is kept yet, and each count will be for `keep` if nothing changes. `name` is one of `metrics::CACHES`; all of it
    /// takes `bytes` at the most, as `weigh` says of keys.
    #[must_use]
    pub fn new(
        name: &'static str,
        bytes: u64,
        keep: Duration,
        weigh: impl Fn(&K) -> usize + Send + Sync + 'static,
        metrics: Arc<Metrics>,
    ) -> Self {
        let kept = Kept::new(name, bytes, move |key: &K, _: &Count| weigh(key), metrics);
        let changes = (0..GROUPS).map(|_| AtomicU64::new(0)).collect();
        Self { kept, keep, changes, hasher: RandomState::new() }
    }

    /// To be called when something was done, or may have been: who counts from now on counts it.
    pub fn note(&self, key: &K) {
        self.changes_of(key).fetch_add(1, Ordering::AcqRel);
    }

    /// The same where it is not known to what.
    pub fn note_all(&self) {
        for changes in &self.changes {
            changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// How many there are: as it is kept, or as `ask` says, which one asks for all.
    ///
    /// # Errors
    /// Those of `ask`.
    pub async fn count<E, F>(&self, key: &K, ask: impl Fn() -> F + Sync) -> Result<u64, Arc<E>>
    where
        E: Send + Sync + 'static,
        F: Future<Output = Result<u64, E>> + Send,
    {
        // What is counted must have seen what was known before it was asked.
        let since = self.changes_of(key).load(Ordering::Acquire);
        for _ in 0..ATTEMPTS {
            let learn = async {
                let changes = self.changes_of(key).load(Ordering::Acquire);
                let count = ask().await?;
                Ok::<_, E>(Learned { value: Count { count, changes }, keep: self.keep, source: Source::Asked })
            };
            let learned = self.kept.get_or_learn(key.clone(), learn).await?;
            if learned.changes >= since {
                return Ok(learned.count);
            }
            self.kept.forget(key).await;
        }
        ask().await.map_err(Arc::new)
    }

    /// Publishes what it takes; to be called every few seconds.
    pub async fn upkeep(&self) {
        self.kept.upkeep().await;
    }

    fn changes_of(&self, key: &K) -> &AtomicU64 {
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash will do")]
        let group = self.hasher.hash_one(key) as usize % GROUPS;
        &self.changes[group]
    }
}
