//! Redis as whoever runs it would look at it: what it is, how it is set up, how quick it is, and what the gateway may do there.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use deadpool_redis::redis::{self, Cmd, FromRedisValue};
use tokio::time::Instant;

use super::primary::field;
use super::safety::{allowed, look};
use super::{CommandError, Commands, Memory};
use crate::config;

/// How often it is asked to find out how quick it is.
const QUESTIONS: usize = 20;
/// After how long what was written to see whether that may be is gone, in milliseconds, if it could not be taken out.
const GONE: u64 = 5_000;

/// What was found. Nothing is what could not be learned, as the gateway may not ask.
#[derive(Debug)]
pub struct Examined {
    /// Where the primary is.
    pub place: String,
    /// Its version, and that of Redis whose commands it has.
    pub version: Option<String>,
    /// Settings that put what is kept at risk: a word for each, and what to say about it.
    pub risks: Vec<(&'static str, String)>,
    /// After how many seconds it closes connections that are idle; 0 for never.
    pub idle_timeout: Option<u64>,
    /// What may wait for who reads what is published, in bytes, or for so many seconds in bytes: `client-output-buffer-limit`.
    pub output_limit: Option<OutputLimit>,
    /// How long answers took, the middle one and the longest.
    pub latency: (Duration, Duration),
    /// By how many milliseconds its clock is ahead of this one, and how exactly that is known.
    pub clock: (i64, u64),
    /// How full it is.
    pub memory: Option<Memory>,
    /// Who is connected, and how many may be.
    pub clients: Option<(u64, u64)>,
    /// How many keys it threw away since it was started.
    pub evicted: u64,
    /// What it says of writing to its disk, where that failed.
    pub write_failures: Vec<&'static str>,
    /// Who replicates it.
    pub replicas: Option<Vec<Replica>>,
    /// What the gateway does and may not, in Redis' words.
    pub forbidden: Vec<String>,
    /// How many nodes listen there.
    pub nodes: Option<usize>,
}

/// `client-output-buffer-limit pubsub`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// Beyond so many bytes it is closed at once; 0 for never.
    pub hard: u64,
    /// Beyond so many for a while; 0 for never.
    pub soft: u64,
    /// The while, in seconds.
    pub seconds: u64,
}

/// Somebody who has all that the primary has, a moment later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Where it is.
    pub address: String,
    /// How it is: `online`, if it is well.
    pub state: String,
    /// For how many seconds nothing has been heard of it.
    pub lag: u64,
}

/// Looks at the primary of a deployment, or one of several; `has_budget` says whether the log has a limit of its own. Something small is written there for a moment, below each of `prefixes`, to see whether
/// that may be.
///
/// # Errors
/// It cannot be reached, or says no to everything: in words for people.
pub async fn examine(redis: &config::OneRedis, has_budget: bool, prefixes: &[&str]) -> Result<Examined, String> {
    let settings = &redis.settings;
    let commands = Commands::new(redis.url.expose(), settings).map_err(|error| error.to_string())?;
    commands.probe().await.map_err(|error| error.to_string())?;
    let place = commands.primary().locate().await.map_err(|error| error.to_string())?.to_string();
    let examined = async {
        let config_get = |name: &'static str| setting(&commands, name);
        let info = info(&commands).await?;
        let limits = config_get("client-output-buffer-limit").await?;
        let timeout = config_get("timeout").await?.and_then(|seconds| seconds.parse().ok());
        let max_clients = config_get("maxclients").await?.and_then(|number| number.parse().ok());
        let number = |name: &str| field(&info, name).and_then(|value| value.parse::<u64>().ok());
        Ok::<_, CommandError>(Examined {
            version: version(&info),
            risks: look(&commands).await?.risks(has_budget),
            idle_timeout: timeout,
            output_limit: limits.as_deref().and_then(OutputLimit::read),
            latency: latency(&commands).await?,
            clock: clock(&commands).await?,
            memory: commands.memory().await?,
            clients: number("connected_clients").zip(max_clients.or_else(|| number("maxclients"))),
            evicted: number("evicted_keys").unwrap_or(0),
            write_failures: write_failures(&info),
            replicas: Replica::read(&info),
            forbidden: forbidden(&commands, prefixes).await?,
            nodes: nodes(&commands, &settings.prefix).await?,
            place: place.clone(),
        })
    };
    examined.await.map_err(|error| format!("{place}: {error}"))
}

