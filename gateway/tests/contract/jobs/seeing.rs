//! What people see of queues and jobs, and what they do to them.

use std::time::Duration;

use gateway_core::jobs::{Counts, Failure, Job, NewJob, Outcome, Part, State, Working};
use tokio::time::sleep;

use super::bench::{
    AtOnce, Backend, Done, at_once, counts, doing, end, found, id, listed, named, queue, state_becomes,
};
use crate::support::eventually;

pub(crate) async fn people_see_what_there_is(backend: &Backend) {
    let (store, queue) = (backend.open().await, queue("seen"));
    assert_eq!(store.queues.list(&queue, State::Waiting, Part { skip: 0, most: 9 }).await.unwrap().len(), 0);
    assert!(store.queues.find(&queue, &id("nobody")).await.unwrap().is_none());
    for name in ["1a", "2a", "3a"] {
        store.jobs.enqueue(&queue, &named(name)).await.unwrap();
    }
    let delay = Duration::from_secs(3_600);
    store.jobs.enqueue(&queue, &NewJob { delay, ..named("tomorrow") }).await.unwrap();
    assert_eq!(counts(&store, &queue).await, Counts { waiting: 3, delayed: 1, ..Counts::default() });
    let part = |skip, most| store.queues.list(&queue, State::Waiting, Part { skip, most });
    let kinds = |all: Vec<gateway_core::jobs::Found>| all.into_iter().map(|found| found.job.kind).collect::<Vec<_>>();
    assert_eq!(kinds(part(0, 2).await.unwrap()), ["1a", "2a"]);
    assert_eq!(kinds(part(2, 2).await.unwrap()), ["3a"]);
    assert_eq!(kinds(part(3, 2).await.unwrap()), Vec::<String>::new());
    assert_eq!(kinds(part(0, 0).await.unwrap()), Vec::<String>::new());
    let handler = doing(|job: Job| async move {
        match &*job.kind {
            "3a" => std::future::pending().await,
            "2a" => Err(Failure::never("no")),
            _ => Ok(None),
        }
    });
    let worker = store.jobs.work(&queue, &at_once(1), handler).await.unwrap();
    let active = state_becomes(&store, &queue, &id("3a"), State::Active).await;
    assert!(active.begun_at_ms.is_some() && active.ended_at_ms.is_none());
    let all = Counts { waiting: 0, delayed: 1, active: 1, completed: 1, failed: 1 };
    assert_eq!(counts(&backend.open().await, &queue).await, all);
    for (state, kind) in
        [(State::Delayed, "tomorrow"), (State::Active, "3a"), (State::Completed, "1a"), (State::Failed, "2a")]
    {
        assert_eq!(listed(&store, &queue, state).await, [kind]);
    }
    assert_eq!(store.queues.remove(&queue, &id("3a")).await.unwrap(), Outcome::Active);
    assert_eq!(store.queues.retry(&queue, &id("3a")).await.unwrap(), Outcome::Active);
    assert_eq!(worker.stop(Duration::ZERO).await.handed_back, 1);
}

