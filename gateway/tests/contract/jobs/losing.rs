//! Workers that are lost, or away for too long.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::jobs::{Job, NewJob, State, Working};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::bench::{AtOnce, Backend, Done, Elsewhere, SHORT, doing, end, found, id, named, queue, state_becomes};
use crate::support::eventually;

fn working(concurrency: usize) -> Working {
    Working { concurrency, lease: SHORT, ..Working::default() }
}

pub(crate) async fn what_a_lost_worker_did_comes_back(backend: &Backend) {
    let (store, queue) = (backend.open().await, queue("lost"));
    let running = Arc::new(AtOnce::default());
    let at = running.clone();
    let hangs = doing(move |_| {
        let at = at.clone();
        async move { at.during(std::future::pending()).await }
    });
    for name in ["a", "b", "c"] {
        // An attempt that was lost is none: with one in all they would have failed.
        store.jobs.enqueue(&queue, &NewJob { attempts: 1, ..named(name) }).await.unwrap();
    }
    let lost = Elsewhere::begin(backend, &queue, working(3), hangs).await;
    eventually("three run", || async { running.now() == 3 }).await;
    lost.lose().await;
    let (done, running) = (Done::default(), Arc::new(AtOnce::default()));
    let (seen, at) = (done.clone(), running.clone());
    let handler = doing(move |job: Job| {
        let (seen, at) = (seen.clone(), at.clone());
        async move {
            at.during(sleep(Duration::from_millis(50))).await;
            seen.add(&job);
            Ok(None)
        }
    });
    let worker = store.jobs.work(&queue, &working(3), handler).await.unwrap();
    for name in ["a", "b", "c"] {
        let back = state_becomes(&store, &queue, &id(name), State::Completed).await;
        assert_eq!((back.job.attempt, back.job.lost), (1, 1), "{name}");
    }
    assert_eq!((done.len(), running.most()), (3, 1), "each once more, and alone");
    assert!(done.all().iter().all(|job| job.lost == 1 && job.attempt == 1), "{:?}", done.all());
    end(worker).await;
}

pub(crate) async fn what_ends_workers_has_failed_alone(backend: &Backend) {
    let (store, queue) = (backend.open().await, queue("poison"));
    let done = Done::default();
    let (tell, mut told) = mpsc::channel(16);
    let handler = {
        let done = done.clone();
        doing(move |job: Job| {
            let (done, tell) = (done.clone(), tell.clone());
            async move {
                if job.kind == "poison" {
                    tell.send(()).await.unwrap();
                    std::future::pending::<()>().await;
                }
                sleep(Duration::from_millis(100)).await;
                done.add(&job);
                Ok(None)
            }
        })
    };
    store.jobs.enqueue(&queue, &NewJob { attempts: 10, ..named("poison") }).await.unwrap();
    for number in 0..6 {
        store.jobs.enqueue(&queue, &NewJob { attempts: 10, ..named(&format!("good-{number}")) }).await.unwrap();
    }
    // Whoever begins the poison is lost, at once.
    for _ in 0..Working::LOST {
        let worker = Elsewhere::begin(backend, &queue, working(3), handler.clone()).await;
        told.recv().await.unwrap();
        worker.lose().await;
    }
    let worker = store.jobs.work(&queue, &working(3), handler).await.unwrap();
    let failed = state_becomes(&store, &queue, &id("poison"), State::Failed).await;
    assert!(failed.why.as_deref().unwrap().contains("its worker was lost 3 times"), "{failed:?}");
    for number in 0..6 {
        let good = state_becomes(&store, &queue, &id(&format!("good-{number}")), State::Completed).await;
        // What was taken in the moment of a loss counts it, too; it is not what has failed.
        assert!(good.job.lost < Working::LOST && good.why.is_none(), "the losses took others with them: {good:?}");
    }
    assert!(told.try_recv().is_err(), "it was not begun any more");
    end(worker).await;
}

pub(crate) async fn who_was_away_changes_nothing(backend: &Backend) {
    let (store, queue) = (backend.open().await, queue("late"));
    store.jobs.enqueue(&queue, &NewJob { attempts: 3, ..named("a") }).await.unwrap();
    let (tell, mut told) = mpsc::channel(1);
    let (end_sleep, late) = (std::sync::Mutex::new(None), Done::default());
    let (wake, asleep) = std::sync::mpsc::channel::<()>();
    *end_sleep.lock().unwrap() = Some(asleep);
    let seen = late.clone();
    let blocks = doing(move |job: Job| {
        let asleep = end_sleep.lock().unwrap().take();
        let (tell, seen) = (tell.clone(), seen.clone());
        async move {
            tell.send(()).await.unwrap();
            // The thread of its runtime stands still, and with it who would renew the lease.
            if let Some(asleep) = asleep {
                asleep.recv().unwrap();
            }
            seen.add(&job);
            Ok(None)
        }
    });
    let away = Elsewhere::begin(backend, &queue, working(1), blocks).await;
    told.recv().await.unwrap();
    let (done, hold) = (Done::default(), Arc::new(tokio::sync::Semaphore::new(0)));
    let (seen, opens) = (done.clone(), hold.clone());
    let handler = doing(move |job: Job| {
        let (seen, opens) = (seen.clone(), opens.clone());
        async move {
            seen.add(&job);
            opens.acquire().await.unwrap().forget();
            Ok(Some(super::bench::raw("\"in time\"")))
        }
    });
    let worker = store.jobs.work(&queue, &working(1), handler).await.unwrap();
    done.reach(1).await;
    // Now both have it, and the first one says that it is done.
    wake.send(()).unwrap();
    late.reach(1).await;
    sleep(Duration::from_millis(500)).await;
    let now = found(&store, &queue, &id("a")).await;
    assert_eq!((now.state, now.ended_at_ms), (State::Active, None), "who has it now has not said so");
    hold.add_permits(1);
    let ended = state_becomes(&store, &queue, &id("a"), State::Completed).await;
    assert_eq!(ended.result.unwrap().get(), "\"in time\"");
    assert_eq!((done.len(), ended.job.attempt, ended.job.lost), (1, 1, 1));
    away.lose().await;
    end(worker).await;
}
