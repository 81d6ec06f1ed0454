//! What a node is built on: the backends of its ports, as the configuration names them.

use std::sync::Arc;

use anyhow::Context;
use futures_util::future::join_all;

use gateway_core::answers::{Answers, RedisAnswers};
use gateway_core::bus::{Bus, MemoryBus, MemoryHub, RedisBus};
use gateway_core::config::{self, Config, OneRedis};
use gateway_core::contacts::{Contacts, MemoryContacts, RedisContacts, SqliteContacts};
use gateway_core::formats::Formats;
use gateway_core::jobs::{Jobs, Kept, MemoryJobs, Queues, SqliteJobs};
use gateway_core::log::{Budget, Log, MemoryLog, RedisLog, Retention, SqliteLog, TracedLog};
use gateway_core::metrics::Metrics;
use gateway_core::outbox::{Bounds, MemoryOutbox, Outbox, Pattern, RedisOutbox, SqliteOutbox, Wants};
use gateway_core::presence::{Directory, MemoryPlaces, MemoryPresence, Presence, RedisPresence};
use gateway_core::redis::{Commands, Primary};
use gateway_core::repeats::{MemoryRepeats, RedisRepeats, Repeats, SqliteRepeats};
use gateway_core::revocations::{MemoryRevocations, RedisRevocations, Revocations, SqliteRevocations};
use gateway_core::sessions::{MemorySessions, RedisSessions, Sessions, SqliteSessions};
use gateway_core::supervisor::Supervisor;
use gateway_core::ticks::{MemoryTicks, RedisTicks, SqliteTicks, Ticks};
use gateway_core::whereabouts::{RedisWhereabouts, Whereabouts};
use gateway_work::bullmq::BullJobs;

/// What is to be told that the node ends.
#[derive(Debug)]
pub(super) enum Stores {
    Memory,
    Files(Files),
    Redis(Vec<Arc<RedisLog>>),
}

impl Stores {
    /// What the log is in, as OpenTelemetry calls it.
    pub(super) fn system(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Files(_) => "sqlite",
            Self::Redis(_) => "redis",
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Memory => {}
            Self::Files(files) => {
                files.sessions.close().await;
                files.revocations.close().await;
                files.repeats.close().await;
                files.jobs.close().await;
                files.ticks.close().await;
                files.contacts.close().await;
                files.done.close().await;
                files.outbox.close().await;
                files.log.close().await;
            }
            Self::Redis(logs) => _ = join_all(logs.iter().map(|log| log.close())).await,
        }
    }
}

#[derive(Debug)]
pub(super) struct Files {
    log: Arc<SqliteLog>,
    sessions: Arc<SqliteSessions>,
    revocations: Arc<SqliteRevocations>,
    repeats: Arc<SqliteRepeats>,
    jobs: Arc<SqliteJobs>,
    ticks: Arc<SqliteTicks>,
    contacts: Arc<SqliteContacts>,
    done: Arc<SqliteRepeats>,
    outbox: Arc<SqliteOutbox>,
}

/// A Redis that the node is configured for.
pub(super) struct Redis {
    pub(super) one: OneRedis,
    pub(super) primary: Arc<Primary>,
    pub(super) commands: Commands,
}

/// What namespaces stand on.
pub(super) struct Backing {
    /// What its Redis is called.
    pub(super) name: String,
    /// Which namespaces; none for all that no other has.
    pub(super) namespaces: Vec<String>,
    /// What keys in it begin with.
    pub(super) prefix: String,
    /// Nothing without Redis.
    pub(super) commands: Option<Commands>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) log: Arc<dyn Log>,
    pub(super) budget: Arc<Budget>,
    pub(super) sessions: Arc<dyn Sessions>,
    pub(super) presence: Arc<dyn Presence>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) wants: Wants,
}

/// What a node is built on.
pub(super) struct Backends {
    /// What namespaces that have nothing of their own stand on, and what is the deployment's.
    pub(super) main: Backing,
    /// What others stand on.
    pub(super) others: Vec<Backing>,
    pub(super) revocations: Arc<dyn Revocations>,
    pub(super) repeats: Arc<dyn Repeats>,
    /// What nodes share of what back ends answered; a node that is alone has it in its memory.
    pub(super) answers: Option<Arc<dyn Answers>>,
    pub(super) jobs: Arc<dyn Jobs>,
    pub(super) queues: Arc<dyn Queues>,
    pub(super) ticks: Arc<dyn Ticks>,
    pub(super) contacts: Arc<dyn Contacts>,
    /// Of what may be done once in a time, what was done.
    pub(super) done: Arc<dyn Repeats>,
    /// Where other nodes are, if there may be any and requests are to be passed on to them.
    pub(super) whereabouts: Option<Arc<dyn Whereabouts>>,
    pub(super) stores: Stores,
}

