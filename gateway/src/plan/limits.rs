//! What can be full: how much of each is used, and what to do about it.

use serde::Serialize;

use super::constants::{ARCHIVED, BUSY, LINK_USED, MEMORY_USED, REDIS_BUSY};
use super::model::{GIB, KIB, Nodes, limited};
use super::network::Network;
use super::redis::RedisNeeds;
use super::shape::Shape;

/// One thing that can be full.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Limit {
    pub(super) resource: &'static str,
    pub(super) used: f64,
    pub(super) usable: f64,
    pub(super) unit: &'static str,
    /// Of what is usable: more than 1 does not fit.
    pub(super) share: f64,
    /// How many times this load it carries; none if the load does not touch it.
    pub(super) full_at: Option<f64>,
    pub(super) more_nodes_help: bool,
    pub(super) advice: &'static str,
}

pub(super) fn limits(shape: &Shape, nodes: &Nodes, redis: Option<&RedisNeeds>, network: &Network) -> Vec<Limit> {
    let mut limits = Vec::new();
    let mut add = |resource, (used, usable, unit), more_nodes_help, advice| {
        let share = limited(used, usable);
        let full_at = (share > 0.0).then(|| 1.0 / share);
        limits.push(Limit { resource, used, usable, unit, share, full_at, more_nodes_help, advice });
    };
    let machine = shape.machine;
    let alone = redis.is_none();
    let grow = if alone { "more cores, or Redis and more nodes" } else { "more nodes, or more cores" };
    add("CPU of a node", (nodes.cores / nodes.count, machine.cores * BUSY, "cores"), !alone, grow);
    let memory = nodes.memory_each_kib + nodes.kernel_each_kib;
    let usable = machine.memory_gib * GIB / KIB * MEMORY_USED;
    let grow = if alone { "more memory, or Redis and more nodes" } else { "more nodes, or more memory" };
    add("memory of a node", (memory, usable, "KiB"), !alone, grow);
    if shape.settings.connections > 0.0 {
        let grow = "more nodes, or a higher limits.connections if CPU and memory allow";
        add("limits.connections of a node", (nodes.connections_each, shape.settings.connections, ""), !alone, grow);
    }
    let link = machine.network_gbit * 1e9 * LINK_USED;
    add("network of a node", (network.node_bits, link, "bit/s"), !alone, "more nodes, or a faster link");
    if let Some(redis) = redis {
        let grow = "a longer redis.pipeline_interval, signals for what need not be kept, or parts of it with a Redis of their own";
        add("CPU of Redis", (redis.core_share, REDIS_BUSY, "cores"), false, grow);
        let grow = "more memory for Redis, a shorter log.room_retention, or fewer log.room_events";
        let usable = machine.redis_memory_gib * GIB;
        add("memory of Redis", (redis.maxmemory_bytes, usable, "B"), false, grow);
        let grow = "a faster link, or smaller events";
        add("network of Redis", (redis.out_bits.max(redis.in_bits), link, "bit/s"), false, grow);
    }
    if shape.archive {
        let grow = "archive fewer rooms, or parts of it elsewhere";
        add("the archive's queue", (shape.rate, ARCHIVED.value, "/s"), false, grow);
    }
    limits
}
