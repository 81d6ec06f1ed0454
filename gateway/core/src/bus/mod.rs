//! PORT: the bus. Named channels between nodes, at most once; the trait is the contract, `tests/contract/bus.rs`
//! checks every backend against it.

mod memory;
mod overheard;
mod questions;
mod redis;

pub use memory::{MemoryBus, MemoryHub};
pub use overheard::{Listened, Overheard, Overhearing};
pub use questions::{Answer, Asker, Question, Questioned, Questions};
pub use redis::{RedisBus, overhear};

use std::collections::HashMap;
use std::time::Duration;

use crate::port::PortError;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Where a subscriber takes its messages from. Bounded: see [`BusMessage::Gap`].
pub type Sink = mpsc::Sender<BusMessage>;

/// Messages between nodes.
///
/// **Delivery** is at most once. What one node publishes on one connection arrives in its order, on all channels
/// of a subscriber together.
///
/// **Loss is told.** A subscriber that may have missed messages, for whatever reason, finds a [`BusMessage::Gap`]
/// before the next message. After it, every channel is heard again.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Sends a message to every subscriber of the channel, this node's own included.
    async fn publish(&self, channel: &str, payload: Bytes) -> Result<(), PortError>;

    /// Hears a channel from now on. What is published after this returns reaches the sink. A channel has one
    /// sink; subscribing again replaces it.
    async fn subscribe(&self, channel: &str, sink: Sink) -> Result<(), PortError>;

    /// Hears a channel no more. A few more messages may still arrive.
    async fn unsubscribe(&self, channel: &str);

    /// How many nodes hear the channel.
    async fn subscribers(&self, channel: &str) -> Result<usize, PortError>;

    /// Listens on a new connection, if the one that there is looks well but may bring nothing. Does nothing where there is
    /// none, and no more often than a new one needs to bring something.
    fn listen_anew(&self) {}

    /// Writes into the roll that a node hears the bus, or that it does not; returns the other nodes of the roll that
    /// did within a time. The roll is kept apart from messages, so that a node which hears none can learn by it whether
    /// others do.
    async fn attest(&self, roll: &str, node: &str, hears: bool, within: Duration) -> Result<Vec<String>, PortError>;
}

/// What a sink receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusMessage {
    /// Something that was published.
    Message {
        /// The channel it came on.
        channel: String,
        /// What was sent.
        payload: Bytes,
    },
    /// Messages may have been missed before this point.
    Gap,
}

/// The sinks of one node by channel, and which of them missed something because they were full.
#[derive(Debug, Default)]
struct Sinks {
    by_channel: HashMap<String, Sink>,
    missed: Vec<Sink>,
}

impl Sinks {
    fn insert(&mut self, channel: &str, sink: Sink) {
        self.by_channel.insert(channel.to_owned(), sink);
    }

    fn remove(&mut self, channel: &str) {
        self.by_channel.remove(channel);
    }

    /// Hands a message to the channel's sink without waiting: a slow subscriber must not hold up the others.
    /// Returns whether it arrived.
    fn deliver(&mut self, channel: &str, payload: Bytes) -> bool {
        self.tell_of_misses();
        let Some(sink) = self.by_channel.get(channel) else { return true };
        let still_owed_a_gap = self.missed.iter().any(|missed| missed.same_channel(sink));
        let message = BusMessage::Message { channel: channel.to_owned(), payload };
        if !still_owed_a_gap && sink.try_send(message).is_ok() {
            return true;
        }
        if !still_owed_a_gap {
            self.missed.push(sink.clone());
        }
        false
    }

    /// Tells every sink that it may have missed something; once for each sink, however many channels feed it.
    fn tell_of_gap(&mut self) {
        for sink in self.by_channel.values() {
            if !self.missed.iter().any(|missed| missed.same_channel(sink)) {
                self.missed.push(sink.clone());
            }
        }
        self.tell_of_misses();
    }

    /// Tells the sinks that are owed a gap and have room for it by now.
    fn tell_of_misses(&mut self) {
        self.missed.retain(|sink| matches!(sink.try_send(BusMessage::Gap), Err(TrySendError::Full(_))));
    }
}