async fn info(commands: &Commands) -> Result<String, CommandError> {
    let mut info = String::new();
    for section in ["server", "clients", "persistence", "stats", "replication"] {
        let answer: Option<String> = allowed(commands.query(redis::cmd("INFO").arg(section)).await)?;
        info.extend(answer);
    }
    Ok(info)
}

/// One setting: older versions are not asked for several at once.
async fn setting(commands: &Commands, name: &str) -> Result<Option<String>, CommandError> {
    let answer = commands.query::<HashMap<String, String>>(redis::cmd("CONFIG").arg("GET").arg(name)).await;
    Ok(allowed(answer)?.and_then(|mut answer| answer.remove(name)))
}

/// Forks say which Redis they are as good as, and who they are.
fn version(info: &str) -> Option<String> {
    let redis = field(info, "redis_version")?;
    match field(info, "valkey_version") {
        Some(valkey) => Some(format!("{redis} (Valkey {valkey})")),
        None => Some(redis.to_owned()),
    }
}

fn write_failures(info: &str) -> Vec<&'static str> {
    let fields = ["aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"];
    fields.into_iter().filter(|name| field(info, name).is_some_and(|status| status != "ok")).collect()
}

async fn latency(commands: &Commands) -> Result<(Duration, Duration), CommandError> {
    let mut times = Vec::with_capacity(QUESTIONS);
    for _ in 0..QUESTIONS {
        let asked = Instant::now();
        commands.query::<()>(&redis::cmd("PING")).await?;
        times.push(asked.elapsed());
    }
    times.sort_unstable();
    Ok((times[QUESTIONS / 2], times[QUESTIONS - 1]))
}

