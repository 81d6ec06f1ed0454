//! What outlives a connection, a node and an outage: several nodes, sessions that come back, a log that is there again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod balance;
mod budget;
mod connecting;
mod console;
mod deaf;
mod doctor;
mod drain;
mod embedded;
mod emitters;
mod ended;
mod endpoints;
mod failover;
mod formats;
mod given_up;
mod hooks;
mod jobs;
mod nodes;
mod notifications;
mod operators;
mod order;
mod passing;
mod recovery;
mod several;
mod starting;
mod streams;
mod supervised;
#[path = "../support/mod.rs"]
mod support;
mod unnoticed;
mod unrecovered;

use gateway::app::Gateway;

use support::redis::Redis;

/// Nodes of one deployment, called `node-0` and so on.
async fn cluster(redis: &Redis, size: usize, changes: &[(&str, &str)]) -> Vec<Gateway> {
    cluster_at(&redis.url(), size, changes).await
}

/// The same at any URL.
async fn cluster_at(url: &str, size: usize, changes: &[(&str, &str)]) -> Vec<Gateway> {
    let mut nodes = Vec::new();
    for number in 0..size {
        let name = format!("node-{number}");
        let own = [("GATEWAY_REDIS_URL", url), ("GATEWAY_NODE_NAME", name.as_str())];
        let changes: Vec<_> = own.iter().chain(changes).copied().collect();
        nodes.push(support::node(&changes).await);
    }
    nodes
}
