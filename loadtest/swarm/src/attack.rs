//! The ways of flooding, how fast each is at its limit, and what its packets look like.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What the flooder sends too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Attack {
    /// Small publishes that want no answer
    Publishes,
    /// The same, each wanting an ack
    AckedPublishes,
    /// Publishes as large as they may be
    Bytes,
    /// Joins and leaves in turn
    Joins,
    /// Handshakes from one address
    Connects,
}

/// What the flooder publishes; the other members of a room would not take it for a stamped message.
pub(crate) const NOISE: &str = "noise";

/// The largest data that fits into 64 KiB with everything around it.
const LARGE_BYTES: usize = 65_000;
const SMALL_BYTES: usize = 100;

/// Rooms that are joined and left: fewer than a session may be in.
const ROOMS: u64 = 50;

impl Attack {
    pub(crate) const ALL: [Self; 5] = [Self::Publishes, Self::AckedPublishes, Self::Bytes, Self::Joins, Self::Connects];

    /// Per second: what the default limits allow in the long run. 16 messages of 64 KiB are 1 MiB.
    pub(crate) fn allowed_per_second(self) -> u32 {
        match self {
            Self::Publishes | Self::AckedPublishes | Self::Joins | Self::Connects => 50,
            Self::Bytes => 16,
        }
    }

    /// Whether what was accepted is told by acks. Otherwise it is heard, as the flooder's own event.
    pub(crate) fn wants_acks(self) -> bool {
        matches!(self, Self::AckedPublishes | Self::Joins)
    }

    /// Whether one session does it, which the gateway can then close for good reason.
    pub(crate) fn is_of_a_session(self) -> bool {
        self != Self::Connects
    }

    /// Packet `number` of a session that is in `room`.
    pub(crate) fn packet(self, number: u64, room: &str) -> String {
        let publish = |bytes| json!(["publish", { "room": room, "event": NOISE, "data": "x".repeat(bytes) }]);
        match self {
            Self::Publishes | Self::Connects => format!("42{}", publish(SMALL_BYTES)),
            Self::AckedPublishes => format!("42{number}{}", publish(SMALL_BYTES)),
            Self::Bytes => format!("42{}", publish(LARGE_BYTES)),
            Self::Joins => {
                let event = if number.is_multiple_of(2) { "join" } else { "leave" };
                let room = format!("{room}-{}", number / 2 % ROOMS);
                format!("42{number}{}", json!([event, { "room": room }]))
            }
        }
    }
}

/// As on the command line.
impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Publishes => "publishes",
            Self::AckedPublishes => "acked-publishes",
            Self::Bytes => "bytes",
            Self::Joins => "joins",
            Self::Connects => "connects",
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::Attack;

    #[test]
    fn every_attack_reads_as_it_prints() {
        assert_eq!(Attack::value_variants(), Attack::ALL);
        for attack in Attack::ALL {
            assert_eq!(Attack::from_str(&attack.to_string(), false), Ok(attack));
            assert_eq!(serde_json::to_value(attack).unwrap(), attack.to_string());
        }
    }

    #[test]
    fn the_largest_message_is_not_too_large() {
        let length = Attack::Bytes.packet(0, &"r".repeat(40)).len();
        assert!((65_000..=65_536).contains(&length), "{length}");
    }

    #[test]
    fn what_is_joined_is_left_before_the_next() {
        let packets: Vec<_> = (0..4).map(|number| Attack::Joins.packet(number, "r")).collect();
        assert_eq!(
            packets,
            [
                r#"420["join",{"room":"r-0"}]"#,
                r#"421["leave",{"room":"r-0"}]"#,
                r#"422["join",{"room":"r-1"}]"#,
                r#"423["leave",{"room":"r-1"}]"#,
            ]
        );
    }
}
