//! What a load costs the one Redis behind the nodes.

use serde::Serialize;

use super::constants::{
    ANNOUNCED, APPEND_BYTES, LOG_EVENT, LOG_KEY, LOG_ROOM, NODE_BYTES, PRESENCE_MEMBER, REDIS_APPEND, REDIS_ARCHIVE,
    REDIS_HEARER, REDIS_IDLE, REDIS_NODE, REDIS_RENEWAL, REDIS_SHARED, REDIS_WAKE, STORED_MEMBER, STORED_SESSION,
};
use super::shape::Shape;
use super::sheet::{Sheet, figure};

/// The alert comes at this share of what the log may take.
const CALM: f64 = 0.8;
/// For so long the key of a publish without an id of its own is kept, in seconds.
const KEY_KEPT: f64 = 60.0;
/// How often a session's record is renewed within the window.
const RENEWALS: f64 = 4.0;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct RedisNeeds {
    /// Of its one core.
    pub(super) core_share: f64,
    pub(super) us_per_publish: Option<f64>,
    pub(super) memory_bytes: f64,
    /// What to set, so that neither refusals nor the alert come.
    pub(super) maxmemory_bytes: f64,
    pub(super) in_bits: f64,
    pub(super) out_bits: f64,
    /// Connections that nodes have to it at most.
    pub(super) connections: f64,
}

/// Commands' pool, the pipeline, the bus and who watches.
const CONNECTIONS_OF_A_NODE: f64 = 20.0;

pub(super) fn redis(shape: &Shape, nodes: f64, sheet: &mut Sheet) -> RedisNeeds {
    sheet.about("Redis");
    let hearing = shape.nodes_of_a_room(nodes);
    let (core_share, us_per_publish) = processor(shape, (nodes, hearing), sheet);
    let memory_bytes = memory(shape, sheet);
    let percent = shape.settings.max_percent / 100.0;
    let how = format!("{} B / {} / {CALM}", figure(memory_bytes), figure(percent));
    let maxmemory_bytes = sheet.line("maxmemory", (memory_bytes / percent / CALM, "B"), how, &[]);

    let (rate, bytes) = (shape.rate, shape.bytes);
    let in_bytes = rate * (bytes + APPEND_BYTES.value) + nodes * NODE_BYTES.value;
    let how = format!(
        "8 × ({} events/s × ({} + {} B) + {} nodes × {} B/s)",
        figure(rate),
        figure(bytes),
        figure(APPEND_BYTES.value),
        figure(nodes),
        figure(NODE_BYTES.value)
    );
    let in_bits = sheet.line("network, in", (in_bytes * 8.0, "bit/s"), how, &[&APPEND_BYTES, &NODE_BYTES]);
    let out_bytes = rate * hearing * (bytes + ANNOUNCED.value) + nodes * NODE_BYTES.value;
    let how = format!(
        "8 × ({} events/s × {} nodes × ({} + {} B) + {} nodes × {} B/s)",
        figure(rate),
        figure(hearing),
        figure(bytes),
        figure(ANNOUNCED.value),
        figure(nodes),
        figure(NODE_BYTES.value)
    );
    let out_bits = sheet.line("network, out", (out_bytes * 8.0, "bit/s"), how, &[&ANNOUNCED, &NODE_BYTES]);
    let connections = nodes * CONNECTIONS_OF_A_NODE;
    RedisNeeds { core_share, us_per_publish, memory_bytes, maxmemory_bytes, in_bits, out_bits, connections }
}

/// Its share of a core, and what a publish has of it.
fn processor(shape: &Shape, (nodes, hearing): (f64, f64), sheet: &mut Sheet) -> (f64, Option<f64>) {
    let rate = shape.rate;
    let [idle, of_node, append, wake, hearer] =
        [&REDIS_IDLE, &REDIS_NODE, &REDIS_APPEND, &REDIS_WAKE, &REDIS_HEARER].map(|constant| sheet.of(constant));
    let how = format!("({} + {} nodes × {} µs/s) / 1,000,000", figure(idle), figure(nodes), figure(of_node));
    let mut share =
        sheet.line("CPU, idle", ((idle + nodes * of_node) / 1e6, "cores"), how, &[&REDIS_IDLE, &REDIS_NODE]);
    // Who comes while it is awake costs it no waking: of many a second, few wake it.
    let wakes = rate / (1.0 + rate / REDIS_SHARED.value);
    let how = format!(
        "{} events/s × {} µs + {} wake-ups/s × ({} + {} nodes × {} µs)",
        figure(rate),
        figure(append),
        figure(wakes),
        figure(wake),
        figure(hearing),
        figure(hearer)
    );
    let appends = rate * append + wakes * (wake + hearing * hearer);
    let constants = [&REDIS_APPEND, &REDIS_WAKE, &REDIS_HEARER, &REDIS_SHARED];
    share += sheet.line("CPU, appends", (appends / 1e6, "cores"), how, &constants);
    if shape.window > 0.0 {
        share += sheet.work(
            "CPU, renewing sessions",
            (shape.connections * RENEWALS / shape.window, "sessions"),
            &REDIS_RENEWAL,
        );
    }
    if shape.archive {
        share += sheet.work("CPU, the archive's queue", (rate, "events"), &REDIS_ARCHIVE);
    }
    sheet.line("CPU", (share, "cores"), "the sum of these; it has one".into(), &[]);
    (share, (rate > 0.0).then(|| share * 1e6 / rate))
}

fn memory(shape: &Shape, sheet: &mut Sheet) -> f64 {
    let kept = shape.kept_events();
    // A room in which nothing is said has no log.
    let rooms = if kept > 0.0 { shape.rooms } else { 0.0 };
    let of_room = LOG_ROOM.value + kept * (shape.bytes + LOG_EVENT.value);
    let how = format!(
        "{} rooms × ({} B + {} events × ({} + {} B))",
        figure(rooms),
        figure(LOG_ROOM.value),
        figure(kept),
        figure(shape.bytes),
        figure(LOG_EVENT.value)
    );
    let mut bytes = sheet.line("memory, the log", (rooms * of_room, "B"), how, &[&LOG_ROOM, &LOG_EVENT]);
    let how = format!("{} events/s × {KEY_KEPT} s × {} B", figure(shape.rate), figure(LOG_KEY.value));
    bytes += sheet.line("memory, keys of publishes", (shape.rate * KEY_KEPT * LOG_KEY.value, "B"), how, &[&LOG_KEY]);
    let members = shape.memberships();
    let how = format!(
        "{} × {} B + {} × {} B",
        figure(shape.connections),
        figure(STORED_SESSION.value),
        figure(members),
        figure(STORED_MEMBER.value)
    );
    let sessions = shape.connections * STORED_SESSION.value + members * STORED_MEMBER.value;
    bytes += sheet.line("memory, sessions and their rooms", (sessions, "B"), how, &[&STORED_SESSION, &STORED_MEMBER]);
    if shape.presence {
        let how = format!("{} × {} B", figure(members), figure(PRESENCE_MEMBER.value));
        bytes += sheet.line("memory, presence", (members * PRESENCE_MEMBER.value, "B"), how, &[&PRESENCE_MEMBER]);
    }
    sheet.line("memory", (bytes, "B"), "the sum of these".into(), &[])
}
