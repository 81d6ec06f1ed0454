//! Names of events: which ones clients may tell, and those of what happens by itself.

use crate::content::may_be_emitted;

/// How a client brings a new token.
pub(super) const REFRESH: &str = "auth:refresh";

/// Whether a route may be for this event of clients.
pub(super) fn may_be_routed(name: &str) -> bool {
    may_be_emitted(name) && name != REFRESH
}

/// What happens to a session or a room without any client having said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lifecycle {
    /// A session came.
    Connect,
    /// A user, or an anonymous session, is in a room with its first session.
    Join,
    /// A user, or an anonymous session, left a room with its last session.
    Leave,
    /// A session is gone for good.
    Disconnect,
}

impl Lifecycle {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Join, Self::Leave, Self::Disconnect];

    /// The word in configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "$connect",
            Self::Join => "$join",
            Self::Leave => "$leave",
            Self::Disconnect => "$disconnect",
        }
    }

    /// Whether the session may be gone when its routes run, and another node may run them.
    #[must_use]
    pub fn outlives_session(self) -> bool {
        matches!(self, Self::Leave | Self::Disconnect)
    }

    /// Whether it happens in a room.
    #[must_use]
    pub fn has_room(self) -> bool {
        matches!(self, Self::Join | Self::Leave)
    }
}