impl Backends {
    /// Notes each append in the trace that it is part of, if there is one.
    pub(super) fn trace_appends(&mut self) {
        let system = self.stores.system();
        for backing in std::iter::once(&mut self.main).chain(&mut self.others) {
            backing.log = Arc::new(TracedLog::new(backing.log.clone(), system));
        }
    }
}

/// Opens what the configuration names.
pub(super) async fn backends(
    config: &Config,
    name: &str,
    metrics: &Arc<Metrics>,
    redis: Vec<Redis>,
    formats: &Formats,
    supervisor: &Supervisor,
) -> anyhow::Result<Backends> {
    let retention = retention(&config.log);
    let (window, kept) = (config.recovery.window, config.api.repeats_kept);
    let done = Kept { time: config.jobs.kept, most: config.jobs.kept_jobs };
    let (name_of_main, prefix) = (config.redis.name().to_owned(), config.redis.prefix.clone());
    let mut redis = redis.into_iter();
    let Some(main) = redis.next() else {
        let wants = wants(config, &prefix);
        metrics.redis_is_connected(&name_of_main, true);
        let bus = Arc::new(MemoryBus::new(Arc::<MemoryHub>::default()));
        // Who was there is gone with the process, and so are they.
        let presence = MemoryPresence::new(Arc::<MemoryPlaces>::default(), name, &config.presence);
        let folder = &config.data_dir;
        if folder.as_os_str().is_empty() {
            let outbox = Arc::new(MemoryOutbox::new(wants.clone()));
            let log = Arc::new(MemoryLog::new(retention).with_outbox(outbox.clone()));
            let presence = Arc::new(presence.with_outbox(outbox.clone()));
            let jobs = Arc::new(MemoryJobs::new(done));
            let main = Backing {
                name: name_of_main,
                namespaces: Vec::new(),
                prefix,
                commands: None,
                bus,
                budget: log.budget(),
                log,
                sessions: Arc::new(MemorySessions::new(window)),
                directory: presence.clone(),
                presence,
                outbox,
                wants,
            };
            return Ok(Backends {
                main,
                others: Vec::new(),
                revocations: Arc::new(MemoryRevocations::default()),
                repeats: Arc::new(MemoryRepeats::new(kept)),
                answers: None,
                jobs: jobs.clone(),
                queues: jobs,
                ticks: Arc::new(MemoryTicks::default()),
                contacts: Arc::new(MemoryContacts::default()),
                done: Arc::new(MemoryRepeats::new(config.mail.once)),
                whereabouts: None,
                stores: Stores::Memory,
            });
        }
        let log = SqliteLog::open(&folder.join("log.sqlite"), retention, supervisor).await.context("data_dir")?;
        let outbox = SqliteOutbox::open(log.database(), wants.clone()).await.context("data_dir")?;
        let outbox = Arc::new(outbox);
        let log = Arc::new(log.with_outbox(outbox.clone()));
        let presence = Arc::new(presence.with_outbox(outbox.clone()));
        let sessions = SqliteSessions::open(&folder.join("sessions.sqlite"), window).await.context("data_dir")?;
        let revocations = SqliteRevocations::open(&folder.join("revocations.sqlite")).await.context("data_dir")?;
        let repeats = SqliteRepeats::open(&folder.join("repeats.sqlite"), kept).await.context("data_dir")?;
        let jobs = SqliteJobs::open(&folder.join("jobs.sqlite"), done).await.context("data_dir")?;
        let files = Files {
            log: log.clone(),
            sessions: Arc::new(sessions),
            revocations: Arc::new(revocations),
            repeats: Arc::new(repeats),
            jobs: Arc::new(jobs),
            ticks: Arc::new(SqliteTicks::open(&folder.join("ticks.sqlite")).await.context("data_dir")?),
            contacts: Arc::new(SqliteContacts::open(&folder.join("contacts.sqlite")).await.context("data_dir")?),
            done: Arc::new(
                SqliteRepeats::open(&folder.join("done.sqlite"), config.mail.once).await.context("data_dir")?,
            ),
            outbox: outbox.clone(),
        };
        let main = Backing {
            name: name_of_main,
            namespaces: Vec::new(),
            prefix,
            commands: None,
            bus,
            budget: log.budget(),
            log,
            sessions: files.sessions.clone(),
            directory: presence.clone(),
            presence,
            outbox,
            wants,
        };
        return Ok(Backends {
            main,
            others: Vec::new(),
            revocations: files.revocations.clone(),
            repeats: files.repeats.clone(),
            answers: None,
            jobs: files.jobs.clone(),
            queues: files.jobs.clone(),
            ticks: files.ticks.clone(),
            contacts: files.contacts.clone(),
            done: files.done.clone(),
            whereabouts: None,
            stores: Stores::Files(files),
        });
    };
    let queues = queue_keys(config);
    let mut logs = Vec::new();
    let mut over = |redis| {
        let (backing, log) = over_redis(redis, (config, name), metrics, formats, supervisor);
        logs.push(log);
        backing
    };
    let main = over(main);
    let others = redis.map(over).collect();
    let commands = main.commands.clone().context("the main Redis has commands")?;
    let bus = main.bus.clone();
    let jobs = BullJobs::new(commands.clone(), &prefix, &queues, done).context("jobs.prefix")?;
    let is_traced = !config.telemetry.otlp_endpoint.expose().is_empty();
    let jobs = Arc::new(if is_traced { jobs.traced() } else { jobs });
    Ok(Backends {
        main,
        others,
        revocations: Arc::new(RedisRevocations::new(commands.clone(), bus, &prefix)),
        repeats: Arc::new(RedisRepeats::new(commands.clone(), &prefix, kept)),
        answers: Some(Arc::new(RedisAnswers::new(commands.clone(), &prefix))),
        jobs: jobs.clone(),
        queues: jobs,
        ticks: Arc::new(RedisTicks::new(commands.clone(), &prefix)),
        whereabouts: config.passing.enabled.then(|| Arc::new(RedisWhereabouts::new(commands.clone(), &prefix)) as _),
        contacts: Arc::new(RedisContacts::new(commands.clone(), &prefix)),
        done: Arc::new(RedisRepeats::new(commands, &format!("{prefix}:done"), config.mail.once)),
        stores: Stores::Redis(logs),
    })
}

