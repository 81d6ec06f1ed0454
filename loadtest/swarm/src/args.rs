//! The command line: one struct per scenario, and what all scenarios share.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::attack::Attack;
use crate::stamp::Stamp;

#[derive(Debug, Parser)]
#[command(about = "Load generator for a Socket.IO gateway that speaks the native profile")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Open connections and hold them: what does an idle connection cost the server?
    Idle(IdleArguments),
    /// Publish into rooms and audit every delivery: what does a delivery cost, and is it exactly once?
    Rooms(RoomsArguments),
    /// Publish as fast as deliveries come back, to members that read in bulk: how many can there be a second?
    Saturate(SaturateArguments),
    /// Publish into a room of members that do not read: how much memory do they hold on the server?
    Backlog(BacklogArguments),
    /// Join in the instant of CONNECT, all at once: is an early event ever dropped?
    Storm(StormArguments),
    /// Stop reading in a busy room: is the slow client closed, and do the others notice?
    Stall(StallArguments),
    /// Flood from another process, in calm and flood by turns: do the others notice?
    Neighbours(NeighboursArguments),
    /// Be the one that floods; `neighbours` starts it
    Flooder(FlooderArguments),
    /// Come and go on several nodes, one of which dies: is everybody counted, and nobody else?
    Presence(PresenceArguments),
    /// Lose a node: how long does it take until everybody of it is back on the others?
    Comeback(ComebackArguments),
    /// Publish over HTTP, as back ends do: what does a publish cost?
    Post(PostArguments),
}

impl Scenario {
    /// What clients of Socket.IO connect to, if it has such.
    pub(crate) fn target(&self) -> Option<&TargetArguments> {
        Some(match self {
            Self::Idle(arguments) => &arguments.target,
            Self::Rooms(arguments) => &arguments.target,
            Self::Saturate(arguments) => &arguments.target,
            Self::Backlog(arguments) => &arguments.target,
            Self::Storm(arguments) => &arguments.target,
            Self::Stall(arguments) => &arguments.target,
            Self::Neighbours(arguments) => &arguments.target,
            Self::Flooder(arguments) => &arguments.target,
            Self::Comeback(arguments) => &arguments.target,
            Self::Presence(arguments) => &arguments.target,
            Self::Post(_) => return None,
        })
    }

