//! Histograms that the node itself reads: how often something took how long, beside what scrapes are shown.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Histogram, Key};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::Kind;
use super::exposition::SECONDS;

/// How often in each bucket of the exposition, and beyond the last.
pub type Counts = [u64; SECONDS.len() + 1];

/// A histogram of seconds that can be read.
pub struct Timed {
    buckets: [AtomicU64; SECONDS.len() + 1],
    shown: Histogram,
}

impl Timed {
    /// Notes that it took so many seconds.
    pub fn record(&self, seconds: f64) {
        let bucket = SECONDS.partition_point(|most| *most < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.shown.record(seconds);
    }

    /// How often it took how long so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed))
    }

    /// How many seconds a share of what `counts` has took at the most: the upper end of a bucket. Nothing if it has
    /// nothing, or what took longer than all buckets reach.
    #[must_use]
    pub fn within(counts: &Counts, share: f64) -> Option<f64> {
        let wanted = (counts.iter().sum::<u64>() as f64 * share).ceil();
        let mut seen = 0;
        let bucket = counts.iter().position(|count| {
            seen += count;
            seen > 0 && seen as f64 >= wanted
        });
        SECONDS.get(bucket?).copied()
    }
}

impl Kind for Timed {
    fn describe(recorder: &PrometheusRecorder, name: &'static str, help: &'static str) {
        Histogram::describe(recorder, name, help);
    }
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self {
        Self { buckets: Default::default(), shown: Histogram::register(recorder, key) }
    }
}

impl fmt::Debug for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timed").field(&self.counts()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn what_most_took_is_the_end_of_a_bucket() {
        let metrics = Metrics::new();
        let within = |share| Timed::within(&metrics.publish_duration.counts(), share);
        assert_eq!(within(0.5), None, "there was nothing");
        for _ in 0..98 {
            metrics.publish_duration.record(0.001);
        }
        metrics.publish_duration.record(0.2);
        assert_eq!((within(0.5), within(0.99), within(1.0)), (Some(0.001), Some(0.25), Some(0.25)));
        metrics.publish_duration.record(60.0);
        assert_eq!((within(0.5), within(1.0)), (Some(0.001), None), "as much as that is not known");
        assert!(metrics.render().contains("gateway_publish_duration_seconds_count 100"));
    }
}
