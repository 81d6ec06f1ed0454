//! What nodes do with what they hear: dispatch it, fill what may be missing, let sessions in.

use rand::Rng;

use crate::clients::Client;
use crate::log::{Page, Room};
use crate::node::{Entering, Feed, Heard, Session};
use crate::token::{Partition, Position};
use crate::world::{Ask, Event, MS, NodeId, World};

impl World {
    pub(crate) fn heard(&mut self, node: NodeId, partition: Partition, heard: Heard) {
        let one = &mut self.nodes[usize::from(node)];
        let Some(feed) = one.feeds.get_mut(&partition) else { return };
        if let Some(waits) = &mut feed.waits {
            waits.push(heard);
        } else if heard.home > feed.home {
            self.fill(node, partition);
            self.heard(node, partition, heard);
        } else if heard.home == feed.home {
            let mut sent = Vec::new();
            one.dispatch(partition, heard, self.numbers.offsets, &mut sent);
            self.send(node, sent);
        }
    }

    pub(crate) fn left(&mut self, node: NodeId, partition: Partition, home: u32) {
        let Some(feed) = self.nodes[usize::from(node)].feeds.get_mut(&partition) else { return };
        feed.left = feed.left.max(Some(home));
        if feed.waits.is_none() && feed.home <= home {
            self.fill(node, partition);
        }
    }

    /// Subscribes to a partition's rooms where it is now, and reads what they said meanwhile.
    fn fill(&mut self, node: NodeId, partition: Partition) {
        let Some(feed) = self.nodes[usize::from(node)].feeds.get_mut(&partition) else { return };
        feed.waits.get_or_insert_default();
        let ask = Ask::Fill(feed.rooms.iter().copied().collect(), feed.through);
        self.ask(node, partition, ask);
    }

    pub(crate) fn filled(&mut self, node: NodeId, partition: Partition, home: u32, pages: Vec<(Room, Page)>) {
        let offsets = self.numbers.offsets;
        let mut sent = Vec::new();
        let one = &mut self.nodes[usize::from(node)];
        let since = pages.iter().map(|(_, page)| page.since).max().unwrap_or_default();
        one.learn(partition, since, offsets, &mut sent);
        let Some(feed) = one.feeds.get_mut(&partition) else { return };
        feed.home = home;
        let is_over = feed.left.is_some_and(|left| left >= home);
        let subscribed: Vec<_> = pages.iter().map(|(room, _)| *room).collect();
        let is_all = feed.rooms.iter().all(|room| subscribed.contains(room));
        let boundary = pages.iter().map(|(_, page)| page.boundary).max().unwrap_or_default();
        let mut missed: Vec<_> = pages
            .into_iter()
            .flat_map(|(room, page)| page.offsets.into_iter().map(move |offset| (offset, Some(room))))
            .collect();
        missed.sort_unstable();
        missed.push((boundary, None));
        let waits = if is_over || !is_all { Vec::new() } else { feed.waits.take().unwrap_or_default() };
        for (offset, room) in missed {
            one.dispatch(partition, Heard { room, offset, home }, offsets, &mut sent);
        }
        self.send(node, sent);
        if is_over || !is_all {
            return self.fill(node, partition);
        }
        waits.into_iter().for_each(|heard| self.heard(node, partition, heard));
        self.read_for_those_who_wait(node, partition);
    }

    /// Asks the log for everybody who waits for this partition to be heard.
    fn read_for_those_who_wait(&mut self, node: NodeId, partition: Partition) {
        let one = &self.nodes[usize::from(node)];
        let Some(feed) = one.feeds.get(&partition).filter(|feed| feed.waits.is_none()) else { return };
        let mut asks = Vec::new();
        for (client, session) in &one.sessions {
            let Some(entering) = session.entering.as_ref().filter(|entering| entering.asked.contains(&partition))
            else {
                continue;
            };
            let rooms = &self.clients[*client as usize].rooms[&partition];
            if rooms.iter().all(|room| feed.rooms.contains(room)) {
                let after = entering.from.as_ref().map_or(u64::MAX, |position| position.of(partition));
                asks.push(Ask::Read(*client, session.line, rooms.clone(), after));
            }
        }
        for ask in asks {
            let Ask::Read(client, ..) = ask else { continue };
            let session = self.nodes[usize::from(node)].sessions.get_mut(&client);
            session.and_then(|session| session.entering.as_mut()).map(|entering| entering.asked.remove(&partition));
            self.ask(node, partition, ask);
        }
    }