    /// Whether the last line is to be one JSON object.
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Self::Post(arguments) => arguments.json,
            _ => self.target().is_some_and(|target| target.json),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct IdleArguments {
    #[arg(long, default_value_t = 5_000, value_parser = population())]
    pub(crate) connections: u32,
    /// How long all connections stay open
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) hold: Duration,
    /// Open the sessions over long-polling and upgrade them, as official clients do by default
    #[arg(long)]
    pub(crate) upgrade: bool,
    /// Connections opened per second; 0 = all at once
    #[arg(long, default_value_t = 500)]
    pub(crate) connect_rate: u32,
    #[command(flatten)]
    pub(crate) servers: ServerArguments,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

#[derive(Debug, Args)]
pub(crate) struct RoomsArguments {
    #[arg(long, default_value_t = 5_000, value_parser = population())]
    pub(crate) connections: u32,
    /// Members per room; the last room takes the rest
    #[arg(long, default_value_t = 100, value_parser = population())]
    pub(crate) room_size: u32,
    /// Publishes per second, all rooms together
    #[arg(long, default_value_t = 200, value_parser = population())]
    pub(crate) rate: u32,
    /// Length of the published string, in bytes
    #[arg(long, default_value_t = 100, value_parser = payload())]
    pub(crate) bytes: u32,
    /// Length of the measured window
    #[arg(long, default_value_t = 30, value_parser = population())]
    pub(crate) seconds: u32,
    /// Publishing before the measured window; audited, but not timed
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,
    /// Connections opened per second; 0 = all at once
    #[arg(long, default_value_t = 500)]
    pub(crate) connect_rate: u32,
    /// The Redis behind the servers, if it is on this machine, to account for by itself
    #[arg(long, value_name = "PID")]
    pub(crate) redis_pid: Option<i32>,
    #[command(flatten)]
    pub(crate) servers: ServerArguments,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

#[derive(Debug, Args)]
pub(crate) struct SaturateArguments {
    #[arg(long, default_value_t = 5_000, value_parser = population())]
    pub(crate) connections: u32,
    /// Members per room, the one that publishes among them; the last room takes the rest
    #[arg(long, default_value_t = 100, value_parser = population())]
    pub(crate) room_size: u32,
    /// Publishes of a room that its publisher has not heard yet: as one comes back, the next is published
    #[arg(long, default_value_t = 16, value_parser = population())]
    pub(crate) in_flight: u32,
    /// Length of the published string, in bytes
    #[arg(long, default_value_t = 100, value_parser = payload())]
    pub(crate) bytes: u32,
    /// Length of the measured window
    #[arg(long, default_value_t = 10, value_parser = population())]
    pub(crate) seconds: u32,
    /// Publishing before the measured window
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,
    /// Connections opened per second; 0 = all at once
    #[arg(long, default_value_t = 500)]
    pub(crate) connect_rate: u32,
    #[command(flatten)]
    pub(crate) servers: ServerArguments,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

#[derive(Debug, Args)]
pub(crate) struct BacklogArguments {
    /// Members of the room that do not read
    #[arg(long, default_value_t = 20, value_parser = population())]
    pub(crate) stalled: u32,
    /// How often the one member that reads publishes
    #[arg(long, default_value_t = 175, value_parser = population())]
    pub(crate) publishes: u32,
    /// Publishes per second
    #[arg(long, default_value_t = 50, value_parser = population())]
    pub(crate) rate: u32,
    /// Length of the published string, in bytes
    #[arg(long, default_value_t = 60_000, value_parser = payload())]
    pub(crate) bytes: u32,
    #[command(flatten)]
    pub(crate) servers: ServerArguments,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

#[derive(Debug, Args)]
pub(crate) struct StormArguments {
    #[arg(long, default_value_t = 5_000, value_parser = population())]
    pub(crate) connections: u32,
    #[arg(long, default_value_t = 50, value_parser = population())]
    pub(crate) rooms: u32,
    /// A join without an ack for this long counts as dropped
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) deadline: Duration,
    /// Connections opened per second; 0 = all at once
    #[arg(long, default_value_t = 0)]
    pub(crate) connect_rate: u32,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

#[derive(Debug, Args)]
pub(crate) struct StallArguments {
    /// Members of the room, the one that stalls among them
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) room_size: u32,
    /// Publishes per second, all other members together
    #[arg(long, default_value_t = 500, value_parser = population())]
    pub(crate) rate: u32,
    /// Length of the published string, in bytes
    #[arg(long, default_value_t = 4_096, value_parser = payload())]
    pub(crate) bytes: u32,
    /// How long the flood goes on after the stall has begun
    #[arg(long, default_value_t = 30, value_parser = population())]
    pub(crate) seconds: u32,
    /// The same flood with everybody reading, before the stall
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) before: Duration,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

#[derive(Debug, Args)]
pub(crate) struct NeighboursArguments {
    #[arg(long, default_value_t = 500, value_parser = population())]
    pub(crate) connections: u32,
    /// Members per room; the last room takes the rest
    #[arg(long, default_value_t = 20, value_parser = population())]
    pub(crate) room_size: u32,
    /// Publishes per second, all rooms together
    #[arg(long, default_value_t = 100, value_parser = population())]
    pub(crate) rate: u32,
    /// Length of the published string, in bytes
    #[arg(long, default_value_t = 100, value_parser = payload())]
    pub(crate) bytes: u32,
    /// Floods, one after the other, each between two calm stretches
    #[arg(long, value_delimiter = ',', default_values_t = Attack::ALL)]
    pub(crate) attacks: Vec<Attack>,
    /// How many times its limit the flooder sends
    #[arg(long, default_value_t = 100, value_parser = population())]
    pub(crate) times: u32,
    /// Windows per stretch; a stretch counts with the median of its windows' p99
    #[arg(long, default_value_t = 6, value_parser = population())]
    pub(crate) windows: u32,
    /// Length of a window
    #[arg(long, default_value_t = 10, value_parser = population())]
    pub(crate) window_seconds: u32,
    /// Publishing before the first window; audited, but not timed
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,
    /// By how many per cent a flood may move the others' p99
    #[arg(long, default_value_t = 20.0)]
    pub(crate) limit_percent: f64,
    /// Niceness of the flooder, for machines where its own work would take the server's cores away
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=19))]
    pub(crate) flooder_nice: u8,
    /// Connections opened per second; 0 = all at once
    #[arg(long, default_value_t = 500)]
    pub(crate) connect_rate: u32,
    #[command(flatten)]
    pub(crate) servers: ServerArguments,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

#[derive(Debug, Args)]
pub(crate) struct FlooderArguments {
    #[arg(long, default_value_t = Attack::Publishes)]
    pub(crate) attack: Attack,
    /// How many times its limit it sends
    #[arg(long, default_value_t = 100, value_parser = population())]
    pub(crate) times: u32,
    #[arg(long, default_value_t = 60, value_parser = population())]
    pub(crate) seconds: u32,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

#[derive(Debug, Args)]
pub(crate) struct PresenceArguments {
    #[arg(long, default_value_t = 5_000, value_parser = population())]
    pub(crate) members: u32,
    /// Rooms that share the members, beside the one that holds them all
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=90))]
    pub(crate) rooms: u32,
    /// How long members come and go; at least one round
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u32,
    /// The gateway's `auth.secret`: every member is a user of its own
    #[arg(long, env = "SWARM_SECRET", hide_env_values = true)]
    pub(crate) secret: String,
    /// Check what the routes of `$join` and `$leave` tell, once per user and room
    #[arg(long)]
    pub(crate) watch: bool,
    /// The gateway's `presence.lease`: how long the members of a dead node may still count
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    pub(crate) lease: Duration,
    /// The gateway's `presence.linger`: how long a lost connection may still count
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) linger: Duration,
    /// How often nodes look for what is over; added to both
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) beat: Duration,
    /// Connections opened per second; 0 = all at once
    #[arg(long, default_value_t = 500)]
    pub(crate) connect_rate: u32,
    /// The nodes' processes, in the order of --url. The last is killed with SIGKILL, then the one before it
    #[arg(long = "kill-pid", value_name = "PID")]
    pub(crate) pids: Vec<i32>,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ComebackArguments {
    #[arg(long, default_value_t = 6_000, value_parser = population())]
    pub(crate) connections: u32,
    /// Members per room; the last room takes the rest
    #[arg(long, default_value_t = 10, value_parser = population())]
    pub(crate) room_size: u32,
    /// Publishes per second, all rooms together
    #[arg(long, default_value_t = 200, value_parser = population())]
    pub(crate) rate: u32,
    /// Put everybody on the node that dies, which is the last --url, instead of on all in turn
    #[arg(long)]
    pub(crate) all_on_last: bool,
    /// The process of the last --url, to be killed with SIGKILL; without it somebody else does that
    #[arg(long, value_name = "PID")]
    pub(crate) kill_pid: Option<i32>,
    /// Until when 99 % have to be back
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) within: Duration,
    /// How long is waited for everybody
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) patience: Duration,
    /// Connections opened per second; 0 = all at once
    #[arg(long, default_value_t = 1_000)]
    pub(crate) connect_rate: u32,
    /// The Redis behind the servers, if it is on this machine, to account for by itself
    #[arg(long)]
    pub(crate) redis_pid: Option<i32>,
    #[command(flatten)]
    pub(crate) servers: ServerArguments,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

