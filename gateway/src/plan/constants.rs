//! What things cost: every figure that a plan goes by, with where it was measured, and how it is fitted to another machine.

/// What a figure is a cost of, by which it is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Processor time of nodes.
    Nodes,
    /// Processor time of Redis.
    Redis,
    /// Memory of nodes, for each connection.
    Memory,
    /// What is the same on every machine.
    Fixed,
}

/// One figure.
#[derive(Debug)]
pub(super) struct Constant {
    pub(super) key: &'static str,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    pub(super) kind: Kind,
    pub(super) what: &'static str,
    /// A heading in docs/measurements.md, unless it says otherwise.
    pub(super) source: &'static str,
}

macro_rules! constants {
    ($($name:ident = $value:literal $unit:literal, $kind:ident, $what:literal, $source:literal;)*) => {
        $(pub(super) const $name: Constant = Constant {
            key: stringify!($name),
            value: $value,
            unit: $unit,
            kind: Kind::$kind,
            what: $what,
            source: $source,
        };)*
        /// The whole table.
        pub(super) const ALL: &[&Constant] = &[$(&$name),*];
    };
}

/// How busy a node's cores may be: the rest is for bursts, for those who come back, and for what is on the machine beside it.
pub(super) const BUSY: f64 = 0.6;
/// How busy Redis' one core may be. Beyond that what waits for it waits long.
pub(super) const REDIS_BUSY: f64 = 0.7;
/// How much of a node's memory may be used by what is always there: the rest is for what waits for slow clients, and replays.
pub(super) const MEMORY_USED: f64 = 0.8;
/// How much of a link may be used.
pub(super) const LINK_USED: f64 = 0.6;

constants! {
    DELIVERY = 6.0 "µs", Nodes,
        "an event to one member: encoded once for all, written to the socket of each",
        "What the planner goes by (a delivery to 2,000 connections and to 5,000, as parts of the 9.9 of 5,000)";
    DELIVERY_COLD = 4.4 "µs", Nodes,
        "what it costs more where the processor's cache does not hold the connection any more, the kernel's part of it included",
        "What the planner goes by (the same)";
    CACHED = 2500.0 "", Fixed,
        "connections of a node of which the cache holds half",
        "What the planner goes by (the same)";
    PUBLISH = 40.0 "µs", Nodes,
        "a client's event from its frame to its ack, without the log",
        "One embedded node (the same run); What a route costs has 2.6 of it without sockets and waking up";
    SQLITE = 240.0 "µs", Nodes,
        "an event into a log in SQLite",
        "One embedded node (12.3 against 9.9 per delivery, 100 of them)";
    APPEND = 57.0 "µs", Nodes,
        "an append that goes to Redis, on the node that publishes",
        "Publishing over HTTP (single requests, 1,000 a second: 167 against 110)";
    FEED = 69.0 "µs", Nodes,
        "an event from Redis to the fan-out, on each node that has members of its room",
        "One embedded node (40.8 per delivery on three nodes with rooms of 9, without the above)";
    POLL = 30.0 "µs", Nodes,
        "a request over HTTP, which a long-polling client makes for what comes at once",
        "Publishing over HTTP (in memory, single requests, 16 connections: 30.1)";
    HANDSHAKE = 119.0 "µs", Nodes,
        "a connection that is opened, its session included",
        "Beside socket.io on Node and the floor (the second table)";
    ARCHIVE_NODES = 31.0 "µs", Nodes,
        "an archived event, its way into the database included",
        "What the archive costs a publish (the last table: 327 against 296)";
    REDIS_APPEND = 25.0 "µs", Redis,
        "an append in a Redis that is always busy",
        "What the archive costs a publish (without pauses 22.1); 47,600 a second at most, in What is kept in databases";
    REDIS_WAKE = 156.0 "µs", Redis,
        "what an append costs more after a pause: waking up, reading, answering, cold code",
        "Beside socket.io on Node and the floor (rooms of 9 at 1,000/s: 100; rooms of 90 at 150/s: 234)";
    REDIS_HEARER = 26.0 "µs", Redis,
        "the same for each node that hears of it",
        "What the planner goes by (one node and three)";
    REDIS_SHARED = 640.0 "/s", Fixed,
        "appends a second from which on half of them come while others are there, and share that",
        "What the planner goes by (a publish at 50 to 1,000 a second)";
    REDIS_IDLE = 2000.0 "µs/s", Redis,
        "Redis for itself", "What the planner goes by";
    REDIS_NODE = 800.0 "µs/s", Redis,
        "what a node asks of Redis while nothing happens: marks, the canary, beats, queues", "What the planner goes by";
    REDIS_RENEWAL = 7.8 "µs", Redis,
        "a session's record, renewed four times within the window", "What the planner goes by";
    REDIS_ARCHIVE = 21.0 "µs", Redis,
        "the second entry of an archived event, read and taken out again",
        "What the archive costs a publish (the last table: 126 against 105)";
    REDIS_RECOVERY = 345.0 "µs", Redis,
        "a session that comes back: claimed and stored", "What the planner goes by";
    REDIS_REJOIN = 106.0 "µs", Redis,
        "each of its rooms: read, listened to, counted", "What the planner goes by";
    NODE_BASE = 23552.0 "KiB", Fixed,
        "a node that nobody has connected to", "Failovers, and a node that does nothing (23 MB)";
    CONNECTION = 4.3 "KiB", Memory,
        "an idle connection with its session", "Beside socket.io on Node and the floor (4.2 to 4.3)";
    MEMBER = 1.0 "KiB", Memory,
        "a session in a room", "What the planner goes by";
    ROOM = 1.1 "KiB", Memory,
        "a room with members on a node", "What the planner goes by";
    KERNEL = 4.7 "KiB", Fixed,
        "the kernel's memory of a connection, beside the node's", "What the planner goes by";
    LOG_ROOM = 4500.0 "B", Fixed,
        "a room that has events in Redis", "docs/operations.md, How to size Redis";
    LOG_EVENT = 100.0 "B", Fixed,
        "an event in Redis, beside its own bytes", "docs/operations.md, How to size Redis";
    LOG_KEY = 140.0 "B", Fixed,
        "the key of a publish, which stays for a minute", "docs/operations.md, How to size Redis";
    STORED_SESSION = 780.0 "B", Fixed,
        "a session in Redis, and the keys by which it is found", "What the planner goes by (1,277 with a room)";
    STORED_MEMBER = 500.0 "B", Fixed,
        "a session's room in Redis", "docs/operations.md, How to size Redis";
    PRESENCE_MEMBER = 450.0 "B", Fixed,
        "a session that is counted in a room, in Redis", "What the planner goes by";
    FRAME = 123.0 "B", Fixed,
        "an event of the native profile on the wire, beside its data: names, time, offset, frame", "What the planner goes by";
    PACKET = 66.0 "B", Fixed,
        "the headers of a packet: Ethernet, IP, TCP", "their standards";
    APPEND_BYTES = 650.0 "B", Fixed,
        "an append on its way to Redis, beside the event's data", "What the planner goes by";
    ANNOUNCED = 230.0 "B", Fixed,
        "an event on its way from Redis to a node, beside its data", "What the planner goes by";
    NODE_BYTES = 2400.0 "B/s", Fixed,
        "what a node says to Redis, and hears, while nothing happens", "What the planner goes by";
    ARCHIVED = 28400.0 "/s", Fixed,
        "events that a log in Redis takes with the archive's queue", "What is kept in databases";
}

