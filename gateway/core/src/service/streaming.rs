//! Streaming what a room says.

use std::net::IpAddr;

use super::Service;
use crate::domain::{Offset, Refusal, RoomName};

pub use crate::node::{Heard, Missing, Tap};

impl Service {
    /// Opens a stream of what a room says, for a reader at an address: after an offset, or from now on. Says what is
    /// missing after the offset, if something is.
    ///
    /// # Errors
    /// As many are open as may be, or the log cannot be reached.
    pub async fn stream(
        &self,
        room: &RoomName,
        after: Option<Offset>,
        address: IpAddr,
    ) -> Result<(Tap, Option<Missing>), Refusal> {
        self.behind.taps.open(room, after, address).await
    }
}
