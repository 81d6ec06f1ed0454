//! The numbers for ten million connections: on paper, from what was measured and what was simulated.

use std::fmt::Write;

/// What is assumed of a deployment. What things cost is what `gateway plan` goes by, which docs/measurements.md explains.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assumed {
    /// Connections in all.
    pub(crate) connections: f64,
    /// Connections of a node.
    pub(crate) connections_each: f64,
    /// Rooms of a session.
    pub(crate) rooms_each: f64,
    /// Members of a room.
    pub(crate) members: f64,
    /// Events a second that a session hears.
    pub(crate) hears: f64,
    /// Bytes of an event on the wire without its offset.
    pub(crate) event_bytes: f64,
    /// Characters of an offset in the simulation.
    pub(crate) offset_bytes: f64,
    /// Partitions of the log.
    pub(crate) partitions: f64,
    /// Zones, of which one may be lost.
    pub(crate) zones: f64,
}

/// µs of a node per delivery, and per event that it hears from the log; KiB of a connection, and of a room that a session is in.
const DELIVERY: f64 = 9.5;
const FEED: f64 = 63.0;
const CONNECTION_KIB: f64 = 4.3;
const MEMBER_KIB: f64 = 1.0;
/// µs of Redis per append, per wake-up, and for each node that hears; appends a second from which on they share wake-ups.
const APPEND: f64 = 25.0;
const WAKE: f64 = 156.0;
const HEARER: f64 = 26.0;
const SHARED: f64 = 458.0;
/// How busy a server may be, and µs of it for a session that comes back and for each of its rooms.
const BUSY: f64 = 0.6;
const RECOVERY: f64 = 345.0;
const REJOIN: f64 = 106.0;
/// Of the vector on a node: an offset for each partition. Of a session: what it was handed last in those above the floor.
const POSITION_BYTES: f64 = 16.0;
/// Bytes of Redis for a session, and for each of its rooms.
const STORED: f64 = 780.0;
const STORED_ROOM: f64 = 500.0;

impl Assumed {
    /// Ten million of them, each in five rooms of a hundred, hearing an event every five seconds.
    pub(crate) fn ten_million(offset_bytes: f64) -> Self {
        Self {
            connections: 10e6,
            connections_each: 50_000.0,
            rooms_each: 5.0,
            members: 100.0,
            hears: 0.2,
            event_bytes: 230.0,
            offset_bytes,
            partitions: 4096.0,
            zones: 3.0,
        }
    }

    fn hearing(&self, nodes: f64) -> f64 {
        nodes * (1.0 - (1.0 - 1.0 / nodes).powf(self.members))
    }

    /// Cores of a server that takes so many events a second.
    fn busy(&self, events: f64, hearing: f64) -> f64 {
        (events * APPEND + events / (1.0 + events / SHARED) * (WAKE + hearing * HEARER)) / 1e6
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let nodes = (self.connections / self.connections_each).ceil();
        let deliveries = self.connections * self.hears;
        let events = deliveries / self.members;
        let hearing = self.hearing(nodes);
        let mut servers = 1.0;
        while self.busy(events / servers, hearing) > BUSY {
            servers += 1.0;
        }
        let cores = (deliveries * DELIVERY + events * hearing * FEED) / 1e6;
        let feeds = events * hearing;
        let of_session = self.rooms_each.min(self.partitions);
        let stored = self.connections * (STORED + self.rooms_each * STORED_ROOM);
        let gib = |bytes: f64| bytes / 1024.0 / 1024.0 / 1024.0;
        let node_memory = self.connections_each * (CONNECTION_KIB + self.rooms_each * MEMBER_KIB) * 1024.0;
        let vector = self.partitions * POSITION_BYTES;
        let session_vectors = self.connections_each * of_session * POSITION_BYTES;
        // What Redis takes beside its load until all are back.
        let back = |sessions: f64, servers: f64| {
            sessions * (RECOVERY + self.rooms_each * REJOIN) / 1e6 / (servers * (1.0 - BUSY))
        };
        let members_of_a_partition = self.connections * of_session / self.partitions;
        let rows: [(&str, String); 16] = [
            ("nodes, each of 50,000 connections", format!("{nodes:.0}")),
            ("deliveries/s, events/s", format!("{deliveries:.0}, {events:.0}")),
            ("nodes that hear an event of a room of 100", format!("{hearing:.1}")),
            ("messages/s from servers to nodes", format!("{feeds:.0}, {:.0} at a node", feeds / nodes)),
            ("cores of all nodes, of a node", format!("{cores:.0}, {:.2}", cores / nodes)),
            ("servers of the log, each busy for 0.6 of a core", format!("{servers:.0}")),
            ("the same if the members of a room were on one node", {
                let mut few = 1.0;
                while self.busy(events / few, 1.0) > BUSY {
                    few += 1.0;
                }
                format!("{few:.0}")
            }),
            ("partitions, of them on a server", format!("{:.0}, {:.0}", self.partitions, self.partitions / servers)),
            ("feed connections between nodes and servers, of a server", format!("{:.0}, {nodes:.0}", nodes * servers)),
            ("memory of a node: connections and rooms, vectors", {
                format!("{:.2} GiB, {:.0} MiB", gib(node_memory), (vector + session_vectors) / 1024.0 / 1024.0)
            }),
            (
                "memory of all servers for sessions, of a server",
                format!("{:.0} GiB, {:.2} GiB", gib(stored), gib(stored) / servers),
            ),
            ("an offset on the wire; with its event; share", {
                let offset = self.offset_bytes;
                format!(
                    "{offset:.0} B; {:.0} B; {:.0} %",
                    self.event_bytes + offset,
                    100.0 * offset / (self.event_bytes + offset)
                )
            }),
            ("offsets to clients, Gbit/s (decimal of one counter: 16 B)", {
                format!("{:.2} ({:.2})", deliveries * self.offset_bytes * 8.0 / 1e9, deliveries * 16.0 * 8.0 / 1e9)
            }),
            ("a node is lost: sessions; servers' time", {
                format!("{:.0}; {:.1} s", self.connections_each, back(self.connections_each, servers))
            }),
            ("a partition is lost: sessions that are told, reads by nodes", {
                format!(
                    "{members_of_a_partition:.0} (in {:.0} rooms); {nodes:.0}",
                    self.connections * self.rooms_each / self.members / self.partitions
                )
            }),
            ("a zone is lost: sessions, partitions; servers' time", {
                let sessions = self.connections / self.zones;
                let left = servers * (1.0 - 1.0 / self.zones);
                format!("{sessions:.0}, {:.0}; {:.0} s", self.partitions / self.zones, back(sessions, left))
            }),
        ];
        let mut table = String::from("| ten million connections | |\n|---|---|\n");
        for (what, value) in rows {
            writeln!(table, "| {what} | {value} |").ok();
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_offsets_weigh_more_and_nothing_else_changes() {
        let [small, large] = [20.0, 40.0].map(|bytes| Assumed::ten_million(bytes).table());
        let changed = small.lines().zip(large.lines()).filter(|(a, b)| a != b).count();
        assert_eq!((changed, small.lines().count()), (2, 18));
        assert!(small.contains("| nodes, each of 50,000 connections | 200 |"), "{small}");
    }
}
