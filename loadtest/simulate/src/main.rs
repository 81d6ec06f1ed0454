//! Simulates a log in partitions behind nodes, audits what clients heard, and prints what it costs.

mod audit;
mod clients;
mod costs;
mod faults;
mod hearing;
mod log;
mod node;
mod paper;
mod report;
mod settings;
mod token;
mod world;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use settings::Settings;

fn main() -> anyhow::Result<ExitCode> {
    let (text, good) = report::report(&Settings::parse());
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
