//! Hooks: what happens is told to back ends over HTTP, signed, in its order, and again until they take it.

mod courier;
mod desk;
mod figures;
mod letter;
mod pace;
mod signature;

pub use desk::{Listed, Refused, Unknown};
pub use signature::sign;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use self::courier::Courier;
use self::figures::Figures;
use gateway_core::calls::Caller;
use gateway_core::config;
use gateway_core::metrics::Metrics;
use gateway_core::outbox::{Outbox, Wants};
use gateway_core::port::PortError;
use gateway_core::recurring::Recurring;
use gateway_core::routes::Hook;

/// How often it is said which hooks there are, and what nobody wants any more is forgotten.
const SURVEY: Duration = Duration::from_secs(10);
/// How long couriers have to let go when the node stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where what happens waits for hooks: a store of outboxes, and the namespaces that are kept beside it.
pub struct Outboxes {
    /// What it is called: the name of its Redis.
    pub name: String,
    /// Which namespaces; none for all that no other source has.
    pub namespaces: Vec<String>,
    /// The store.
    pub outbox: Arc<dyn Outbox>,
    /// What is wanted of those who write there.
    pub wants: Wants,
}

impl fmt::Debug for Outboxes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outboxes").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Outboxes {
    /// Whether something can happen here that a hook is to be told.
    fn concerns(&self, hook: &Hook) -> bool {
        // What else the main one has is not asked: nothing waits there that nobody wants.
        self.namespaces.is_empty() || self.namespaces.iter().any(|name| hook.is_for(name))
    }

    /// All outboxes that are wanted, that of the archive among them: it is not forgotten either.
    fn names(&self) -> Vec<String> {
        self.wants.names()
    }
}

/// The hooks of a node. In a cluster each has one node at a time that works on it, for each source.
pub struct Hooks {
    sources: Vec<Arc<Outboxes>>,
    caller: Arc<Caller>,
    settings: config::Hooks,
    metrics: Arc<Metrics>,
    figures: Figures,
    trouble: Recurring,
    hooks: watch::Sender<Vec<Arc<Hook>>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("hooks", &*self.hooks.borrow()).finish_non_exhaustive()
    }
}

impl Hooks {
    /// Wants from now on what these hooks are to be told; [`Self::run`] delivers it.
    #[must_use]
    pub fn new(
        sources: Vec<Outboxes>,
        caller: Arc<Caller>,
        settings: &config::Hooks,
        hooks: &[Hook],
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let hooks = Self {
            sources: sources.into_iter().map(Arc::new).collect(),
            caller,
            settings: settings.clone(),
            figures: Figures::new(metrics.clone()),
            metrics,
            trouble: Recurring::new("the store of outboxes does not do what hooks ask of it"),
            hooks: watch::Sender::new(hooks.iter().cloned().map(Arc::new).collect()),
        };
        hooks.want();
        Arc::new(hooks)
    }

    /// Goes on with other hooks. What waits for one that stays is still delivered; what waits for one that is gone stays for
    /// `hooks.keep`, for the case that it comes back.
    pub fn replace(&self, hooks: &[Hook]) {
        self.hooks.send_replace(hooks.iter().cloned().map(Arc::new).collect());
        self.want();
    }

    fn want(&self) {
        let wants: Vec<_> = self.hooks.borrow().iter().map(|hook| hook.want()).collect();
        self.sources.iter().for_each(|source| source.wants.replace(wants.clone()));
    }

    /// Delivers, until `stop`. Everything is one task: hooks wait for their back ends, and not for each other.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut changes = self.hooks.subscribe();
        let mut working: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let mut known: HashMap<String, (Arc<Hook>, CancellationToken)> = HashMap::new();
        for source in self.sources.iter().cloned() {
            let (surveyor, end) = (self.clone(), stop.clone());
            working.push(Box::pin(async move { _ = end.run_until_cancelled(surveyor.survey_forever(source)).await }));
        }
        loop {
            let hooks = changes.borrow_and_update().clone();
            known.retain(|_, (hook, end)| {
                let stays = hooks.contains(hook);
                if !stays {
                    end.cancel();
                }
                stays
            });
            for hook in hooks {
                if !known.contains_key(&hook.name) {
                    let end = stop.child_token();
                    for source in self.sources.iter().filter(|source| source.concerns(&hook)) {
                        let courier = Courier::new(self.clone(), hook.clone(), source.clone());
                        working.push(Box::pin(courier.run(end.clone())));
                    }
                    known.insert(hook.name.clone(), (hook, end));
                }
            }
            let has_changed = async {
                loop {
                    tokio::select! {
                        changed = changes.changed() => return changed.is_ok(),
                        Some(()) = working.next() => {}
                    }
                }
            };
            if stop.run_until_cancelled(has_changed).await != Some(true) {
                break;
            }
        }
        let all = async { while working.next().await.is_some() {} };
        timeout(FAREWELL, all).await.ok();
    }

    async fn survey_forever(self: Arc<Self>, source: Arc<Outboxes>) {
        let mut tick = interval(SURVEY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.figures.show();
            if let Err(error) = source.outbox.survey(&source.names(), self.settings.keep).await {
                self.note(&error);
            }
        }
    }

    fn note(&self, error: &PortError) {
        self.metrics.outbox_errors.with(error.operation).increment(1);
        self.trouble.note(|what| error.tell(what));
    }
}
