//! A node's figures, as the official Admin UI reads them (`server_stats`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::Watched;
use super::own::{Processor, memory};
use gateway_core::control::{Orders, Standing};
use gateway_core::metrics::{Counts, Metrics, REVISION, Timed, VERSION};
use gateway_core::node::{Node, now_ms};

/// Takes the figures of one node.
pub(super) struct Figures {
    node: Arc<Node>,
    metrics: Arc<Metrics>,
    orders: Arc<dyn Orders>,
    name: String,
    host: String,
    started: Instant,
    /// Sessions by namespace. One without any stays, at 0: the Admin UI would go on showing what it was told last.
    namespaces: BTreeMap<Arc<str>, usize>,
    /// What was counted when figures were last taken.
    counted: Vec<Counted>,
    worked: Worked,
    processor: Processor,
}

/// What was done for clients so far.
#[derive(Clone, Copy, Default)]
struct Worked {
    at: Option<Instant>,
    received: u64,
    delivered: u64,
    refused: u64,
    published: Counts,
}

/// One kind of thing that happened, in the words of the Admin UI, and how often so far.
type Counted = (&'static str, Option<&'static str>, u64);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServerStats<'a> {
    server_id: &'a str,
    hostname: &'a str,
    pid: u32,
    /// Seconds.
    uptime: f64,
    clients_count: u64,
    polling_clients_count: u64,
    /// What happened since the figures before.
    aggregated_events: Vec<NamespaceEvent>,
    namespaces: Vec<NamespaceDetails<'a>>,
    /// What happened since the figures before without being told one by one.
    left_out: u64,
    version: &'static str,
    revision: &'static str,
    ready: bool,
    draining: bool,
    hears: bool,
    /// Share of a core.
    cpu: Option<f64>,
    /// How late a timer was.
    lag_ms: f64,
    memory_bytes: Option<u64>,
    /// Rooms with members here.
    rooms: u64,
    rates: Rates,
    ack: Acknowledged,
    operators: usize,
}

/// In a second, since the figures before.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rates {
    received: f64,
    delivered: f64,
    refused: f64,
}

/// Publishes since the figures before, from taking one to its acknowledgement.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Acknowledged {
    count: u64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// What the figures are not taken from, but told with.
pub(super) struct Beside {
    /// What happened and was not told one by one.
    pub(super) left_out: u64,
    /// How late a timer was.
    pub(super) lag: Duration,
    /// How many operators this node has.
    pub(super) operators: usize,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct NamespaceEvent {
    /// Milliseconds since 1970.
    timestamp: u64,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_type: Option<&'static str>,
    count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NamespaceDetails<'a> {
    name: &'a str,
    sockets_count: usize,
}

impl Figures {
    pub(super) fn new(watched: &Watched, name: &str, host: &str) -> Self {
        let (name, host, started) = (name.to_owned(), host.to_owned(), Instant::now());
        let (namespaces, counted, worked) = (BTreeMap::new(), Vec::new(), Worked::default());
        let Watched { node, metrics, orders, .. } = watched.clone();
        Self { node, metrics, orders, name, host, started, namespaces, counted, worked, processor: Processor::new() }
    }

    /// Counts what happens from now on: nobody asked for what happened before.
    pub(super) fn begin(&mut self) {
        self.counted = counted(&self.metrics);
        self.worked = Worked::now(&self.metrics);
        self.processor = Processor::new();
    }

