//! The contract of what the log keeps: in all, of a room, and of rooms that are new; on every backend.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use gateway_core::bus::RedisBus;
use gateway_core::domain::{Event, Offset, RoomName};
use gateway_core::log::{
    AppendError, Appended, Budget, Dedupe, FeedItem, Log, MemoryLog, Range, RedisLog, Retention, SqliteLog, Terms,
};
use gateway_core::metrics::Metrics;
use gateway_core::redis::Commands;
use gateway_core::supervisor::Supervisor;

use crate::support::redis::Redis;
use crate::support::{self, eventually};

const RETENTION: Retention = Retention::of_events(1_000, Duration::from_secs(3), Duration::from_secs(60));
/// What logs may keep more than what they have when they are empty.
const KEPT: u64 = 4_000_000;
const RESERVE: Terms<'_> = Terms { dedupe: None, known_room: false, reserve: true, by: None, takes_back: None };

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

fn event(bytes: usize) -> Event {
    let args = format!("[{:?}]", "x".repeat(bytes));
    Event { name: "message".into(), args, attachments: Vec::new(), except: None, at_ms: 1 }
}

async fn append(log: &dyn Log, name: &str, bytes: usize, terms: Terms<'_>) -> Result<Appended, AppendError> {
    log.append(&room(name), &event(bytes), terms).await
}

/// Appends to ten rooms until the log is full; returns how many it took. Ten at a time: one after the other would take a busy
/// machine as long as what is kept is kept.
async fn fill(log: &dyn Log, terms: Terms<'_>) -> u64 {
    let mut took = 0;
    for _ in 0..1_000 {
        let rooms: Vec<_> = (0..10).map(|number| format!("room {number}")).collect();
        let appended = join_all(rooms.iter().map(|room| append(log, room, 4_000, terms))).await;
        for appended in &appended {
            match appended {
                Ok(_) => took += 1,
                Err(AppendError::Full) => {}
                Err(error) => panic!("{error}"),
            }
        }
        if appended.iter().any(Result::is_err) {
            return took;
        }
    }
    panic!("it is never full");
}

async fn a_full_log_refuses_and_takes_again_what_fits(log: &dyn Log, budget: &Budget) {
    let mut feed = log.feed();
    log.subscribe(&room("room 0")).await.unwrap();
    let key = Dedupe("u:alice:1".into());
    let first = append(log, "room 0", 10, Terms::once(&key)).await.unwrap();
    assert!(matches!(feed.next().await.unwrap(), FeedItem::Event { .. }));
    // It is known at last how much there is.
    let limit = || async { budget.limit() > 0 && budget.used() > 0 };
    eventually("the log was measured", limit).await;
    let took = fill(log, Terms::default()).await;
    let expected = KEPT / 4_250;
    assert!((expected / 2..expected * 3 / 2).contains(&took), "{took} events, {budget:?}");
    for _ in 0..5 {
        let fresh = Dedupe("u:alice:2".into());
        for terms in [Terms::default(), Terms::once(&fresh), Terms { known_room: true, ..Terms::default() }] {
            let refused = append(log, "room 1", 10, terms).await.unwrap_err();
            assert!(matches!(refused, AppendError::Full), "{refused}");
        }
        let again = append(log, "room 0", 10, Terms::once(&key)).await.unwrap();
        assert!(again.duplicate && again.position == first.position, "what is there is told");
    }
    // What happened goes on being kept for a while, and what is not kept goes on.
    assert!(append(log, "room 2", 10, RESERVE).await.is_ok());
    while matches!(futures_util::poll!(feed.next()), std::task::Poll::Ready(Some(_))) {}
    log.signal(&room("room 0"), &event(10)).await.unwrap();
    log.mark(&room("room 0"), 1).await.unwrap();
    let (mut signals, mut marks) = (0, 0);
    while signals == 0 || marks == 0 {
        match tokio::time::timeout(support::PATIENCE, feed.next()).await.unwrap().unwrap() {
            FeedItem::Signal { .. } => signals += 1,
            FeedItem::Mark { .. } => marks += 1,
            _ => {}
        }
    }
    let reserve = fill(log, RESERVE).await;
    assert!((1..expected).contains(&reserve), "{reserve} events, {budget:?}");
    assert!(budget.used() >= budget.limit());
    // Nobody does anything: time makes room.
    eventually("there is room again", || async { append(log, "room 3", 10, Terms::default()).await.is_ok() }).await;
    assert!(budget.used() < budget.limit());
}

