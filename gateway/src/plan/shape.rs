//! What is to be planned for: a deployment's load in numbers, and what of it cannot be.

use std::time::Duration;

use gateway_core::config::Config;
use serde::{Deserialize, Serialize};

/// More than anybody has; below it no product of these numbers is beyond what a float tells apart.
pub(super) const MOST: u64 = 1_000_000_000;
const MOST_NODES: u32 = 100_000;
const LONGEST_WINDOW: Duration = Duration::from_secs(366 * 24 * 3600);

/// Where the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogKind {
    /// One node, and nothing on a disk.
    Memory,
    /// One node and its file.
    Sqlite,
    /// Any number of nodes.
    Redis,
}

/// A load, and what carries it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Shape {
    pub(super) connections: f64,
    pub(super) rooms: f64,
    pub(super) members_per_room: f64,
    /// Events a second, all rooms together.
    pub(super) rate: f64,
    /// Of an event's data.
    pub(super) bytes: f64,
    /// Of all connections, those that poll: 0 to 1.
    pub(super) polling: f64,
    pub(super) log: LogKind,
    pub(super) presence: bool,
    pub(super) archive: bool,
    /// Seconds for which who is away can come back.
    pub(super) window: f64,
    /// None: as many as are needed.
    pub(super) nodes: Option<u32>,
    pub(super) machine: Machine,
    pub(super) settings: Settings,
}

/// What a node and Redis have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Machine {
    pub(super) cores: f64,
    pub(super) memory_gib: f64,
    pub(super) redis_memory_gib: f64,
    /// Of each machine.
    pub(super) network_gbit: f64,
}

impl Default for Machine {
    fn default() -> Self {
        Self { cores: 2.0, memory_gib: 4.0, redis_memory_gib: 8.0, network_gbit: 1.0 }
    }
}

/// What the configuration says of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Settings {
    /// 0: no limit.
    pub(super) connections: f64,
    pub(super) handshakes_per_second: f64,
    pub(super) events_per_second: f64,
    pub(super) rooms_per_session: f64,
    pub(super) message_bytes: f64,
    pub(super) buffered_bytes: f64,
    pub(super) ping_interval: f64,
    pub(super) room_events: f64,
    pub(super) room_retention: f64,
    pub(super) max_percent: f64,
}

impl Settings {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            connections: config.limits.connections as f64,
            handshakes_per_second: config.limits.handshakes_per_second.into(),
            events_per_second: config.limits.events_per_second.into(),
            rooms_per_session: config.limits.rooms_per_session as f64,
            message_bytes: config.limits.message_bytes as f64,
            buffered_bytes: config.limits.buffered_bytes as f64,
            ping_interval: config.socket.ping_interval.as_secs_f64(),
            room_events: config.log.room_events as f64,
            room_retention: config.log.room_retention.as_secs_f64(),
            max_percent: config.log.max_percent.into(),
        }
    }
}

impl Shape {
    /// Deliveries a second: every member of an event's room hears it.
    pub(super) fn deliveries(&self) -> f64 {
        self.rate * self.members_per_room
    }

    /// All sessions' rooms together.
    pub(super) fn memberships(&self) -> f64 {
        self.rooms * self.members_per_room
    }

    /// Of `nodes`, those that have members of a room, as members are anywhere.
    pub(super) fn nodes_of_a_room(&self, nodes: f64) -> f64 {
        nodes * (1.0 - (1.0 - 1.0 / nodes).powf(self.members_per_room))
    }

    /// Events that a room keeps.
    pub(super) fn kept_events(&self) -> f64 {
        if self.rooms == 0.0 {
            return 0.0;
        }
        (self.rate / self.rooms * self.settings.room_retention).min(self.settings.room_events)
    }

    /// Looks at what the numbers are to each other.
    pub(super) fn check(&self) -> Result<(), String> {
        let Settings { rooms_per_session, message_bytes, .. } = self.settings;
        if self.rooms == 0.0 && self.rate > 0.0 {
            return Err(format!(
                "--rooms 0: {} events a second would have no room; leave --rate out, or say how many rooms there are",
                self.rate
            ));
        }
        if self.members_per_room > self.connections {
            return Err(format!(
                "--members-per-room {}: there are {} connections; a room has no more members than there are sessions",
                self.members_per_room, self.connections
            ));
        }
        let each = self.memberships() / self.connections;
        if rooms_per_session > 0.0 && each > rooms_per_session {
            return Err(format!(
                "--rooms {} with {} members each: every session would be in {each:.0} rooms, and limits.rooms_per_session is {rooms_per_session}; \
                 name fewer rooms or members, or the configuration with a higher limit by --config",
                self.rooms, self.members_per_room
            ));
        }
        if message_bytes > 0.0 && self.bytes > message_bytes {
            return Err(format!(
                "--bytes {}: limits.message_bytes is {message_bytes}; larger events are refused",
                self.bytes
            ));
        }
        if self.log != LogKind::Redis && self.nodes.is_some_and(|nodes| nodes > 1) {
            return Err(format!(
                "--nodes {}: without Redis there is one node; leave --log out",
                self.nodes.unwrap_or(1)
            ));
        }
        Ok(())
    }
}

