//! The planner: says what a load takes in nodes, memory, Redis and network, what is full first, and how that was reckoned.

mod constants;
mod limits;
mod measured;
mod model;
mod network;
mod recovery;
mod redis;
mod report;
mod shape;
mod sheet;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::process;
use constants::Scale;
use gateway_core::config::Config;
use shape::{LogKind, Machine, Settings, Shape};

/// What `gateway plan` is told.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Connections at the same time.
    #[arg(long, value_name = "N", value_parser = shape::connections, allow_hyphen_values = true)]
    connections: u64,
    /// Rooms that have members.
    #[arg(long, value_name = "R", default_value = "0", value_parser = shape::rooms, allow_hyphen_values = true)]
    rooms: u64,
    /// Events that are published in a second, in all rooms together.
    #[arg(long, value_name = "EVENTS_PER_S", default_value = "0", value_parser = shape::rate, allow_hyphen_values = true)]
    rate: f64,
    /// Members of a room. None: everybody is in one.
    #[arg(long, value_name = "M", value_parser = shape::connections, allow_hyphen_values = true)]
    members_per_room: Option<u64>,
    /// Bytes of an event's data.
    #[arg(long, value_name = "B", default_value = "100", value_parser = shape::bytes, allow_hyphen_values = true)]
    bytes: u64,
    /// Of all connections, those that stay with long-polling, as in 0.02 or 2%.
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = shape::share, allow_hyphen_values = true)]
    polling_share: f64,
    /// For how long clients may be away. None: recovery.window.
    #[arg(long, value_name = "TIME", value_parser = shape::window, allow_hyphen_values = true)]
    window: Option<Duration>,
    /// Where the log is: without Redis there is one node.
    #[arg(long, value_enum, default_value = "redis")]
    log: LogKind,
    /// How many nodes there are. None: as many as carry it while one is away.
    #[arg(long, value_name = "N", value_parser = shape::nodes, allow_hyphen_values = true)]
    nodes: Option<u32>,
    /// Cores of a node.
    #[arg(long, value_name = "C", default_value = "2", value_parser = shape::cores, allow_hyphen_values = true)]
    cores: f64,
    /// Memory of a node, in GiB.
    #[arg(long, value_name = "GIB", default_value = "4", value_parser = shape::gib, allow_hyphen_values = true)]
    memory: f64,
    /// Memory that Redis may have (maxmemory), in GiB.
    #[arg(long, value_name = "GIB", default_value = "8", value_parser = shape::gib, allow_hyphen_values = true)]
    redis_memory: f64,
    /// The link of each machine, in Gbit/s.
    #[arg(long, value_name = "GBIT", default_value = "1", value_parser = shape::gbit, allow_hyphen_values = true)]
    network: f64,
    /// Routes ask who is in the rooms.
    #[arg(long)]
    presence: bool,
    /// The rooms are archived.
    #[arg(long)]
    archive: bool,
    /// How much longer these machines take than the one that was measured, as in 0.7 for faster ones.
    #[arg(long, value_name = "F", default_value = "1", value_parser = shape::factor, allow_hyphen_values = true)]
    factor: f64,
    /// A file with what was measured on these machines, by `make bench`, `make bench-plan` or otherwise.
    #[arg(long, value_name = "FILE")]
    measured: Option<PathBuf>,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Plans and prints. Returns the code to exit with: 0 if it fits, 1 if something is full, 64 if it cannot be planned.
#[must_use]
pub fn run(config: &Config, options: &Options) -> u8 {
    let settings = Settings::of(config);
    let shape = options.shape(config, settings);
    let planned = options.scale(settings).and_then(|scale| Ok((model::plan(&shape, scale)?, scale)));
    let (plan, scale) = match planned {
        Ok(planned) => planned,
        Err(why) => return process::fail(process::BAD_CONFIGURATION, &why),
    };
    let text = if options.json {
        format!("{:#}\n", report::json(&shape, &plan, scale))
    } else {
        report::text(&shape, &plan, scale)
    };
    // Who reads only the first lines has seen what it wanted.
    std::io::stdout().write_all(text.as_bytes()).ok();
    u8::from(!plan.fits)
}

impl Options {
    fn shape(&self, config: &Config, settings: Settings) -> Shape {
        let (connections, rooms) = (self.connections as f64, self.rooms as f64);
        let usual = if rooms > 0.0 { (connections / rooms).max(1.0) } else { 0.0 };
        Shape {
            connections,
            rooms,
            members_per_room: self.members_per_room.map_or(usual, |members| members as f64),
            rate: self.rate,
            bytes: self.bytes as f64,
            polling: self.polling_share,
            log: self.log,
            presence: self.presence,
            archive: self.archive,
            window: self.window.unwrap_or(config.recovery.window).as_secs_f64(),
            nodes: self.nodes,
            machine: Machine {
                cores: self.cores,
                memory_gib: self.memory,
                redis_memory_gib: self.redis_memory,
                network_gbit: self.network,
            },
            settings,
        }
    }

    /// How these machines differ from the one that was measured.
    fn scale(&self, settings: Settings) -> Result<Scale, String> {
        let Some(file) = &self.measured else {
            return Ok(Scale { nodes: self.factor, redis: self.factor, memory: 1.0 });
        };
        let told = |why: String| format!("--measured {}: {why}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| told(error.to_string()))?;
        measured::scale(&text, self.log, settings, self.factor).map_err(told)
    }
}