/// In the templates `{n}` is the number of a publish, and `{room}` that number modulo --rooms.
#[derive(Debug, Args)]
pub(crate) struct PostArguments {
    /// Where to, a template
    #[arg(long)]
    pub(crate) url: String,
    /// A line of every request's head; repeat for several
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// The body, a template in which `{items}` are all items of a request
    #[arg(long, default_value = "{items}")]
    pub(crate) body: String,
    /// One publish in a body, a template
    #[arg(long, default_value = "{n}")]
    pub(crate) item: String,
    /// Publishes in one request
    #[arg(long, default_value_t = 1, value_parser = population())]
    pub(crate) items: u32,
    /// What an answer says once for each publish that is done
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) sign: String,
    #[arg(long, default_value_t = 100, value_parser = population())]
    pub(crate) rooms: u32,
    /// Connections, kept alive; each has one request under way
    #[arg(long, default_value_t = 16, value_parser = population())]
    pub(crate) connections: u32,
    /// Requests per second, all connections together; 0 = as fast as they are answered
    #[arg(long, default_value_t = 0)]
    pub(crate) rate: u32,
    /// Length of the measured window
    #[arg(long, default_value_t = 10, value_parser = population())]
    pub(crate) seconds: u32,
    /// Publishing before the measured window
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,
    #[command(flatten)]
    pub(crate) servers: ServerArguments,
    /// Print one JSON object as the last line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServerArguments {
    /// A server process on this machine to account for; repeat for several nodes
    #[arg(long = "server-pid", value_name = "PID")]
    pub(crate) pids: Vec<i32>,
}

#[derive(Debug, Args)]
pub(crate) struct TargetArguments {
    /// Where the gateway listens; repeat to spread the clients over nodes
    #[arg(long = "url", value_name = "URL", default_value = "http://127.0.0.1:3000")]
    pub(crate) urls: Vec<String>,
    /// Bind the clients to 127.0.0.2, 127.0.0.3, … (this many addresses) in turn; loopback targets only
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=253))]
    pub(crate) source_addresses: u8,
    /// Token sent with CONNECT by every client
    #[arg(long)]
    pub(crate) token: Option<String>,
    /// How long a client keeps trying while the server answers 503 or 429 or cuts the handshake
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) connect_timeout: Duration,
    /// Print one JSON object as the last line
    #[arg(long)]
    pub(crate) json: bool,
}

fn population() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

fn payload() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(Stamp::MIN_BYTES)..)
}