    /// The figures now.
    pub(super) fn take(&mut self, beside: &Beside) -> ServerStats<'_> {
        self.namespaces.values_mut().for_each(|sessions| *sessions = 0);
        for (namespace, sessions) in self.node.roster().by_namespace() {
            self.namespaces.insert(namespace, sessions);
        }
        let counted = counted(&self.metrics);
        let aggregated_events = happened(&std::mem::replace(&mut self.counted, counted.clone()), &counted, now_ms());
        let polling = self.metrics.connections.with("polling").get();
        let (worked, cpu) = (Worked::now(&self.metrics), self.processor.share());
        let before = std::mem::replace(&mut self.worked, worked);
        let Standing { ready, draining } = self.orders.standing();
        let namespaces = self.namespaces.iter();
        ServerStats {
            version: VERSION,
            revision: REVISION,
            ready,
            draining,
            hears: !self.node.hearing().deaf(),
            cpu,
            lag_ms: beside.lag.as_secs_f64() * 1000.0,
            memory_bytes: memory(),
            rooms: self.metrics.rooms.get(),
            rates: worked.rates(&before),
            ack: worked.acknowledged(&before),
            operators: beside.operators,
            server_id: &self.name,
            hostname: &self.host,
            pid: std::process::id(),
            uptime: self.started.elapsed().as_secs_f64(),
            clients_count: self.metrics.connections.with("websocket").get() + polling,
            polling_clients_count: polling,
            aggregated_events,
            namespaces: namespaces
                .map(|(name, sessions)| NamespaceDetails { name, sockets_count: *sessions })
                .collect(),
            left_out: beside.left_out,
        }
    }
}

impl Worked {
    fn now(metrics: &Metrics) -> Self {
        Self {
            at: Some(Instant::now()),
            received: metrics.events_received.iter().map(|(_, total)| total.get()).sum(),
            delivered: metrics.events_delivered.get(),
            refused: metrics.refusals.iter().map(|(_, total)| total.get()).sum(),
            published: metrics.publish_duration.counts(),
        }
    }

    fn rates(&self, before: &Self) -> Rates {
        let seconds = self.at.zip(before.at).map_or(0.0, |(now, before)| now.duration_since(before).as_secs_f64());
        let rate = |now: u64, before: u64| {
            if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 }
        };
        Rates {
            received: rate(self.received, before.received),
            delivered: rate(self.delivered, before.delivered),
            refused: rate(self.refused, before.refused),
        }
    }

    fn acknowledged(&self, before: &Self) -> Acknowledged {
        let mut since = self.published;
        since.iter_mut().zip(before.published).for_each(|(now, before)| *now = now.saturating_sub(before));
        let within = |share| Timed::within(&since, share).map(|seconds| seconds * 1000.0);
        Acknowledged { count: since.iter().sum(), p50_ms: within(0.5), p99_ms: within(0.99) }
    }
}

fn counted(metrics: &Metrics) -> Vec<Counted> {
    let opened = metrics.connections_opened.iter().map(|(_, total)| total.get()).sum();
    let mut counted = vec![
        ("rawConnection", None, opened),
        ("bytesIn", None, metrics.received_bytes.get()),
        ("bytesOut", None, metrics.sent_bytes.get()),
    ];
    for (_, by_reason) in metrics.connections_closed.iter() {
        counted.extend(by_reason.iter().map(|(reason, total)| ("rawDisconnection", Some(reason), total.get())));
    }
    counted
}

/// What happened between two countings; connections over both transports together.
fn happened(before: &[Counted], now: &[Counted], timestamp: u64) -> Vec<NamespaceEvent> {
    let mut events: Vec<NamespaceEvent> = Vec::new();
    for ((r#type, sub_type, now), (_, _, before)) in now.iter().zip(before) {
        let count = now.saturating_sub(*before);
        match events.iter_mut().find(|event| event.r#type == *r#type && event.sub_type == *sub_type) {
            Some(event) => event.count += count,
            None => events.push(NamespaceEvent { timestamp, r#type, sub_type: *sub_type, count }),
        }
    }
    events.retain(|event| event.count > 0);
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_the_difference_and_what_did_not_is_not_told() {
        let metrics = Metrics::new();
        metrics.connections_opened.with("polling").increment(5);
        let before = counted(&metrics);
        metrics.connections_opened.with("websocket").increment(2);
        metrics.connections_opened.with("polling").increment(1);
        for transport in ["websocket", "polling"] {
            metrics.connections_closed.with(transport, "slow").increment(1);
        }
        metrics.sent_bytes.increment(100);
        let event = |r#type, sub_type, count| NamespaceEvent { timestamp: 9, r#type, sub_type, count };
        let expected =
            [event("rawConnection", None, 3), event("bytesOut", None, 100), event("rawDisconnection", Some("slow"), 2)];
        assert_eq!(happened(&before, &counted(&metrics), 9), expected);
    }
}
