//! What the log in Redis does when another process of Redis goes on: nothing if all is there, and a new history if what nodes
//! wrote is gone, whether or not they live to say so.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use gateway_core::bus::RedisBus;
use gateway_core::domain::{Event, Offset, Pid, RoomName, SessionId, UserId};
use gateway_core::formats::{Format, Formats};
use gateway_core::log::{FeedItem, Log, Page, Range, RedisLog, Retention, Terms};
use gateway_core::metrics::Metrics;
use gateway_core::redis::Commands;
use gateway_core::sessions::{Lease, Record, RedisSessions, Sessions, Whose};
use gateway_core::supervisor::Supervisor;
use tokio::time::Instant;

use crate::support;
use crate::support::redis::Redis;

const RETENTION: Retention = Retention::of_events(200, Duration::from_secs(3600), Duration::from_secs(600));

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

pub(crate) async fn node(redis: &Redis) -> RedisLog {
    node_with_sessions(redis).await.0
}

async fn node_with_sessions(redis: &Redis) -> (RedisLog, RedisSessions) {
    node_at(&redis.url()).await
}

pub(crate) async fn node_at(url: &str) -> (RedisLog, RedisSessions) {
    let settings = support::config(&[]).redis;
    let bus = RedisBus::connect(url, &settings, Arc::new(Metrics::new()), &Supervisor::default()).await.unwrap();
    let (bus, commands) = (Arc::new(bus), Commands::new(url, &settings).unwrap());
    let log = RedisLog::new(commands.clone(), bus.clone(), "restarts", RETENTION, settings.feed_buffer);
    let (window, formats) = (Duration::from_secs(60), Formats::new(Format::NEWEST));
    let sessions = RedisSessions::new(commands, bus, "restarts", window, formats, log.history());
    (log, sessions)
}

/// What is stored of a session of alice's.
fn record(version: u32) -> Record {
    let (user, session) = (UserId::parse("alice"), SessionId::random());
    let (rooms, names, namespace) = (Vec::new(), Vec::new(), "/".to_owned());
    let (identified, handed, complete_to, term) = (None, Offset::START, Offset::START, 0);
    Record { session, user, version, rooms, namespace, identified, names, handed, complete_to, term }
}

