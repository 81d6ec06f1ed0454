//! Metrics that the node itself reads: they are kept here, and copied for whoever scrapes them.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use metrics::{Counter, Gauge, Key};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::Kind;

/// A counter that can be read.
pub struct Total {
    value: AtomicU64,
    shown: Counter,
}

/// A gauge of a number of things that can be read.
pub struct Current {
    value: AtomicI64,
    shown: Gauge,
}

impl Total {
    /// Counts so many more.
    pub fn increment(&self, by: u64) {
        self.value.fetch_add(by, Ordering::Relaxed);
    }

    /// Takes over what somebody else counts, who never counts down.
    pub fn absolute(&self, value: u64) {
        self.value.fetch_max(value, Ordering::Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    pub(super) fn show(&self) {
        self.shown.absolute(self.get());
    }
}

impl Current {
    /// So many more, a whole number as gauges take it.
    pub fn increment(&self, by: f64) {
        self.value.fetch_add(by as i64, Ordering::Relaxed);
    }

    /// So many fewer, likewise.
    pub fn decrement(&self, by: f64) {
        self.value.fetch_sub(by as i64, Ordering::Relaxed);
    }

    /// So many from now on, a whole number likewise.
    pub fn set(&self, number: f64) {
        self.value.store(number as i64, Ordering::Relaxed);
    }

    /// How many there are.
    #[must_use]
    pub fn get(&self) -> u64 {
        u64::try_from(self.value.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(super) fn show(&self) {
        self.shown.set(self.value.load(Ordering::Relaxed) as f64);
    }
}

impl Kind for Total {
    fn describe(recorder: &PrometheusRecorder, name: &'static str, help: &'static str) {
        Counter::describe(recorder, name, help);
    }
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self {
        Self { value: AtomicU64::new(0), shown: Counter::register(recorder, key) }
    }
}

impl Kind for Current {
    fn describe(recorder: &PrometheusRecorder, name: &'static str, help: &'static str) {
        Gauge::describe(recorder, name, help);
    }
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self {
        Self { value: AtomicI64::new(0), shown: Gauge::register(recorder, key) }
    }
}

impl fmt::Debug for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Total").field(&self.get()).finish()
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Current").field(&self.get()).finish()
    }
}
