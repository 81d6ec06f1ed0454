//! A simulated cluster over the real decisions: nodes, balancers before them, and clients that come back as official ones do.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::course::{Course, Hindrance, Phase, Rules, View};
use super::door::Door;
use super::shares::Standing;

mod tests;

const TICK: Duration = Duration::from_millis(200);
/// Nodes tell each other how they stand so often, in ticks.
const TOLD_EVERY: usize = 5;

/// Numbers that are the same for each seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.roll() * end as f64) as usize).min(end - 1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Balancer {
    RoundRobin,
    LeastConnections,
    Random,
}

const BALANCERS: [Balancer; 3] = [Balancer::RoundRobin, Balancer::LeastConnections, Balancer::Random];

#[derive(Default)]
struct Client {
    /// Where it is, and since when.
    at: Option<(usize, Duration)>,
    /// When it tries again, and how often it has.
    back: (Duration, u32),
    moves: u32,
    refused: u32,
}

struct Node {
    alive: bool,
    course: Course,
    door: Door,
    weight: u32,
    limit: u32,
    asked: u64,
    /// What the others were told last.
    told: Standing,
    told_asked: u64,
    /// How it lies, if it does: it has nobody, and lets nobody in.
    lies: bool,
}

struct World {
    dice: Dice,
    now: Duration,
    tick: usize,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    balancer: Balancer,
    next: usize,
    /// Whether all clients have one address.
    one_address: bool,
    /// How often a balancer takes a refused handshake to another node.
    retries: u32,
    /// Requests that a client makes after its handshake, each of which the balancer sends elsewhere.
    requests: usize,
    rules: Rules,
    /// How balancing stands on each node.
    phases: Vec<Phase>,
}

fn rules() -> Rules {
    Rules {
        tolerance: 0.1,
        pace: 100.0,
        at_least: 100.0,
        after: Duration::from_secs(10),
        rest: Duration::from_secs(600),
    }
}

impl World {
    fn new(seed: u64, balancer: Balancer, nodes: usize, clients: usize) -> Self {
        let mut world = Self {
            dice: Dice(seed),
            now: Duration::from_secs(1000),
            tick: 0,
            nodes: Vec::new(),
            clients: Vec::new(),
            balancer,
            next: 0,
            one_address: false,
            retries: 0,
            requests: 0,
            rules: rules(),
            phases: Vec::new(),
        };
        (0..nodes).for_each(|_| world.add());
        world.come(clients);
        world
    }

    fn add(&mut self) {
        let told = Standing { connections: 0, limit: 0, weight: 100 };
        self.nodes.push(Node {
            alive: true,
            course: Course::new(self.rules),
            door: Door::default(),
            weight: 100,
            limit: 0,
            asked: 0,
            told,
            told_asked: 0,
            lies: false,
        });
        self.phases.push(Phase::Even);
    }

    /// So many new clients come, each to whichever node has fewest.
    fn come(&mut self, clients: usize) {
        for _ in 0..clients {
            let at = (0..self.nodes.len()).filter(|&at| self.nodes[at].alive).min_by_key(|&at| self.at(at)).unwrap();
            self.clients.push(Client { at: Some((at, self.now)), ..Client::default() });
        }
    }

    /// So many come by the balancer.
    fn knock(&mut self, clients: usize) {
        self.clients.extend((0..clients).map(|_| Client::default()));
    }

    fn at(&self, node: usize) -> usize {
        self.clients.iter().filter(|client| client.at.is_some_and(|(at, _)| at == node)).count()
    }

    fn kill(&mut self, node: usize) {
        self.nodes[node].alive = false;
        for client in 0..self.clients.len() {
            if self.clients[client].at.is_some_and(|(at, _)| at == node) {
                self.leave(client);
            }
        }
    }

    /// The client's connection is over: it comes back after a pause of an official client's.
    fn leave(&mut self, client: usize) {
        self.clients[client].at = None;
        self.clients[client].back = (Duration::ZERO, 0);
        self.put_off(client);
    }

    fn put_off(&mut self, client: usize) {
        let (_, attempts) = self.clients[client].back;
        let pause = (2_f64.powi(attempts.try_into().unwrap_or(10)).min(5.0)) * (0.5 + self.dice.roll());
        self.clients[client].back = (self.now + Duration::from_secs_f64(pause), attempts + 1);
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds * 5 {
            self.step();
        }
    }

