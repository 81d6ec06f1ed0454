//! What is kept of many, and how many there may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use gateway_core::jobs::{Counts, Failure, Job, Kept, NewJob, State, Working};
use tokio::time::{Instant, sleep};

use super::bench::{Backend, at_once, counts, doing, end, id, listed, named, new, queue};
use crate::support::eventually;

/// With a store that keeps five.
pub(crate) const FIVE: Kept = Kept { time: Duration::from_secs(3_600), most: 5 };
/// With a store that keeps for two seconds.
pub(crate) const TWO_SECONDS: Kept = Kept { time: Duration::from_secs(2), most: 1_000 };
/// With a store that keeps all that a test makes.
pub(crate) const ALL: Kept = Kept { time: Duration::from_secs(3_600), most: 1_000_000 };

/// Half of them fail.
async fn some_end(backend: &Backend, name: &str) {
    let (store, queue) = (backend.open().await, queue(name));
    let handler =
        doing(
            |job: Job| async move { if job.kind.starts_with("bad") { Err(Failure::never("bad")) } else { Ok(None) } },
        );
    for number in 0..10 {
        store.jobs.enqueue(&queue, &named(&format!("good-{number}"))).await.unwrap();
        store.jobs.enqueue(&queue, &named(&format!("bad-{number}"))).await.unwrap();
    }
    let worker = store.jobs.work(&queue, &Working::default(), handler).await.unwrap();
    eventually("all ended", || async {
        let counts = counts(&store, &queue).await;
        counts.failed == 10 && counts.waiting + counts.active == 0
    })
    .await;
    end(worker).await;
}

pub(crate) async fn the_last_are_kept(backend: &Backend) {
    some_end(backend, "the last").await;
    let (store, queue) = (backend.open().await, queue("the last"));
    let worker = store.jobs.work(&queue, &at_once(1), doing(|_| async { Ok(None) })).await.unwrap();
    eventually("five are kept", || async { counts(&store, &queue).await.completed == 5 }).await;
    assert_eq!(listed(&store, &queue, State::Completed).await, ["good-9", "good-8", "good-7", "good-6", "good-5"]);
    assert_eq!(counts(&store, &queue).await.failed, 10, "dead ones stay until somebody acts");
    assert!(!store.jobs.enqueue(&queue, &named("good-0")).await.unwrap().known, "its id is free");
    end(worker).await;
}

pub(crate) async fn for_a_time_they_are_kept(backend: &Backend) {
    some_end(backend, "for a time").await;
    let (store, queue) = (backend.open().await, queue("for a time"));
    let worker = store.jobs.work(&queue, &at_once(1), doing(|_| async { Ok(None) })).await.unwrap();
    // Nothing else is done in this queue that could be what takes them out.
    eventually("the time is over", || async { counts(&store, &queue).await.completed == 0 }).await;
    assert_eq!(counts(&store, &queue).await.failed, 10, "dead ones stay until somebody acts");
    assert!(store.queues.find(&queue, &id("good-9")).await.unwrap().is_none());
    end(worker).await;
}

pub(crate) async fn very_many_wait(backend: &Backend) {
    const ALL: usize = 50_000;
    let (store, queue) = (backend.open().await, queue("many"));
    store.queues.pause(&queue, true).await.unwrap();
    let enqueued = futures_util::stream::iter(0..ALL).map(|number| {
        let (store, queue) = (&store, &queue);
        let delay = if number % 2 == 0 { Duration::ZERO } else { Duration::from_secs(1) };
        let job = NewJob { delay, priority: (number % 3) as u32, ..new("x") };
        async move { store.jobs.enqueue(queue, &job).await.unwrap() }
    });
    enqueued.buffer_unordered(256).for_each(|_| async {}).await;
    let all = counts(&store, &queue).await;
    assert_eq!((all.waiting + all.delayed) as usize, ALL, "{all:?}");
    assert_eq!(listed(&store, &queue, State::Waiting).await.len(), 1_000);
    let done = Arc::new(AtomicUsize::new(0));
    let count = done.clone();
    let handler = doing(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Ok(None) }
    });
    let worker = store.jobs.work(&queue, &at_once(16), handler).await.unwrap();
    store.queues.pause(&queue, false).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(300);
    while counts(&store, &queue).await != (Counts { completed: ALL as u64, ..Counts::default() }) {
        assert!(Instant::now() < deadline, "{:?}", counts(&store, &queue).await);
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(done.load(Ordering::Relaxed), ALL, "each once");
    end(worker).await;
}