async fn a_room_has_about_as_many_bytes_as_it_may_and_says_that_older_events_went(log: &dyn Log, room_bytes: usize) {
    let read = async || {
        let range = Range::After { offset: Offset::START, limit: 10_000 };
        log.read(&room("large"), range, usize::MAX).await.unwrap()
    };
    let mut first = None;
    for number in 0..400 {
        let appended = append(log, "large", 1_000, Terms::default()).await.unwrap();
        first.get_or_insert(appended.position.offset);
        if number == 20 {
            assert!(!read().await.trimmed, "it is far below");
        }
    }
    let page = read().await;
    let bytes: usize = page.events.iter().map(|(_, event)| event.size()).sum();
    assert!((room_bytes / 3..room_bytes * 3).contains(&bytes), "{bytes} bytes are kept");
    assert!(page.trimmed && page.oldest > first && !page.reaches_back_to(first.unwrap()));
    // The newest stays, however large it is.
    let last = append(log, "large", room_bytes * 2, Terms::default()).await.unwrap().position.offset;
    eventually("only the newest is left", || async { read().await.oldest == Some(last) }).await;
    append(log, "large", 10, Terms::default()).await.unwrap();
    // Others are left alone.
    append(log, "small", 10, Terms::default()).await.unwrap();
    let small = log.read(&room("small"), Range::Newest { before: None, limit: 1 }, usize::MAX).await.unwrap();
    assert!(!small.trimmed && small.events.len() == 1);
}

async fn a_new_room_begins_only_where_it_may(log: &dyn Log) {
    let known = Terms { known_room: true, ..Terms::default() };
    let is_new = async |name| matches!(append(log, name, 10, known).await, Err(AppendError::NewRoom));
    let head =
        async || log.read(&room("a"), Range::Newest { before: None, limit: 1 }, usize::MAX).await.unwrap().oldest;
    assert!(is_new("a").await && is_new("a").await && head().await.is_none());
    let key = Dedupe("u:alice:3".into());
    let once = Terms { dedupe: Some(&key), ..known };
    assert!(matches!(append(log, "a", 10, once).await, Err(AppendError::NewRoom)));
    let began = append(log, "a", 10, Terms { known_room: false, ..once }).await.unwrap();
    assert!(!began.duplicate, "what was refused left no key");
    assert_eq!(append(log, "a", 10, once).await.unwrap().position, began.position);
    append(log, "a", 10, known).await.unwrap();
    assert!(is_new("b").await, "each by itself");
    tokio::time::sleep(RETENTION.room_retention).await;
    eventually("a room that was forgotten is new", || is_new("a")).await;
}

fn retention(max_bytes: u64) -> Retention {
    Retention { max_bytes, ..RETENTION }
}

const ROOM_BYTES: usize = 64_000;
const OF_ROOMS: Retention = Retention { room_bytes: ROOM_BYTES, ..RETENTION };

#[tokio::test]
async fn memory() {
    let log = MemoryLog::new(retention(KEPT));
    a_full_log_refuses_and_takes_again_what_fits(&log, &log.budget()).await;
    let log = MemoryLog::new(OF_ROOMS);
    a_room_has_about_as_many_bytes_as_it_may_and_says_that_older_events_went(&log, ROOM_BYTES).await;
    a_new_room_begins_only_where_it_may(&log).await;
}

#[tokio::test]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let log =
        SqliteLog::open(&folder.path().join("full.sqlite"), retention(KEPT), &Supervisor::default()).await.unwrap();
    a_full_log_refuses_and_takes_again_what_fits(&log, &log.budget()).await;
    let log = SqliteLog::open(&folder.path().join("rooms.sqlite"), OF_ROOMS, &Supervisor::default()).await.unwrap();
    a_room_has_about_as_many_bytes_as_it_may_and_says_that_older_events_went(&log, ROOM_BYTES).await;
    a_new_room_begins_only_where_it_may(&log).await;
}

#[tokio::test]
async fn the_disk_of_a_file_and_the_machines_memory_are_limits() {
    let share = Retention { max_percent: 50, ..RETENTION };
    let folder = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(&folder.path().join("log.sqlite"), share, &Supervisor::default()).await.unwrap();
    append(&log, "r", 10, Terms::default()).await.unwrap();
    let budget = log.budget();
    eventually("the disk was measured", || async { budget.limit() > 1_000_000 && budget.used() > 0 }).await;
    let log = MemoryLog::new(share);
    append(&log, "r", 10, Terms::default()).await.unwrap();
    log.mark(&room("r"), 1).await.unwrap();
    assert!(log.budget().limit() > 1_000_000 && log.budget().used() > 250, "{:?}", log.budget());
}

