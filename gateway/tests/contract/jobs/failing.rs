//! What fails is tried again as it says, as its handler says, or not any more.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::jobs::{Backoff, Failure, Job, NewJob, State, Working};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::bench::{Backend, Doing, Said, end, id, named, queue, state_becomes};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Answers by the attempt, and notes when each began.
#[derive(Clone, Default)]
struct Attempts(Arc<Mutex<Vec<(u32, Instant)>>>);

impl Attempts {
    fn doing(&self, work: impl Fn(&Job) -> Said + Send + Sync + 'static) -> Arc<dyn gateway_core::jobs::Handler> {
        let noted = self.clone();
        Arc::new(Doing(move |job: Job| {
            noted.0.lock().push((job.attempt, Instant::now()));
            let said = work(&job);
            async move { said }
        }))
    }

    fn numbers(&self) -> Vec<u32> {
        self.0.lock().iter().map(|(attempt, _)| *attempt).collect()
    }

    /// What lay between each and the next.
    fn gaps(&self) -> Vec<Duration> {
        self.0.lock().windows(2).map(|pair| pair[1].1 - pair[0].1).collect()
    }
}

pub(crate) async fn what_fails_is_tried_again(backend: &Backend) {
    let (store, queue) = (backend.open().await, queue("again"));
    for (name, backoff, least) in [
        ("doubles", Backoff::Exponential(MS(200)), [200, 400]),
        ("stays", Backoff::Fixed(MS(150)), [150, 150]),
        ("at-once", Backoff::Fixed(Duration::ZERO), [0, 0]),
    ] {
        let attempts = Attempts::default();
        let handler = attempts.doing(|job| if job.attempt < 3 { Err(Failure::not_now("not yet")) } else { Ok(None) });
        store.jobs.enqueue(&queue, &NewJob { attempts: 5, backoff, ..named(name) }).await.unwrap();
        let worker = store.jobs.work(&queue, &Working::default(), handler).await.unwrap();
        let done = state_becomes(&store, &queue, &id(name), State::Completed).await;
        assert_eq!((attempts.numbers(), done.job.attempt, done.job.backoff), (vec![1, 2, 3], 3, backoff), "{name}");
        // Clocks are read in milliseconds.
        let waited = attempts.gaps().iter().zip(least).all(|(gap, least)| *gap + MS(5) >= MS(least));
        assert!(waited, "{name}: {:?}", attempts.gaps());
        end(worker).await;
    }
}

pub(crate) async fn a_handler_says_when_and_whether(backend: &Backend) {
    let (store, queue) = (backend.open().await, queue("as it says"));
    let cases =
        [("never", vec![1], 5), ("by-backoff", vec![1, 2], 2), ("after", vec![1, 2, 3], 3), ("once", vec![1], 1)];
    for (name, expected, times) in cases {
        let attempts = Attempts::default();
        let handler = attempts.doing(|job| {
            Err(match &*job.kind {
                "never" => Failure::never("the address is wrong: ä"),
                "after" => Failure::after(MS(400), "the address is wrong: ä"),
                _ => Failure::not_now("the address is wrong: ä"),
            })
        });
        // A time that would be noticed where the handler's own is to be taken.
        let backoff = Backoff::Fixed(if name == "after" { Duration::from_secs(600) } else { MS(10) });
        store.jobs.enqueue(&queue, &NewJob { attempts: times, backoff, ..named(name) }).await.unwrap();
        let worker = store.jobs.work(&queue, &Working::default(), handler).await.unwrap();
        let failed = state_becomes(&store, &queue, &id(name), State::Failed).await;
        assert_eq!((attempts.numbers(), failed.job.attempt), (expected.clone(), expected.len() as u32), "{name}");
        assert_eq!(failed.why.as_deref(), Some("the address is wrong: ä"), "{name}");
        assert!(failed.ended_at_ms.is_some() && failed.result.is_none(), "{failed:?}");
        if name == "after" {
            assert!(attempts.gaps().iter().all(|gap| *gap + MS(5) >= MS(400)), "{:?}", attempts.gaps());
        }
        end(worker).await;
    }
}

pub(crate) async fn who_panics_has_failed(backend: &Backend) {
    let (store, queue) = (backend.open().await, queue("panics"));
    let attempts = Attempts::default();
    let handler = attempts.doing(|job| {
        assert!(job.attempt > 1 && job.kind == "once", "a handler that panics");
        Ok(None)
    });
    for name in ["once", "always"] {
        store.jobs.enqueue(&queue, &NewJob { attempts: 2, ..named(name) }).await.unwrap();
    }
    let worker = store.jobs.work(&queue, &Working::default(), handler).await.unwrap();
    state_becomes(&store, &queue, &id("once"), State::Completed).await;
    let failed = state_becomes(&store, &queue, &id("always"), State::Failed).await;
    assert_eq!(failed.why.as_deref(), Some("its handler panicked: a handler that panics"));
    assert_eq!((failed.job.attempt, failed.job.lost), (2, 0));
    end(worker).await;
}
