//! Names of events that clients may be told.

use crate::domain::Refusal;

const MAX_BYTES: usize = 128;

/// Names that an official client does not accept from a server (it ends the connection) nor emits, and the one by
/// which it learns of refusals.
const RESERVED: [&str; 7] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "refused"];

/// What the gateway's own notices begin with.
const NOTICES: &str = "gateway:";

/// What a name has to be, for people.
pub const EVENT_NAME: &str = "an event's name has 1 to 128 bytes, no control characters, and none of the names that Socket.IO and the gateway keep";

/// Checks the name of an event before it goes to clients.
///
/// # Errors
/// [`Refusal::BadRequest`] if the official clients or the gateway mean something else by it, or it is empty or long.
pub fn check_emitted(name: &str) -> Result<(), Refusal> {
    if may_be_emitted(name) { Ok(()) } else { Err(Refusal::bad_request(EVENT_NAME)) }
}

/// Whether clients may be told an event of this name.
#[must_use]
pub fn may_be_emitted(name: &str) -> bool {
    let fits = !name.is_empty() && name.len() <= MAX_BYTES && !name.chars().any(char::is_control);
    fits && !RESERVED.contains(&name) && !name.starts_with(NOTICES)
}
