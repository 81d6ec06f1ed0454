//! What was found of Redis, judged.

use std::time::Duration;

use super::report::{Report, Status};
use crate::process::queue_keys;
use gateway_core::config::Config;
use gateway_core::redis::{Examined, examine};

/// What may wait for a node that reads slowly: half a minute of a busy feed.
const OUTPUT_BYTES: u64 = 256 << 20;
/// A publish waits for one answer. More is another zone, or a Redis that does something else.
const SLOW: Duration = Duration::from_millis(5);
/// For how long a replica that is well may not have been heard of, in seconds.
const LAG: u64 = 10;
/// Connections of a node beside its pool: the bus, the pipeline, hearing, Sentinels, workers of queues.
const CONNECTIONS_BESIDE: u64 = 16;
/// The share of what it may have at which it is nearly full.
const NEARLY: f64 = 0.8;
const SEE: &str = "docs/operations.md#redis";

/// Looks at the Redis of the configuration, if there is one.
pub(super) async fn look(config: &Config, report: &mut Report) -> Option<Examined> {
    if config.redis_url.is_empty() {
        report.skipped("redis", "redis_url", "is not set: this is one node without Redis (embedded mode)");
        return None;
    }
    let mut of_main = None;
    for redis in config.every_redis() {
        let settings = &redis.settings;
        let queues = queue_keys(config);
        // Jobs are the deployment's.
        let prefixes: &[&str] = if settings.is_main() { &[&settings.prefix, &queues] } else { &[&settings.prefix] };
        match examine(&redis, config.log.max_bytes > 0, prefixes).await {
            Ok(examined) => {
                let whose = if settings.is_main() { String::new() } else { format!(" of {}", settings.name()) };
                let about = format!("Redis{whose} at {}", examined.place);
                Judge { about, examined: &examined, report }.everything(config);
                if settings.is_main() {
                    of_main = Some(examined);
                }
            }
            Err(why) => {
                let todo = "compare the URL with where Redis is, its password and its TLS, from this machine (redis-cli -u URL \
                            PING); if only this machine cannot reach it, run the doctor on one of the nodes";
                report.found(Status::Error, "redis.reachable", settings.key("url"), why, (todo, SEE));
            }
        }
    }
    of_main
}

struct Judge<'a> {
    about: String,
    examined: &'a Examined,
    report: &'a mut Report,
}

