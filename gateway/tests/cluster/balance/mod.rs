//! Balancing: nodes that join, drain and die behind a HAProxy that goes by turns, and nobody is moved twice or loses anything.

mod crowd;
mod deployment;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway::app::Gateway;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use self::crowd::Crowd;
use self::deployment::{Deployment, Speaker, even, moves};
use crate::cluster;
use crate::support::client::Client;
use crate::support::operator::console;
use crate::support::redis::Redis;
use crate::support::{eventually, metric};

/// However few clients there are, as soon as it may be.
const EAGER: [(&str, &str); 4] = [
    ("GATEWAY_BALANCE__ENABLED", "on"),
    ("GATEWAY_BALANCE__AFTER", "3s"),
    ("GATEWAY_ADMIN__TOKEN", "t"),
    ("GATEWAY_SOCKET__PING_INTERVAL", "5s"),
];
/// How long nodes may take to be even, where there are many clients.
const MINUTE: Duration = Duration::from_secs(60);

/// Three nodes that become five and three again, one killed and replaced, all restarted.
async fn changes(size: usize, every: Duration, all: bool) {
    // Of 2,000 nobody is moved twice within a minute, in which nodes have to be even. Of 100 there would be nobody left who may be.
    let rest = if all { MINUTE } else { MINUTE / 3 };
    let mut deployment = Deployment::start(5, rest).await;
    (0..3).for_each(|at| deployment.begin(at));
    let crowd = Crowd::gather(&deployment.proxy.addresses, size).await;
    let speaker = Speaker::begin(every, &deployment.admins());
    let told = |what: &str, took: Duration, moves: f64, crowd: &Crowd| {
        let refused = crowd.members.iter().map(|member| member.refused.swap(0, Ordering::Relaxed)).sum::<u32>();
        eprintln!("{what}: even after {took:.1?}, {moves} moves, {refused} refusals that clients saw");
    };

    crowd.most_ends();
    (3..5).for_each(|at| deployment.begin(at));
    let took = even("five nodes", &crowd, &deployment.admins()).await;
    // What was on its way when they were even has come.
    sleep(Duration::from_secs(2)).await;
    let moved = moves(&deployment.admins()).await;
    told("three nodes become five", took, moved, &crowd);
    assert!((1..=deployment.most_moves(took)).contains(&crowd.most_ends()), "a client was moved twice");
    assert!(moved >= size as f64 * 0.3, "{moved}");

    if all {
        let before = moves(&deployment.admins()[..3]).await;
        deployment.drain(4).await;
        deployment.drain(3).await;
        let took = even("three again", &crowd, &deployment.admins()).await;
        told("five nodes become three", took, moves(&deployment.admins()).await - before, &crowd);
        // Twice for who was handed over by one node to the other that went, and once moved.
        assert!(crowd.most_ends() <= 2 + deployment.most_moves(took));
    }

    let before = moves(&deployment.admins()).await;
    let killed = if all { 2 } else { 4 };
    deployment.nodes[killed] = None;
    let took = even("one was killed", &crowd, &deployment.admins()).await;
    told("a node is killed", took, (moves(&deployment.admins()).await - before).max(0.0), &crowd);
    assert!(crowd.most_ends() <= 1 + deployment.most_moves(took), "once for the kill, and once moved");
    deployment.begin(killed);
    let took = even("it is there again", &crowd, &deployment.admins()).await;
    told("and comes back", took, moves(&deployment.admins()).await, &crowd);
    sleep(Duration::from_secs(2)).await;
    assert!((1..=deployment.most_moves(took)).contains(&crowd.most_ends()), "a client was moved twice");

    if all {
        for at in 0..3 {
            speaker.nodes.lock().clone_from(&deployment.admins()[(at + 1) % 3..].to_vec());
            deployment.drain(at).await;
            deployment.begin(at);
            // As rollouts do before they go on.
            sleep(Duration::from_secs(5)).await;
        }
        let took = even("all were restarted", &crowd, &deployment.admins()).await;
        told("a rolling restart", took, moves(&deployment.admins()).await, &crowd);
        assert!(crowd.most_ends() <= 3 + deployment.most_moves(took), "once for each restart, and once moved");
        speaker.nodes.lock().clone_from(&deployment.admins());
    }

    crowd.is_there().await;
    let said = speaker.end().await;
    for member in &crowd.members {
        eventually("it heard the last word", || async { member.heard.lock().last() == Some(&(said - 1)) }).await;
        let heard = member.heard.lock();
        let first = heard[0];
        assert_eq!(*heard, (first..said).collect::<Vec<_>>(), "something is missing, doubled or out of order");
    }
    assert_eq!(crowd.sum(|member| &member.unrecovered), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_join_or_come_back_draw_their_share_and_nobody_is_moved_twice() {
    changes(100, Duration::from_millis(200), false).await;
}

/// `make test-balance`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn at_length() {
    let size = std::env::var("BALANCE_CLIENTS").map_or(2_000, |size| size.parse().unwrap());
    changes(size, Duration::from_secs(1), true).await;
}

async fn balance(node: &Gateway) -> Value {
    console(node, "t", "GET", "/balance", None).await.1
}

async fn is(node: &Gateway, state: &str) {
    let what = format!("balancing is {state}");
    eventually(&what, || async { metric(node, &format!("gateway_balance_state{{state=\"{state}\"}}")) == 1.0 }).await;
}

fn moved(nodes: &[Gateway]) -> f64 {
    nodes.iter().map(|node| metric(node, "gateway_balance_moves_total")).sum()
}

fn addresses(nodes: &[Gateway]) -> Vec<SocketAddr> {
    nodes.iter().map(|node| node.address).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_stop_it_on_all_nodes_and_start_it_again() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &EAGER).await;
    is(&nodes[0], "even").await;
    let (status, answer) = console(&nodes[1], "t", "POST", "/balance/stop", None).await;
    assert_eq!((status, &answer["balance"]), (202, &json!("stop")));
    for node in &nodes {
        is(node, "stopped").await;
    }
    let crowd = Crowd::gather(&addresses(&nodes[..1]), 20).await;
    crowd.addresses.lock().clone_from(&addresses(&nodes));
    let third = cluster(&redis, 1, &EAGER).await;
    is(&third[0], "stopped").await;
    assert_eq!(moved(&nodes), 0.0);
    assert_eq!(console(&nodes[0], "t", "POST", "/balance/start", None).await.0, 202);
    is(&nodes[0], "moving").await;
    let shown = balance(&nodes[0]).await;
    assert_eq!((&shown["nodes"][0]["node"], &shown["nodes"][0]["share"]), (&json!("node-0"), &json!(7)), "{shown}");
    eventually("the others have some", || async { nodes[1].sessions() > 2 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_balance_keeps_the_others_from_it() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &EAGER).await;
    let off = cluster(&redis, 1, &[("GATEWAY_BALANCE__ENABLED", "off"), ("GATEWAY_ADMIN__TOKEN", "t")]).await;
    eventually("they count it", || async { metric(&nodes[0], "gateway_cluster_nodes") == 3.0 }).await;
    let _crowd = Crowd::gather(&addresses(&nodes[..1]), 20).await;
    // Longer than it would take to begin.
    sleep(Duration::from_secs(8)).await;
    for node in &nodes {
        is(node, "waiting").await;
        assert!(balance(node).await["why"].as_str().unwrap().contains("not all nodes say"), "{}", balance(node).await);
    }
    assert_eq!(moved(&nodes), 0.0);
    assert_eq!(console(&off[0], "t", "POST", "/balance/stop", None).await.0, 409);
    assert_eq!(balance(&off[0]).await["state"], "off");
}

#[tokio::test(flavor = "multi_thread")]
async fn few_clients_stay_where_they_are_unless_it_is_on() {
    let redis = Redis::start().await;
    let auto: Vec<_> = EAGER.iter().map(|it| if it.1 == "on" { (it.0, "auto") } else { *it }).collect();
    let nodes = cluster(&redis, 2, &auto).await;
    let _crowd = Crowd::gather(&addresses(&nodes[..1]), 20).await;
    eventually("they are found to be few", || async {
        balance(&nodes[0]).await["why"].as_str().is_some_and(|why| why.contains("min_connections"))
    })
    .await;
    sleep(Duration::from_secs(6)).await;
    assert_eq!(moved(&nodes), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hangs_on_is_ended_and_a_full_door_opens_again() {
    let redis = Redis::start().await;
    let slow: Vec<_> = EAGER.into_iter().chain([("GATEWAY_BALANCE__CONNECTIONS_PER_SECOND", "2")]).collect();
    let nodes = cluster(&redis, 2, &slow).await;
    // Nobody is sent on before all are there.
    assert_eq!(console(&nodes[0], "t", "POST", "/balance/stop", None).await.0, 202);
    is(&nodes[0], "stopped").await;
    // They read nothing and close nothing.
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(Client::connect(nodes[0].address).await);
    }
    assert_eq!(console(&nodes[0], "t", "POST", "/balance/start", None).await.0, 202);
    is(&nodes[0], "moving").await;
    let refused = || metric(&nodes[0], "gateway_handshakes_total{result=\"elsewhere\"}");
    let mut attempts = 0;
    let late = loop {
        attempts += 1;
        match Client::try_connect(nodes[0].address, json!({})).await {
            Ok(client) => break client,
            Err(why) => assert!(why.contains("503"), "{why}"),
        }
    };
    assert_eq!((attempts, refused()), (4, 3.0), "three times, and then it is let in");
    eventually("they are gone", || async { nodes[0].sessions() <= 12 }).await;
    // They come back nowhere: nothing is won, and it does not go on for ever.
    let deadline = Instant::now() + MINUTE;
    while metric(&nodes[0], "gateway_balance_state{state=\"moving\"}") == 1.0 {
        assert!(Instant::now() < deadline, "it goes on");
        sleep(Duration::from_millis(100)).await;
    }
    let before = refused();
    Client::connect(nodes[0].address).await;
    assert_eq!(refused(), before);
    drop((held, late));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_moved_while_redis_is_away_or_a_node_drains() {
    let mut redis = Redis::start().await;
    let slow: Vec<_> = EAGER.into_iter().chain([("GATEWAY_BALANCE__CONNECTIONS_PER_SECOND", "5")]).collect();
    let nodes = cluster(&redis, 3, &slow).await;
    let crowd = Crowd::gather(&addresses(&nodes[..1]), 60).await;
    crowd.addresses.lock().clone_from(&addresses(&nodes));
    is(&nodes[0], "moving").await;
    redis.kill();
    is(&nodes[0], "waiting").await;
    let before = moved(&nodes);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(moved(&nodes), before, "somebody was moved who could not come back whole");
    redis.start_again().await;
    is(&nodes[0], "moving").await;
    assert_eq!(console(&nodes[0], "t", "POST", "/nodes/node-2/drain", None).await.0, 202);
    eventually("it drains", || async { metric(&nodes[2], "gateway_draining") == 1.0 }).await;
    is(&nodes[0], "waiting").await;
    assert!(moved(&nodes) > before);
    // With two it is one set less, and ends.
    let deadline = Instant::now() + MINUTE;
    while (nodes[0].sessions() as f64 - 30.0).abs() > 3.0 {
        assert!(Instant::now() < deadline, "{} of 60", nodes[0].sessions());
        sleep(Duration::from_millis(100)).await;
    }
}
