//! The configuration as types: one struct per section of `gateway.default.toml`, which holds every default.

mod api;
mod asks;
mod auth;
mod emitters;
mod exposure;
mod hooks;
mod layers;
mod origin;
mod rates;
mod redis_url;
mod secret;

pub use api::{Api, BATCH_ITEMS, Key, Scope};
pub use asks::Asks;
pub use auth::{Auth, AuthHook};
pub use emitters::Emitters;
pub use exposure::MAX_ATTACHMENTS;
pub use hooks::Hooks;
pub use layers::{ConfigError, load};
pub use origin::Origin;
pub use rates::Rate;
pub use redis_url::{Host, Location, Login, RedisUrl};
pub use secret::{HiddenUrl, Secret, shown_url};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The file that is the documentation of every key and its default.
pub const DEFAULTS: &str = include_str!("../../gateway.default.toml");

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
    pub calls: Calls,
    pub asks: Asks,
    pub emitters: Emitters,
    pub hooks: Hooks,
    pub redis: Redis,
    pub canary: Canary,
    pub drain: Drain,
    pub admin: Admin,
    pub web: Web,
    pub api: Api,
    pub telemetry: Telemetry,
    /// The file that was read, if there is one. Its routes are compiled in `routes`.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

/// `[limits]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Limits {
    pub events_per_second: u32,
    pub events_burst: u32,
    pub bytes_per_second: u32,
    pub bytes_burst: u32,
    pub user_events_per_second: u32,
    pub user_events_burst: u32,
    pub user_bytes_per_second: u32,
    pub user_bytes_burst: u32,
    pub address_events_per_second: u32,
    pub address_events_burst: u32,
    pub address_bytes_per_second: u32,
    pub address_bytes_burst: u32,
    pub user_kept_bytes_per_second: u32,
    pub user_kept_bytes_burst: u32,
    pub user_new_rooms_per_second: u32,
    pub user_new_rooms_burst: u32,
    pub address_kept_bytes_per_second: u32,
    pub address_kept_bytes_burst: u32,
    pub address_new_rooms_per_second: u32,
    pub address_new_rooms_burst: u32,
    pub packets_per_second: u32,
    pub packets_burst: u32,
    pub packet_bytes_per_second: u32,
    pub packet_bytes_burst: u32,
    pub refusals_per_second: u32,
    pub refusals_burst: u32,
    pub connections_per_address: usize,
    pub sessions_per_user: usize,
    pub namespaces_per_connection: usize,
    pub handshakes_per_second_per_address: u32,
    pub failed_connects_per_second_per_address: u32,
    pub failed_connects_burst_per_address: u32,
    pub connections: usize,
    pub requests_per_second_per_address: u32,
    pub connects_per_connection: u32,
    pub rooms_per_session: usize,
    pub message_bytes: usize,
    pub payload_bytes: usize,
    pub attachments: usize,
    pub json_depth: usize,
    pub arguments: usize,
    pub history_page: usize,
    pub mailbox_pause_events: usize,
    pub mailbox_events: usize,
    pub mailbox_bytes: usize,
    pub backlog_events: usize,
    pub backlog_bytes: usize,
    pub buffered_bytes: usize,
    pub idle_connections: usize,
    pub handshakes_per_second: u32,
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

/// `[calls]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Calls {
    pub in_flight: usize,
    pub answer_bytes: usize,
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