async fn redis_log(url: &str, redis: &Redis, prefix: &str, retention: Retention) -> RedisLog {
    let settings = support::config(&[]).redis;
    let bus =
        RedisBus::connect(&redis.url(), &settings, Arc::new(Metrics::new()), &Supervisor::default()).await.unwrap();
    let commands = Commands::new(url, &settings).unwrap();
    RedisLog::new(commands, Arc::new(bus), prefix, retention, settings.feed_buffer)
}

async fn used(redis: &Redis) -> u64 {
    let info = redis.command("INFO memory").await;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    used.trim().parse().unwrap()
}

#[tokio::test]
async fn redis() {
    let redis = Redis::start().await;
    let log = redis_log(&redis.url(), &redis, "rooms", OF_ROOMS).await;
    a_room_has_about_as_many_bytes_as_it_may_and_says_that_older_events_went(&log, ROOM_BYTES).await;
    a_new_room_begins_only_where_it_may(&log).await;
    // Without a limit of its own, by the share of what Redis may have.
    drop(log);
    redis.command("FLUSHALL").await;
    // Another log connects, which takes some, too.
    let log = redis_log(&redis.url(), &redis, "share", Retention { max_percent: 50, ..RETENTION }).await;
    append(&log, "r", 10, Terms::default()).await.unwrap();
    redis.command(&format!("CONFIG SET maxmemory {}", (used(&redis).await + KEPT) * 2)).await;
    a_full_log_refuses_and_takes_again_what_fits(&log, &log.budget()).await;
    let log = redis_log(&redis.url(), &redis, "bytes", retention(used(&redis).await + KEPT)).await;
    redis.command("CONFIG SET maxmemory 0").await;
    a_full_log_refuses_and_takes_again_what_fits(&log, &log.budget()).await;
    assert!(!redis.command("INFO errorstats").await.contains("OOM"));
}

#[tokio::test]
async fn what_redis_itself_refuses_is_refused_as_full_and_leaves_nothing() {
    let redis = Redis::start().await;
    redis.command("ACL SETUSER blind on >secret ~* &* +@all -info -config").await;
    let blind = redis.url().replace("redis://", "redis://blind:secret@");
    for (url, prefix) in [(redis.url(), "seeing"), (blind, "blind")] {
        let log = redis_log(&url, &redis, prefix, RETENTION).await;
        let first = append(&log, "r", 10, Terms::default()).await.unwrap().position.offset;
        redis.command("CONFIG SET maxmemory 1").await;
        eventually("Redis refuses", || async { append(&log, "r", 10, Terms::default()).await.is_err() }).await;
        let key = Dedupe("u:alice:4".into());
        for _ in 0..3 {
            let refused = append(&log, "r", 10, Terms::once(&key)).await.unwrap_err();
            assert!(matches!(refused, AppendError::Full), "{refused}");
        }
        redis.command("CONFIG SET maxmemory 0").await;
        let appended = || async { append(&log, "r", 10, Terms::once(&key)).await.is_ok_and(|it| !it.duplicate) };
        eventually("it takes again what it refused", appended).await;
        let range = Range::After { offset: first, limit: 10 };
        assert_eq!(log.read(&room("r"), range, usize::MAX).await.unwrap().events.len(), 1, "once");
    }
}

#[tokio::test]
async fn a_usual_append_asks_redis_for_nothing_more() {
    let redis = Redis::start().await;
    let retention = Retention { room_bytes: 1 << 30, ..RETENTION };
    let log = redis_log(&redis.url(), &redis, "calls", retention).await;
    append(&log, "r", 100, Terms::default()).await.unwrap();
    redis.command("CONFIG RESETSTAT").await;
    let known = Terms { known_room: true, ..Terms::default() };
    for _ in 0..200 {
        append(&log, "r", 100, known).await.unwrap();
    }
    let stats = redis.command("INFO commandstats").await;
    let calls = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
        line.map_or(0, |line| line.split_once(',').unwrap().0.parse::<u32>().unwrap())
    };
    for (name, expected) in [("mget", 200), ("xadd", 200), ("pexpire", 200), ("publish", 200)] {
        assert_eq!(calls(name), expected, "{name}");
    }
    // The counter and the key, and now and then the clock's tick.
    assert!((400..420).contains(&calls("set")), "{}", calls("set"));
    assert_eq!((calls("exists"), calls("xlen"), calls("memory|usage")), (0, 0, 0));
}