/// Its time less ours, as the quickest of a few answers says it.
async fn clock(commands: &Commands) -> Result<(i64, u64), CommandError> {
    let mut best: Option<(i64, u64)> = None;
    for _ in 0..5 {
        let before = now_ms();
        let (seconds, micros): (i64, i64) = commands.query(&redis::cmd("TIME")).await?;
        let after = now_ms();
        let there = seconds * 1_000 + micros / 1_000;
        let exactness = (after - before).unsigned_abs() / 2 + 1;
        if best.is_none_or(|(_, known)| exactness < known) {
            best = Some((there - (before + after) / 2, exactness));
        }
    }
    Ok(best.unwrap_or_default())
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// How many nodes hear the channel that all nodes hear.
async fn nodes(commands: &Commands, prefix: &str) -> Result<Option<usize>, CommandError> {
    let word = if commands.primary().is_sharded() { "SHARDNUMSUB" } else { "NUMSUB" };
    let mut question = redis::cmd("PUBSUB");
    question.arg(word).arg(format!("{prefix}:nodes"));
    let answer: Option<(String, usize)> = allowed(commands.query(&question).await)?;
    Ok(answer.map(|(_, nodes)| nodes))
}

/// Does a little of all that the gateway does; what Redis says where that may not be.
async fn forbidden(commands: &Commands, prefixes: &[&str]) -> Result<Vec<String>, CommandError> {
    let mut forbidden = Vec::new();
    let publish = if commands.primary().is_sharded() { "SPUBLISH" } else { "PUBLISH" };
    let mut questions = Vec::new();
    for prefix in prefixes {
        let key = format!("{prefix}:doctor:{:016x}", rand::random::<u64>());
        let script =
            "redis.call('SET', KEYS[1], 'x', 'PX', ARGV[1]) redis.call('TIME') return redis.call('DEL', KEYS[1])";
        questions.push(command("EVAL", &[script, "1", &key, &GONE.to_string()]));
        questions.push(command("XADD", &[&key, "*", "e", "x"]));
        questions.push(command("PEXPIRE", &[&key, &GONE.to_string()]));
        questions.push(command("DEL", &[&key]));
    }
    if let Some(prefix) = prefixes.first() {
        questions.push(command(publish, &[&format!("{prefix}:doctor"), "x"]));
    }
    questions.push(command("INFO", &["memory"]));
    questions.push(command("CONFIG", &["GET", "maxmemory-policy"]));
    for question in questions {
        if let Some(words) = no(commands.query::<Anything>(&question).await)? {
            forbidden.push(words);
        }
    }
    forbidden.dedup();
    Ok(forbidden)
}

fn command(name: &str, arguments: &[&str]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(arguments);
    command
}

/// Any answer will do.
struct Anything;

impl FromRedisValue for Anything {
    fn from_redis_value(_: redis::Value) -> Result<Self, redis::ParsingError> {
        Ok(Self)
    }
}

/// What Redis says, if it is that this may not be.
fn no(answer: Result<Anything, CommandError>) -> Result<Option<String>, CommandError> {
    match answer {
        Ok(Anything) => Ok(None),
        Err(CommandError::Redis(error)) if !CommandError::Redis(error.clone()).leaves_doubt() => {
            let detail = error.detail().unwrap_or_default();
            let is_about_rights =
                error.code() == Some("NOPERM") || detail.contains("NOPERM") || detail.contains("permission");
            let is_unknown = detail.contains("unknown command");
            Ok((is_about_rights || is_unknown).then(|| detail.to_owned()))
        }
        Err(error) => Err(error),
    }
}

impl OutputLimit {
    /// Reads `normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60`.
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ').skip_while(|word| *word != "pubsub").skip(1).map(str::parse);
        let mut next = || words.next()?.ok();
        Some(Self { hard: next()?, soft: next()?, seconds: next()? })
    }
}

impl Replica {
    /// Reads `slave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=0`; nothing if INFO was not allowed.
    fn read(info: &str) -> Option<Vec<Self>> {
        let count: usize = field(info, "connected_slaves")?.parse().ok()?;
        let read = |number| {
            let line = field(info, &format!("slave{number}"))?;
            let of = |name: &str| line.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            let address = format!("{}:{}", of("ip")?, of("port")?);
            Some(Self { address, state: of("state")?.to_owned(), lag: of("lag")?.parse().ok()? })
        };
        Some((0..count).filter_map(read).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_says_of_itself() {
        let limits = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        let read = OutputLimit::read(limits);
        assert_eq!(read, Some(OutputLimit { hard: 33_554_432, soft: 8_388_608, seconds: 60 }));
        assert_eq!(OutputLimit::read("normal 0 0 0"), None);
        let info = "redis_version:7.2.4\r\nvalkey_version:8.1.0\r\nconnected_slaves:2\r\n\
                    slave0:ip=10.0.0.2,port=6379,state=online,offset=14,lag=1\r\n\
                    slave1:ip=10.0.0.3,port=6380,state=wait_bgsave,offset=0,lag=40\r\n\
                    aof_last_write_status:err\r\nrdb_last_bgsave_status:ok\r\n";
        assert_eq!(version(info).as_deref(), Some("7.2.4 (Valkey 8.1.0)"));
        assert_eq!(write_failures(info), ["aof_last_write_status"]);
        let replica = |address: &str, state: &str, lag| Replica { address: address.into(), state: state.into(), lag };
        let replicas = [replica("10.0.0.2:6379", "online", 1), replica("10.0.0.3:6380", "wait_bgsave", 40)];
        assert_eq!(Replica::read(info).as_deref(), Some(&replicas[..]));
        assert_eq!(Replica::read(""), None);
    }
}
