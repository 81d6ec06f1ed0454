//! What goes over the wires: to clients, from them, and between nodes and Redis.

use serde::Serialize;

use super::constants::{ANNOUNCED, FRAME, PACKET};
use super::shape::{LogKind, Shape};
use super::sheet::{Sheet, figure};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Network {
    /// To all clients.
    pub(super) to_clients_bits: f64,
    /// From all of them.
    pub(super) from_clients_bits: f64,
    /// What the busier direction of a node's link carries.
    pub(super) node_bits: f64,
}

/// A websocket's ping as a frame, and its answer, which is masked.
const PING_FRAMES: f64 = 3.0 + 7.0;

pub(super) fn network(shape: &Shape, nodes: f64, sheet: &mut Sheet) -> Network {
    sheet.about("network");
    let deliveries = shape.deliveries();
    let each = shape.bytes + FRAME.value + PACKET.value;
    let pings = if shape.settings.ping_interval > 0.0 { shape.connections / shape.settings.ping_interval } else { 0.0 };
    let of_ping = PING_FRAMES + PACKET.value;
    let how = format!(
        "8 × ({} deliveries/s × ({} + {} + {} B) + {} pings/s × {} B)",
        figure(deliveries),
        figure(shape.bytes),
        figure(FRAME.value),
        figure(PACKET.value),
        figure(pings),
        figure(of_ping)
    );
    let to_clients = (deliveries * each + pings * of_ping) * 8.0;
    sheet.line("to clients", (to_clients, "bit/s"), how, &[&FRAME, &PACKET]);
    // Each delivery is acknowledged by TCP, at most by a packet of its own.
    let how = format!(
        "8 × ({} events/s × ({} + {} + {} B) + ({} deliveries + {} pongs)/s × {} B), at most",
        figure(shape.rate),
        figure(shape.bytes),
        figure(FRAME.value),
        figure(PACKET.value),
        figure(deliveries),
        figure(pings),
        figure(PACKET.value)
    );
    let from_clients = (shape.rate * each + (deliveries + pings) * PACKET.value) * 8.0;
    sheet.line("from clients", (from_clients, "bit/s"), how, &[&FRAME, &PACKET]);
    let feed = if shape.log == LogKind::Redis {
        let hearing = shape.nodes_of_a_room(nodes);
        let bytes = shape.rate * hearing * (shape.bytes + ANNOUNCED.value);
        let how = format!(
            "8 × {} events/s × {} nodes × ({} + {} B) / {} nodes",
            figure(shape.rate),
            figure(hearing),
            figure(shape.bytes),
            figure(ANNOUNCED.value),
            figure(nodes)
        );
        sheet.line("from Redis to a node", (bytes * 8.0 / nodes, "bit/s"), how, &[&ANNOUNCED])
    } else {
        0.0
    };
    let node_bits = (to_clients / nodes).max(from_clients / nodes + feed);
    Network { to_clients_bits: to_clients, from_clients_bits: from_clients, node_bits }
}
