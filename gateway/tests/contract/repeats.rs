//! The contract of the repeats, run against every backend.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gateway_core::port::{ErrorKind, Port};
use gateway_core::redis::Commands;
use gateway_core::repeats::{Begun, LEASE, MemoryRepeats, RedisRepeats, Repeat, Repeats, SqliteRepeats};

use crate::support::redis::Redis;
use crate::support::{self, eventually};

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(300);

fn repeat(name: &str, print: &str, run: u64) -> Repeat {
    Repeat { name: name.to_owned(), print: print.to_owned(), run }
}

async fn one_does_it_and_all_learn_what_came_of_it(one: &dyn Repeats, two: &dyn Repeats) {
    let (mine, theirs) = (repeat("a", "p", 1), repeat("a", "p", 2));
    assert_eq!(one.begin(&mine).await.unwrap(), Begun::New);
    assert_eq!(two.begin(&theirs).await.unwrap(), Begun::Running);
    assert_eq!(two.begin(&repeat("a", "q", 3)).await.unwrap(), Begun::Different);
    let answer = [0, 159, 146, 150, b'\n'];
    one.finish(&mine, &answer).await.unwrap();
    for store in [one, two] {
        assert_eq!(store.begin(&theirs).await.unwrap(), Begun::Done(answer.to_vec()));
        assert_eq!(store.begin(&repeat("a", "q", 3)).await.unwrap(), Begun::Different);
    }
    assert_eq!(one.begin(&repeat("b", "p", 1)).await.unwrap(), Begun::New, "each name for itself");
    let empty = repeat("empty", "p", 1);
    assert_eq!(one.begin(&empty).await.unwrap(), Begun::New);
    one.finish(&empty, &[]).await.unwrap();
    assert_eq!(two.begin(&empty).await.unwrap(), Begun::Done(Vec::new()), "nothing is an answer, too");
}

async fn of_a_hundred_one_does_it(one: &dyn Repeats, two: &dyn Repeats) {
    let all = (0..100).map(|run| async move {
        let store = if run % 2 == 0 { one } else { two };
        store.begin(&repeat("crowd", "p", run)).await.unwrap()
    });
    let begun = join_all(all).await;
    assert_eq!(begun.iter().filter(|begun| **begun == Begun::New).count(), 1);
    assert_eq!(begun.iter().filter(|begun| **begun == Begun::Running).count(), 99);
}

async fn what_is_given_up_may_be_done_anew(one: &dyn Repeats, two: &dyn Repeats) {
    let (first, second) = (repeat("up", "p", 1), repeat("up", "q", 2));
    assert_eq!(one.begin(&first).await.unwrap(), Begun::New);
    one.give_up(&first).await.unwrap();
    assert_eq!(two.begin(&second).await.unwrap(), Begun::New, "also by another request");
    // Late, they change nothing.
    one.finish(&first, b"late").await.unwrap();
    one.give_up(&first).await.unwrap();
    assert_eq!(one.begin(&repeat("up", "q", 3)).await.unwrap(), Begun::Running);
    two.finish(&second, b"done").await.unwrap();
    two.give_up(&second).await.unwrap();
    assert_eq!(one.begin(&second).await.unwrap(), Begun::Done(b"done".to_vec()), "what is finished stays");
}

async fn the_contract(one: &dyn Repeats, two: &dyn Repeats) {
    one_does_it_and_all_learn_what_came_of_it(one, two).await;
    of_a_hundred_one_does_it(one, two).await;
    what_is_given_up_may_be_done_anew(one, two).await;
}

/// With a store that keeps answers for a short time.
async fn the_time_is_over(store: &dyn Repeats) {
    let kept = repeat("kept", "p", 1);
    assert_eq!(store.begin(&kept).await.unwrap(), Begun::New);
    store.finish(&kept, b"x").await.unwrap();
    eventually("the name is free", || async { store.begin(&repeat("kept", "other", 2)).await.unwrap() == Begun::New })
        .await;
}