impl Judge<'_> {
    fn ok(&mut self, check: &'static str, seen: impl Into<String>) {
        self.report.ok(check, &self.about, seen);
    }

    fn found(&mut self, status: Status, check: &'static str, seen: impl Into<String>, todo: &str, see: &str) {
        self.report.found(status, check, &self.about, seen, (todo, see));
    }

    fn everything(mut self, config: &Config) {
        self.version();
        self.settings();
        self.output();
        self.idle();
        self.quick(config.redis.timeout);
        self.full();
        self.connections(config.redis.pool_size);
        self.disk();
        self.replicas();
        self.rights();
    }

    fn version(&mut self) {
        let Some(version) = self.examined.version.clone() else {
            return self.report.skipped("redis.version", &self.about, "INFO is not allowed");
        };
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major >= 7) {
            return self.ok("redis.version", version);
        }
        let words = format!("{version}: nodes refuse it, as its streams do not show that old events went");
        self.found(Status::Error, "redis.version", words, "upgrade to 7.0 or newer, or Valkey", SEE);
    }

    fn settings(&mut self) {
        let see = "docs/runbooks.md#gatewayredisunsafe";
        let checks = [
            (
                "eviction",
                "redis.eviction",
                Status::Error,
                "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
            ),
            (
                "persistence",
                "redis.persistence",
                Status::Warning,
                "CONFIG SET appendonly yes, and the same in redis.conf",
            ),
            (
                "unbounded",
                "redis.unbounded",
                Status::Warning,
                "set maxmemory as docs/operations.md#how-to-size-redis computes it",
            ),
            ("unknown", "redis.settings", Status::Warning, "give the gateway's user +info and +config|get"),
        ];
        for (word, check, status, todo) in checks {
            match self.examined.risks.iter().find(|(risk, _)| *risk == word) {
                Some((_, words)) => self.found(status, check, words.clone(), todo, see),
                None if word == "unknown" => {}
                None if self.examined.risks.iter().any(|(risk, _)| *risk == "unknown") => {
                    self.report.skipped(check, &self.about, "CONFIG GET is not allowed");
                }
                None => self.ok(check, "is as it should be"),
            }
        }
    }

    fn output(&mut self) {
        let Some(limit) = self.examined.output_limit else {
            return self.report.skipped("redis.output_buffer", &self.about, "CONFIG GET is not allowed");
        };
        let seen = format!(
            "client-output-buffer-limit pubsub is {}, or {} for {} s",
            bytes(limit.hard),
            bytes(limit.soft),
            limit.seconds
        );
        if limit.hard == 0 || limit.hard >= OUTPUT_BYTES {
            return self.ok("redis.output_buffer", seen);
        }
        let seen = format!(
            "{seen}: a node that reads slowly for a moment is cut off, and has to read the log of all its rooms"
        );
        let todo = "CONFIG SET client-output-buffer-limit \"pubsub 268435456 67108864 60\", and the same in redis.conf";
        self.found(Status::Warning, "redis.output_buffer", seen, todo, SEE);
    }

    fn idle(&mut self) {
        match self.examined.idle_timeout {
            None => self.report.skipped("redis.timeout", &self.about, "CONFIG GET is not allowed"),
            Some(0) => self.ok("redis.timeout", "it closes no connection because it is idle"),
            Some(seconds) => {
                let seen = format!(
                    "timeout is {seconds}: connections that are idle for so many seconds are closed, those of the pool among them"
                );
                self.found(
                    Status::Warning,
                    "redis.timeout",
                    seen,
                    "CONFIG SET timeout 0; tcp-keepalive finds who is gone",
                    SEE,
                );
            }
        }
    }

    fn quick(&mut self, patience: Duration) {
        let (middle, longest) = self.examined.latency;
        let seen = format!("answers take {middle:.1?}, and {longest:.1?} at the longest");
        let todo = "put nodes and Redis into one zone; look for slow commands (SLOWLOG GET), forks (INFO latest_fork_usec), swap";
        let status = match () {
            () if middle >= patience / 4 => Status::Error,
            () if middle >= SLOW || longest >= patience / 2 => Status::Warning,
            () => return self.ok("redis.latency", seen),
        };
        self.found(status, "redis.latency", format!("{seen}, from here; every publish waits for one"), todo, SEE);
    }

    fn full(&mut self) {
        if self.examined.evicted > 0 {
            let seen = format!(
                "it has thrown {} keys away since it started, and with them what clients had not read",
                self.examined.evicted
            );
            let see = "docs/runbooks.md#gatewayredisevicts";
            self.found(
                Status::Error,
                "redis.evicted",
                seen,
                "set maxmemory-policy to noeviction and give it more memory",
                see,
            );
        }
        let Some(memory) = self.examined.memory else { return };
        let Some(max) = memory.max else { return };
        let share = memory.used as f64 / max as f64;
        let seen = format!("{} of {} are used ({:.0} %)", bytes(memory.used), bytes(max), share * 100.0);
        if share < NEARLY {
            return self.ok("redis.memory", seen);
        }
        let todo = "raise maxmemory, or lower log.room_retention, log.room_events or log.room_bytes; redis-cli --memkeys says what is large";
        self.found(Status::Warning, "redis.memory", seen, todo, "docs/operations.md#how-to-size-redis");
    }

    fn connections(&mut self, pool: usize) {
        let Some((connected, max)) = self.examined.clients else { return };
        let nodes = self.examined.nodes.unwrap_or(1).max(1) as u64;
        let wanted = nodes * (pool as u64 + CONNECTIONS_BESIDE);
        let seen = format!("{connected} of {max} connections are there; {nodes} nodes may want {wanted}");
        if (connected as f64) < max as f64 * NEARLY && wanted < max {
            return self.ok("redis.connections", seen);
        }
        self.found(
            Status::Warning,
            "redis.connections",
            seen,
            "raise maxclients, and the limit of open files with it",
            SEE,
        );
    }

    fn disk(&mut self) {
        if self.examined.write_failures.is_empty() {
            return;
        }
        let seen = format!("writing to its disk failed: {}", self.examined.write_failures.join(", "));
        let todo = "look at its log and at the space and the rights of its folder (CONFIG GET dir)";
        self.found(Status::Error, "redis.disk", seen, todo, "docs/runbooks.md#gatewayredisnotwritten");
    }

    fn replicas(&mut self) {
        let Some(replicas) = &self.examined.replicas else { return };
        let odd: Vec<_> = replicas.iter().filter(|replica| replica.state != "online" || replica.lag > LAG).collect();
        match (replicas.len(), odd.first()) {
            (0, _) => {
                let seen = "nobody replicates it: while it is away, or its machine is lost, everything stands still";
                let todo = "add a replica, and Sentinels that promote it, if that is too long for you";
                self.found(Status::Note, "redis.replicas", seen, todo, "docs/operations.md#which-redis");
            }
            (count, None) => self.ok("redis.replicas", format!("{count} are online")),
            (count, Some(replica)) => {
                let (address, state, lag) = (&replica.address, &replica.state, replica.lag);
                let seen =
                    format!("{} of {count} are not well: {address} is {state} and was heard {lag} s ago", odd.len());
                let todo = "look at its log; if it begins anew again and again, raise repl-backlog-size and the output buffer of replicas";
                self.found(Status::Warning, "redis.replicas", seen, todo, "docs/operations.md#which-redis");
            }
        }
    }

    fn rights(&mut self) {
        if self.examined.forbidden.is_empty() {
            return self.ok("redis.rights", "its user may do what nodes do");
        }
        let seen = format!("its user may not do what nodes do: {}", self.examined.forbidden.join("; "));
        let todo = "give it the keys, channels and commands that the documentation names (ACL SETUSER)";
        self.found(Status::Error, "redis.rights", seen, todo, SEE);
    }
}

/// A number of bytes for people.
fn bytes(count: u64) -> String {
    match count {
        0 => "no limit".into(),
        1..1_048_576 => format!("{} KiB", count.div_ceil(1024)),
        _ => format!("{} MiB", count >> 20),
    }
}
