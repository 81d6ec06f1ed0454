//! What of the whole configuration must fit together, and what types cannot say of single keys.

use std::time::Duration;

use super::{Config, DatabaseKind};

impl Config {
    /// Checks what types cannot say. The error names the key.
    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
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
            ("database.pool_size", self.database.pool_size as usize),
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
            ("database.timeout", self.database.timeout),
            ("redis.timeout", self.redis.timeout),
            ("canary.interval", self.canary.interval),
            ("passing.timeout", self.passing.timeout),
            ("passing.idle", self.passing.idle),
        ];
        for (key, value) in durations {
            if value < Duration::from_millis(1) {
                return Err((key, "must be at least 1ms".into()));
            }
        }
        if !(0.0..=1.0).contains(&self.telemetry.sample) {
            return Err(("telemetry.sample", "must be from 0 to 1: the part of the traces that are recorded".into()));
        }
        let name = &self.telemetry.service_name;
        if name.trim().is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
            return Err(("telemetry.service_name", "must have 1 to 255 bytes and no control characters".into()));
        }
        self.limits.validate_rates()?;
        self.log.validate()?;
        self.passing.validate()?;
        self.hooks.validate(&self.limits)?;
        self.archive.validate(&self.limits)?;
        if self.archive.any() && self.database_kind() == DatabaseKind::None {
            return Err(("archive.rooms", "needs database.url in a cluster: what is archived is in a database".into()));
        }
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
        self.balance.validate()?;
        self.auth.validate()?;
        self.validate_entry()?;
        self.limits.validate_attachments()?;
        self.admin.validate()?;
        self.api.validate()?;
        self.asks.validate()?;
        self.notifications.validate()?;
        self.mail.validate()?;
        self.novu.validate()?;
        self.validate_absent_mail()?;
        self.validate_schedules()?;
        self.jobs.validate()?;
        if self.redis.prefix.is_empty() {
            return Err(("redis.prefix", "must not be empty".into()));
        }
        self.validate_redis_url()?;
        self.validate_database()?;
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
