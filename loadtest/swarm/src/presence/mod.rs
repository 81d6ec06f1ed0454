//! Scenario `presence`: members come, go and flap on several nodes, two of which are killed; every count is checked.

mod attendee;
mod census;
mod counter;
mod ledger;
mod report;
mod world;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::args::PresenceArguments;
use crate::crowd::{everybody, gather};
use crate::dial::Dialer;
use crate::entry::fresh_prefix;
use crate::outcome::Outcome;
use crate::packet::{Packet, read_answer};
use crate::session::Session;
use crate::tally::Tally;
use attendee::{Deed, Orders, arrive};
use census::Census;
use counter::{LOOK_EVERY, count_every_second};
use ledger::WATCH;
use report::{Report, Step};
use world::{Reaction, World, user};

/// The one room that holds everybody.
const EVERYBODY: usize = 0;

/// A count is right at once after an acknowledged change: this is for the look, not for the gateway.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How long a count must stay right after it was.
const STAYS: Duration = Duration::from_secs(3);

const EYE_BLINK: Duration = Duration::from_millis(50);

pub(crate) async fn run(arguments: &PresenceArguments) -> anyhow::Result<Outcome> {
    let nodes = arguments.target.urls.len();
    ensure!(nodes >= 2, "presence over one node is no question: repeat --url");
    ensure!(
        arguments.pids.is_empty() || arguments.pids.len() == nodes,
        "--kill-pid is repeated as often as --url, in the same order"
    );
    let strangers = u32::try_from(nodes)? + 1;
    let dialer = Dialer::new(&arguments.target, arguments.members + strangers).await?;
    let prefix = fresh_prefix("presence");
    let rooms = (0..=arguments.rooms).map(|room| format!("{prefix}-{room}")).collect();
    let world = World::new(dialer, Census::new(rooms, nodes), nodes, arguments.members, &arguments.secret);
    let mut play =
        Play { arguments, world: Rc::new(world), orders: Vec::new(), steps: Vec::new(), failed: RefCell::default() };
    if arguments.watch {
        play.watch().await.context("watching joins and leaves")?;
    }
    for (client, node) in (arguments.members..).zip(0..nodes) {
        tokio::task::spawn_local(count_every_second(Rc::clone(&play.world), node, client));
    }

    let join_seconds = play.everybody_joins().await?;
    play.comings_and_goings().await;
    if !arguments.pids.is_empty() {
        play.a_node_dies_with_its_members(nodes - 1).await?;
        if nodes > 2 {
            play.a_node_dies_and_its_members_move(nodes - 2).await?;
        }
    }
    let report = play.report(join_seconds).await;
    let failures = report.failures();
    Outcome::new("presence", &report, failures)
}

struct Play<'a> {
    arguments: &'a PresenceArguments,
    world: Rc<World>,
    orders: Vec<Orders>,
    steps: Vec<Step>,
    /// Deeds that did not work
    failed: RefCell<Tally>,
}

