//! The deployment in simulation: what happens when, from a seed, one thing after the other.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::audit::{Findings, Said, audit};
use crate::clients::{Client, Frame, Record};
use crate::costs::Costs;
use crate::log::{Page, Part, Room, Server};
use crate::node::{Heard, Node, Sent};
use crate::settings::Numbers;
use crate::token::Partition;

/// The clock when everything begins: late in 2026, in microseconds.
const BEGIN: u64 = 1_795_000_000_000_000;
pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
/// What nodes, servers and clients of one place have in common.
pub(crate) const ZONES: u16 = 3;
/// Marks go on for so long after the last event: until everybody is back.
const AFTERWARDS: u64 = 12 * SECOND;

/// A node by its number.
pub(crate) type NodeId = u16;

/// What is going to happen.
#[derive(Debug)]
pub(crate) enum Event {
    Publish,
    Mark(Partition),
    Faults,
    Zone,
    /// A partition is where it was going; the number says which of its journeys this was.
    Settled(Partition, Server, u32),
    /// A node hears of a partition, over a connection with a server.
    Heard(NodeId, Server, u32, Partition, Heard),
    /// A partition is not where the node had subscribed any more.
    Left(NodeId, u32, Partition, u32),
    /// A node learns that a partition's history has ended.
    Learned(NodeId, u32, Partition, u32),
    /// What a node asks is at the log.
    Asked(NodeId, u32, Partition, Ask),
    Answered(NodeId, u32, Partition, Answer),
    Frame(Client, u32, Frame, String),
    Connect(Client),
    Restart(NodeId),
}

/// What nodes ask of a partition.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// To hear of these rooms, and what they said after an offset.
    Fill(Vec<Room>, u64),
    /// What the rooms of a session said after an offset.
    Read(Client, u32, Vec<Room>, u64),
}

#[derive(Debug)]
pub(crate) enum Answer {
    Filled(u32, Vec<(Room, Page)>),
    Read(Client, u32, Vec<(Room, Page)>),
}

/// All of it.
pub(crate) struct World {
    pub(crate) numbers: Numbers,
    pub(crate) random: Xoshiro256PlusPlus,
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    counted: u64,
    pub(crate) parts: Vec<Part>,
    /// How often each partition has moved, and set out to.
    pub(crate) homes: Vec<(u32, u32)>,
    /// Who hears which rooms of a partition.
    subscribed: Vec<BTreeMap<NodeId, Vec<Room>>>,
    /// How many changes of histories there were.
    pub(crate) version: u32,
    pub(crate) nodes: Vec<Node>,
    /// Of each server, how often it was lost.
    pub(crate) lives: Vec<u32>,
    /// When what is on its way from a server to a node has arrived, at the latest.
    pub(crate) wires: BTreeMap<(NodeId, Server), u64>,
    pub(crate) clients: Vec<Record>,
    pub(crate) said: BTreeMap<Room, Said>,
    pub(crate) costs: Costs,
}

/// Runs it to its end: what is wrong, and what it cost.
pub(crate) fn run(numbers: Numbers) -> (Findings, Costs) {
    let mut world = World::new(numbers);
    while let Some(((at, _), event)) = world.queue.pop_first() {
        world.now = at;
        world.happen(event);
    }
    let findings =
        world.clients.iter().map(|client| audit(client, &world.said)).fold(Findings::default(), Findings::plus);
    (findings, world.costs)
}