/// A whole number within bounds.
fn whole(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let digits = text.replace('_', "");
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let wrong = || format!("a whole number from {least} to {most}");
    let value = is_number.then(|| digits.parse::<u64>().ok()).flatten().ok_or_else(wrong)?;
    if (least..=most).contains(&value) { Ok(value) } else { Err(wrong()) }
}

/// A number within bounds, with a fraction.
fn decimal(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| (least..=most).contains(value));
    value.ok_or_else(|| format!("a number from {least} to {most}"))
}

pub(super) fn connections(text: &str) -> Result<u64, String> {
    whole(text, 1, MOST)
}

pub(super) fn rooms(text: &str) -> Result<u64, String> {
    whole(text, 0, MOST)
}

pub(super) fn bytes(text: &str) -> Result<u64, String> {
    whole(text, 1, MOST)
}

pub(super) fn nodes(text: &str) -> Result<u32, String> {
    whole(text, 1, MOST_NODES.into()).map(|value| u32::try_from(value).unwrap_or(MOST_NODES))
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    decimal(text, 0.0, MOST as f64)
}

/// `0.2` or `20%`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let wrong = || "a share from 0 to 1, or from 0% to 100%".to_owned();
    match text.strip_suffix('%') {
        Some(percent) => decimal(percent, 0.0, 100.0).map(|percent| percent / 100.0),
        None => decimal(text, 0.0, 1.0),
    }
    .map_err(|_| wrong())
}

pub(super) fn cores(text: &str) -> Result<f64, String> {
    decimal(text, 0.1, 1024.0)
}

pub(super) fn gib(text: &str) -> Result<f64, String> {
    decimal(text, 0.0625, 65_536.0)
}

pub(super) fn gbit(text: &str) -> Result<f64, String> {
    decimal(text, 0.001, 10_000.0)
}

pub(super) fn factor(text: &str) -> Result<f64, String> {
    decimal(text, 0.01, 100.0)
}

pub(super) fn window(text: &str) -> Result<Duration, String> {
    let wrong = || "a time from 1s to 366d, as in 2m".to_owned();
    let window = humantime::parse_duration(text).map_err(|_| wrong())?;
    if (Duration::from_secs(1)..=LONGEST_WINDOW).contains(&window) { Ok(window) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_bounds() {
        for bad in [
            "",
            "0",
            "-1",
            "+5",
            "1.5",
            "1e6",
            " 7",
            "ten",
            "1000000001",
            "1000000000000",
            "99999999999999999999999999",
            "_",
        ] {
            assert!(connections(bad).is_err(), "{bad:?}");
        }
        assert_eq!([connections("1"), connections("10_000"), connections("1000000000")], [Ok(1), Ok(10_000), Ok(MOST)]);
        assert_eq!((rooms("0"), nodes("100000"), nodes("100001").is_err()), (Ok(0), Ok(100_000), true));
        for bad in ["-1", "NaN", "inf", "-inf", "1e10", "x", ""] {
            assert!(rate(bad).is_err(), "{bad:?}");
        }
        assert_eq!([rate("0"), rate("0.5"), rate("1e9")], [Ok(0.0), Ok(0.5), Ok(1e9)]);
        for bad in ["-0.1", "1.1", "101%", "-1%", "%", "NaN", "NaN%"] {
            assert!(share(bad).is_err(), "{bad:?}");
        }
        assert_eq!([share("0.2"), share("20%"), share("0"), share("100%")], [Ok(0.2), Ok(0.2), Ok(0.0), Ok(1.0)]);
        for bad in ["0", "0s", "999ms", "367d", "-1s", "2", "two minutes"] {
            assert!(window(bad).is_err(), "{bad:?}");
        }
        assert_eq!(window("2m"), Ok(Duration::from_secs(120)));
        assert!(
            cores("0").is_err()
                && gib("0").is_err()
                && gbit("0").is_err()
                && factor("0").is_err()
                && bytes("0").is_err()
        );
        assert!(connections("1000000000000").unwrap_err().contains("1000000000"));
    }
}
