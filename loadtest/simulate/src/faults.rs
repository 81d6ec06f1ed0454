//! What goes wrong: connections break, nodes die, partitions move, servers and zones are lost.

use rand::Rng;

use crate::clients::Client;
use crate::log::Server;
use crate::node::Node;
use crate::token::Partition;
use crate::world::{Event, MS, NodeId, SECOND, World, ZONES};

/// How often something may go wrong.
const TICK: u64 = 50 * MS;

impl World {
    /// A client breaks off every 6 s, a partition moves and a server is late every half second, a node dies every 4 s, a server is lost every 5 s.
    pub(crate) fn faults(&mut self) {
        if self.now >= self.end() {
            return;
        }
        let breaks = f64::from(self.numbers.clients) * TICK as f64 / (6 * SECOND) as f64;
        for _ in 0..breaks as u32 + u32::from(self.random.random_bool(breaks.fract())) {
            let client = self.random.random_range(0..self.numbers.clients);
            self.break_off(client);
        }
        if self.random.random_ratio(1, 10) {
            self.move_one();
        }
        if self.random.random_ratio(1, 10) {
            self.keep_back();
        }
        if self.random.random_ratio(1, 80) {
            let node = self.random.random_range(0..self.numbers.nodes);
            self.kill(node);
        }
        if self.numbers.losses && self.random.random_ratio(1, 100) {
            let server = self.random.random_range(0..self.numbers.servers);
            self.lose(server);
        }
        self.at(TICK, Event::Faults);
    }

    /// What is on its way to it is lost, and its node does not notice.
    fn break_off(&mut self, client: Client) {
        let record = &mut self.clients[client as usize];
        record.line += 1;
        // Of several that it begins, the last is the one that counts.
        let away = self.random.random_range(100 * MS..2 * SECOND);
        self.costs.broken += 1;
        self.at(away, Event::Connect(client));
    }

    /// A server is busy with something for a moment: what it says is late, and what others say is not.
    fn keep_back(&mut self) {
        let server = self.random.random_range(0..self.numbers.servers);
        let until = self.now + self.random.random_range(100 * MS..500 * MS);
        self.costs.late += 1;
        for node in 0..self.numbers.nodes {
            let arrived = self.wires.entry((node, server)).or_default();
            *arrived = until.max(*arrived);
        }
    }

    fn move_one(&mut self) {
        let partition: Partition = self.random.random_range(0..self.numbers.partitions);
        let server: Server = self.random.random_range(0..self.numbers.servers);
        let part = &mut self.parts[usize::from(partition)];
        if part.moving {
            return;
        }
        part.moving = true;
        self.costs.moved += 1;
        let takes = self.random.random_range(2 * MS..50 * MS);
        self.set_out(partition, server, takes);
    }

    /// A partition is on its way; whichever journey it was on before is over.
    fn set_out(&mut self, partition: Partition, server: Server, takes: u64) {
        let journey = &mut self.homes[usize::from(partition)].1;
        *journey += 1;
        let journey = *journey;
        self.at(takes, Event::Settled(partition, server, journey));
    }

    fn kill(&mut self, node: NodeId) {
        let one = &mut self.nodes[usize::from(node)];
        if !one.alive {
            return;
        }
        let sessions: Vec<Client> = one.sessions.keys().copied().collect();
        *one = Node { boot: one.boot + 1, ..Node::default() };
        self.unsubscribe(node);
        self.costs.killed += 1;
        for client in sessions {
            self.break_off(client);
        }
        self.at(2 * SECOND, Event::Restart(node));
    }

    /// A server's partitions go on elsewhere, each without its newest appends, and with a history of its own.
    fn lose(&mut self, server: Server) {
        self.lives[usize::from(server)] += 1;
        self.costs.lost_servers += 1;
        for partition in 0..self.numbers.partitions {
            if self.parts[usize::from(partition)].server != server {
                continue;
            }
            self.version += 1;
            let change = self.version;
            let to = (server + self.random.random_range(1..self.numbers.servers)) % self.numbers.servers;
            let count = self.random.random_range(0..=self.numbers.lag);
            let part = &mut self.parts[usize::from(partition)];
            for (offset, room) in part.lose(count, change) {
                self.costs.lost_appends += 1;
                self.said.entry(room).or_default().insert(offset, Some(change));
            }
            part.moving = true;
            let away = self.random.random_range(300 * MS..1_500 * MS);
            self.set_out(partition, to, away);
            for node in 0..self.numbers.nodes {
                let (boot, late) = (self.nodes[usize::from(node)].boot, self.random.random_range(MS..200 * MS));
                self.at(away + late, Event::Learned(node, boot, partition, change));
            }
        }
    }

    /// A third of everything at once.
    pub(crate) fn lose_a_zone(&mut self) {
        let zone = self.random.random_range(0..ZONES);
        (0..self.numbers.nodes).filter(|node| node % ZONES == zone).for_each(|node| self.kill(node));
        (0..self.numbers.servers).filter(|server| server % ZONES == zone).for_each(|server| self.lose(server));
    }
}
