//! The rates of `[limits]`, in pairs as they are used, and what they must be to make sense.

use super::{Limits, Log};

/// So many in a second, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In a second; 0 for no limit.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

impl Rate {
    /// This rate, or so many times another if that is more. No limit stays none.
    fn at_least(self, other: Self, times: u32) -> Self {
        if self.per_second == 0 {
            return self;
        }
        Self {
            per_second: self.per_second.max(other.per_second.saturating_mul(times)).min(FASTEST),
            burst: self.burst.max(other.burst.saturating_mul(times)),
        }
    }
}

/// A limiter counts in nanoseconds: faster than one in each is no limit any more.
const FASTEST: u32 = 1_000_000_000;

impl Limits {
    /// How many connections an address may open.
    #[must_use]
    pub fn address_handshakes(&self) -> Rate {
        let per_second = self.handshakes_per_second_per_address;
        Rate { per_second, burst: per_second }
    }

    /// How many requests for a session that is refused an address may make.
    #[must_use]
    pub fn failed_connects(&self) -> Rate {
        Rate { per_second: self.failed_connects_per_second_per_address, burst: self.failed_connects_burst_per_address }
    }

    /// How many events a session may send.
    #[must_use]
    pub fn session_events(&self) -> Rate {
        Rate { per_second: self.events_per_second, burst: self.events_burst }
    }

    /// How many bytes a session may send.
    #[must_use]
    pub fn session_bytes(&self) -> Rate {
        Rate { per_second: self.bytes_per_second, burst: self.bytes_burst }
    }

    /// How many events all sessions of a user on a node may send.
    #[must_use]
    pub fn user_events(&self) -> Rate {
        Rate { per_second: self.user_events_per_second, burst: self.user_events_burst }
    }

    /// How many bytes all sessions of a user on a node may send.
    #[must_use]
    pub fn user_bytes(&self) -> Rate {
        Rate { per_second: self.user_bytes_per_second, burst: self.user_bytes_burst }
    }

    /// How many events all sessions of an address on a node may send.
    #[must_use]
    pub fn address_events(&self) -> Rate {
        Rate { per_second: self.address_events_per_second, burst: self.address_events_burst }
    }

    /// How many bytes all sessions of an address on a node may send.
    #[must_use]
    pub fn address_bytes(&self) -> Rate {
        Rate { per_second: self.address_bytes_per_second, burst: self.address_bytes_burst }
    }

    /// How many bytes all sessions of a user on a node may have kept.
    #[must_use]
    pub fn user_kept(&self) -> Rate {
        Rate { per_second: self.user_kept_bytes_per_second, burst: self.user_kept_bytes_burst }
    }

    /// In how many rooms that are new to the log all sessions of a user on a node may publish.
    #[must_use]
    pub fn user_new_rooms(&self) -> Rate {
        Rate { per_second: self.user_new_rooms_per_second, burst: self.user_new_rooms_burst }
    }

    /// How many bytes all sessions of an address that have no user may have kept.
    #[must_use]
    pub fn address_kept(&self) -> Rate {
        Rate { per_second: self.address_kept_bytes_per_second, burst: self.address_kept_bytes_burst }
    }

    /// In how many rooms that are new to the log all sessions of an address that have no user may publish.
    #[must_use]
    pub fn address_new_rooms(&self) -> Rate {
        Rate { per_second: self.address_new_rooms_per_second, burst: self.address_new_rooms_burst }
    }

    /// How many refusals a session may cause before it is closed.
    #[must_use]
    pub fn refusals(&self) -> Rate {
        Rate { per_second: self.refusals_per_second, burst: self.refusals_burst }
    }

    /// How many packets a connection may send: never fewer than the events of a session with their attachments need, and
    /// any number where events have no limit.
    #[must_use]
    pub fn connection_packets(&self) -> Rate {
        let of_an_event = u32::try_from(self.attachments).unwrap_or(u32::MAX).saturating_add(1);
        let needs = self.session_events();
        if needs.per_second == 0 {
            return needs;
        }
        let rate = Rate { per_second: self.packets_per_second, burst: self.packets_burst };
        rate.at_least(needs, of_an_event)
    }

    /// How many bytes a connection may send: never fewer than its session, several times over for what base64 and
    /// several namespaces add, and any number where a session has no limit.
    #[must_use]
    pub fn connection_bytes(&self) -> Rate {
        let needs = self.session_bytes();
        if needs.per_second == 0 {
            return needs;
        }
        let rate = Rate { per_second: self.packet_bytes_per_second, burst: self.packet_bytes_burst };
        let largest = u32::try_from(self.payload_bytes.max(self.message_bytes)).unwrap_or(u32::MAX);
        let rate = rate.at_least(needs, 2);
        Rate { burst: rate.burst.max(largest), ..rate }
    }

    pub(super) fn validate_rates(&self) -> Result<(), (&'static str, String)> {
        let pairs = [
            ("limits.events_per_second", "limits.events_burst", self.session_events()),
            ("limits.bytes_per_second", "limits.bytes_burst", self.session_bytes()),
            ("limits.user_events_per_second", "limits.user_events_burst", self.user_events()),
            ("limits.user_bytes_per_second", "limits.user_bytes_burst", self.user_bytes()),
            ("limits.address_events_per_second", "limits.address_events_burst", self.address_events()),
            ("limits.address_bytes_per_second", "limits.address_bytes_burst", self.address_bytes()),
            ("limits.user_kept_bytes_per_second", "limits.user_kept_bytes_burst", self.user_kept()),
            ("limits.user_new_rooms_per_second", "limits.user_new_rooms_burst", self.user_new_rooms()),
            ("limits.address_kept_bytes_per_second", "limits.address_kept_bytes_burst", self.address_kept()),
            ("limits.address_new_rooms_per_second", "limits.address_new_rooms_burst", self.address_new_rooms()),
            (
                "limits.packets_per_second",
                "limits.packets_burst",
                Rate { per_second: self.packets_per_second, burst: self.packets_burst },
            ),
            (
                "limits.packet_bytes_per_second",
                "limits.packet_bytes_burst",
                Rate { per_second: self.packet_bytes_per_second, burst: self.packet_bytes_burst },
            ),
            ("limits.refusals_per_second", "limits.refusals_burst", self.refusals()),
        ];
        for (per_second, burst, rate) in pairs {
            if rate.per_second > 0 && rate.burst == 0 {
                let name = per_second.trim_start_matches("limits.");
                return Err((burst, format!("must be at least 1 while {name} is set")));
            }
            if rate.per_second > FASTEST {
                return Err((per_second, format!("must not be more than {FASTEST}; 0 is no limit")));
            }
        }
        Ok(())
    }
}

/// Beyond that the reserve for what happened would not fit, nor anything that is no event.
const MOST_PERCENT: u8 = 90;

impl Log {
    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        if self.max_percent > MOST_PERCENT {
            let why = format!(
                "must be at most {MOST_PERCENT}: sessions and presence need room beside the log; 0 is no limit"
            );
            return Err(("log.max_percent", why));
        }
        Ok(())
    }
}