pub(crate) async fn people_retry_and_remove(backend: &Backend) {
    let (store, queue) = (backend.open().await, queue("mended"));
    let fails = doing(|_| async { Err(Failure::not_now("it is down")) });
    for name in ["a", "b"] {
        store.jobs.enqueue(&queue, &NewJob { attempts: 2, ..named(name) }).await.unwrap();
    }
    let worker = store.jobs.work(&queue, &Working::default(), fails).await.unwrap();
    for name in ["a", "b"] {
        state_becomes(&store, &queue, &id(name), State::Failed).await;
    }
    end(worker).await;
    assert_eq!(listed(&store, &queue, State::Failed).await, ["b", "a"], "the last first");
    let delay = Duration::from_secs(3_600);
    store.jobs.enqueue(&queue, &NewJob { delay, ..named("late") }).await.unwrap();
    for name in ["a", "late"] {
        assert_eq!(store.queues.retry(&queue, &id(name)).await.unwrap(), Outcome::Done, "{name}");
        let waits = found(&store, &queue, &id(name)).await;
        assert_eq!((waits.state, waits.job.attempt, waits.ended_at_ms), (State::Waiting, 0, None), "{name}");
        assert_eq!(store.queues.retry(&queue, &id(name)).await.unwrap(), Outcome::Done, "{name} waits already");
    }
    assert_eq!(counts(&store, &queue).await, Counts { waiting: 2, failed: 1, ..Counts::default() });
    let done = Done::default();
    let worker = store.jobs.work(&queue, &Working::default(), done.handler()).await.unwrap();
    done.reach(2).await;
    for name in ["a", "late"] {
        let mended = state_becomes(&store, &queue, &id(name), State::Completed).await;
        assert_eq!(mended.job.attempt, 1, "{name} began anew");
    }
    assert_eq!(store.queues.retry(&queue, &id("a")).await.unwrap(), Outcome::Done, "what was done may be done again");
    done.reach(3).await;
    state_becomes(&store, &queue, &id("a"), State::Completed).await;
    for name in ["a", "b", "late"] {
        assert_eq!(store.queues.remove(&queue, &id(name)).await.unwrap(), Outcome::Done, "{name}");
        assert_eq!(store.queues.remove(&queue, &id(name)).await.unwrap(), Outcome::Unknown, "{name}");
        assert_eq!(store.queues.retry(&queue, &id(name)).await.unwrap(), Outcome::Unknown, "{name}");
        assert!(store.queues.find(&queue, &id(name)).await.unwrap().is_none());
    }
    end(worker).await;
    // What waits goes as well, due or not.
    for (name, delay) in [("soon", Duration::ZERO), ("late", delay)] {
        store.jobs.enqueue(&queue, &NewJob { delay, priority: 3, ..named(name) }).await.unwrap();
        assert_eq!(store.queues.remove(&queue, &id(name)).await.unwrap(), Outcome::Done, "{name}");
    }
    assert_eq!(counts(&store, &queue).await, Counts::default());
}

pub(crate) async fn a_paused_queue_begins_nothing(backend: &Backend) {
    let (one, two, queue) = (backend.open().await, backend.open().await, queue("paused"));
    let (done, running) = (Done::default(), std::sync::Arc::new(AtOnce::default()));
    let (seen, at) = (done.clone(), running.clone());
    let handler = doing(move |job: Job| {
        let (seen, at) = (seen.clone(), at.clone());
        async move {
            at.during(sleep(Duration::from_millis(300))).await;
            seen.add(&job);
            Ok(None)
        }
    });
    let worker = one.jobs.work(&queue, &Working::default(), handler).await.unwrap();
    one.jobs.enqueue(&queue, &named("runs")).await.unwrap();
    eventually("it runs", || async { running.now() == 1 }).await;
    two.queues.pause(&queue, true).await.unwrap();
    one.jobs.enqueue(&queue, &named("waits")).await.unwrap();
    done.reach(1).await;
    let standing = one.queues.survey().await.unwrap().into_iter().find(|standing| standing.queue == queue).unwrap();
    assert!(standing.paused);
    assert_eq!(found(&one, &queue, &id("waits")).await.state, State::Waiting);
    // Long enough for a worker that would take it.
    sleep(Duration::from_millis(700)).await;
    assert_eq!(done.kinds(), ["runs"], "what ran went on, and nothing was begun");
    assert_eq!(listed(&one, &queue, State::Waiting).await, ["waits"]);
    two.queues.pause(&queue, false).await.unwrap();
    done.reach(2).await;
    let standing = two.queues.survey().await.unwrap().into_iter().find(|standing| standing.queue == queue).unwrap();
    assert!(!standing.paused);
    end(worker).await;
}