/// How a machine differs from the one that was measured: factors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) nodes: f64,
    pub(super) redis: f64,
    pub(super) memory: f64,
}

impl Scale {
    /// The machine that was measured.
    pub(super) const NONE: Self = Self { nodes: 1.0, redis: 1.0, memory: 1.0 };

    /// What a constant is there.
    pub(super) fn of(&self, constant: &Constant) -> f64 {
        constant.value
            * match constant.kind {
                Kind::Nodes => self.nodes,
                Kind::Redis => self.redis,
                Kind::Memory => self.memory,
                Kind::Fixed => 1.0,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_source_in_the_documentation() {
        let measurements = include_str!("../../../docs/measurements.md");
        let operations = include_str!("../../../docs/operations.md");
        for Constant { key, value, source, .. } in ALL {
            assert!(*value > 0.0, "{key}");
            if *source == PACKET.source {
                continue;
            }
            let (text, heading) = match source.strip_prefix("docs/operations.md, ") {
                Some(heading) => (operations, heading),
                None => (measurements, source.split(" (").next().unwrap()),
            };
            let heading = heading.split(';').next().unwrap();
            let stands =
                text.lines().any(|line| line.trim_start_matches('#').trim() == heading && line.starts_with("##"));
            assert!(stands, "{key}: there is no heading {heading:?}");
        }
    }

    #[test]
    fn only_costs_of_a_machine_are_scaled() {
        let slow = Scale { nodes: 2.0, redis: 3.0, memory: 1.5 };
        assert_eq!(slow.of(&DELIVERY), DELIVERY.value * 2.0);
        assert_eq!(slow.of(&REDIS_WAKE), REDIS_WAKE.value * 3.0);
        assert_eq!(slow.of(&CONNECTION), CONNECTION.value * 1.5);
        assert_eq!(slow.of(&LOG_ROOM), LOG_ROOM.value);
    }
}