impl Config {
    /// Checks what types cannot say. The error names the key.
    fn validate(&self) -> Result<(), (&'static str, String)> {
        let positive = [
            ("limits.message_bytes", self.limits.message_bytes),
            ("limits.payload_bytes", self.limits.payload_bytes),
            ("limits.json_depth", self.limits.json_depth),
            ("limits.arguments", self.limits.arguments),
            ("limits.history_page", self.limits.history_page),
            ("limits.mailbox_pause_events", self.limits.mailbox_pause_events),
            ("limits.mailbox_events", self.limits.mailbox_events),
            ("limits.mailbox_bytes", self.limits.mailbox_bytes),
            ("limits.backlog_events", self.limits.backlog_events),
            ("limits.backlog_bytes", self.limits.backlog_bytes),
            ("log.room_events", self.log.room_events),
            ("recovery.max_events", self.recovery.max_events),
            ("recovery.max_bytes", self.recovery.max_bytes),
            ("presence.page", self.presence.page),
            ("admin.connections", self.admin.connections),
            ("calls.in_flight", self.calls.in_flight),
            ("calls.answer_bytes", self.calls.answer_bytes),
            ("auth.hook.attempts", self.auth.hook.attempts as usize),
            ("redis.pool_size", self.redis.pool_size),
            ("redis.feed_buffer", self.redis.feed_buffer),
            ("drain.connections_per_second", self.drain.connections_per_second as usize),
        ];
        for (key, value) in positive {
            if value == 0 {
                return Err((key, "must be at least 1".into()));
            }
        }
        let durations = [
            ("auth.jwks_refresh", self.auth.jwks_refresh),
            ("auth.jwks_cooldown", self.auth.jwks_cooldown),
            ("auth.revocations_kept", self.auth.revocations_kept),
            ("auth.hook.timeout", self.auth.hook.timeout),
            ("auth.hook.pause", self.auth.hook.pause),
            ("socket.ping_interval", self.socket.ping_interval),
            ("socket.ping_timeout", self.socket.ping_timeout),
            ("socket.connect_timeout", self.socket.connect_timeout),
            ("socket.header_timeout", self.socket.header_timeout),
            ("socket.keep_alive", self.socket.keep_alive),
            ("socket.write_timeout", self.socket.write_timeout),
            ("log.room_retention", self.log.room_retention),
            ("log.dedupe_window", self.log.dedupe_window),
            ("recovery.window", self.recovery.window),
            ("redis.timeout", self.redis.timeout),
            ("canary.interval", self.canary.interval),
        ];
        for (key, value) in durations {
            if value < Duration::from_millis(1) {
                return Err((key, "must be at least 1ms".into()));
            }
        }
        self.limits.validate_rates()?;
        self.log.validate()?;
        self.hooks.validate(&self.limits)?;
        if self.socket.proxy_protocol && self.trusted_proxies.is_empty() {
            return Err(("socket.proxy_protocol", "needs trusted_proxies: nobody else may say who connects".into()));
        }
        if self.limits.mailbox_pause_events > self.limits.mailbox_events {
            return Err(("limits.mailbox_pause_events", "must not be larger than limits.mailbox_events".into()));
        }
        let deaf_after = self.canary.deaf_after;
        if !deaf_after.is_zero() && deaf_after < self.canary.interval * 3 {
            return Err(("canary.deaf_after", "must be 0s, or at least three times canary.interval".into()));
        }
        if !self.canary.drain_after.is_zero() && deaf_after.is_zero() {
            return Err(("canary.drain_after", "needs canary.deaf_after, or a node is never deaf".into()));
        }
        if self.drain.announce > self.drain.timeout / 2 {
            return Err(("drain.announce", "must be at most half of drain.timeout, in which it is spent".into()));
        }
        if self.presence.lease < Duration::from_millis(100) {
            return Err(("presence.lease", "must be at least 100ms: a node beats three times in it".into()));
        }
        self.auth.validate()?;
        self.validate_entry()?;
        self.limits.validate_attachments()?;
        self.admin.validate()?;
        self.api.validate()?;
        self.asks.validate()?;
        if self.redis.prefix.is_empty() {
            return Err(("redis.prefix", "must not be empty".into()));
        }
        self.validate_redis_url()?;
        self.validate_emitters()?;
        if self.redis.pipeline_interval > self.redis.timeout / 2 {
            return Err((
                "redis.pipeline_interval",
                "must be at most half of redis.timeout, in which it is spent".into(),
            ));
        }
        Ok(())
    }
}
