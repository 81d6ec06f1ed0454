//! The model: what a load costs nodes, Redis and the network, which of these is full first, and how many nodes are needed.

use serde::Serialize;

use super::constants::{
    APPEND, ARCHIVE_NODES, BUSY, CACHED, CONNECTION, DELIVERY, DELIVERY_COLD, FEED, KERNEL, LINK_USED, MEMBER,
    MEMORY_USED, NODE_BASE, POLL, PUBLISH, ROOM, SQLITE, Scale,
};
use super::limits::{Limit, limits};
use super::network::{Network, network};
use super::recovery::{Recovery, recovery};
use super::redis::{RedisNeeds, redis};
use super::shape::{LogKind, Shape};
use super::sheet::{Line, Sheet, figure};

pub(super) const KIB: f64 = 1024.0;
pub(super) const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
/// More nodes than this are no plan.
const MOST_NODES: f64 = 100_000.0;

/// What all nodes are and do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Nodes {
    pub(super) count: f64,
    /// Of these, the one that may be away while the others carry all.
    pub(super) spare: f64,
    /// What decides how many are needed, if that was asked.
    pub(super) decided_by: Option<&'static str>,
    /// Of all nodes together.
    pub(super) cores: f64,
    pub(super) us_per_delivery: Option<f64>,
    pub(super) connections_each: f64,
    pub(super) memory_each_kib: f64,
    /// Connections, rooms and members, without the node itself.
    pub(super) kib_per_connection: f64,
    pub(super) kernel_each_kib: f64,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Plan {
    pub(super) fits: bool,
    /// What is full first as the load grows, and how much more load that takes.
    pub(super) first: Limit,
    pub(super) deliveries_per_second: f64,
    pub(super) nodes: Nodes,
    pub(super) redis: Option<RedisNeeds>,
    pub(super) network: Network,
    pub(super) recovery: Recovery,
    pub(super) limits: Vec<Limit>,
    pub(super) notes: Vec<String>,
    pub(super) lines: Vec<Line>,
}

/// Plans. The error is why there is no plan.
pub(super) fn plan(shape: &Shape, scale: Scale) -> Result<Plan, String> {
    shape.check()?;
    let (count, decided_by) = match (shape.nodes, shape.log) {
        (Some(nodes), _) => (f64::from(nodes), None),
        (None, LogKind::Redis) => nodes_needed(shape, scale)?,
        (None, _) => (1.0, None),
    };
    let mut sheet = Sheet::new(scale);
    sheet.about("load");
    let deliveries = shape.deliveries();
    let how = format!("{} events/s × {} members", figure(shape.rate), figure(shape.members_per_room));
    sheet.line("deliveries", (deliveries, "/s"), how, &[]);
    let how = format!(
        "{} rooms × {} members / {} connections",
        figure(shape.rooms),
        figure(shape.members_per_room),
        figure(shape.connections)
    );
    sheet.line("rooms of a session", (shape.memberships() / shape.connections, ""), how, &[]);

    let mut nodes = nodes(shape, count, &mut sheet);
    nodes.decided_by = decided_by;
    nodes.spare = f64::from(u8::from(decided_by.is_some()));
    let redis = (shape.log == LogKind::Redis).then(|| redis(shape, count, &mut sheet));
    let network = network(shape, count, &mut sheet);
    let mut notes = Vec::new();
    let recovery = recovery(shape, (&nodes, redis.as_ref()), &mut sheet, &mut notes);
    let limits = limits(shape, &nodes, redis.as_ref(), &network);
    let most = |these: &mut dyn Iterator<Item = &Limit>| these.max_by(|a, b| a.share.total_cmp(&b.share)).cloned();
    // Of what more nodes help there are as many as it takes, if the plan says how many there are.
    let first = most(&mut limits.iter().filter(|limit| decided_by.is_none() || !limit.more_nodes_help));
    let first = first.or_else(|| most(&mut limits.iter())).ok_or("there is nothing that could be full")?;
    Ok(Plan {
        fits: limits.iter().all(|limit| limit.share <= 1.0) && recovery.in_time,
        first,
        deliveries_per_second: deliveries,
        nodes,
        redis,
        network,
        recovery,
        limits,
        notes,
        lines: sheet.lines,
    })
}

