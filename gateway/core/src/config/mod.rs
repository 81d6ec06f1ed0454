//! The configuration as types: one struct per section of `gateway.default.toml`, which holds every default.

mod api;
mod archive;
mod asks;
mod auth;
mod balance;
mod caching;
mod calls;
mod database;
mod emitters;
mod exposure;
mod hooks;
mod jobs;
mod layers;
mod limits;
mod mail;
mod named;
mod notifications;
mod origin;
mod passing;
mod rates;
mod redis_of;
mod redis_url;
mod schedules;
mod secret;
mod validate;

pub use api::{Api, BATCH_ITEMS, Key, Scope};
pub use archive::{Archive, Keep};
pub use asks::Asks;
pub use auth::{Auth, AuthHook};
pub use balance::{Balance, Balancing};
pub use caching::Caching;
pub use calls::Calls;
pub use database::{DatabaseKind, DatabaseSettings};
pub use emitters::Emitters;
pub use exposure::MAX_ATTACHMENTS;
pub use hooks::Hooks;
pub use jobs::{BackEnd, JobQueue, Jobs, QUEUES};
pub use layers::{ConfigError, load};
pub use limits::Limits;
pub use mail::{Mail, MailTls, Novu};
pub use notifications::{AbsentMail, Notifications};
pub use origin::Origin;
pub use passing::Passing;
pub use rates::Rate;
pub use redis_of::{OneRedis, RedisOf};
pub use redis_url::{Host, Location, Login, RedisUrl};
pub use schedules::{Missed, Schedule};
pub use secret::{HiddenUrl, Secret, shown_url};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The file that is the documentation of every key and its default.
pub const DEFAULTS: &str = include_str!("../../../gateway.default.toml");

/// The whole configuration. What each key means is written once, in `gateway.default.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the default file documents the keys; a second copy would drift")]
pub struct Config {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    pub redis_url: Secret,
    pub data_dir: PathBuf,
    pub node_name: String,
    pub trusted_proxies: Vec<IpNet>,
    pub profile: String,
    pub auth: Auth,
    pub limits: Limits,
    pub socket: Socket,
    pub log: Log,
    pub recovery: Recovery,
    pub rooms: Rooms,
    pub presence: Presence,
    pub caching: Caching,
    pub calls: Calls,
    pub asks: Asks,
    pub emitters: Emitters,
    pub hooks: Hooks,
    pub archive: Archive,
    pub notifications: Notifications,
    pub mail: Mail,
    pub novu: Novu,
    pub schedule: Vec<Schedule>,
    pub schedule_roles: Vec<String>,
    pub jobs: Jobs,
    pub database: DatabaseSettings,
    pub redis: Redis,
    pub canary: Canary,
    pub passing: Passing,
    pub drain: Drain,
    pub balance: Balance,
    pub admin: Admin,
    pub web: Web,
    pub api: Api,
    pub telemetry: Telemetry,
    /// The file that was read, if there is one. Its routes are compiled in `routes`.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

/// `[socket]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Socket {
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    #[serde(with = "humantime_serde")]
    pub ping_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    #[serde(with = "humantime_serde")]
    pub write_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub write_delay: Duration,
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    pub origins: Vec<Origin>,
    pub proxy_protocol: bool,
}

/// `[log]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Log {
    pub max_bytes: u64,
    pub max_percent: u8,
    pub room_events: usize,
    pub room_bytes: usize,
    #[serde(with = "humantime_serde")]
    pub room_retention: Duration,
    #[serde(with = "humantime_serde")]
    pub dedupe_window: Duration,
}

/// `[recovery]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Recovery {
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    pub max_events: usize,
    pub max_bytes: usize,
}

/// `[rooms]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Rooms {
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
}

/// `[presence]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Presence {
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    pub page: usize,
}

/// `[redis]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Redis {
    pub prefix: String,
    pub required_at_start: bool,
    pub tls_ca: PathBuf,
    pub tls_certificate: PathBuf,
    pub tls_key: PathBuf,
    pub pool_size: usize,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub pipeline_interval: Duration,
    pub feed_buffer: usize,
    pub of: BTreeMap<String, RedisOf>,
    /// What this one is called.
    #[serde(skip, default = "Redis::main")]
    pub(in crate::config) name: String,
}

/// `[canary]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Canary {
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    #[serde(with = "humantime_serde")]
    pub deaf_after: Duration,
    #[serde(with = "humantime_serde")]
    pub drain_after: Duration,
}

/// `[drain]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Drain {
    pub connections_per_second: u32,
    #[serde(with = "humantime_serde")]
    pub announce: Duration,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

/// `[admin]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Admin {
    pub advertise: String,
    pub hosts: Vec<String>,
    pub token: Secret,
    pub viewer_token: Secret,
    pub payloads: bool,
    pub connections: usize,
}

/// `[web]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Web {
    pub page: bool,
}

/// `[telemetry]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Telemetry {
    pub log: String,
    pub format: LogFormat,
    pub otlp_endpoint: HiddenUrl,
    pub otlp_headers: Secret,
    pub sample: f64,
    pub service_name: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