#[tokio::test]
async fn memory() {
    let store = MemoryRepeats::new(LONG);
    the_contract(&store, &store).await;
    the_time_is_over(&MemoryRepeats::new(SHORT)).await;
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_for_so_long_has_ended() {
    let store = MemoryRepeats::new(LONG);
    let (gone, next) = (repeat("a", "p", 1), repeat("a", "p", 2));
    assert_eq!(store.begin(&gone).await.unwrap(), Begun::New);
    tokio::time::advance(LEASE - Duration::from_millis(1)).await;
    assert_eq!(store.begin(&next).await.unwrap(), Begun::Running);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(store.begin(&next).await.unwrap(), Begun::New);
    store.finish(&gone, b"late").await.unwrap();
    assert_eq!(store.begin(&gone).await.unwrap(), Begun::Running);
}

#[tokio::test]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteRepeats::open(&folder.path().join("a/repeats.sqlite"), LONG).await.unwrap();
    the_contract(&store, &store).await;
    let short = SqliteRepeats::open(&folder.path().join("b/repeats.sqlite"), SHORT).await.unwrap();
    the_time_is_over(&short).await;
}

#[tokio::test]
async fn answers_in_a_file_survive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repeats.sqlite");
    let store = SqliteRepeats::open(&path, LONG).await.unwrap();
    let done = repeat("a", "p", 1);
    store.begin(&done).await.unwrap();
    store.finish(&done, b"x").await.unwrap();
    assert!(SqliteRepeats::open(&path, LONG).await.unwrap_err().to_string().contains("in use by another process"));
    drop(store);
    let store = SqliteRepeats::open(&path, LONG).await.unwrap();
    assert_eq!(store.begin(&repeat("a", "p", 2)).await.unwrap(), Begun::Done(b"x".to_vec()));
    store.close().await;
    assert_eq!(store.begin(&done).await.unwrap_err().port, Port::Repeats);
    SqliteRepeats::open(&path, LONG).await.unwrap();
}

fn redis_repeats(redis: &Redis, prefix: &str, kept: Duration) -> Arc<RedisRepeats> {
    let commands = Commands::new(&redis.url(), &support::config(&[]).redis).unwrap();
    Arc::new(RedisRepeats::new(commands, prefix, kept))
}

#[tokio::test]
async fn redis() {
    let mut redis = Redis::start().await;
    let (one, two) = (redis_repeats(&redis, "shared", LONG), redis_repeats(&redis, "shared", LONG));
    the_contract(&*one, &*two).await;
    let stranger = redis_repeats(&redis, "other", LONG);
    assert_eq!(stranger.begin(&repeat("a", "p", 1)).await.unwrap(), Begun::New, "deployments are apart");
    the_time_is_over(&*redis_repeats(&redis, "short", SHORT)).await;
    // Who begins has a lease, and what is finished its time.
    let left = |key: &'static str| redis.command(key);
    let lease: u64 = left("PTTL other:repeat:a").await.trim().trim_start_matches(':').parse().unwrap();
    assert!(lease > 0 && lease <= LEASE.as_millis() as u64, "{lease}");
    let kept: u64 = left("PTTL shared:repeat:a").await.trim().trim_start_matches(':').parse().unwrap();
    assert!(kept > LEASE.as_millis() as u64, "{kept}");
    redis.command("DEL other:repeat:a").await;
    // Whose lease is over keeps its answer all the same, if nobody else has begun.
    stranger.finish(&repeat("a", "p", 1), b"late").await.unwrap();
    assert_eq!(stranger.begin(&repeat("a", "p", 2)).await.unwrap(), Begun::Done(b"late".to_vec()));
    redis.command("SET bad:repeat:a occupied").await;
    let bad = redis_repeats(&redis, "bad", LONG);
    let mut errors = vec![(bad.begin(&repeat("a", "p", 1)).await.unwrap_err(), ErrorKind::Permanent)];
    redis.stop().await;
    errors.push((one.begin(&repeat("a", "p", 1)).await.unwrap_err(), ErrorKind::Transient));
    errors.push((one.finish(&repeat("a", "p", 1), b"x").await.unwrap_err(), ErrorKind::Transient));
    errors.push((one.give_up(&repeat("a", "p", 1)).await.unwrap_err(), ErrorKind::Transient));
    for (error, kind) in errors {
        assert_eq!((error.port, error.kind), (Port::Repeats, kind), "{error}");
    }
}
