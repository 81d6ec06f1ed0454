//! Scenario `comeback`: a node is killed under a crowd, and everybody of it comes back on the others: how long does it take?

mod report;
mod returner;
mod speaker;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::args::ComebackArguments;
use crate::crowd::{everybody, gather};
use crate::dial::Dialer;
use crate::entry::fresh_prefix;
use crate::latency::Latencies;
use crate::outcome::Outcome;
use crate::process::cpu_us;
use crate::tally::Tally;
use report::{Report, shares};
use returner::{Heard, arrive};

/// For how long it is published before the node goes and after the last one is back.
const AROUND: Duration = Duration::from_secs(2);

const EYE_BLINK: Duration = Duration::from_millis(20);

/// What everybody in the scenario shares.
#[derive(Debug)]
pub(crate) struct World {
    dialer: Dialer,
    /// Of the nodes, the one that is killed: the last.
    dying: usize,
    prefix: String,
    /// The offsets that were acknowledged, by room
    acked: RefCell<Vec<Vec<u64>>>,
    /// When the first connection was lost
    lost_at: Cell<Option<Instant>>,
    lost: Cell<u32>,
    /// How long after that each was back
    back: RefCell<Vec<Duration>>,
    /// Those who got another session instead of their own, or never came back
    unrecovered: RefCell<Tally>,
    /// Attempts that were refused or failed
    refused: RefCell<Tally>,
    /// Connections to other nodes that ended
    closed: RefCell<Tally>,
    is_over: Cell<bool>,
}

impl World {
    fn room(&self, room: usize) -> String {
        format!("{}-{room}", self.prefix)
    }

    /// Notes that a connection to the dying node is lost.
    fn lose(&self) {
        self.lost_at.set(self.lost_at.get().or_else(|| Some(Instant::now())));
        self.lost.set(self.lost.get() + 1);
    }

    fn is_settled(&self, expected: u32) -> bool {
        let gone = self.unrecovered.borrow().total();
        self.back.borrow().len() as u64 + gone >= u64::from(expected)
    }
}

pub(crate) async fn run(arguments: &ComebackArguments) -> anyhow::Result<Outcome> {
    let nodes = arguments.target.urls.len();
    ensure!(nodes >= 2, "nobody comes back where there is one node: repeat --url");
    cpu_us(&arguments.servers.pids)?;
    cpu_us(arguments.redis_pid.as_slice())?;
    let dialer = Dialer::new(&arguments.target, arguments.connections + 1).await?;
    let rooms = arguments.connections.div_ceil(arguments.room_size) as usize;
    let world = Rc::new(World {
        dialer,
        dying: nodes - 1,
        prefix: fresh_prefix("comeback"),
        acked: RefCell::new(vec![Vec::new(); rooms]),
        lost_at: Cell::default(),
        lost: Cell::default(),
        back: RefCell::default(),
        unrecovered: RefCell::default(),
        refused: RefCell::default(),
        closed: RefCell::default(),
        is_over: Cell::default(),
    });
    let on_dying = |client: u32| arguments.all_on_last || client as usize % nodes == world.dying;
    let arrived = gather(arguments.connections, arguments.connect_rate, |client| {
        let node = if on_dying(client) { world.dying } else { client as usize % nodes };
        let arriving = arrive(Rc::clone(&world), client, (client / arguments.room_size) as usize, node);
        async move { arriving.await.map_err(|error| format!("{error:#}")) }
    })
    .await?;
    let heard: Vec<Heard> = everybody(arrived)?;
    let expected = u32::try_from((0..arguments.connections).filter(|client| on_dying(*client)).count())?;
    eprintln!("all are in, {expected} of them on the node that is to die");
    let acks = Rc::new(RefCell::new(Latencies::new()?));
    let speaker = speaker::start(Rc::clone(&world), arguments.connections, rooms, arguments.rate, Rc::clone(&acks));
    let speaking = tokio::task::spawn_local(speaker.await?);
    sleep(AROUND).await;

    let before = look(arguments)?;
    if let Some(pid) = arguments.kill_pid {
        Command::new("kill").args(["-KILL", &pid.to_string()]).status().await.context("kill")?;
    }
    *acks.borrow_mut() = Latencies::new()?;
    let waiting = async {
        while !world.is_settled(expected) {
            sleep(EYE_BLINK).await;
        }
    };
    let all_back = timeout(arguments.patience, waiting).await.is_ok();
    let after = look(arguments)?;
    let ack_latency = acks.borrow().quantiles();
    sleep(AROUND).await;
    world.is_over.set(true);
    let unanswered = timeout(arguments.patience, speaking).await.context("the speaker was not answered")??;
    settle(&world, &heard, arguments.patience).await;

    let findings = report::audit(&world.acked.borrow(), &heard);
    let began = world.lost_at.get();
    let mut back = world.back.take();
    let report = Report {
        connections: arguments.connections,
        rooms,
        nodes,
        of_the_node: expected,
        lost: world.lost.get(),
        back: u32::try_from(back.len())?,
        all_back,
        seconds_to: shares(&mut back, expected),
        refused: world.refused.borrow().clone(),
        unrecovered: world.unrecovered.borrow().clone(),
        closed: world.closed.borrow().clone(),
        ack_latency,
        findings,
        unanswered,
        server_cpu_seconds: (after.server_us - before.server_us) as f64 / 1e6,
        redis_cpu_seconds: (after.redis_us - before.redis_us) as f64 / 1e6,
        swarm_cpu_seconds: (after.own_us - before.own_us) as f64 / 1e6,
        measured_seconds: (after.at - began.unwrap_or(before.at)).as_secs_f64(),
    };
    Outcome::new("comeback", &report, report.failures(arguments.within))
}

/// Waits until everybody has heard what was acknowledged, as long as there is patience.
async fn settle(world: &World, heard: &[Heard], patience: Duration) {
    let until = Instant::now() + patience;
    while Instant::now() < until && report::audit(&world.acked.borrow(), heard).lost > 0 {
        sleep(EYE_BLINK * 10).await;
    }
}

struct Look {
    at: Instant,
    server_us: u64,
    redis_us: u64,
    own_us: u64,
}

fn look(arguments: &ComebackArguments) -> anyhow::Result<Look> {
    Ok(Look {
        at: Instant::now(),
        server_us: cpu_us(&arguments.servers.pids)?,
        redis_us: cpu_us(arguments.redis_pid.as_slice())?,
        own_us: cpu_us(&[i32::try_from(std::process::id())?])?,
    })
}
