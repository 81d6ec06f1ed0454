//! A node's figures, as the official Admin UI reads them (`server_stats`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::node::{Node, now_ms};

/// Takes the figures of one node.
pub(super) struct Figures {
    node: Arc<Node>,
    metrics: Arc<Metrics>,
    name: String,
    host: String,
    started: Instant,
    /// Sessions by namespace. One without any stays, at 0: the Admin UI would go on showing what it was told last.
    namespaces: BTreeMap<Arc<str>, usize>,
    /// What was counted when figures were last taken.
    counted: Vec<Counted>,
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
    /// How many sessions came or left since the figures before without being told of one by one.
    left_out: u64,
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
    pub(super) fn new(node: Arc<Node>, metrics: Arc<Metrics>, name: &str, host: &str) -> Self {
        let (name, host, started) = (name.to_owned(), host.to_owned(), Instant::now());
        Self { node, metrics, name, host, started, namespaces: BTreeMap::new(), counted: Vec::new() }
    }

    /// Counts what happens from now on: nobody asked for what happened before.
    pub(super) fn begin(&mut self) {
        self.counted = counted(&self.metrics);
    }

    /// The figures now. `left_out`: see [`ServerStats`].
    pub(super) fn take(&mut self, left_out: u64) -> ServerStats<'_> {
        self.namespaces.values_mut().for_each(|sessions| *sessions = 0);
        for (namespace, sessions) in self.node.roster().by_namespace() {
            self.namespaces.insert(namespace, sessions);
        }
        let counted = counted(&self.metrics);
        let aggregated_events = happened(&std::mem::replace(&mut self.counted, counted.clone()), &counted, now_ms());
        let polling = self.metrics.connections.with("polling").get();
        let namespaces = self.namespaces.iter();
        ServerStats {
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
            left_out,
        }
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
