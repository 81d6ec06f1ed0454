//! Health: what this node knows of itself, and the conditions of alerts that one node can evaluate by itself.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::http::admin::AdminState;

/// Something that is compared.
struct Condition {
    /// The alert's name, or ours.
    name: &'static str,
    severity: &'static str,
    /// What it looks at; nothing if that is not there.
    value: fn(&Figures) -> Option<f64>,
    /// It is well up to this.
    limit: f64,
    /// What is wrong beyond it.
    words: &'static str,
}

/// The exposition, read.
struct Figures(Vec<(String, f64)>);

const CONDITIONS: &[Condition] = &[
    Condition {
        name: "GatewayRedisUnsafe",
        severity: "warning",
        value: |it| it.most(|series| series.starts_with("gateway_redis_unsafe{") && !series.contains("\"unknown\"")),
        limit: 0.0,
        words: "a setting of Redis puts what the gateway keeps there at risk",
    },
    Condition {
        name: "GatewayBusDisconnected",
        severity: "critical",
        value: |it| it.of("gateway_bus_connected").map(|connected| 1.0 - connected),
        limit: 0.0,
        words: "the bus between the nodes is not connected",
    },
    Condition {
        name: "GatewayNodeDeaf",
        severity: "critical",
        value: |it| it.of("gateway_canary_silence_seconds").filter(|_| it.of("gateway_bus_connected") == Some(1.0)),
        limit: 10.0,
        words: "it has not heard its own canary for so many seconds",
    },
    Condition {
        name: "GatewayDatabaseAway",
        severity: "warning",
        value: |it| it.of("gateway_database_up").map(|up| 1.0 - up),
        limit: 0.0,
        words: "the database does not answer",
    },
    Condition {
        name: "GatewayFileDescriptorsNearLimit",
        severity: "warning",
        value: |it| it.share("process_open_fds", "process_max_fds"),
        limit: 0.8,
        words: "this share of the files that the process may open is open",
    },
    Condition {
        name: "GatewayConnectionsNearLimit",
        severity: "warning",
        value: |it| it.share("gateway_connections", "gateway_connections_limit"),
        limit: 0.85,
        words: "this share of the connections that the node may hold is there",
    },
    Condition {
        name: "GatewayBuffersNearLimit",
        severity: "critical",
        value: |it| it.share("gateway_buffered_bytes", "gateway_buffered_bytes_limit"),
        limit: 0.8,
        words: "this share of the bytes that connections may make the node hold is held",
    },
    Condition {
        name: "GatewayLogNearLimit",
        severity: "warning",
        value: |it| it.share("gateway_log_bytes", "gateway_log_bytes_limit"),
        limit: 0.8,
        words: "this share of what the log may keep is kept",
    },
    Condition {
        name: "GatewayHookLate",
        severity: "warning",
        value: |it| it.most_of("gateway_hook_oldest_seconds"),
        limit: 300.0,
        words: "a hook was not told for so many seconds what waits for it",
    },
    Condition {
        name: "GatewayJobsDead",
        severity: "warning",
        value: |it| it.most(|series| series.starts_with("gateway_jobs{") && series.contains("state=\"failed\"")),
        limit: 0.0,
        words: "so many jobs of a queue were given up",
    },
    Condition {
        name: "GatewayJobsLate",
        severity: "warning",
        value: |it| it.most_of("gateway_jobs_lag_seconds"),
        limit: 300.0,
        words: "a job waits for so many seconds",
    },
    Condition {
        name: "GatewayArchiveLate",
        severity: "warning",
        value: |it| it.most_of("gateway_archive_lag_seconds"),
        limit: 300.0,
        words: "the archive is so many seconds behind",
    },
];