    fn step(&mut self) {
        self.tick += 1;
        self.now += TICK;
        let mut counts: HashMap<usize, usize> = HashMap::new();
        for (at, _) in self.clients.iter().filter_map(|client| client.at) {
            *counts.entry(at).or_default() += 1;
        }
        let returning: Vec<_> = (0..self.clients.len())
            .filter(|&client| self.clients[client].at.is_none() && self.clients[client].back.0 <= self.now)
            .collect();
        for client in returning {
            let mut tries = 0;
            loop {
                let node = self.choose(&counts);
                if self.enters(client, node, &counts) {
                    self.next += self.requests;
                    *counts.entry(node).or_default() += 1;
                    self.clients[client].at = Some((node, self.now));
                    break;
                }
                tries += 1;
                if tries > self.retries {
                    self.clients[client].refused += 1;
                    self.put_off(client);
                    break;
                }
            }
        }
        for node in 0..self.nodes.len() {
            // Nodes do not beat time together.
            if self.nodes[node].alive && (self.tick + node * 2).is_multiple_of(TOLD_EVERY) {
                self.decide(node, counts.get(&node).copied().unwrap_or_default());
            }
        }
    }

    fn choose(&mut self, counts: &HashMap<usize, usize>) -> usize {
        let alive: Vec<_> = (0..self.nodes.len()).filter(|&at| self.nodes[at].alive).collect();
        match self.balancer {
            Balancer::RoundRobin => {
                self.next += 1;
                alive[self.next % alive.len()]
            }
            Balancer::Random => alive[self.dice.below(alive.len())],
            Balancer::LeastConnections => {
                *alive.iter().min_by_key(|at| counts.get(at).copied().unwrap_or_default()).unwrap()
            }
        }
    }

    fn enters(&mut self, client: usize, node: usize, counts: &HashMap<usize, usize>) -> bool {
        let number = if self.one_address { 0 } else { u32::try_from(client).unwrap() };
        let address = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
        let connections = counts.get(&node).copied().unwrap_or_default();
        let Node { limit, lies, door, .. } = &self.nodes[node];
        let is_full = *limit > 0 && connections >= *limit as usize;
        !lies && !is_full && door.lets_in(address, connections)
    }

    fn decide(&mut self, me: usize, connections: usize) {
        let standing = |node: &Node, connections: usize| Standing {
            connections: if node.lies { 0 } else { u32::try_from(connections).unwrap() },
            limit: node.limit,
            weight: node.weight,
        };
        let own = standing(&self.nodes[me], connections);
        (self.nodes[me].told, self.nodes[me].told_asked) = (own, self.nodes[me].asked);
        let others: Vec<_> = (0..self.nodes.len()).filter(|&at| at != me && self.nodes[at].alive).collect();
        let nodes = std::iter::once(own).chain(others.iter().map(|&at| self.nodes[at].told)).collect();
        let set = self.nodes.iter().enumerate().filter(|(_, node)| node.alive).map(|(at, _)| 1 << at).sum();
        let moved = self.nodes.iter().map(|node| node.told_asked).sum();
        let (now, is_alone) = (self.now, others.is_empty());
        let seen = if is_alone { Err(Hindrance::Alone) } else { Ok(View { nodes, set, moved }) };
        let step = self.nodes[me].course.step(now, seen);
        self.phases[me] = step.phase;
        self.nodes[me].door.fill(step.full_at);
        let mut may_go: Vec<_> = (0..self.clients.len())
            .filter(|&it| self.clients[it].at.is_some_and(|(at, since)| at == me && since < step.came_before))
            .collect();
        let mut asked = 0;
        while asked < step.ask && !may_go.is_empty() {
            let chosen = self.dice.below(may_go.len());
            let client = may_go.swap_remove(chosen);
            self.clients[client].moves += 1;
            self.leave(client);
            asked += 1;
        }
        self.nodes[me].asked += asked as u64;
        self.nodes[me].course.not_asked(step.ask - asked);
    }

    fn moves(&self) -> u32 {
        self.clients.iter().map(|client| client.moves).sum()
    }

    fn most_moves(&self) -> u32 {
        self.clients.iter().map(|client| client.moves).max().unwrap()
    }

    fn forget_moves(&mut self) {
        self.clients.iter_mut().for_each(|client| (client.moves, client.refused) = (0, 0));
    }

    /// How far the node is from its share that is furthest, as a part of the share.
    fn furthest(&self) -> f64 {
        let alive: Vec<_> = (0..self.nodes.len()).filter(|&at| self.nodes[at].alive).collect();
        let weights: u32 = alive.iter().map(|&at| self.nodes[at].weight).sum();
        let share = |at: usize| self.clients.len() as f64 * f64::from(self.nodes[at].weight) / f64::from(weights);
        alive.iter().map(|&at| (self.at(at) as f64 / share(at) - 1.0).abs()).fold(0.0, f64::max)
    }

    fn assert_even(&self, what: &str) {
        let counts: Vec<_> = (0..self.nodes.len()).map(|at| self.at(at)).collect();
        // 550 of 500 is a tenth more, and not quite so in binary.
        assert!(self.furthest() <= 0.1 + 1e-9, "{what}, {:?}: {counts:?} {:?}", self.balancer, self.phases);
    }
}
