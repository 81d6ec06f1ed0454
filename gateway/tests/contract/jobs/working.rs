//! What is enqueued is done: once by its id, in order, as many at a time and as fast as it may be.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use gateway_core::jobs::{Counts, Enqueued, JobId, NewJob, Rate, State, Working};
use gateway_core::traces::Trace;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::bench::{
    AtOnce, Backend, Done, at_once, counts, doing, end, found, id, listed, named, new, queue, raw, state_becomes,
};

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

pub(crate) async fn what_is_enqueued_is_done(backend: &Backend) {
    let (store, queue) = (backend.open().await, queue("done"));
    let before = now_ms();
    let data = raw(r#"{"to":["ä","\u0000"],"n":1.5,"deep":{"null":null}}"#);
    let trace = Trace::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=1,b=\"2\"");
    assert!(trace.is_some());
    let job = NewJob { attempts: 3, priority: 7, trace: trace.clone(), ..NewJob::new("mail", data.clone()) };
    let Enqueued { id, known } = store.jobs.enqueue(&queue, &job).await.unwrap();
    assert!(!known);
    let waiting = found(&store, &queue, &id).await;
    assert_eq!((waiting.state, waiting.job.attempt, waiting.begun_at_ms), (State::Waiting, 0, None));
    let done = Done::default();
    let (handler, result) = (done.clone(), r#"{"sent":true}"#);
    let handler = doing(move |job| {
        handler.add(&job);
        async move { Ok(Some(raw(result))) }
    });
    let worker = store.jobs.work(&queue, &Working::default(), handler).await.unwrap();
    let ended = state_becomes(&store, &queue, &id, State::Completed).await;
    let [job] = &done.all()[..] else { panic!("it was done {} times", done.len()) };
    assert_eq!((&job.id, &job.queue, &*job.kind), (&id, &queue, "mail"));
    assert_eq!((job.attempt, job.attempts, job.priority, job.lost), (1, 3, 7, 0));
    assert_eq!(job.trace, trace);
    let same = |one: &str, other: &str| {
        assert_eq!(serde_json::from_str::<Value>(one).unwrap(), serde_json::from_str::<Value>(other).unwrap());
    };
    same(job.data.get(), data.get());
    same(ended.result.unwrap().get(), result);
    assert_eq!((ended.why, ended.job.attempt), (None, 1));
    let times = [Some(before), Some(job.enqueued_at_ms), ended.begun_at_ms, ended.ended_at_ms, Some(now_ms())];
    assert!(times.is_sorted() && times.iter().all(Option::is_some), "{times:?}");
    assert_eq!(counts(&store, &queue).await, Counts { completed: 1, ..Counts::default() });
    // What comes while somebody waits for it is done as well.
    let another = store.jobs.enqueue(&queue, &new("mail")).await.unwrap().id;
    assert_ne!(another, id);
    state_becomes(&store, &queue, &another, State::Completed).await;
    end(worker).await;
}

pub(crate) async fn an_id_is_one_job(backend: &Backend) {
    let (one, two, queue) = (backend.open().await, backend.open().await, queue("once"));
    let job = named("order-7");
    let all = join_all((0..20).map(|turn| {
        let store = if turn % 2 == 0 { &one } else { &two };
        store.jobs.enqueue(&queue, &job)
    }));
    let all: Vec<_> = all.await.into_iter().map(Result::unwrap).collect();
    assert_eq!(all.iter().filter(|enqueued| !enqueued.known).count(), 1, "{all:?}");
    assert!(all.iter().all(|enqueued| enqueued.id == id("order-7")));
    let done = Done::default();
    let worker = one.jobs.work(&queue, &at_once(4), done.handler()).await.unwrap();
    state_becomes(&one, &queue, &id("order-7"), State::Completed).await;
    let other = NewJob { id: job.id.clone(), ..new("another kind") };
    assert!(two.jobs.enqueue(&queue, &other).await.unwrap().known, "it is known after it was done");
    assert_eq!(found(&two, &queue, &id("order-7")).await.job.kind, "order-7");
    one.queues.remove(&queue, &id("order-7")).await.unwrap();
    assert!(!two.jobs.enqueue(&queue, &other).await.unwrap().known, "who was removed is forgotten");
    done.reach(2).await;
    assert_eq!(done.kinds(), ["order-7", "another kind"]);
    // The words of a store for its own things are ids like others.
    for word in ["wait", "meta", "id", "events", "%wait", "%", "completed"] {
        assert!(!one.jobs.enqueue(&queue, &named(word)).await.unwrap().known, "{word}");
        assert_eq!(state_becomes(&two, &queue, &id(word), State::Completed).await.job.id, id(word));
    }
    assert_eq!(one.queues.find(&queue, &JobId::known("wait:lock").unwrap()).await.unwrap().map(|_| ()), None);
    end(worker).await;
}

pub(crate) async fn a_delay_is_waited_for(backend: &Backend) {
    let (store, queue) = (backend.open().await, queue("later"));
    let done = Done::default();
    let worker = store.jobs.work(&queue, &Working::default(), done.handler()).await.unwrap();
    let delay = Duration::from_millis(700);
    let (begun, before) = (Instant::now(), now_ms());
    store.jobs.enqueue(&queue, &NewJob { delay, ..named("later") }).await.unwrap();
    let later = NewJob { delay: Duration::from_secs(3_600), ..named("much-later") };
    store.jobs.enqueue(&queue, &later).await.unwrap();
    assert_eq!(listed(&store, &queue, State::Delayed).await, ["later", "much-later"]);
    let due = found(&store, &queue, &id("later")).await.due_at_ms.unwrap();
    assert!((before + 690..=now_ms() + 710).contains(&due), "{due} after {before}");
    done.reach(1).await;
    // Clocks are read in milliseconds.
    assert!(begun.elapsed() >= delay - Duration::from_millis(5), "{:?}", begun.elapsed());
    assert_eq!(done.kinds(), ["later"]);
    assert_eq!(counts(&store, &queue).await.delayed, 1);
    end(worker).await;
}

pub(crate) async fn what_is_due_comes_in_order(backend: &Backend) {
    let (store, queue) = (backend.open().await, queue("order"));
    store.queues.pause(&queue, true).await.unwrap();
    for (kind, priority) in [("c", 5), ("d", 5), ("a", 0), ("e", NewJob::LAST + 7), ("b", 0)] {
        store.jobs.enqueue(&queue, &NewJob { priority, ..new(kind) }).await.unwrap();
    }
    let order = ["a", "b", "c", "d", "e"];
    assert_eq!(listed(&store, &queue, State::Waiting).await, order);
    let done = Done::default();
    let worker = store.jobs.work(&queue, &Working::default(), done.handler()).await.unwrap();
    store.queues.pause(&queue, false).await.unwrap();
    done.reach(5).await;
    assert_eq!(done.kinds(), order);
    end(worker).await;
}

pub(crate) async fn as_many_run_as_may(backend: &Backend) {
    let (store, queue) = (backend.open().await, queue("at once"));
    let (running, seen) = (Arc::new(AtOnce::default()), Done::default());
    let (at, handler) = (running.clone(), seen.clone());
    let handler = doing(move |job| {
        let (at, seen) = (at.clone(), handler.clone());
        async move {
            at.during(sleep(Duration::from_millis(50))).await;
            seen.add(&job);
            Ok(None)
        }
    });
    for _ in 0..30 {
        store.jobs.enqueue(&queue, &new("x")).await.unwrap();
    }
    let worker = store.jobs.work(&queue, &at_once(3), handler).await.unwrap();
    seen.reach(30).await;
    assert_eq!(running.most(), 3);
    end(worker).await;
}

pub(crate) async fn a_rate_is_that_of_the_queue(backend: &Backend) {
    let (one, two, queue) = (backend.open().await, backend.open().await, queue("slowly"));
    for _ in 0..11 {
        one.jobs.enqueue(&queue, &new("x")).await.unwrap();
    }
    let begun: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let note = begun.clone();
    let handler = doing(move |_| {
        note.lock().push(Instant::now());
        async { Ok(None) }
    });
    let rate = Some(Rate { jobs: 5, per: Duration::from_secs(1) });
    let working = Working { concurrency: 4, rate, ..Working::default() };
    let first = one.jobs.work(&queue, &working, handler.clone()).await.unwrap();
    let second = two.jobs.work(&queue, &working, handler).await.unwrap();
    crate::support::eventually("all were begun", || async { begun.lock().len() == 11 }).await;
    let times = begun.lock().clone();
    // Eleven need three windows, so the last comes two windows after the first, less what the clocks may differ.
    let took = *times.iter().max().unwrap() - *times.iter().min().unwrap();
    assert!(took >= Duration::from_millis(1_900), "{took:?}");
    end(first).await;
    end(second).await;
}

pub(crate) async fn any_text_and_a_megabyte(backend: &Backend) {
    let store = backend.open().await;
    let long = "x".repeat(256);
    let texts = [
        "a:b",
        "%41%",
        "{tag}:{",
        "ünï\u{202e}code 🎉",
        "new\nline\0\t",
        " ",
        "../../etc",
        "'; DROP TABLE jobs; --",
        &long,
    ];
    for text in texts {
        let queue = queue(text);
        let done = Done::default();
        store.jobs.enqueue(&queue, &NewJob::new(text, raw("[]"))).await.unwrap();
        let worker = store.jobs.work(&queue, &Working::default(), done.handler()).await.unwrap();
        done.reach(1).await;
        let [job] = &done.all()[..] else { panic!("once") };
        assert_eq!((&*job.kind, job.queue.as_str()), (text, text));
        end(worker).await;
    }
    let names: Vec<_> = store.queues.survey().await.unwrap().into_iter().map(|standing| standing.queue).collect();
    assert!(names.is_sorted(), "{names:?}");
    for text in texts {
        assert!(names.contains(&queue(text)), "{text:?} is not among {names:?}");
    }
    let (queue, done) = (queue("large"), Done::default());
    let text = format!("[{:?}]", "ä€".repeat(200_000));
    assert!(text.len() > 1_000_000);
    let (large, answer) = (NewJob { id: Some(id("large")), ..NewJob::new("large", raw(&text)) }, text.clone());
    store.jobs.enqueue(&queue, &large).await.unwrap();
    let seen = done.clone();
    let handler = doing(move |job| {
        seen.add(&job);
        let answer = raw(&answer);
        async move { Ok(Some(answer)) }
    });
    let worker = store.jobs.work(&queue, &Working::default(), handler).await.unwrap();
    let ended = state_becomes(&store, &queue, &id("large"), State::Completed).await;
    assert_eq!((done.all()[0].data.get(), ended.result.unwrap().get()), (&*text, &*text));
    end(worker).await;
}