/// What `count` nodes cost.
fn nodes(shape: &Shape, count: f64, sheet: &mut Sheet) -> Nodes {
    sheet.about("nodes");
    let Shape { connections, rate, polling, .. } = *shape;
    let deliveries = shape.deliveries();
    let mut cores = sheet.work("publishes", (rate, "events"), &PUBLISH);
    let hearing = shape.nodes_of_a_room(count);
    match shape.log {
        LogKind::Memory => {}
        LogKind::Sqlite => cores += sheet.work("into the log", (rate, "events"), &SQLITE),
        LogKind::Redis => {
            cores += sheet.work("into the log", (rate, "events"), &APPEND);
            let how =
                format!("{} nodes × (1 − (1 − 1/{})^{})", figure(count), figure(count), figure(shape.members_per_room));
            sheet.line("nodes that have members of a room", (hearing, ""), how, &[]);
            cores += sheet.work("from the feed", (rate * hearing, "events at nodes"), &FEED);
        }
    }
    cores += sheet.work("deliveries", (deliveries, "deliveries"), &DELIVERY);
    // Steep, as a cache is: a thousand connections are in it, and of ten thousand nearly none.
    let cold = 1.0 / (1.0 + (CACHED.value / (connections / count)).powi(2));
    let how = format!("1 / (1 + ({} / {})²) of its connections", figure(CACHED.value), figure(connections / count));
    sheet.line("what the cache of a node does not hold", (cold, ""), how, &[&CACHED]);
    cores += sheet.work("of these out of cache", (deliveries * cold, "deliveries"), &DELIVERY_COLD);
    if polling > 0.0 {
        // At most: what comes at once is one answer.
        cores += sheet.work("polls, at most", (deliveries * polling, "deliveries by polling"), &POLL);
    }
    if shape.archive {
        cores += sheet.work("the archive", (rate, "events"), &ARCHIVE_NODES);
    }
    let busy = cores;
    if shape.settings.ping_interval > 0.0 {
        // A frame out and a frame in.
        let frames = 2.0 * connections / shape.settings.ping_interval;
        cores += sheet.work("pings and pongs", (frames, "frames"), &DELIVERY);
    }
    sheet.line("CPU of all nodes", (cores, "cores"), "the sum of these".into(), &[]);

    let rooms = shape.rooms * hearing.min(shape.members_per_room) / count;
    let each = connections / count;
    let members = shape.memberships() / count;
    let [connection, member, room] = [&CONNECTION, &MEMBER, &ROOM].map(|constant| sheet.of(constant));
    let clients = each * connection + members * member + rooms * room;
    let how = format!(
        "{} KiB + {} connections × {} KiB + {} members × {} KiB + {} rooms × {} KiB",
        figure(NODE_BASE.value),
        figure(each),
        figure(connection),
        figure(members),
        figure(member),
        figure(rooms),
        figure(room)
    );
    let memory = NODE_BASE.value + clients;
    sheet.line("memory of a node", (memory, "KiB"), how, &[&NODE_BASE, &CONNECTION, &MEMBER, &ROOM]);
    let kernel = each * KERNEL.value;
    let how = format!("{} connections × {} KiB", figure(each), figure(KERNEL.value));
    sheet.line("the kernel's memory for a node", (kernel, "KiB"), how, &[&KERNEL]);
    Nodes {
        count,
        spare: 0.0,
        decided_by: None,
        cores,
        us_per_delivery: (deliveries > 0.0).then(|| busy * 1e6 / deliveries),
        connections_each: each,
        memory_each_kib: memory,
        kib_per_connection: clients / each,
        kernel_each_kib: kernel,
    }
}

/// How many nodes carry it while one more is away, and what decides that.
fn nodes_needed(shape: &Shape, scale: Scale) -> Result<(f64, Option<&'static str>), String> {
    let machine = shape.machine;
    let usable = machine.memory_gib * GIB / KIB * MEMORY_USED - NODE_BASE.value;
    if usable <= 0.0 {
        return Err(format!(
            "--memory {}: a node takes {:.0} MiB before anybody comes, and a fifth is left for bursts",
            machine.memory_gib,
            NODE_BASE.value / KIB
        ));
    }
    let mut count = 1.0;
    // More nodes hear more of the same events: what they cost together grows with them, and towards an end.
    for _ in 0..1000 {
        let mut sheet = Sheet::new(scale);
        let needs = nodes(shape, count, &mut sheet);
        let net = network(shape, count, &mut sheet);
        let memory = (needs.memory_each_kib - NODE_BASE.value + needs.kernel_each_kib) * count;
        let wanted = [
            ("CPU", needs.cores / (machine.cores * BUSY)),
            ("memory", memory / usable),
            ("limits.connections", limited(shape.connections, shape.settings.connections)),
            ("network", net.node_bits * count / (machine.network_gbit * 1e9 * LINK_USED)),
        ];
        let (decides, most) = wanted.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(("CPU", 1.0));
        let enough = most.ceil().max(1.0) + 1.0;
        if enough > MOST_NODES {
            return Err(format!(
                "that would be more than {MOST_NODES:.0} nodes ({decides} decides): give them more --cores, --memory or --network, or plan for a part of it"
            ));
        }
        if enough <= count {
            return Ok((count, Some(decides)));
        }
        count = enough;
    }
    Err("there is no number of nodes that carries it".into())
}

/// A share of what may be; without a limit none.
pub(super) fn limited(used: f64, limit: f64) -> f64 {
    if limit > 0.0 { used / limit } else { 0.0 }
}
