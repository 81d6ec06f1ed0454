//! The contract of the revocations, run against every backend.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::BoxStream;
use gateway_core::bus::{Bus, RedisBus};
use gateway_core::domain::UserId;
use gateway_core::metrics::Metrics;
use gateway_core::port::{ErrorKind, Port};
use gateway_core::redis::Commands;
use gateway_core::revocations::{
    MemoryRevocations, News, RedisRevocations, Revocation, Revocations, SqliteRevocations, Subject,
};
use gateway_core::supervisor::Supervisor;

use crate::support;
use crate::support::redis::Redis;

/// So many do not fit into one page of any backend.
const MANY: u64 = 2_500;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn token(id: &str, until: u64) -> Revocation {
    Revocation { subject: Subject::Token { token: id.into() }, until }
}

fn user(name: &str, before: u64, until: u64) -> Revocation {
    Revocation { subject: Subject::User { user: UserId::parse(name).unwrap(), before }, until }
}

/// As texts, which have an order.
fn texts<'a>(revocations: impl IntoIterator<Item = &'a Revocation>) -> BTreeSet<String> {
    revocations.into_iter().map(|revocation| serde_json::to_string(revocation).unwrap()).collect()
}

async fn all(store: &dyn Revocations) -> BTreeSet<String> {
    let all = store.all().await.unwrap();
    let texts = texts(&all);
    assert_eq!(texts.len(), all.len(), "each is there once");
    texts
}

/// The next change that is not a gap.
async fn heard(changes: &mut BoxStream<'static, News>) -> Revocation {
    loop {
        let change = tokio::time::timeout(support::PATIENCE, changes.next()).await.expect("nothing was heard").unwrap();
        if let News::Added(revocation) = change {
            return revocation;
        }
    }
}

async fn what_was_added_is_there_for_all(one: &dyn Revocations, two: &dyn Revocations) {
    let until = now() + 1_000;
    let awkward = ["", ":", "t:x", "u:x", "a:b:c", "1:2:3", "\0\n\"'\\", "été 🦀", "x".repeat(8_192).as_str()]
        .map(|id| token(id, until));
    let users = ["alice", "t:alice", "a:b:c", "Ünï 🦀"].map(|name| user(name, 17, until));
    for revocation in awkward.iter().chain(&users) {
        one.add(revocation).await.unwrap();
    }
    assert_eq!(all(two).await, texts(awkward.iter().chain(&users)));
    assert_eq!(all(two).await, all(one).await, "reading takes nothing away");
}

async fn the_later_times_count(one: &dyn Revocations, two: &dyn Revocations) {
    let (near, far) = (now() + 1_000, now() + 9_000);
    for (revocation, expected) in [
        (user("bob", 50, near), user("bob", 50, near)),
        (user("bob", 40, far), user("bob", 50, far)),
        (user("bob", 60, near), user("bob", 60, far)),
        (token("t", far), token("t", far)),
        (token("t", near), token("t", far)),
    ] {
        one.add(&revocation).await.unwrap();
        assert!(all(two).await.is_superset(&texts([&expected])), "{expected:?} after {revocation:?}");
    }
}

async fn what_is_over_is_forgotten(one: &dyn Revocations, two: &dyn Revocations) {
    let gone = [token("old", now()), user("old", 5, now() - 5)];
    for revocation in &gone {
        one.add(revocation).await.unwrap();
    }
    for store in [two, one] {
        assert!(all(store).await.is_disjoint(&texts(&gone)));
    }
}

async fn many_are_read_whole(one: &dyn Revocations, two: &dyn Revocations) {
    let many: Vec<_> = (0..MANY).map(|number| token(&format!("many {number}"), now() + 1_000 + number)).collect();
    for batch in many.chunks(100) {
        let added = join_all(batch.iter().map(|revocation| one.add(revocation))).await;
        added.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    }
    assert!(all(two).await.is_superset(&texts(&many)));
}

async fn everybody_is_told(one: &dyn Revocations, two: &dyn Revocations, listeners: &mut [BoxStream<'static, News>]) {
    let until = now() + 1_000;
    let added = [token("told", until), user("carol", 9, until), token("a:b", until)];
    one.add(&added[0]).await.unwrap();
    two.add(&added[1]).await.unwrap();
    one.add(&added[2]).await.unwrap();
    for listener in listeners {
        let mut told = Vec::new();
        for _ in &added {
            told.push(heard(listener).await);
        }
        assert_eq!(texts(&told), texts(&added));
    }
}

async fn the_contract_of_listeners(
    one: &dyn Revocations,
    two: &dyn Revocations,
    mut listeners: Vec<BoxStream<'static, News>>,
) {
    assert_eq!(all(one).await, BTreeSet::new());
    everybody_is_told(one, two, &mut listeners).await;
    drop(listeners);
    for store in [one, two] {
        assert!(store.changes().next().await.is_none(), "it is taken once");
    }
}

async fn the_contract_of_the_store(one: &dyn Revocations, two: &dyn Revocations) {
    what_was_added_is_there_for_all(one, two).await;
    the_later_times_count(one, two).await;
    what_is_over_is_forgotten(one, two).await;
    many_are_read_whole(one, two).await;
}

#[tokio::test]
async fn memory() {
    let store = MemoryRevocations::default();
    the_contract_of_the_store(&store, &store).await;
    let store = MemoryRevocations::default();
    the_contract_of_listeners(&store, &store, vec![store.changes()]).await;
}

#[tokio::test]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteRevocations::open(&folder.path().join("a/revocations.sqlite")).await.unwrap();
    the_contract_of_the_store(&store, &store).await;
    let store = SqliteRevocations::open(&folder.path().join("b/revocations.sqlite")).await.unwrap();
    the_contract_of_listeners(&store, &store, vec![store.changes()]).await;
}

