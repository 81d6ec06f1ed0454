//! Series: how each kind of metric is described and registered, so that it is there at 0 before anything happened.

use metrics::{Counter, Gauge, Histogram, Key, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::PrometheusRecorder;

const METADATA: Metadata<'static> = Metadata::new("gateway", Level::INFO, None);

/// A counter, a gauge or a histogram.
pub(super) trait Kind: Sized {
    fn describe(recorder: &PrometheusRecorder, name: &'static str, help: &'static str);
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self;
}

impl Kind for Counter {
    fn describe(recorder: &PrometheusRecorder, name: &'static str, help: &'static str) {
        recorder.describe_counter(name.into(), None::<Unit>, SharedString::const_str(help));
    }
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self {
        let counter = recorder.register_counter(key, &METADATA);
        counter.increment(0);
        counter
    }
}

impl Kind for Gauge {
    fn describe(recorder: &PrometheusRecorder, name: &'static str, help: &'static str) {
        recorder.describe_gauge(name.into(), None::<Unit>, SharedString::const_str(help));
    }
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self {
        let gauge = recorder.register_gauge(key, &METADATA);
        gauge.increment(0.0);
        gauge
    }
}

impl Kind for Histogram {
    fn describe(recorder: &PrometheusRecorder, name: &'static str, help: &'static str) {
        recorder.describe_histogram(name.into(), None::<Unit>, SharedString::const_str(help));
    }
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self {
        recorder.register_histogram(key, &METADATA)
    }
}

/// A metric with no label, or a family with one.
pub(super) trait Series: Sized {
    fn make(
        recorder: &PrometheusRecorder,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &[&'static str])],
    ) -> Self;
}

impl<T: Kind> Series for T {
    fn make(
        recorder: &PrometheusRecorder,
        name: &'static str,
        help: &'static str,
        _: &[(&'static str, &[&'static str])],
    ) -> Self {
        T::describe(recorder, name, help);
        T::register(recorder, &Key::from_static_name(name))
    }
}
