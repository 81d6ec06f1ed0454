//! The outlet: the way to one client, which the edge gives to a session.

use crate::domain::Frame;

/// The way to one client. Implemented by the edge; neither method waits.
pub trait Outlet: Send + Sync + 'static {
    /// Queues a frame for the client, in order.
    ///
    /// # Errors
    /// Why the frame will not be delivered.
    fn deliver(&self, frame: &Frame) -> Result<(), Undelivered>;

    /// What waits for the client to take it.
    fn waiting(&self) -> Waiting;

    /// Names the connection, where sessions of several namespaces may share it.
    fn connection(&self) -> Option<usize> {
        None
    }

    /// Ends the connection so that an official client comes back by itself; with [`CloseReason::Kicked`], so that it does
    /// not.
    fn close(&self, reason: CloseReason);
}

/// What waits for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Packets.
    pub packets: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// Why a client does not get a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// Its queue is full: it does not keep up.
    Full,
    /// Its connection is over.
    Gone,
}

/// Why the node ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client does not read as fast as its rooms speak.
    Slow,
    /// The node hands its clients over.
    Draining,
    /// Other nodes have fewer clients.
    Balanced,
    /// The connection is as old as it may get.
    Aged,
    /// Another connection has the session, as far as the store of sessions knows.
    Replaced,
    /// The time of its token is over.
    Expired,
    /// Its token was revoked.
    Revoked,
    /// It goes on although it is refused for being too fast.
    Flooding,
    /// An operator ended the session for good.
    Kicked,
}
