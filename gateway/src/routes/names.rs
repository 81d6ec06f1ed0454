//! Names of events: which ones clients may be told, and which ones they may tell.

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
