//! How much waits for the hooks that this node works on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use gateway_core::metrics::Metrics;

/// What waits, by hook and source.
#[derive(Debug)]
pub(super) struct Figures {
    metrics: Arc<Metrics>,
    all: Mutex<HashMap<(String, String), Figure>>,
}

#[derive(Debug)]
struct Figure {
    waiting: usize,
    /// When the oldest came.
    oldest: Option<Instant>,
}

impl Figures {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, all: Mutex::default() }
    }

    /// So many wait in a source for a hook that is worked on here, the oldest for that long. Without an age it is as it was.
    pub(super) fn note(&self, hook: &str, source: &str, waiting: usize, oldest: Option<Duration>) {
        let since = oldest.and_then(|age| Instant::now().checked_sub(age));
        {
            let mut all = self.all.lock();
            let figure = all.entry((hook.to_owned(), source.to_owned())).or_insert(Figure { waiting, oldest: None });
            figure.waiting = waiting;
            figure.oldest = if waiting == 0 { None } else { since.or(figure.oldest) };
        }
        self.show();
    }

    /// Whether a hook is worked on here.
    pub(super) fn has(&self, hook: &str) -> bool {
        self.all.lock().keys().any(|(known, _)| known == hook)
    }

    /// A source of a hook is not worked on here any more.
    pub(super) fn forget(&self, hook: &str, source: &str) {
        self.all.lock().remove(&(hook.to_owned(), source.to_owned()));
        self.show();
    }

    /// Brings the metrics up to date.
    #[expect(clippy::cast_precision_loss, reason = "none of these is larger than 2^53")]
    pub(super) fn show(&self) {
        let all = self.all.lock();
        let waiting: usize = all.values().map(|figure| figure.waiting).sum();
        let oldest = all.values().filter_map(|figure| figure.oldest).map(|since| since.elapsed()).max();
        self.metrics.hook_events_waiting.set(waiting as f64);
        self.metrics.hook_oldest.set(oldest.unwrap_or_default().as_secs_f64());
    }
}
