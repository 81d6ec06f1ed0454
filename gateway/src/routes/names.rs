//! Names of events: which ones clients may be told, which ones they may tell, and those of what happens by itself.

use crate::domain::Refusal;

const MAX_BYTES: usize = 128;

/// Names that an official client does not accept from a server (it ends the connection) nor emits, and the one by
/// which it learns of refusals.
const RESERVED: [&str; 7] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "refused"];

/// What the gateway's own notices begin with.
const NOTICES: &str = "gateway:";

/// How a client brings a new token.
pub(super) const REFRESH: &str = "auth:refresh";

/// What a name has to be.
pub(super) const EVENT: &str = "an event's name has 1 to 128 bytes, no control characters, and none of the names that Socket.IO and the gateway keep";

/// Checks the name of an event before it goes to clients.
///
/// # Errors
/// [`Refusal::BadRequest`] if the official clients or the gateway mean something else by it, or it is empty or long.
pub fn check_emitted(name: &str) -> Result<(), Refusal> {
    if is_free(name) { Ok(()) } else { Err(Refusal::bad_request(EVENT)) }
}

/// Whether a route may be for this event of clients.
pub(super) fn may_be_routed(name: &str) -> bool {
    is_free(name) && name != REFRESH
}

fn is_free(name: &str) -> bool {
    let fits = !name.is_empty() && name.len() <= MAX_BYTES && !name.chars().any(char::is_control);
    fits && !RESERVED.contains(&name) && !name.starts_with(NOTICES)
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
