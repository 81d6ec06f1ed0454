//! The outlet: hands frames to the engine, which writes them.

use std::sync::Arc;

use engine::{Connection, Packet, SendError};

use gateway_core::domain::Frame;
use gateway_core::node::{CloseReason, Outlet, Undelivered, Waiting};

/// The way to the client of one session.
pub(super) struct SocketOutlet {
    pub(super) connection: Connection,
    pub(super) namespace: Arc<str>,
    /// Whether the client wants to know offsets by the last arguments of events.
    pub(super) wants_offsets: bool,
}

impl Outlet for SocketOutlet {
    fn deliver(&self, frame: &Frame) -> Result<(), Undelivered> {
        // A frame is for one room, and a room is in one namespace.
        let encode = |text: &str, attachments: &[bytes::Bytes]| match frame.answered_under() {
            Some(number) => Packet::question(&self.namespace, number, text, attachments),
            None => Packet::event(&self.namespace, text, attachments),
        };
        let packet = frame.encoded(self.wants_offsets, encode);
        self.connection.send(&packet).map_err(undelivered)
    }

    fn waiting(&self) -> Waiting {
        let engine::Waiting { packets, bytes } = self.connection.waiting();
        Waiting { packets, bytes }
    }

    fn connection(&self) -> Option<usize> {
        Some(self.connection.number())
    }

    fn close(&self, reason: CloseReason) {
        let connection = &self.connection;
        match reason {
            CloseReason::Slow => connection.end_now("slow"),
            CloseReason::Flooding => connection.end_now("flooding"),
            CloseReason::Draining => connection.end_softly("draining"),
            CloseReason::Balanced => connection.end_softly("balanced"),
            CloseReason::Aged => connection.end_softly("aged"),
            // It comes back by itself, with a new token if its page has one.
            CloseReason::Expired => connection.end_softly("expired"),
            // So that it reads why; nothing of it is read any more.
            CloseReason::Revoked => connection.end_softly("revoked"),
            // Softly too. It may be the rightful one: a claim that was given up may arrive late, and a failover of Redis
            // may forget the last ones. Then its client comes back and claims again.
            CloseReason::Replaced => connection.end_softly("replaced"),
            CloseReason::Kicked => connection.leave(&self.namespace, "kicked"),
        }
    }
}

/// Why the engine did not take something for the client.
pub(super) fn undelivered(error: SendError) -> Undelivered {
    match error {
        SendError::Full => Undelivered::Full,
        SendError::Gone => Undelivered::Gone,
    }
}