/// What namespaces need of one Redis. It shares nothing with the others: whoever waits for one waits for no other.
fn over_redis(
    redis: Redis,
    (config, name): (&Config, &str),
    metrics: &Arc<Metrics>,
    formats: &Formats,
    supervisor: &Supervisor,
) -> (Backing, Arc<RedisLog>) {
    let Redis { one: OneRedis { settings, namespaces, .. }, primary, commands } = redis;
    let prefix = &settings.prefix;
    let wants = wants(config, prefix);
    metrics.redis_is_connected(settings.name(), false);
    let bus: Arc<dyn Bus> = Arc::new(RedisBus::start(primary, &settings, metrics.clone(), supervisor));
    let commands = commands.watched_by(supervisor);
    let presence = RedisPresence::new(commands.clone(), prefix, name, &config.presence, formats.clone());
    let presence = Arc::new(presence.with_outbox(wants.clone()));
    let log = RedisLog::new(commands.clone(), bus.clone(), prefix, retention(&config.log), settings.feed_buffer);
    let log = Arc::new(log.with_outbox(wants.clone()));
    let (window, history) = (config.recovery.window, log.history());
    let sessions = RedisSessions::new(commands.clone(), bus.clone(), prefix, window, formats.clone(), history);
    let outbox = RedisOutbox::new(commands.clone(), wants.clone());
    let backing = Backing {
        name: settings.name().to_owned(),
        namespaces,
        prefix: prefix.clone(),
        commands: Some(commands),
        bus,
        budget: log.budget(),
        log: log.clone(),
        sessions: Arc::new(sessions),
        directory: presence.clone(),
        presence,
        outbox: Arc::new(if settings.is_main() { outbox } else { outbox.named(settings.name()) }),
        wants,
    };
    (backing, log)
}

/// Nothing is wanted yet but what is archived; what keys of outboxes begin with is said by `prefix`.
fn wants(config: &Config, prefix: &str) -> Wants {
    let bounds = Bounds { entries: config.hooks.queue_events, bytes: config.hooks.queue_bytes };
    let archived = Bounds { entries: config.archive.queue_events, bytes: config.archive.queue_bytes };
    let rooms = config.archive.rooms.iter().map(|pattern| Pattern::new(pattern)).collect();
    Wants::new(prefix, bounds).with_archive(rooms, archived)
}

fn retention(log: &config::Log) -> Retention {
    Retention {
        room_events: log.room_events,
        room_bytes: log.room_bytes,
        room_retention: log.room_retention,
        dedupe_window: log.dedupe_window,
        max_bytes: log.max_bytes,
        max_percent: log.max_percent,
    }
}

/// What the keys of all queues in Redis begin with.
#[must_use]
pub fn queue_keys(config: &Config) -> String {
    let prefix = &config.jobs.prefix;
    if prefix.is_empty() { BullJobs::prefix(&config.redis.prefix) } else { prefix.clone() }
}
