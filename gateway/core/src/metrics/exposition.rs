//! The registry of a node as text: made with every series, read by whoever scrapes.

use std::fmt;
use std::time::Duration;

use metrics::{Gauge, Key};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::{Kind, Metrics, REVISION, VERSION};

/// Seconds. Half a millisecond is a good fan-out, five seconds is an outage.
pub(super) const SECONDS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// CPU is kept as a gauge, because counters here have no fractions: read every few seconds, whole seconds are pulses. It is shown as what it
/// is.
const CPU_AS_GAUGE: &str = "# TYPE process_cpu_seconds_total gauge\n";
const CPU_AS_COUNTER: &str = "# TYPE process_cpu_seconds_total counter\n";

pub(super) struct Exposition {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    process: metrics_process::Collector,
}

impl Exposition {
    pub(super) fn of(recorder: PrometheusRecorder) -> Self {
        Self { handle: recorder.handle(), process: metrics_process::Collector::default(), recorder }
    }

    /// A gauge of which it was not known before that there is one.
    pub(super) fn gauge(&self, key: &Key) -> Gauge {
        Gauge::register(&self.recorder, key)
    }
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exposition").finish_non_exhaustive()
    }
}

impl Metrics {
    /// How often [`Self::upkeep`] wants to be called.
    pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

    /// A registry with every series at 0.
    ///
    /// # Panics
    /// Never: the buckets are not empty.
    #[must_use]
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
            .expect("buckets are not empty")
            .build_recorder();
        let metrics = Self::register(recorder);
        metrics.build_info.with(VERSION, REVISION).set(1.0);
        let exposition = &metrics.exposition;
        metrics::with_local_recorder(&exposition.recorder, || exposition.process.describe());
        metrics
    }

    /// The text exposition, with the process's own figures read now.
    #[must_use]
    pub fn render(&self) -> String {
        let Exposition { recorder, handle, process } = &self.exposition;
        self.connections.iter().for_each(|(_, current)| current.show());
        self.connections_opened.iter().for_each(|(_, total)| total.show());
        self.connections_closed.iter().flat_map(|(_, family)| family.iter()).for_each(|(_, total)| total.show());
        self.events_received.iter().chain(self.refusals.iter()).for_each(|(_, total)| total.show());
        [&self.received_bytes, &self.sent_bytes, &self.events_delivered].iter().for_each(|total| total.show());
        [&self.draining, &self.rooms].iter().for_each(|current| current.show());
        metrics::with_local_recorder(recorder, || process.collect());
        let mut text = handle.render();
        if let Some(at) = text.find(CPU_AS_GAUGE) {
            text.replace_range(at..at + CPU_AS_GAUGE.len(), CPU_AS_COUNTER);
        }
        text
    }

    /// Moves recorded samples into their buckets; without it they pile up between scrapes.
    pub fn upkeep(&self) {
        self.exposition.handle.run_upkeep();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_exists_before_anything_happened() {
        let text = Metrics::new().render();
        for series in [
            r#"gateway_connections_closed_total{transport="polling",reason="slow"} 0"#,
            r#"gateway_refusals_total{code="rate_limited"} 0"#,
            r#"gateway_rate_limit_decisions_total{limiter="session_events",decision="deny"} 0"#,
            "gateway_cluster_nodes 0",
            "process_open_fds ",
        ] {
            assert!(text.contains(series), "{series} is missing in\n{text}");
        }
    }

    #[test]
    fn what_the_node_reads_itself_is_shown_as_it_is_now() {
        let metrics = Metrics::new();
        let shown = |series: &str| assert!(metrics.render().contains(series), "{series} in\n{}", metrics.render());
        metrics.connections.with("polling").increment(1.0);
        metrics.connections_closed.with("polling", "slow").increment(2);
        metrics.sent_bytes.increment(30);
        shown("gateway_connections{transport=\"polling\"} 1\n");
        shown("gateway_connections_closed_total{transport=\"polling\",reason=\"slow\"} 2\n");
        metrics.connections.with("polling").decrement(1.0);
        metrics.sent_bytes.increment(4);
        shown("gateway_connections{transport=\"polling\"} 0\n");
        shown("gateway_sent_bytes_total 34\n");
        assert_eq!((metrics.sent_bytes.get(), metrics.connections.with("polling").get()), (34, 0));
    }

    #[test]
    fn cpu_time_is_a_counter_with_fractions() {
        let metrics = Metrics::new();
        let cpu = || {
            let text = metrics.render();
            assert!(text.contains("# TYPE process_cpu_seconds_total counter\n"), "{text}");
            assert!(!text.contains("process_cpu_seconds_total gauge"), "{text}");
            let line = text.lines().find(|line| line.starts_with("process_cpu_seconds_total ")).unwrap();
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        // Who reads this often has, at one of these times, used no whole number of seconds.
        assert!((0..10_000).any(|_| cpu().fract() > 0.0), "{} s of CPU", cpu());
    }

    #[test]
    fn histograms_have_buckets_and_help_comes_from_the_doc_comment() {
        let metrics = Metrics::new();
        metrics.feed_lag.record(0.003);
        let text = metrics.render();
        assert!(text.contains(r#"gateway_feed_lag_seconds_bucket{le="0.005"} 1"#), "{text}");
        assert!(text.contains("# HELP gateway_draining 1 while the node hands its clients over, else 0."), "{text}");
    }
}
