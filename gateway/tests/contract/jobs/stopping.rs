//! A worker that stops lets end what runs, or hands it back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, poll};
use gateway_core::jobs::{Ended, NewJob, State};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::bench::{AtOnce, Backend, Done, at_once, doing, end, found, id, named, queue, state_becomes};
use crate::support::eventually;

pub(crate) async fn who_stops_lets_end_or_hands_back(backend: &Backend) {
    let (store, queue) = (backend.open().await, queue("stopping"));
    let (gate, running) = (Arc::new(Semaphore::new(0)), Arc::new(AtOnce::default()));
    let (opens, at) = (gate.clone(), running.clone());
    let handler = doing(move |_| {
        let (opens, at) = (opens.clone(), at.clone());
        async move {
            at.during(opens.acquire_owned()).await.unwrap().forget();
            Ok(None)
        }
    });
    for name in ["a", "b", "c"] {
        // One that counted as an attempt would be the last.
        store.jobs.enqueue(&queue, &NewJob { attempts: 1, ..named(name) }).await.unwrap();
    }
    let worker = store.jobs.work(&queue, &at_once(2), handler.clone()).await.unwrap();
    eventually("two run", || async { running.now() == 2 }).await;
    let mut stopping = worker.stop(Duration::from_secs(60)).boxed();
    // It has begun to stop before any of them can end: otherwise the third might have been taken by then.
    assert!(poll!(&mut stopping).is_pending());
    gate.add_permits(2);
    let begun = Instant::now();
    assert_eq!(stopping.await, Ended { handed_back: 0 });
    assert!(begun.elapsed() < Duration::from_secs(20), "who has ended is not waited for: {:?}", begun.elapsed());
    for name in ["a", "b"] {
        assert_eq!(found(&store, &queue, &id(name)).await.state, State::Completed, "{name} could end");
    }
    assert_eq!(found(&store, &queue, &id("c")).await.state, State::Waiting, "who stops takes nothing more");

    // The next does not end in time.
    store.jobs.enqueue(&queue, &named("d")).await.unwrap();
    let running = Arc::new(AtOnce::default());
    let at = running.clone();
    let hangs = doing(move |_| {
        let at = at.clone();
        async move { at.during(std::future::pending()).await }
    });
    let worker = store.jobs.work(&queue, &at_once(2), hangs).await.unwrap();
    eventually("two hang", || async { running.now() == 2 }).await;
    assert_eq!(worker.stop(Duration::from_millis(100)).await, Ended { handed_back: 2 });
    for name in ["c", "d"] {
        let back = found(&store, &queue, &id(name)).await;
        assert_eq!((back.state, back.job.attempt, back.job.lost), (State::Waiting, 0, 0), "{name}");
    }
    let done = Done::default();
    let other = backend.open().await.jobs.work(&queue, &at_once(2), done.handler()).await.unwrap();
    for name in ["c", "d"] {
        let back = state_becomes(&store, &queue, &id(name), State::Completed).await;
        assert_eq!((back.job.attempt, back.job.lost), (1, 0), "{name}");
    }
    end(other).await;
}
