//! Entry point of `swarm`, the load generator for populations that k6 cannot hold on one machine.
#![forbid(unsafe_code)]

mod args;

mod backlog;
mod comeback;
mod flooder;
mod idle;
mod neighbours;
mod post;
mod presence;
mod rooms;
mod saturate;
mod stall;
mod storm;

mod attack;
mod crowd;
mod entry;
mod flood;
mod member;
mod population;
mod staller;

mod bulk;
mod dial;
mod http;
mod session;
mod upgrade;

mod packet;
mod stamp;

mod audit;
mod findings;
mod latency;
mod outcome;
mod process;
mod tally;
mod verdict;

use std::process::ExitCode;

use clap::Parser;
use tokio::task::LocalSet;

use crate::args::{Arguments, Scenario};
use crate::outcome::Outcome;

/// The scenario ran and something was broken; 2 is left for a scenario that could not run at all.
const EXIT_BROKEN: u8 = 1;
const EXIT_NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments.scenario) {
        Ok(outcome) => {
            println!("{}", outcome.text());
            if arguments.scenario.wants_json() {
                println!("{}", outcome.json());
            }
            if outcome.passed() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_BROKEN) }
        }
        Err(error) => {
            eprintln!("swarm: {error:#}");
            ExitCode::from(EXIT_NOT_RUN)
        }
    }
}

/// One thread on purpose: clients share their audit without locks, and the rest of the machine is
/// left to the server. More than one thread's worth of load is several `swarm` processes.
fn run(scenario: &Scenario) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        match scenario {
            Scenario::Idle(arguments) => idle::run(arguments).await,
            Scenario::Rooms(arguments) => rooms::run(arguments).await,
            Scenario::Saturate(arguments) => saturate::run(arguments).await,
            Scenario::Backlog(arguments) => backlog::run(arguments).await,
            Scenario::Storm(arguments) => storm::run(arguments).await,
            Scenario::Stall(arguments) => stall::run(arguments).await,
            Scenario::Neighbours(arguments) => neighbours::run(arguments).await,
            Scenario::Flooder(arguments) => flooder::run(arguments).await,
            Scenario::Presence(arguments) => presence::run(arguments).await,
            Scenario::Comeback(arguments) => comeback::run(arguments).await,
            Scenario::Post(arguments) => post::run(arguments).await,
        }
    })
}
