//! Streaming what a room says.

use std::net::IpAddr;

use super::Service;
use crate::domain::{Offset, Refusal, RoomName};

pub use crate::node::{Heard, Tap, Unrecovered};

impl Service {
    /// Opens a stream of what a room says, for a reader at an address: after an offset, or from now on. Says why, if something
    /// is missing after the offset.
    ///
    /// # Errors
    /// As many are open as may be, or the log cannot be reached.
    pub async fn stream(
        &self,
        room: &RoomName,
        after: Option<Offset>,
        address: IpAddr,
    ) -> Result<(Tap, Option<Unrecovered>), Refusal> {
        self.behind.taps.open(room, after, address).await
    }
}