impl World {
    fn new(numbers: Numbers) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(numbers.seed);
        let partitions = usize::from(numbers.partitions);
        let mut world = Self {
            now: BEGIN,
            queue: BTreeMap::new(),
            counted: 0,
            parts: (0..numbers.partitions).map(|partition| Part::new(partition % numbers.servers)).collect(),
            homes: vec![(0, 0); partitions],
            subscribed: vec![BTreeMap::new(); partitions],
            version: 0,
            nodes: (0..numbers.nodes).map(|_| Node { alive: true, ..Node::default() }).collect(),
            lives: vec![0; usize::from(numbers.servers)],
            wires: BTreeMap::new(),
            clients: Vec::new(),
            said: BTreeMap::new(),
            costs: Costs::default(),
            random: random.clone(),
            numbers,
        };
        for client in 0..world.numbers.clients {
            let mut record = Record::default();
            while record.rooms.values().map(Vec::len).sum::<usize>() < world.numbers.rooms_each as usize {
                let room = random.random_range(0..world.numbers.rooms);
                let rooms = record.rooms.entry(world.partition(room)).or_default();
                if !rooms.contains(&room) {
                    rooms.push(room);
                }
            }
            world.clients.push(record);
            world.at(random.random_range(0..SECOND), Event::Connect(client));
        }
        for partition in 0..world.numbers.partitions {
            world.at(random.random_range(0..SECOND), Event::Mark(partition));
        }
        world.at(2 * SECOND, Event::Publish);
        world.at(3 * SECOND, Event::Faults);
        if world.numbers.losses {
            world.at(2 * SECOND + world.numbers.length / 2, Event::Zone);
        }
        world.random = random;
        world
    }

    /// Something will happen after so many microseconds.
    pub(crate) fn at(&mut self, after: u64, event: Event) {
        self.counted += 1;
        self.queue.insert((self.now + after, self.counted), event);
    }

    pub(crate) fn end(&self) -> u64 {
        BEGIN + 2 * SECOND + self.numbers.length
    }

    /// A room's partition: its number's hash, as the slot of a Redis Cluster is that of a key.
    fn partition(&self, room: Room) -> Partition {
        let mixed = (u64::from(room) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        Partition::try_from(mixed % u64::from(self.numbers.partitions)).unwrap_or_default()
    }

    /// A way between machines: half a millisecond, and now and then much longer.
    fn way(&mut self) -> u64 {
        if self.random.random_ratio(1, 100) {
            self.random.random_range(5 * MS..60 * MS)
        } else {
            self.random.random_range(200..800)
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Publish => self.publish(),
            Event::Mark(partition) => self.mark(partition),
            Event::Faults => self.faults(),
            Event::Zone => self.lose_a_zone(),
            Event::Settled(partition, server, journey) => self.settle(partition, server, journey),
            Event::Restart(node) => {
                // Whoever comes in is compared with what the log says then.
                let (known, node) = (self.version, &mut self.nodes[usize::from(node)]);
                (node.alive, node.known) = (true, known);
            }
            Event::Connect(client) => self.connect(client),
            Event::Frame(client, line, frame, token) => {
                let record = &mut self.clients[client as usize];
                if record.line == line {
                    record.take(frame, token);
                }
            }
            Event::Heard(node, server, life, partition, heard) => {
                // What was on its way when a server was lost is lost.
                if self.lives[usize::from(server)] == life {
                    self.heard(node, partition, heard);
                }
            }
            Event::Asked(node, boot, partition, ask) => self.asked(node, boot, partition, ask),
            Event::Left(node, boot, partition, home) => {
                if self.lives_on(node, boot) {
                    self.left(node, partition, home);
                }
            }
            Event::Learned(node, boot, partition, change) => {
                if self.lives_on(node, boot) {
                    self.learned(node, partition, change);
                }
            }
            Event::Answered(node, boot, partition, answer) => {
                if self.lives_on(node, boot) {
                    match answer {
                        Answer::Filled(home, pages) => self.filled(node, partition, home, pages),
                        Answer::Read(client, line, pages) => self.read(node, partition, (client, line), pages),
                    }
                }
            }
        }
    }

    fn lives_on(&self, node: NodeId, boot: u32) -> bool {
        let node = &self.nodes[usize::from(node)];
        node.alive && node.boot == boot
    }

    fn publish(&mut self) {
        if self.now >= self.end() {
            return;
        }
        // Some rooms say much more than others.
        let skewed = self.random.random::<f64>().powi(2);
        let room = (skewed * f64::from(self.numbers.rooms)) as Room;
        let partition = self.partition(room);
        let part = &mut self.parts[usize::from(partition)];
        if part.moving {
            self.costs.refused += 1;
        } else {
            let offset = part.append(room, self.now, self.numbers.kept, self.numbers.lag);
            self.said.entry(room).or_default().insert(offset, None);
            self.costs.published += 1;
            self.announce(partition, Some(room), offset);
        }
        let pause = (-self.random.random::<f64>().max(1e-9).ln() * SECOND as f64 / self.numbers.rate as f64) as u64;
        self.at(pause.max(1), Event::Publish);
    }

    fn mark(&mut self, partition: Partition) {
        let part = &mut self.parts[usize::from(partition)];
        if !part.moving {
            let offset = part.mark(self.now);
            self.announce(partition, None, offset);
        }
        if self.now < self.end() + AFTERWARDS {
            self.at(SECOND, Event::Mark(partition));
        }
    }

    /// To all nodes that hear it, each over its connection with the server, in order.
    fn announce(&mut self, partition: Partition, room: Option<Room>, offset: u64) {
        let (server, home) = (self.parts[usize::from(partition)].server, self.homes[usize::from(partition)].0);
        let life = self.lives[usize::from(server)];
        let hearing = &self.subscribed[usize::from(partition)];
        let nodes: Vec<_> = hearing
            .iter()
            .filter(|(_, rooms)| room.is_none_or(|room| rooms.contains(&room)))
            .map(|(node, _)| *node)
            .collect();
        for node in nodes {
            let after = self.wire(node, server);
            self.costs.announced += u64::from(room.is_some());
            self.at(after, Event::Heard(node, server, life, partition, Heard { room, offset, home }));
        }
    }

    /// How long what is sent now takes: nothing overtakes on one connection.
    fn wire(&mut self, node: NodeId, server: Server) -> u64 {
        let arrives = self.now + self.way();
        let wire = self.wires.entry((node, server)).or_default();
        *wire = arrives.max(*wire);
        *wire - self.now
    }

    pub(crate) fn ask(&mut self, node: NodeId, partition: Partition, ask: Ask) {
        let (boot, way) = (self.nodes[usize::from(node)].boot, self.way());
        self.at(way, Event::Asked(node, boot, partition, ask));
    }

    /// A question is at the log; while the partition moves it is asked again.
    fn asked(&mut self, node: NodeId, boot: u32, partition: Partition, ask: Ask) {
        let part = &self.parts[usize::from(partition)];
        if !self.lives_on(node, boot) {
            return;
        }
        if part.moving {
            return self.at(5 * MS, Event::Asked(node, boot, partition, ask));
        }
        let pages = |rooms: &[Room], after| rooms.iter().map(|room| (*room, part.read(*room, after))).collect();
        let answer = match ask {
            Ask::Fill(rooms, after) => {
                let answer = Answer::Filled(self.homes[usize::from(partition)].0, pages(&rooms, after));
                self.subscribed[usize::from(partition)].insert(node, rooms);
                answer
            }
            Ask::Read(client, line, rooms, after) => Answer::Read(client, line, pages(&rooms, after)),
        };
        self.costs.read(part.server, self.now - BEGIN);
        let way = self.way();
        self.at(way, Event::Answered(node, boot, partition, answer));
    }

    /// A connection's bytes, in order; what they weigh is counted.
    pub(crate) fn send(&mut self, node: NodeId, sent: Vec<Sent>) {
        for (client, line, frame, position) in sent {
            let token = position.encode();
            if matches!(frame, Frame::Event(..)) {
                self.costs.delivered(&self.nodes[usize::from(node)], client, &token);
            }
            let arrives = self.now + self.way();
            let record = &mut self.clients[client as usize];
            record.busy_until = arrives.max(record.busy_until);
            let after = record.busy_until - self.now;
            self.at(after, Event::Frame(client, line, frame, token));
        }
    }

    /// A partition is somewhere else: who heard it there has to come here.
    pub(crate) fn settle(&mut self, partition: Partition, server: Server, journey: u32) {
        let index = usize::from(partition);
        if self.homes[index].1 != journey || !self.parts[index].moving {
            return;
        }
        let left = self.homes[index].0;
        let before = self.parts[index].server;
        self.homes[index].0 += 1;
        self.parts[index].server = server;
        self.parts[index].moving = false;
        for node in std::mem::take(&mut self.subscribed[index]).into_keys() {
            let (after, boot) = (self.wire(node, before), self.nodes[usize::from(node)].boot);
            self.at(after, Event::Left(node, boot, partition, left));
        }
    }

    /// A node's subscriptions end with it.
    pub(crate) fn unsubscribe(&mut self, node: NodeId) {
        self.subscribed.iter_mut().for_each(|nodes| drop(nodes.remove(&node)));
    }
}