impl Play<'_> {
    /// One client in the rooms where `$join` and `$leave` are told, on the node that is never killed.
    async fn watch(&self) -> anyhow::Result<()> {
        let packet = self.world.connect_packet("watcher")?;
        let client = self.arguments.members + u32::try_from(self.arguments.target.urls.len())?;
        let mut session = self.world.dialer.dial_as(client, 0, &packet).await?;
        for (id, room) in (0..).zip(self.world.census.rooms()) {
            let request = json!(["join", { "room": format!("{WATCH}{room}") }]);
            session.send(format!("42{id}{request}")).await?;
            let refusal = join_refusal(&mut session, id).await?;
            ensure!(refusal.is_none(), "join refused: {}", refusal.unwrap_or_default());
        }
        let world = Rc::clone(&self.world);
        tokio::task::spawn_local(async move {
            let closed = loop {
                let heard = match session.read().await {
                    Ok(frame) => {
                        let packet = Packet::parse(&frame);
                        if let Packet::Event(event) = packet {
                            world.ledger.borrow_mut().hear(event);
                        }
                        session.absorb(packet).await
                    }
                    Err(closed) => Err(closed),
                };
                if let Err(closed) = heard {
                    break closed;
                }
            };
            world.closed.borrow_mut().add(closed);
        });
        Ok(())
    }

    async fn everybody_joins(&mut self) -> anyhow::Result<f64> {
        let started = Instant::now();
        let (world, rooms) = (&self.world, self.arguments.rooms);
        let arrived = gather(self.arguments.members, self.arguments.connect_rate, |client| {
            let rooms = [EVERYBODY, 1 + (client % rooms) as usize];
            let arriving = arrive(Rc::clone(world), client, rooms);
            async move { arriving.await.map(|orders| (client, orders)).map_err(|error| format!("{error:#}")) }
        })
        .await?;
        let mut arrived = everybody(arrived)?;
        arrived.sort_unstable_by_key(|(client, _)| *client);
        self.orders = arrived.into_iter().map(|(_, orders)| orders).collect();
        let seconds = started.elapsed().as_secs_f64();
        self.becomes_right("everybody has joined", AT_ONCE, STAYS).await;
        Ok(seconds)
    }

    /// Rounds in which one part of the members leaves, another flaps and a third goes away, until the time is over.
    async fn comings_and_goings(&mut self) {
        let until = Instant::now() + Duration::from_secs(self.arguments.seconds.into());
        // A beat notices that a linger is over, so that both add up.
        let lingered = self.arguments.linger + self.arguments.beat;
        let whole_linger = lingered + STAYS;
        for round in 1.. {
            let label = |what: &str| format!("round {round}: {what}");
            self.all_do(0, 5, Deed::Leave).await;
            self.becomes_right(&label("a fifth has left"), AT_ONCE, STAYS).await;
            self.all_do(0, 5, Deed::Join).await;
            self.becomes_right(&label("it is back"), AT_ONCE, STAYS).await;
            self.all_do(1, 5, Deed::Flap).await;
            self.becomes_right(&label("a fifth has flapped"), AT_ONCE, whole_linger).await;
            self.all_do(2, 10, Deed::GoAway).await;
            self.becomes_right(&label("a tenth has lost its connections"), lingered, STAYS).await;
            self.all_do(2, 10, Deed::ComeBack).await;
            self.becomes_right(&label("it is back"), AT_ONCE, STAYS).await;
            if Instant::now() >= until {
                break;
            }
        }
    }

    async fn a_node_dies_with_its_members(&mut self, node: usize) -> anyhow::Result<()> {
        self.world.reaction.set(Reaction::Vanish);
        let clients = self.world.clients_on(node);
        for &client in &clients {
            for room in [EVERYBODY, 1 + (client % self.arguments.rooms) as usize] {
                self.world.goes(&user(client), room);
            }
        }
        self.kill(node).await?;
        let leased = self.arguments.lease + self.arguments.beat;
        let what = format!("node {} was killed, its {} members vanished", node + 1, clients.len());
        self.becomes_right(&what, leased, STAYS).await;
        self.world.reaction.set(Reaction::Complain);
        Ok(())
    }

    async fn a_node_dies_and_its_members_move(&mut self, node: usize) -> anyhow::Result<()> {
        self.world.reaction.set(Reaction::Recover);
        let clients = u32::try_from(self.world.clients_on(node).len())?;
        self.kill(node).await?;
        // As long as the lease holds, nobody is missed: that is how long they may take.
        let give_up = Instant::now() + self.arguments.lease;
        while self.world.recovered.get() < clients && Instant::now() < give_up {
            sleep(EYE_BLINK).await;
        }
        let leased = self.arguments.lease + self.arguments.beat;
        let what =
            format!("node {} was killed, {} of its {clients} members moved", node + 1, self.world.recovered.get());
        self.becomes_right(&what, AT_ONCE, leased + STAYS).await;
        self.world.reaction.set(Reaction::Complain);
        let missing = clients - self.world.recovered.get();
        (0..missing).for_each(|_| self.failed.borrow_mut().add("not back before the lease was over"));
        Ok(())
    }

    async fn kill(&self, node: usize) -> anyhow::Result<()> {
        self.world.bury(node);
        let pid = self.arguments.pids[node].to_string();
        let killed = Command::new("kill").args(["-KILL", &pid]).status().await?;
        ensure!(killed.success(), "process {pid} could not be killed");
        Ok(())
    }

    /// Every member `first`, `first + step`, … does it, at the pace of connecting.
    async fn all_do(&self, first: usize, step: usize, deed: Deed) {
        let chosen: Vec<_> = self.orders.iter().skip(first).step_by(step).cloned().collect();
        let clients = u32::try_from(chosen.len()).unwrap_or(u32::MAX);
        let done =
            gather(clients, self.arguments.connect_rate, |index| chosen[index as usize].clone().give(deed)).await;
        for error in done.into_iter().flatten().filter_map(Result::err) {
            self.failed.borrow_mut().add(format!("{deed:?}: {error:#}"));
        }
    }

    /// Notes how long it took until every node counted every room exactly, and watches that it stays so.
    async fn becomes_right(&mut self, what: &str, within: Duration, stays: Duration) {
        let since = Instant::now();
        // The look that sees it begins up to a second later, and is not answered at once.
        let patience = within + LOOK_EVERY * 2;
        while !self.world.census.is_exact(&self.world.alive(), since) && since.elapsed() < patience {
            sleep(EYE_BLINK).await;
        }
        let is_right = self.world.census.is_exact(&self.world.alive(), since);
        let step = Step {
            what: what.to_owned(),
            right_after_seconds: is_right.then(|| since.elapsed().as_secs_f64()),
            within_seconds: within.as_secs_f64(),
        };
        eprintln!("{step}");
        self.steps.push(step);
        if is_right {
            self.world.census.set_still(true);
            sleep(stays).await;
            self.world.census.set_still(false);
        }
    }

    async fn report(&self, join_seconds: f64) -> Report {
        let world = &self.world;
        let deadline = Instant::now() + self.arguments.beat * 2;
        while !world.ledger.borrow().findings().is_settled() && Instant::now() < deadline && self.arguments.watch {
            sleep(EYE_BLINK).await;
        }
        Report {
            members: self.arguments.members,
            rooms: self.arguments.rooms + 1,
            join_seconds,
            connect_retries: world.dialer.retries(),
            steps: self.steps.clone(),
            counts: world.census.findings(),
            told: self.arguments.watch.then(|| world.ledger.borrow().findings()),
            recovered: world.recovered.get(),
            failed: self.failed.borrow().clone(),
            unrecovered: world.unrecovered.borrow().clone(),
            closed: world.closed.borrow().clone(),
        }
    }
}

async fn join_refusal(session: &mut Session, asked: u64) -> anyhow::Result<Option<String>> {
    loop {
        let frame = session.read().await?;
        match Packet::parse(&frame) {
            Packet::Ack { id, arguments } if id == asked => return Ok(read_answer(arguments).err()),
            other => session.absorb(other).await?,
        }
    }
}