pub(crate) async fn append(log: &RedisLog) -> Offset {
    let event = Event { name: "message".into(), args: "[1]".into(), attachments: Vec::new(), except: None, at_ms: 1 };
    let deadline = Instant::now() + support::PATIENCE;
    loop {
        match log.append(&room("r"), &event, Terms::default()).await {
            Ok(appended) => return appended.position.offset,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn mark(log: &RedisLog) {
    let deadline = Instant::now() + support::PATIENCE;
    while let Err(error) = log.mark(&room("canary"), 1).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn page(log: &RedisLog) -> Page {
    let deadline = Instant::now() + support::PATIENCE;
    loop {
        match log.read(&room("r"), Range::Newest { before: None, limit: 100 }, usize::MAX).await {
            Ok(page) => return page,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_redis_that_restarts_without_a_loss_keeps_its_history_once_all_have_vouched() {
    let mut redis = Redis::start().await;
    let (one, two) = (node(&redis).await, node(&redis).await);
    for log in [&one, &two] {
        mark(log).await;
    }
    let last = append(&one).await.max(append(&two).await);
    let before = page(&one).await;
    redis.kill();
    redis.start_again().await;
    mark(&one).await;
    let meanwhile = page(&one).await;
    assert_eq!(meanwhile.head.epoch, before.head.epoch);
    let in_doubt_before = meanwhile.in_doubt_before.expect("the other node has not vouched");
    assert!(last < in_doubt_before && append(&one).await < in_doubt_before, "also what is given out meanwhile");
    mark(&two).await;
    let settled = page(&one).await;
    assert_eq!((settled.head.epoch, settled.in_doubt_before, settled.began), (before.head.epoch, None, before.began));
    assert!(settled.reaches_back_to(last) && settled.events.len() == 3);
}

/// Two nodes whose Redis has lost what one of them wrote, and goes on.
struct PowerCut {
    redis: Redis,
    /// Whose event is gone.
    one: RedisLog,
    two: RedisLog,
    before: Page,
    lost: Offset,
}

impl PowerCut {
    async fn suffer() -> Self {
        let mut redis = Redis::start().await;
        let (one, two) = (node(&redis).await, node(&redis).await);
        for log in [&one, &two] {
            mark(log).await;
        }
        append(&two).await;
        let (disk, before) = (redis.on_disk(), page(&two).await);
        let lost = append(&one).await;
        redis.kill();
        redis.go_back(&disk);
        redis.start_again().await;
        Self { redis, one, two, before, lost }
    }
}

#[tokio::test]
async fn a_survivor_that_knows_more_tells_of_the_loss_although_others_wrote_first() {
    let PowerCut { redis: _redis, one, two, before, lost } = PowerCut::suffer().await;
    // This one knows of no loss, and moves the position beyond what the other knows.
    mark(&two).await;
    assert!(append(&two).await > lost, "no offset is given twice");
    assert_eq!(page(&two).await.head.epoch, before.head.epoch);
    mark(&one).await;
    let after = page(&two).await;
    assert_ne!(after.head.epoch, before.head.epoch);
    assert!(after.began > lost && !after.reaches_back_to(lost));
    assert_eq!(after.in_doubt_before, None);
}

#[tokio::test]
async fn what_was_heard_and_is_gone_is_told_of_by_who_heard_it() {
    let mut redis = Redis::start().await;
    let (one, two) = (node(&redis).await, node(&redis).await);
    let mut feed = two.feed();
    two.subscribe(&room("r")).await.unwrap();
    mark(&two).await;
    let (disk, before) = (redis.on_disk(), page(&two).await);
    // Its writer is on no list and does not survive.
    let lost = append(&one).await;
    let heard = feed.next().await.unwrap();
    assert!(matches!(heard, FeedItem::Event { position, .. } if position.offset == lost), "{heard:?}");
    drop(one);
    redis.kill();
    redis.go_back(&disk);
    redis.start_again().await;
    mark(&two).await;
    assert_ne!(page(&two).await.head.epoch, before.head.epoch);
}

/// What one node does last, and Redis forgets: nothing is appended before or after it.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Save,
    Forget,
}

async fn what_sessions_lost_is_noticed(deed: Deed, is_survived: bool) {
    let mut redis = Redis::start().await;
    let ((one, writes), (two, _)) = (node_with_sessions(&redis).await, node_with_sessions(&redis).await);
    for log in [&one, &two] {
        mark(log).await;
    }
    let (lease, first) = (Lease::new(Pid::random()), record(1));
    assert!(writes.save(lease, &first).await.unwrap());
    let (disk, before) = (redis.on_disk(), page(&two).await);
    match deed {
        Deed::Save => assert!(writes.save(lease, &Record { version: 2, ..first.clone() }).await.unwrap()),
        Deed::Forget => assert_eq!(writes.forget(&Whose::Session(first.session)).await.unwrap(), 1),
    }
    let survivor = is_survived.then_some((one, writes));
    redis.kill();
    redis.go_back(&disk);
    redis.start_again().await;
    let deadline = Instant::now() + support::PATIENCE;
    let after = loop {
        for log in [Some(&two), survivor.as_ref().map(|(log, _)| log)].into_iter().flatten() {
            mark(log).await;
        }
        let after = page(&two).await;
        if after.head.epoch != before.head.epoch {
            break after;
        }
        assert!(Instant::now() < deadline, "{deed:?}: nobody noticed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    // What is there now was not the last of it, and says so.
    let (_, reads) = node_with_sessions(&redis).await;
    let claimed = reads.claim(Lease::new(lease.pid), "/", first.user.as_ref()).await.unwrap().unwrap();
    assert_eq!(claimed.record.version, 1);
    assert!(claimed.kept_at.is_some_and(|kept_at| kept_at < after.began), "{claimed:?}, {after:?}");
    let lease = Lease::new(Pid::random());
    assert!(reads.save(lease, &first).await.unwrap());
    let claimed = reads.claim(lease, "/", first.user.as_ref()).await.unwrap().unwrap();
    assert!(claimed.kept_at.is_some_and(|kept_at| kept_at > after.began), "{claimed:?}, {after:?}");
}

#[tokio::test]
async fn a_save_that_is_gone_is_told_of_by_who_saved() {
    what_sessions_lost_is_noticed(Deed::Save, true).await;
}

#[tokio::test]
async fn an_end_that_is_gone_is_told_of_by_who_ended() {
    what_sessions_lost_is_noticed(Deed::Forget, true).await;
}

#[tokio::test]
async fn a_save_that_is_gone_is_noticed_although_who_saved_is_gone_too() {
    what_sessions_lost_is_noticed(Deed::Save, false).await;
}

#[tokio::test]
async fn saves_that_are_all_there_are_no_loss() {
    let mut redis = Redis::start().await;
    let (log, sessions) = node_with_sessions(&redis).await;
    mark(&log).await;
    let before = page(&log).await;
    let (lease, record) = (Lease::new(Pid::random()), record(1));
    assert!(sessions.save(lease, &record).await.unwrap());
    redis.kill();
    redis.start_again().await;
    mark(&log).await;
    let after = page(&log).await;
    assert_eq!((after.head.epoch, after.in_doubt_before), (before.head.epoch, None));
    let claimed = sessions.claim(Lease::new(lease.pid), "/", record.user.as_ref()).await.unwrap().unwrap();
    assert!(claimed.kept_at.is_some_and(|kept_at| kept_at >= after.began));
}

#[tokio::test]
async fn a_doubt_that_another_restart_interrupts_is_not_forgotten() {
    let PowerCut { mut redis, one, two, before, lost } = PowerCut::suffer().await;
    mark(&two).await;
    assert!(page(&two).await.in_doubt_before.is_some(), "the other node has not vouched");
    // It ends before it can, with this Redis; and the next one knows of writers only what came after.
    drop(one);
    redis.kill();
    redis.start_again().await;
    mark(&two).await;
    let after = page(&two).await;
    assert_ne!(after.head.epoch, before.head.epoch);
    assert!(after.began > lost && !after.reaches_back_to(lost));
}

#[tokio::test]
async fn where_no_node_survives_nobody_vouches_and_a_new_history_begins() {
    let mut redis = Redis::start().await;
    let log = node(&redis).await;
    mark(&log).await;
    let kept = append(&log).await;
    let disk = redis.on_disk();
    let lost = append(&log).await;
    let before = page(&log).await;
    drop(log);
    redis.kill();
    redis.go_back(&disk);
    redis.start_again().await;
    let log = node(&redis).await;
    let new = append(&log).await;
    assert!(new > lost, "no offset is given twice");
    let doubted = page(&log).await;
    assert!(doubted.in_doubt_before.is_some_and(|before| lost < before && new < before), "{doubted:?}");
    // After a time that nobody can have missed who lives.
    let deadline = Instant::now() + support::PATIENCE;
    while page(&log).await.head.epoch == before.head.epoch {
        assert!(Instant::now() < deadline, "nobody gives up waiting");
        mark(&log).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let after = page(&log).await;
    assert!(after.began > new && !after.reaches_back_to(kept) && !after.reaches_back_to(lost));
    assert!(
        !after.reaches_back_to(new),
        "for all that is known, the process before went on for somebody when this one began"
    );
    let next = append(&log).await;
    assert!(after.in_doubt_before.is_none() && page(&log).await.reaches_back_to(next), "what comes now is whole");
}

#[tokio::test]
async fn nodes_that_ended_in_order_need_not_vouch() {
    let mut redis = Redis::start().await;
    let log = node(&redis).await;
    mark(&log).await;
    let last = append(&log).await;
    let before = page(&log).await;
    log.close().await;
    drop(log);
    redis.stop().await;
    redis.start_again().await;
    let log = node(&redis).await;
    mark(&log).await;
    let after = page(&log).await;
    assert_eq!((after.head.epoch, after.in_doubt_before), (before.head.epoch, None));
    assert!(after.reaches_back_to(last));
}

#[tokio::test]
async fn a_record_of_an_earlier_version_goes_on() {
    let redis = Redis::start().await;
    redis.command("SET restarts:log:epoch 00000000000000ab:1700000000000000").await;
    redis.command("SET restarts:log:offset 1700000000000005").await;
    let log = node(&redis).await;
    let page = page(&log).await;
    assert_eq!((page.head.epoch.to_string().as_str(), page.began), ("00000000000000ab", Offset(1_700_000_000_000_000)));
    assert!(page.in_doubt_before.is_none() && page.head.offset == Offset(1_700_000_000_000_005));
    mark(&log).await;
    let epoch = append(&log).await;
    assert!(epoch > page.head.offset);
}
