//! What is overheard: messages on channels of Redis that are not the deployment's, which anybody may have written.

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::task::AbortOnDropHandle;

/// Where whoever listens takes what was overheard from. It is listened to as long as this is there.
#[derive(Debug)]
pub struct Overhearing {
    pub(super) messages: mpsc::Receiver<Overheard>,
    pub(super) _listener: AbortOnDropHandle<()>,
}

impl Overhearing {
    /// The next of what was overheard, in the order in which Redis had it over all channels; nothing if nobody listens any
    /// more.
    pub async fn next(&mut self) -> Option<Overheard> {
        self.messages.recv().await
    }
}

/// What is listened to.
#[derive(Clone, Debug, Default)]
pub struct Listened {
    /// Channels by name.
    pub channels: Vec<String>,
    /// Patterns of names, in the form of Redis.
    pub patterns: Vec<String>,
    /// The largest message that is taken, in bytes.
    pub message_bytes: usize,
}

/// What was overheard.
#[derive(Debug)]
pub enum Overheard {
    /// From here on everything is heard. What was said since the last message before it may be missing.
    Begun,
    /// From here on nothing is heard, until it begins again.
    Ended,
    /// A message.
    Message {
        /// Where it was said.
        channel: String,
        /// What was said.
        payload: Bytes,
        /// Its part of what may wait.
        held: OwnedSemaphorePermit,
    },
    /// A message that was larger than is taken.
    TooLarge {
        /// Where it was said.
        channel: String,
        /// How large it was, in bytes.
        bytes: usize,
    },
}
