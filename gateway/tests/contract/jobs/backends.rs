//! Every backend of jobs.

use std::time::Duration;

use gateway_core::jobs::{Jobs, Kept, MemoryJobs, Part, Queues, SqliteJobs, State};
use gateway_core::port::{ErrorKind, Port};
use gateway_core::redis::Commands;
use gateway_work::bullmq::BullJobs;

use super::bench::{Backend, Done, Store, at_once, doing, end, id, named, queue, state_becomes};
use super::{many, the_contract};
use crate::support;
use crate::support::redis::Redis;

pub(crate) fn memory_of(kept: Kept) -> Backend {
    Backend::shared(Store::of(MemoryJobs::new(kept)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory() {
    the_contract(&memory_of(many::ALL)).await;
    many::the_last_are_kept(&memory_of(many::FIVE)).await;
    many::for_a_time_they_are_kept(&memory_of(many::TWO_SECONDS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_in_memory() {
    many::very_many_wait(&memory_of(many::ALL)).await;
}

async fn sqlite_of(folder: &std::path::Path, kept: Kept) -> Backend {
    let path = folder.join(format!("{}.sqlite", kept.most));
    Backend::shared(Store::of(SqliteJobs::open(&path, kept).await.unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    the_contract(&sqlite_of(folder.path(), many::ALL).await).await;
    many::the_last_are_kept(&sqlite_of(folder.path(), many::FIVE).await).await;
    many::for_a_time_they_are_kept(&sqlite_of(folder.path(), many::TWO_SECONDS).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    many::very_many_wait(&sqlite_of(folder.path(), many::ALL).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_in_a_file_survive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let (path, queue) = (folder.path().join("a/jobs.sqlite"), queue("q"));
    let store = SqliteJobs::open(&path, many::ALL).await.unwrap();
    for name in ["runs", "waits"] {
        store.enqueue(&queue, &named(name)).await.unwrap();
    }
    let worker = store.work(&queue, &at_once(1), doing(|_| std::future::pending())).await.unwrap();
    state_becomes(&Store::of(store.clone()), &queue, &id("runs"), State::Active).await;
    let refused = SqliteJobs::open(&path, many::ALL).await.unwrap_err();
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    // Its process ends: nobody says so to the file, and the lease would run for some time.
    drop(worker);
    store.close().await;
    let error = store.enqueue(&queue, &named("late")).await.unwrap_err();
    assert_eq!((error.port, error.kind), (Port::Jobs, ErrorKind::Transient), "{error}");
    drop(store);
    let store = SqliteJobs::open(&path, many::ALL).await.unwrap();
    let (done, begun) = (Done::default(), tokio::time::Instant::now());
    let worker = store.work(&queue, &at_once(1), done.handler()).await.unwrap();
    done.reach(2).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "what ran is due at once: {:?}", begun.elapsed());
    let all = Store::of(store.clone());
    assert_eq!(state_becomes(&all, &queue, &id("runs"), State::Completed).await.job.lost, 1);
    assert_eq!(state_becomes(&all, &queue, &id("waits"), State::Completed).await.job.lost, 0);
    end(worker).await;
    assert_eq!(store.survey().await.unwrap().len(), 1);
}

/// What others begin keys with, so that all of it is checked.
const QUEUES: &str = "bull";

pub(crate) fn bull(url: &str, kept: Kept) -> BullJobs {
    let settings = support::config(&[]).redis;
    let commands = Commands::new(url, &settings).unwrap();
    BullJobs::new(commands, &settings.prefix, QUEUES, kept).unwrap().traced()
}

fn redis_of(redis: &Redis, kept: Kept) -> Backend {
    let url = redis.url();
    Backend::opened_by(move || Store::of(bull(&url, kept)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis() {
    let redis = Redis::start().await;
    the_contract(&redis_of(&redis, many::ALL)).await;
    many::the_last_are_kept(&redis_of(&redis, many::FIVE)).await;
    many::for_a_time_they_are_kept(&redis_of(&redis, many::TWO_SECONDS)).await;
    // Nothing was left under other names than those that are documented.
    let strange = b"for _, key in ipairs(redis.call('KEYS', '*')) do
        if key:sub(1, 5) ~= 'bull:' and key ~= 'gateway:queues' then return key end
    end
    return 'none'";
    assert_eq!(redis.send(&[b"EVAL", strange, b"0"]).await, "$4\r\nnone\r\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_in_redis() {
    let redis = Redis::start().await;
    many::very_many_wait(&redis_of(&redis, many::ALL)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_goes_away_and_comes_back() {
    let mut redis = Redis::start().await;
    let (store, queue) = (redis_of(&redis, many::ALL).open().await, queue("q"));
    let done = Done::default();
    let worker = store.jobs.work(&queue, &at_once(2), done.handler()).await.unwrap();
    store.jobs.enqueue(&queue, &named("before")).await.unwrap();
    done.reach(1).await;
    state_becomes(&store, &queue, &id("before"), State::Completed).await;
    redis.stop().await;
    for error in [
        store.jobs.enqueue(&queue, &named("away")).await.unwrap_err(),
        store.queues.survey().await.unwrap_err(),
        store.queues.find(&queue, &id("before")).await.unwrap_err(),
    ] {
        assert_eq!((error.port, error.kind), (Port::Jobs, ErrorKind::Transient), "{error}");
    }
    // Who begins meanwhile waits for it.
    let late = bull(&redis.url(), many::ALL).work(&queue, &at_once(2), done.handler()).await.unwrap();
    redis.start_again().await;
    crate::support::eventually("it can be enqueued", || async {
        store.jobs.enqueue(&queue, &named("after")).await.is_ok()
    })
    .await;
    done.reach(2).await;
    state_becomes(&store, &queue, &id("after"), State::Completed).await;
    assert_eq!(done.kinds(), ["before", "after"]);
    end(late).await;
    end(worker).await;
}

#[tokio::test]
async fn names_that_redis_cannot_have_and_keys_of_others() {
    let redis = Redis::start().await;
    let commands = || Commands::new(&redis.url(), &support::config(&[]).redis).unwrap();
    for queues in ["", "a:b"] {
        let refused = BullJobs::new(commands(), "gateway", queues, many::ALL).unwrap_err();
        assert_eq!((refused.port, refused.kind), (Port::Jobs, ErrorKind::Permanent));
    }
    assert_eq!(BullJobs::prefix("{a}:b"), "{a}-b-jobs");
    let store = bull(&redis.url(), many::ALL);
    // Who only looks makes nothing.
    let nobody = queue("nobody's");
    assert!(store.find(&nobody, &id("x")).await.unwrap().is_none());
    assert!(store.list(&nobody, State::Failed, Part { skip: 0, most: 9 }).await.unwrap().is_empty());
    assert_eq!(redis.command("DBSIZE").await.trim(), ":0");
    redis.command("SET bull:q:wait occupied").await;
    let error = store.enqueue(&queue("q"), &named("x")).await.unwrap_err();
    assert_eq!((error.port, error.kind), (Port::Jobs, ErrorKind::Permanent), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_the_gateway_is_to_redis_holds_for_jobs() {
    let redis = Redis::start_with(&["--requirepass", "p@ss/w#rd:?"]).await;
    let url = |login: &str, database: u8| format!("redis://{login}@127.0.0.1:{}/{database}", redis.port());
    let wrong = bull(&url(":wrong", 0), many::ALL);
    assert_eq!(wrong.enqueue(&queue("q"), &named("x")).await.unwrap_err().kind, ErrorKind::Permanent);
    let store = Store::of(bull(&url(":p%40ss%2Fw%23rd%3A%3F", 3), many::ALL));
    let (queue, done) = (queue("q"), Done::default());
    store.jobs.enqueue(&queue, &named("x")).await.unwrap();
    let worker = store.jobs.work(&queue, &at_once(1), done.handler()).await.unwrap();
    state_becomes(&store, &queue, &id("x"), State::Completed).await;
    end(worker).await;
}