#[tokio::test]
async fn revocations_in_a_file_survive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revocations.sqlite");
    let store = SqliteRevocations::open(&path).await.unwrap();
    let kept = [token("t", now() + 1_000), user("alice", 5, now() + 1_000)];
    for revocation in &kept {
        store.add(revocation).await.unwrap();
    }
    let second = SqliteRevocations::open(&path).await.unwrap_err().to_string();
    assert!(second.contains("in use by another process"), "{second}");
    drop(store);
    let store = SqliteRevocations::open(&path).await.unwrap();
    assert_eq!(all(&store).await, texts(&kept));
    store.close().await;
    assert!(store.all().await.is_err() && store.add(&kept[0]).await.is_err(), "it is closed");
    SqliteRevocations::open(&path).await.unwrap();
}

#[tokio::test]
async fn who_listens_too_slowly_is_told_of_a_gap() {
    let store = MemoryRevocations::default();
    let mut changes = store.changes();
    for number in 0..5_000 {
        store.add(&token(&number.to_string(), now() + 1_000)).await.unwrap();
    }
    let mut heard = 0;
    while heard < 4_096 {
        assert!(matches!(changes.next().await, Some(News::Added(_))));
        heard += 1;
    }
    store.add(&token("one more", now() + 1_000)).await.unwrap();
    assert_eq!(changes.next().await, Some(News::Gap));
    let last = token("the last", now() + 1_000);
    store.add(&last).await.unwrap();
    assert_eq!(changes.next().await, Some(News::Added(last)));
}

async fn redis_revocations(redis: &Redis, prefix: &str) -> (RedisRevocations, Arc<RedisBus>) {
    let settings = support::config(&[]).redis;
    let bus =
        RedisBus::connect(&redis.url(), &settings, Arc::new(Metrics::new()), &Supervisor::default()).await.unwrap();
    let (bus, commands) = (Arc::new(bus), Commands::new(&redis.url(), &settings).unwrap());
    (RedisRevocations::new(commands, bus.clone(), prefix), bus)
}

async fn listens(bus: &RedisBus, channel: &str, nodes: usize) {
    let all = || async { bus.subscribers(channel).await.is_ok_and(|listeners| listeners == nodes) };
    support::eventually("all listen", all).await;
}

#[tokio::test]
async fn redis() {
    let redis = Redis::start().await;
    let (one, bus) = redis_revocations(&redis, "shared").await;
    let (two, _other) = redis_revocations(&redis, "shared").await;
    let listeners = vec![one.changes(), two.changes()];
    listens(&bus, "shared:revocations", 2).await;
    the_contract_of_listeners(&one, &two, listeners).await;
    let (stranger, _) = redis_revocations(&redis, "other").await;
    assert_eq!(all(&stranger).await, BTreeSet::new(), "deployments are apart");
    let (one, _bus) = redis_revocations(&redis, "store").await;
    let (two, _other) = redis_revocations(&redis, "store").await;
    the_contract_of_the_store(&one, &two).await;
}

#[tokio::test]
async fn redis_forgets_with_the_last_revocation() {
    let redis = Redis::start().await;
    let (store, _bus) = redis_revocations(&redis, "p").await;
    store.add(&token("short", now() + 100)).await.unwrap();
    store.add(&token("long", now() + 5_000)).await.unwrap();
    store.add(&token("shorter", now() + 50)).await.unwrap();
    let left: u64 = redis.command("TTL p:revocations").await.trim().trim_start_matches(':').parse().unwrap();
    assert!((4_900..=5_000).contains(&left), "{left}");
    // What is over is removed when it is read, and what another version wrote is left alone.
    redis.command(&format!("HSET p:revocations t:over 0:{} x:new 0:{}", now() - 1, now() + 50)).await;
    assert_eq!(all(&store).await.len(), 3);
    assert_eq!(redis.command("HEXISTS p:revocations t:over").await, ":0\r\n");
    assert_eq!(redis.command("HEXISTS p:revocations x:new").await, ":1\r\n");
}

#[tokio::test]
async fn revocations_that_something_else_stands_in_place_of_stay_so() {
    let redis = Redis::start().await;
    let (store, _bus) = redis_revocations(&redis, "bad").await;
    redis.command("SET bad:revocations occupied").await;
    for error in [store.all().await.unwrap_err(), store.add(&token("t", now() + 100)).await.unwrap_err()] {
        assert_eq!((error.port, error.kind), (Port::Revocations, ErrorKind::Permanent), "{error}");
    }
}

#[tokio::test]
async fn listeners_hear_of_a_gap_as_soon_as_redis_is_there() {
    let mut redis = Redis::start().await;
    let (store, bus) = redis_revocations(&redis, "late").await;
    redis.stop().await;
    let mut changes = store.changes();
    let error = store.add(&token("t", now() + 100)).await.unwrap_err();
    assert_eq!((error.port, error.kind), (Port::Revocations, ErrorKind::Transient), "{error}");
    redis.start_again().await;
    listens(&bus, "late:revocations", 1).await;
    let first = tokio::time::timeout(Duration::from_secs(20), changes.next()).await.unwrap();
    assert_eq!(first, Some(News::Gap), "what was added before is to be read");
    store.add(&token("t", now() + 100)).await.unwrap();
    assert!(matches!(heard(&mut changes).await.subject, Subject::Token { .. }));
}