pub(super) async fn show(State(state): State<AdminState>) -> Json<Value> {
    let figures = Figures::read(&state.metrics.render());
    let own = [
        ("ready", state.ready.load(Ordering::Acquire), "clients are not sent here: it starts or drains"),
        ("hears", !state.node.hearing().deaf(), "it hears nothing although others do"),
    ];
    let own = own.into_iter().map(|(name, ok, words)| {
        let value = f64::from(u8::from(!ok));
        json!({ "name": name, "ok": ok, "severity": "critical", "value": value, "limit": 0.0, "words": words })
    });
    let alerts = CONDITIONS.iter().filter_map(|condition| condition.shown(&figures));
    let checks: Vec<Value> = own.chain(alerts).collect();
    let ok = checks.iter().all(|check| check["ok"] == true);
    Json(json!({ "node": state.name, "ok": ok, "checks": checks }))
}

impl Condition {
    /// How it stands; nothing if there is nothing to compare.
    fn shown(&self, figures: &Figures) -> Option<Value> {
        let value = (self.value)(figures)?;
        let Self { name, severity, limit, words, .. } = self;
        let ok = value <= *limit;
        Some(json!({ "name": name, "ok": ok, "severity": severity, "value": value, "limit": limit, "words": words }))
    }
}

impl Figures {
    fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        Self(series.collect())
    }

    /// The sum of a metric over its labels.
    fn of(&self, metric: &str) -> Option<f64> {
        let mut values = self.0.iter().filter(|(series, _)| base(series) == metric).map(|(_, value)| value).peekable();
        values.peek()?;
        Some(values.sum())
    }

    fn most_of(&self, metric: &str) -> Option<f64> {
        self.most(|series| base(series) == metric)
    }

    fn most(&self, is_meant: impl Fn(&str) -> bool) -> Option<f64> {
        let values = self.0.iter().filter(|(series, _)| is_meant(series)).map(|(_, value)| *value);
        values.reduce(f64::max)
    }

    /// A limit of 0 is none.
    fn share(&self, metric: &str, limit: &str) -> Option<f64> {
        let limit = self.of(limit).filter(|limit| *limit > 0.0)?;
        Some(self.of(metric)? / limit)
    }
}

fn base(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::metrics::Metrics;

    #[test]
    fn every_condition_is_that_of_an_alert_and_has_its_limit_and_severity() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../grafana/rules/gateway.rules.yml");
        let rules = std::fs::read_to_string(path).unwrap();
        for Condition { name, severity, limit, .. } in CONDITIONS {
            let rule = rules.split("- alert: ").find(|rule| rule.lines().next() == Some(*name));
            let rule = rule.unwrap_or_else(|| panic!("there is no alert {name}"));
            assert!(rule.contains(&format!("severity: {severity}")), "{name}");
            let compared = if rule.contains("== 0") { "== 0".to_owned() } else { format!("> {limit}") };
            assert!(rule.contains(&compared), "{name}: {compared}");
        }
    }

    #[test]
    fn a_healthy_node_is_well_and_what_is_wrong_is_said() {
        let metrics = Metrics::new();
        metrics.bus_connected.set(1.0);
        metrics.database_up.set(1.0);
        metrics.connections_limit.set(10);
        let failing = |metrics: &Metrics| {
            let figures = Figures::read(&metrics.render());
            let shown = CONDITIONS.iter().filter_map(|condition| condition.shown(&figures));
            shown.filter(|it| it["ok"] == false).map(|it| it["name"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(failing(&metrics), Vec::<Value>::new());
        metrics.connections.with("websocket").increment(6.0);
        metrics.connections.with("polling").increment(3.0);
        metrics.redis_unsafe.with("eviction").set(1.0);
        assert_eq!(failing(&metrics), ["GatewayRedisUnsafe", "GatewayConnectionsNearLimit"]);
        metrics.redis_unsafe.with("eviction").set(0.0);
        metrics.redis_unsafe.with("unknown").set(1.0);
        metrics.connections_limit.set(0);
        assert_eq!(failing(&metrics), Vec::<Value>::new());
    }
}
