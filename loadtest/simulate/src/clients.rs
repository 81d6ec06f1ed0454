//! Clients: what they heard, what they were told, and the offset that they come back with.

use std::collections::BTreeMap;

use crate::log::Room;
use crate::token::Partition;

/// A client by its number.
pub(crate) type Client = u32;

/// What a node hands a client. All but a greeting may be missing in its hands when its connection breaks.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    /// It is in its rooms from these offsets on; the first thing that a new session hears.
    Greeting(Vec<(Room, u64)>),
    /// It is back.
    Back,
    /// An event of a room.
    Event(Room, u64),
    /// A partition's history ended: what it had said last may be missing.
    Gap(Partition, u32),
    /// A room keeps nothing up to this offset any more.
    Dropped(Room, u64),
}

/// One client.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Its rooms, by the partitions in which they are.
    pub(crate) rooms: BTreeMap<Partition, Vec<Room>>,
    /// The number of its connection.
    pub(crate) line: u32,
    /// The node that has it.
    pub(crate) at: Option<u16>,
    /// When the last thing on its way arrives.
    pub(crate) busy_until: u64,
    /// What it brings back.
    pub(crate) token: Option<String>,
    /// From where on it is in its rooms.
    pub(crate) joined: BTreeMap<Room, u64>,
    /// What it heard.
    pub(crate) heard: BTreeMap<Room, Vec<u64>>,
    /// Up to which change it was told of each partition's histories.
    pub(crate) told: BTreeMap<Partition, u32>,
    /// Up to where it was told that a room kept nothing.
    pub(crate) dropped: BTreeMap<Room, u64>,
}

impl Record {
    /// Takes what has arrived.
    pub(crate) fn take(&mut self, frame: Frame, token: String) {
        match frame {
            Frame::Greeting(from) => self.joined = from.into_iter().collect(),
            Frame::Back => {}
            Frame::Event(room, offset) => self.heard.entry(room).or_default().push(offset),
            Frame::Gap(partition, since) => {
                let told = self.told.entry(partition).or_default();
                *told = since.max(*told);
            }
            Frame::Dropped(room, through) => {
                let told = self.dropped.entry(room).or_default();
                *told = through.max(*told);
            }
        }
        self.token = Some(token);
    }
}
