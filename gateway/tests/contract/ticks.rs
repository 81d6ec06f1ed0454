//! The contract of ticks, run against every backend.

use futures_util::future::join_all;
use gateway_core::port::{ErrorKind, Port};
use gateway_core::redis::Commands;
use gateway_core::ticks::{APART_MS, MemoryTicks, OPEN_KEPT, RUNS_KEPT, RedisTicks, Run, SqliteTicks, Ticks};

use crate::support;
use crate::support::redis::Redis;

fn run(schedule: &str, tick: u64, last: bool) -> Run {
    let failed = (!last).then(|| "it \"broke\"\nüber".to_owned());
    Run { schedule: schedule.into(), tick, node: "n1".into(), begun: tick + 5, took: 17, attempt: 1, failed, last }
}

async fn a_tick_is_begun_until_it_has_ended(one: &dyn Ticks, two: &dyn Ticks) {
    assert!(one.begin("a", 1_000).await.unwrap());
    assert!(two.begin("a", 1_000).await.unwrap(), "who did it may have been lost");
    one.note("a", &run("a", 1_000, false)).await.unwrap();
    assert!(two.begin("a", 1_000).await.unwrap(), "it is tried again");
    one.note("a", &Run { last: true, ..run("a", 1_000, false) }).await.unwrap();
    assert!(two.begin("a", 1_000).await.unwrap(), "what failed for good may be tried again by hand");
    one.note("a", &run("a", 1_000, true)).await.unwrap();
    for store in [one, two] {
        assert!(!store.begin("a", 1_000).await.unwrap(), "it has ended");
    }
    assert!(two.begin("b", 1_000).await.unwrap(), "each plan for itself");
}

async fn ticks_that_are_too_old_are_not_begun(one: &dyn Ticks, two: &dyn Ticks) {
    let at = 10 * APART_MS;
    assert!(one.begin("old", at).await.unwrap());
    // Somebody's clock was ahead, so this one comes later.
    assert!(two.begin("old", at - 1_000).await.unwrap());
    one.note("old", &run("old", at - 1_000, true)).await.unwrap();
    assert!(!two.begin("old", at - 1_000).await.unwrap(), "it has ended");
    assert!(!two.begin("old", at - APART_MS).await.unwrap(), "it is too old");
    assert!(one.begin("old", at + APART_MS).await.unwrap());
    assert!(two.begin("old", at).await.unwrap(), "it was begun before, and who did it may have been lost");
    // Who ends late ends nothing that is newer.
    one.note("old", &run("old", at, true)).await.unwrap();
    assert!(!two.begin("old", at).await.unwrap());
    assert!(one.begin("old", at + APART_MS).await.unwrap());
    let large = 253_402_300_799_000;
    assert!(one.begin("old", large).await.unwrap());
    assert_eq!(two.last("old", 0).await.unwrap(), large);
    assert!(!two.begin("old", at + 1_000).await.unwrap());
}

async fn what_is_passed_is_not_begun(one: &dyn Ticks, two: &dyn Ticks) {
    assert!(one.begin("past", 6_000).await.unwrap());
    two.pass("past", 8_000).await.unwrap();
    one.pass("past", 7_000).await.unwrap();
    for (tick, is_begun) in [(7_000, false), (8_000, false), (6_000, true), (9_000, true)] {
        assert_eq!(one.begin("past", tick).await.unwrap(), is_begun, "{tick}");
    }
    for tick in 1..=OPEN_KEPT as u64 + 1 {
        assert!(two.begin("many", tick * APART_MS).await.unwrap());
    }
    assert!(!one.begin("many", APART_MS).await.unwrap(), "too many are under way");
    assert!(one.begin("many", 2 * APART_MS).await.unwrap());
}

async fn a_plan_that_nobody_knows_begins_where_it_is_told(one: &dyn Ticks, two: &dyn Ticks) {
    assert_eq!(one.last("new", 7_000).await.unwrap(), 7_000);
    assert_eq!(two.last("new", 9_000).await.unwrap(), 7_000, "it is known now");
    assert!(!two.begin("new", 7_000).await.unwrap(), "as if it had been done");
    assert!(two.begin("new", 8_000).await.unwrap());
    assert_eq!(one.last("new", 9_000).await.unwrap(), 8_000);
}

async fn of_many_who_come_the_last_is_known(one: &dyn Ticks, two: &dyn Ticks) {
    let all = (0..50_u64).map(|number| async move {
        let store = if number % 2 == 0 { one } else { two };
        store.begin("crowd", 1_000 + number).await.unwrap()
    });
    join_all(all).await;
    assert_eq!(one.last("crowd", 0).await.unwrap(), 1_049, "whatever their order was");
}

async fn the_last_runs_are_kept(one: &dyn Ticks, two: &dyn Ticks) {
    assert!(one.runs("runs", 10).await.unwrap().is_empty());
    for tick in 0..RUNS_KEPT as u64 + 20 {
        one.note("runs", &run("runs", tick, tick % 2 == 0)).await.unwrap();
    }
    one.note("other", &run("other", 1, true)).await.unwrap();
    let runs = two.runs("runs", 2).await.unwrap();
    let last = RUNS_KEPT as u64 + 19;
    assert_eq!(runs, [run("runs", last, false), run("runs", last - 1, true)]);
    assert_eq!(two.runs("runs", 1_000).await.unwrap().len(), RUNS_KEPT);
    assert_eq!(two.runs("other", 1_000).await.unwrap().len(), 1);
}

async fn the_contract(one: &dyn Ticks, two: &dyn Ticks) {
    a_tick_is_begun_until_it_has_ended(one, two).await;
    ticks_that_are_too_old_are_not_begun(one, two).await;
    what_is_passed_is_not_begun(one, two).await;
    a_plan_that_nobody_knows_begins_where_it_is_told(one, two).await;
    of_many_who_come_the_last_is_known(one, two).await;
    the_last_runs_are_kept(one, two).await;
}

#[tokio::test]
async fn memory() {
    let store = MemoryTicks::default();
    the_contract(&store, &store).await;
}

#[tokio::test]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/ticks.sqlite");
    let store = SqliteTicks::open(&path).await.unwrap();
    the_contract(&store, &store).await;
    assert!(SqliteTicks::open(&path).await.unwrap_err().to_string().contains("in use by another process"));
    store.close().await;
    assert_eq!(store.begin("a", 1).await.unwrap_err().port, Port::Ticks);
    drop(store);
    let store = SqliteTicks::open(&path).await.unwrap();
    assert!(!store.begin("a", 1_000).await.unwrap(), "it is known after the process ended");
    assert_eq!(store.runs("runs", 1_000).await.unwrap().len(), RUNS_KEPT);
}

#[tokio::test]
async fn redis() {
    let mut redis = Redis::start().await;
    let commands = || Commands::new(&redis.url(), &support::config(&[]).redis).unwrap();
    let (one, two) = (RedisTicks::new(commands(), "t"), RedisTicks::new(commands(), "t"));
    the_contract(&one, &two).await;
    assert!(RedisTicks::new(commands(), "other").begin("a", 1).await.unwrap(), "another deployment");
    redis.stop().await;
    let error = one.begin("a", 1).await.unwrap_err();
    assert_eq!((error.port, error.kind), (Port::Ticks, ErrorKind::Transient));
}
