//! What there is of each Redis of a deployment, by its name in the configuration, and what of that says how the node is.

use std::fmt;
use std::time::Duration;

use metrics::{Gauge, Key, Label};
use metrics_exporter_prometheus::PrometheusRecorder;
use parking_lot::Mutex;

use super::{Kind, Metrics, Series};

const LABEL: &str = "redis";
/// There always is this one; what else there is has its name from the configuration.
const MAIN: &str = "main";

/// A gauge for each Redis.
pub struct PerRedis {
    name: &'static str,
    series: Mutex<Vec<(String, Gauge, f64)>>,
}

impl fmt::Debug for PerRedis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.series.lock().iter().map(|(redis, _, value)| (redis, value))).finish()
    }
}

impl PerRedis {
    fn key(name: &'static str, redis: &str) -> Key {
        Key::from_parts(name, vec![Label::new(LABEL, redis.to_owned())])
    }

    /// Sets one; returns all values.
    fn set(&self, redis: &str, value: f64, register: impl FnOnce(&Key) -> Gauge) -> Vec<f64> {
        let mut series = self.series.lock();
        let at = series.iter().position(|(known, ..)| known == redis).unwrap_or_else(|| {
            series.push((redis.to_owned(), register(&Self::key(self.name, redis)), value));
            series.len() - 1
        });
        series[at].1.set(value);
        series[at].2 = value;
        series.iter().map(|(_, _, value)| *value).collect()
    }
}

impl Series for PerRedis {
    fn make(
        recorder: &PrometheusRecorder,
        name: &'static str,
        help: &'static str,
        _: &[(&'static str, &[&'static str])],
    ) -> Self {
        Gauge::describe(recorder, name, help);
        let main = Gauge::register(recorder, &Self::key(name, MAIN));
        Self { name, series: Mutex::new(vec![(MAIN.to_owned(), main, 0.0)]) }
    }
}

impl Metrics {
    fn of_redis(&self, family: &PerRedis, redis: &str, value: f64) -> Vec<f64> {
        family.set(redis, value, |key| self.exposition.gauge(key))
    }

    /// Notes whether the bus over a Redis is connected. The node's is as long as all are.
    pub fn redis_is_connected(&self, redis: &str, is_connected: bool) {
        let all = self.of_redis(&self.redis_connected, redis, f64::from(u8::from(is_connected)));
        self.bus_connected.set(all.into_iter().fold(1.0, f64::min));
    }

    /// Notes for how long the canary was not heard over a Redis. The node's silence is the longest.
    pub fn canary_silent(&self, redis: &str, silence: Duration) {
        let all = self.of_redis(&self.redis_canary_silence, redis, silence.as_secs_f64());
        self.canary_silence.set(all.into_iter().fold(0.0, f64::max));
    }

    /// Notes how many bytes the log in a Redis keeps, and how many it may, 0 for any number. The node shows those of the fullest.
    #[expect(clippy::cast_precision_loss, reason = "no log has 2^53 bytes")]
    pub fn log_keeps(&self, redis: &str, used: u64, limit: u64) {
        let used = self.of_redis(&self.redis_log_bytes, redis, used as f64);
        let limits = self.of_redis(&self.redis_log_bytes_limit, redis, limit as f64);
        let share = |(used, limit): (f64, f64)| if limit > 0.0 { used / limit } else { 0.0 };
        let fuller = |one: &(f64, f64), other: &(f64, f64)| share(*one).total_cmp(&share(*other));
        // The last of equals: of those without a limit the largest.
        let mut all: Vec<_> = used.into_iter().zip(limits).collect();
        all.sort_by(|one, other| one.0.total_cmp(&other.0));
        if let Some((used, limit)) = all.into_iter().max_by(fuller) {
            self.log_bytes.set(used);
            self.log_bytes_limit.set(limit);
        }
    }

    /// Notes how many events of a Redis wait for the archive, and for how long the oldest has, where that is known. The node's
    /// are all of them, and the oldest.
    #[expect(clippy::cast_precision_loss, reason = "no queue has 2^53 entries")]
    pub fn archive_waits(&self, redis: &str, waiting: usize, oldest: Option<Duration>) {
        let all = self.of_redis(&self.redis_archive_waiting, redis, waiting as f64);
        self.archive_waiting.set(all.into_iter().sum::<f64>());
        if let Some(age) = oldest {
            let all = self.of_redis(&self.redis_archive_lag, redis, age.as_secs_f64());
            self.archive_lag.set(all.into_iter().fold(0.0, f64::max));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_shows(metrics: &Metrics, lines: &[&str]) {
        let text = metrics.render();
        for line in lines {
            assert!(text.contains(&format!("{line}\n")), "no {line:?}");
        }
    }

    #[test]
    fn there_is_a_series_for_the_main_one_from_the_start() {
        let metrics = Metrics::new();
        assert_shows(&metrics, &["gateway_redis_connected{redis=\"main\"} 0", "gateway_bus_connected 0"]);
    }

    #[test]
    fn the_node_shows_the_one_that_is_worst() {
        let metrics = Metrics::new();
        metrics.redis_is_connected("main", true);
        assert_shows(&metrics, &["gateway_bus_connected 1"]);
        metrics.redis_is_connected("chat", false);
        assert_shows(
            &metrics,
            &[
                "gateway_bus_connected 0",
                "gateway_redis_connected{redis=\"main\"} 1",
                "gateway_redis_connected{redis=\"chat\"} 0",
            ],
        );
        metrics.redis_is_connected("chat", true);
        assert_shows(&metrics, &["gateway_bus_connected 1"]);
        metrics.canary_silent("main", Duration::from_secs(1));
        metrics.canary_silent("chat", Duration::from_secs(9));
        metrics.canary_silent("main", Duration::from_secs(2));
        assert_shows(
            &metrics,
            &["gateway_canary_silence_seconds 9", "gateway_redis_canary_silence_seconds{redis=\"main\"} 2"],
        );
        metrics.log_keeps("main", 500, 1000);
        metrics.log_keeps("chat", 90, 100);
        assert_shows(&metrics, &["gateway_log_bytes 90", "gateway_log_bytes_limit 100"]);
        metrics.log_keeps("chat", 90, 0);
        assert_shows(&metrics, &["gateway_log_bytes 500", "gateway_log_bytes_limit 1000"]);
        metrics.log_keeps("main", 50, 0);
        assert_shows(
            &metrics,
            &["gateway_log_bytes 90", "gateway_log_bytes_limit 0", "gateway_redis_log_bytes{redis=\"main\"} 50"],
        );
    }
}
