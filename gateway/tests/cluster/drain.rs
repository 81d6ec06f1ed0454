//! Stopping nodes: at a pace while there are others, at once when there are none, and never unannounced.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway::app::Gateway;
use gateway_core::bus::{MemoryBus, MemoryHub};
use gateway_core::formats::{Format, Formats};
use gateway_core::metrics::Metrics;
use gateway_core::node::Peers;
use tokio::time::Instant;

use crate::cluster;
use crate::support::client::Client;
use crate::support::operator::console;
use crate::support::redis::Redis;
use crate::support::{self, eventually, http, metric};

/// Too slow for the tests' patience, if anybody keeps to it.
const SLOW: [(&str, &str); 2] = [("GATEWAY_DRAIN__CONNECTIONS_PER_SECOND", "1"), ("GATEWAY_DRAIN__TIMEOUT", "10m")];

async fn clients(address: SocketAddr, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Client::connect(address).await;
        client.join("r").await;
        clients.push(client);
    }
    clients
}

/// Waits until all of them were closed; returns how long after the first the last one was.
async fn closed(clients: Vec<Client>) -> Duration {
    let ends = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            while client.text().await.is_some() {}
            Instant::now()
        })
    });
    let mut times = Vec::new();
    for end in ends.collect::<Vec<_>>() {
        times.push(end.await.unwrap());
    }
    times.iter().max().unwrap().duration_since(*times.iter().min().unwrap())
}

async fn know_each_other(nodes: &[Gateway]) {
    for node in nodes {
        eventually("nodes see each other", || async { metric(node, "gateway_cluster_nodes") == nodes.len() as f64 })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_among_others_says_that_it_leaves_before_it_hands_over_at_a_pace() {
    let redis = Redis::start().await;
    let settings = [("GATEWAY_DRAIN__CONNECTIONS_PER_SECOND", "20"), ("GATEWAY_DRAIN__ANNOUNCE", "2s")];
    let mut nodes = cluster(&redis, 2, &settings).await;
    know_each_other(&nodes).await;
    let node = nodes.remove(0);
    let (address, admin) = (node.address, node.admin_address);
    let held = clients(address, 20).await;
    let started = Instant::now();
    let stopping = tokio::spawn(node.stop());
    eventually("it says that it leaves", || async { http("GET", admin, "/readyz", "").await.0 == 503 }).await;
    let mut late = Client::connect(address).await;
    late.join("r").await;
    assert!(started.elapsed() < Duration::from_secs(2), "a balancer that did not know yet hurt nobody");
    let took = closed(held).await;
    assert!(started.elapsed() > Duration::from_secs(2), "not before it was announced");
    assert!(took > Duration::from_millis(500), "at a pace: {took:?}");
    assert_eq!(late.text().await, None);
    assert_eq!(stopping.await.unwrap(), 0);
    eventually("the other one is alone", || async { metric(&nodes[0], "gateway_cluster_nodes") == 1.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_all_stop_do_not_hand_over_to_each_other() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 3, &SLOW).await;
    know_each_other(&nodes).await;
    let mut all = Vec::new();
    for node in &nodes {
        all.extend(clients(node.address, 20).await);
    }
    let stopping: Vec<_> = nodes.into_iter().map(|node| tokio::spawn(node.stop())).collect();
    let took = closed(all).await;
    for node in stopping {
        assert_eq!(node.await.unwrap(), 0);
    }
    assert!(took < Duration::from_secs(5), "at once: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_node_tells_all_clients_at_once() {
    let redis = Redis::start().await;
    // As long as drains are announced where somebody is there to hear it.
    let settings: Vec<_> = SLOW.into_iter().chain([("GATEWAY_DRAIN__ANNOUNCE", "60s")]).collect();
    let lone = cluster(&redis, 1, &settings).await.remove(0);
    eventually("it counts itself", || async { metric(&lone, "gateway_cluster_nodes") == 1.0 }).await;
    for node in [lone, support::node(&settings).await] {
        let held = clients(node.address, 100).await;
        let (started, stopping) = (Instant::now(), tokio::spawn(node.stop()));
        let took = closed(held).await;
        assert_eq!(stopping.await.unwrap(), 0);
        assert!(took < Duration::from_secs(2), "at once: {took:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "it waits for nobody: {:?}", started.elapsed());
    }
}

/// For clients that are many for the time there is.
const SHORT: [(&str, &str); 2] = [("GATEWAY_DRAIN__TIMEOUT", "1ms"), ("GATEWAY_DRAIN__ANNOUNCE", "0s")];

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_overran_is_counted_by_the_nodes_that_stay() {
    let redis = Redis::start().await;
    let mut nodes = cluster(&redis, 3, &SHORT).await;
    know_each_other(&nodes).await;
    let overruns = |node: &Gateway| metric(node, "gateway_drain_overruns_total");
    let (empty, full) = (nodes.remove(0), nodes.remove(0));
    let stays = nodes.remove(0);
    assert_eq!(empty.stop().await, 0);
    assert_eq!(overruns(&stays), 0.0, "nobody was left");
    let held = clients(full.address, 200).await;
    let counted = full.metrics.clone();
    full.stop().await;
    closed(held).await;
    assert!(counted.render().contains("gateway_drain_overruns_total 1"));
    eventually("the one that stays was told", || async { overruns(&stays) == 1.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_drain_that_overran_is_counted_once() {
    let redis = Redis::start().await;
    let settings: Vec<_> = SHORT.into_iter().chain([("GATEWAY_ADMIN__TOKEN", "t")]).collect();
    let nodes = cluster(&redis, 2, &settings).await;
    know_each_other(&nodes).await;
    let held = clients(nodes[0].address, 200).await;
    let (status, answer) = console(&nodes[0], "t", "POST", "/nodes/node-0/drain", None).await;
    assert_eq!(status, 202, "{answer}");
    closed(held).await;
    for node in &nodes {
        eventually("it is counted", || async { metric(node, "gateway_drain_overruns_total") == 1.0 }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_is_counted_by_nobody() {
    let hub = Arc::<MemoryHub>::default();
    let node = || {
        let bus = Arc::new(MemoryBus::new(hub.clone()));
        let peers = Arc::new(Peers::new(bus, "p", Formats::new(Format::NEWEST), Arc::new(Metrics::new())));
        tokio::spawn(peers.clone().count());
        peers
    };
    // More than the time between two counts.
    let a_while = || tokio::time::sleep(Duration::from_secs(5));
    let one = node();
    a_while().await;
    assert!(one.are_none().await);
    let two = node();
    a_while().await;
    assert!(!one.are_none().await && !two.are_none().await);
    one.leave().await;
    assert!(!one.are_none().await, "the other one is there");
    assert!(two.are_none().await, "and alone");
    a_while().await;
    assert!(two.are_none().await, "who left does not come back");
    two.leave().await;
    assert!(one.are_none().await && two.are_none().await, "all leave");
}
