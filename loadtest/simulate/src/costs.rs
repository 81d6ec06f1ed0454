//! What it costs: bytes of offsets on the wire, reads of those who come back, and what happened in all.

use std::collections::BTreeMap;

use crate::clients::Client;
use crate::log::Server;
use crate::node::Node;
use crate::token::encode_all;

/// The vector of all partitions that a node hears is looked at now and then: it is long.
const SAMPLED: u64 = 97;

/// Sizes of something, by how often each was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sizes(BTreeMap<usize, u64>);

impl Sizes {
    fn add(&mut self, size: usize) {
        *self.0.entry(size).or_default() += 1;
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The mean of them, or 0.
    pub(crate) fn mean(&self) -> f64 {
        let sum: u64 = self.0.iter().map(|(size, count)| *size as u64 * count).sum();
        sum as f64 / self.count().max(1) as f64
    }

    /// The size that so many of a thousand do not exceed.
    pub(crate) fn of_a_thousand(&self, share: u64) -> usize {
        let (wanted, mut seen) = ((self.count() * share).div_ceil(1000), 0);
        let reached = self.0.iter().find(|(_, count)| {
            seen += **count;
            seen >= wanted
        });
        reached.map_or(0, |(size, _)| *size)
    }
}

/// All that was counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs {
    pub(crate) published: u64,
    pub(crate) refused: u64,
    /// Messages from servers to nodes.
    pub(crate) announced: u64,
    pub(crate) broken: u64,
    pub(crate) killed: u64,
    pub(crate) moved: u64,
    /// Servers that were late for a moment.
    pub(crate) late: u64,
    pub(crate) lost_servers: u64,
    pub(crate) lost_appends: u64,
    /// Characters of an offset: as it is sent; with every partition of the session; with every one of the node.
    pub(crate) sent: Sizes,
    pub(crate) of_session: Sizes,
    pub(crate) of_node: Sizes,
    /// Of those who came back: the partitions that were read, and the events that were missed.
    pub(crate) reads: Sizes,
    pub(crate) missed: Sizes,
    deliveries: u64,
    busy: BTreeMap<(u64, Server), u64>,
}

impl Costs {
    pub(crate) fn delivered(&mut self, node: &Node, client: Client, token: &str) {
        self.sent.add(token.len());
        if let Some(session) = node.sessions.get(&client) {
            self.of_session.add(encode_all(node.known, session.everything(&node.feeds)).len());
        }
        self.deliveries += 1;
        if self.deliveries.is_multiple_of(SAMPLED) {
            let all = node.feeds.iter().map(|(partition, feed)| (*partition, feed.through));
            self.of_node.add(encode_all(node.known, all).len());
        }
    }

    pub(crate) fn read(&mut self, server: Server, at: u64) {
        *self.busy.entry((at / 1_000_000, server)).or_default() += 1;
    }

    pub(crate) fn recovered(&mut self, partitions: usize, missed: usize) {
        self.reads.add(partitions);
        self.missed.add(missed);
    }

    /// The most reads that one server had in a second.
    pub(crate) fn busiest(&self) -> u64 {
        self.busy.values().copied().max().unwrap_or_default()
    }
}
