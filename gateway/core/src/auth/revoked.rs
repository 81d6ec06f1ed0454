//! What was revoked, as this node knows it: asked for each token, kept up with what other nodes revoke.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::{Identity, now};
use crate::domain::UserId;
use crate::metrics::Metrics;
use crate::port::PortError;
use crate::revocations::{News, Revocation, Revocations, Subject};

/// How often everything is read again, whatever was heard.
const RELOAD: Duration = Duration::from_secs(30);
/// How long to wait after it could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// The revocations of a deployment, in the memory of this node.
pub struct Revoked {
    store: Arc<dyn Revocations>,
    kept: Duration,
    known: RwLock<Known>,
    loaded: AtomicBool,
    /// Counts what was news to this node.
    news: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Known {
    /// `until` by `jti`.
    tokens: HashMap<String, u64>,
    /// `before` and `until`.
    users: HashMap<UserId, (u64, u64)>,
}

impl std::fmt::Debug for Revoked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revoked").field("loaded", &self.loaded()).finish_non_exhaustive()
    }
}

impl Revoked {
    /// Reads what was revoked, once; if that fails [`Self::loaded`] is false until [`Self::keep_up`] has done it. What
    /// is revoked here is remembered for `kept`.
    pub async fn start(store: Arc<dyn Revocations>, kept: Duration, metrics: Arc<Metrics>) -> Arc<Self> {
        let revoked = Arc::new(Self {
            store,
            kept,
            known: RwLock::default(),
            loaded: AtomicBool::new(false),
            news: watch::Sender::new(0),
            metrics,
        });
        revoked.load().await.ok();
        revoked
    }

    /// Whether it is known what was revoked. If not, no token can be trusted.
    #[must_use]
    pub fn loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Whether an identity's token was revoked.
    #[must_use]
    pub fn covers(&self, identity: &Identity) -> bool {
        let Some(token) = &identity.token else { return false };
        let known = self.known.read();
        let by_id = token.id.as_ref().is_some_and(|id| known.tokens.contains_key(id));
        let by_user = || {
            let (before, _) = known.users.get(identity.user.as_ref()?)?;
            // Who does not say when may always have been before.
            Some(token.issued.is_none_or(|issued| issued < *before))
        };
        by_id || by_user().unwrap_or(false)
    }

    /// Revokes tokens everywhere. When this returns it is remembered, and this node knows; others know as soon as they
    /// hear of it.
    ///
    /// # Errors
    /// It could not be remembered; then nothing is revoked for sure.
    pub async fn revoke(&self, subject: Subject) -> Result<(), PortError> {
        let until = now().saturating_add(self.kept).as_secs();
        let revocation = Revocation { subject, until };
        let added = self.store.add(&revocation).await;
        added.inspect_err(|error| self.failed(error))?;
        self.learn([revocation]);
        Ok(())
    }

    /// Changes whenever something was revoked that this node did not know: then the sessions that it
    /// [covers](Self::covers) should end. Several revocations may be one change.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// What is revoked, those that are remembered longest first, at most `limit`; and how many there are.
    #[must_use]
    pub fn list(&self, limit: usize) -> (Vec<Revocation>, usize) {
        let mut all = self.known.read().all();
        let count = all.len();
        all.sort_by_key(|revocation| std::cmp::Reverse(revocation.until));
        all.truncate(limit);
        (all, count)
    }

    /// Hears what other nodes revoke, and reads everything again now and then, for ever. Once per node.
    pub async fn keep_up(self: Arc<Self>) {
        let mut changes = self.store.changes();
        let mut tick = tokio::time::interval(RELOAD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let change = tokio::select! {
                _ = tick.tick() => News::Gap,
                Some(change) = changes.next() => change,
            };
            match change {
                News::Added(revocation) => self.learn([revocation]),
                News::Gap => match self.load().await {
                    Ok(()) => tick.reset(),
                    // Trying sooner would not help, and what was read before still holds.
                    Err(error) if error.is_permanent() && self.loaded() => tick.reset(),
                    Err(_) => tick.reset_after(RETRY),
                },
            }
        }
    }

    /// Reads everything; what the store has lost is told to it again.
    async fn load(&self) -> Result<(), PortError> {
        let all = self.store.all().await.inspect_err(|error| self.failed(error))?;
        let lost = self.known.write().forget_and_compare(now().as_secs(), &all);
        self.learn(all);
        self.loaded.store(true, Ordering::Release);
        if !lost.is_empty() {
            tracing::warn!(count = lost.len(), "revocations were lost; this node knows them and brings them back");
        }
        for revocation in &lost {
            self.store.add(revocation).await.inspect_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    fn learn(&self, revocations: impl IntoIterator<Item = Revocation>) {
        let (news, count) = {
            let mut known = self.known.write();
            // All are added: it must not stop at the first that is news.
            let news = revocations.into_iter().filter(|revocation| known.add(revocation)).count() > 0;
            (news, known.tokens.len() + known.users.len())
        };
        self.metrics.revocations.set(u32::try_from(count).unwrap_or(u32::MAX));
        if news {
            self.news.send_modify(|count| *count += 1);
        }
    }

    fn failed(&self, error: &PortError) {
        self.metrics.revocation_errors.with(error.operation).increment(1);
        let what = if self.loaded() {
            "the store of revocations failed"
        } else {
            "the store of revocations failed before it was read, and no token is trusted"
        };
        error.tell(what);
    }
}

impl Known {
    /// Returns whether more tokens are covered now.
    fn add(&mut self, revocation: &Revocation) -> bool {
        match &revocation.subject {
            Subject::Token { token } => {
                let until = self.tokens.entry(token.clone()).or_default();
                let news = *until == 0;
                *until = revocation.until.max(*until);
                news
            }
            Subject::User { user, before } => {
                let known = self.users.entry(user.clone()).or_default();
                let news = known.1 == 0 || *before > known.0;
                *known = ((*before).max(known.0), revocation.until.max(known.1));
                news
            }
        }
    }

    /// Drops what is over, and returns what of the rest is not among `others`, or less of it is.
    fn forget_and_compare(&mut self, now: u64, others: &[Revocation]) -> Vec<Revocation> {
        self.tokens.retain(|_, until| *until > now);
        self.users.retain(|_, (_, until)| *until > now);
        let mut theirs = Self::default();
        for revocation in others {
            theirs.add(revocation);
        }
        self.all().into_iter().filter(|mine| theirs.add(mine)).collect()
    }

    fn all(&self) -> Vec<Revocation> {
        let tokens = self
            .tokens
            .iter()
            .map(|(token, until)| Revocation { subject: Subject::Token { token: token.clone() }, until: *until });
        let users = self.users.iter().map(|(user, (before, until))| Revocation {
            subject: Subject::User { user: user.clone(), before: *before },
            until: *until,
        });
        tokens.chain(users).collect()
    }
}
