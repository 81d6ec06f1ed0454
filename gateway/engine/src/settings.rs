//! What a server is told: times and bounds.

use std::time::Duration;

/// Times and bounds of a [`crate::Server`]. Where a bound may be 0, 0 means none.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often the server pings. The first ping comes after this time, too.
    pub ping_interval: Duration,
    /// How long a client has to answer.
    pub ping_timeout: Duration,
    /// How long a connection may be without a session, and an upgrade may take.
    pub connect_timeout: Duration,
    /// How long a request may take to send its head, and how much longer than 16 KiB a second take its body may.
    pub header_timeout: Duration,
    /// How long an HTTP connection may be idle between requests.
    pub keep_alive: Duration,
    /// How long what is written to a client may wait for it.
    pub write_timeout: Duration,
    /// How long a packet waits for others, to be written together with them. Zero: every packet is written at once.
    pub write_delay: Duration,
    /// The largest message, in bytes.
    pub message_bytes: usize,
    /// The largest body of a polling client's request, in bytes. It may carry many messages.
    pub payload_bytes: usize,
    /// The largest body of a request for another path, in bytes.
    pub body_bytes: usize,
    /// Attachments of one event.
    pub attachments: usize,
    /// Packets that may wait for one client.
    pub waiting_packets: usize,
    /// Their bytes. One packet may always wait.
    pub waiting_bytes: usize,
    /// Bytes that all connections together may make the node hold. May be 0.
    pub budget_bytes: usize,
    /// HTTP connections that may be idle. May be 0.
    pub idle_connections: usize,
}