    pub(crate) fn read(
        &mut self,
        node: NodeId,
        partition: Partition,
        (client, line): (Client, u32),
        pages: Vec<(Room, Page)>,
    ) {
        let wanted = self.clients[client as usize].rooms.len();
        let one = &mut self.nodes[usize::from(node)];
        let Some(session) = one.sessions.get_mut(&client).filter(|session| session.line == line) else { return };
        let Some(entering) = &mut session.entering else { return };
        entering.pages.push((partition, pages));
        if entering.pages.len() < wanted {
            return;
        }
        let comes_back = entering.from.is_some();
        let mut sent = Vec::new();
        let missed = one.enter(client, self.numbers.offsets, &mut sent);
        if comes_back {
            self.costs.recovered(wanted, missed);
        }
        self.send(node, sent);
    }

    pub(crate) fn connect(&mut self, client: Client) {
        let alive: Vec<_> = (0..self.numbers.nodes).filter(|node| self.nodes[usize::from(*node)].alive).collect();
        if alive.is_empty() {
            return self.at(500 * MS, Event::Connect(client));
        }
        let node = alive[self.random.random_range(0..alive.len())];
        let record = &mut self.clients[client as usize];
        record.line += 1;
        let line = record.line;
        // Whoever comes back takes its session over, wherever that was thought to be connected.
        let before = record.at.replace(node);
        let rooms = record.rooms.clone();
        let from = record.token.as_deref().map(|token| Position::decode(token).unwrap_or_default());
        if let Some(before) = before {
            self.forget(before, client);
        }
        let one = &mut self.nodes[usize::from(node)];
        let entering = Entering { asked: rooms.keys().copied().collect(), from, ..Entering::default() };
        one.sessions.insert(client, Session::entering(line, entering));
        let mut fills = Vec::new();
        for (partition, rooms) in &rooms {
            let is_new = !one.feeds.contains_key(partition);
            let feed = one.feeds.entry(*partition).or_insert_with(|| Feed { through: u64::MAX, ..Feed::default() });
            let before = feed.rooms.len();
            feed.rooms.extend(rooms);
            for room in rooms {
                one.rooms.entry(*room).or_default().insert(client);
            }
            // While it is being filled, it is filled again if rooms are missing.
            if is_new || (feed.rooms.len() > before && feed.waits.is_none()) {
                fills.push(*partition);
            }
        }
        for partition in fills {
            self.fill(node, partition);
            if let Some(feed) =
                self.nodes[usize::from(node)].feeds.get_mut(&partition).filter(|feed| feed.through == u64::MAX)
            {
                feed.through = 0;
            }
        }
        rooms.keys().for_each(|partition| self.read_for_those_who_wait(node, *partition));
    }

    /// A session is not there any more.
    fn forget(&mut self, node: NodeId, client: Client) {
        let node = &mut self.nodes[usize::from(node)];
        node.sessions.remove(&client);
        for room in self.clients[client as usize].rooms.values().flatten() {
            node.rooms.entry(*room).or_default().remove(&client);
        }
    }

    pub(crate) fn learned(&mut self, node: NodeId, partition: Partition, change: u32) {
        let mut sent = Vec::new();
        let one = &mut self.nodes[usize::from(node)];
        one.learn(partition, change, self.numbers.offsets, &mut sent);
        one.settle(change);
        self.send(node, sent);
    }
}
