//! What is simulated: a scale, a seed, and which kind of offset clients carry.

use clap::{Parser, ValueEnum};

/// What a client brings back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Offsets {
    /// A position in each of its partitions.
    Vector,
    /// The newest offset of all partitions, as if there were one counter: what came late is lost.
    Scalar,
    /// The offset up to which it has everything: what came early is heard twice.
    Floor,
}

/// How large it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scale {
    /// Some seconds of everything.
    Small,
    /// A deployment of some nodes in which a session hears an event every five seconds.
    Quiet,
    /// The same, in which it hears five a second.
    Medium,
    /// More nodes, partitions and rooms of a session.
    Large,
}

/// The command line.
#[derive(Clone, Debug, Parser)]
#[command(version, about = "A log in partitions, simulated: same seed, same figures")]
pub(crate) struct Settings {
    /// What everything is drawn from.
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// One of them. None: the table of all, over three seeds that follow on this one.
    #[arg(long, value_enum)]
    pub(crate) scale: Option<Scale>,
    /// What clients carry.
    #[arg(long, value_enum, default_value = "vector")]
    pub(crate) offsets: Offsets,
    /// Nothing of the log is lost: nodes die, clients break off, partitions move.
    #[arg(long)]
    pub(crate) no_losses: bool,
}

/// The numbers of a run.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    /// What everything is drawn from.
    pub(crate) seed: u64,
    /// What clients carry.
    pub(crate) offsets: Offsets,
    /// Whether servers of the log are lost.
    pub(crate) losses: bool,
    /// Partitions of the log.
    pub(crate) partitions: u16,
    /// Servers that have them.
    pub(crate) servers: u16,
    /// Nodes between the log and clients.
    pub(crate) nodes: u16,
    /// Sessions.
    pub(crate) clients: u32,
    /// Rooms in all.
    pub(crate) rooms: u32,
    /// Rooms of a session.
    pub(crate) rooms_each: u32,
    /// Events a second, all rooms together.
    pub(crate) rate: u64,
    /// How long is published, in microseconds.
    pub(crate) length: u64,
    /// Events that a room keeps.
    pub(crate) kept: usize,
    /// Appends that a replica may lack.
    pub(crate) lag: usize,
}

impl Numbers {
    /// Those of a scale.
    pub(crate) fn new(scale: Scale, seed: u64, offsets: Offsets, losses: bool) -> Self {
        let base = Self {
            seed,
            offsets,
            losses,
            partitions: 16,
            servers: 3,
            nodes: 3,
            clients: 200,
            rooms: 40,
            rooms_each: 3,
            rate: 200,
            length: 10_000_000,
            kept: 1000,
            lag: 8,
        };
        let some = Self {
            partitions: 256,
            servers: 9,
            nodes: 9,
            clients: 2_000,
            rooms: 1_000,
            rooms_each: 5,
            rate: 1_000,
            length: 20_000_000,
            ..base.clone()
        };
        match scale {
            Scale::Small => base,
            Scale::Quiet => Self { rate: 40, ..some },
            Scale::Medium => some,
            Scale::Large => Self {
                partitions: 1024,
                servers: 30,
                nodes: 30,
                clients: 3_000,
                rooms: 3_000,
                rooms_each: 20,
                rate: 1_000,
                length: 10_000_000,
                ..base
            },
        }
    }
}
