//! What the tests of jobs share: stores, handlers made of closures, workers that can be lost.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use gateway_core::jobs::{
    Counts, Failure, Found, Handler, Job, JobId, Jobs, NewJob, Part, QueueName, Queues, State, Worker, Working,
};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::support::eventually;

/// A store, seen from both sides.
#[derive(Clone)]
pub(crate) struct Store {
    pub jobs: Arc<dyn Jobs>,
    pub queues: Arc<dyn Queues>,
}

impl Store {
    pub(crate) fn of<T: Jobs + Queues + Clone>(store: T) -> Self {
        Self { jobs: Arc::new(store.clone()), queues: Arc::new(store) }
    }
}

/// How to come by the same store once more, as another process would.
pub(crate) struct Backend {
    open: Arc<dyn Fn() -> BoxFuture<'static, Store> + Send + Sync>,
    /// Whether it is opened once by each process.
    pub(crate) once: bool,
}

impl Backend {
    /// One that is there once, and shared.
    pub(crate) fn shared(store: Store) -> Self {
        let open = move || -> BoxFuture<'static, Store> {
            let store = store.clone();
            Box::pin(async move { store })
        };
        Self { open: Arc::new(open), once: true }
    }

    /// One that every process opens by itself.
    pub(crate) fn opened_by(open: impl Fn() -> Store + Send + Sync + 'static) -> Self {
        let open = move || -> BoxFuture<'static, Store> {
            let store = open();
            Box::pin(async move { store })
        };
        Self { open: Arc::new(open), once: false }
    }

    pub(crate) async fn open(&self) -> Store {
        (self.open)().await
    }
}

pub(crate) type Said = Result<Option<Box<RawValue>>, Failure>;

/// A handler made of a closure.
pub(crate) struct Doing<F>(pub F);

#[async_trait]
impl<F, R> Handler for Doing<F>
where
    F: Fn(Job) -> R + Send + Sync + 'static,
    R: Future<Output = Said> + Send + 'static,
{
    async fn handle(&self, job: &Job) -> Said {
        (self.0)(job.clone()).await
    }
}

pub(crate) fn doing<F, R>(work: F) -> Arc<dyn Handler>
where
    F: Fn(Job) -> R + Send + Sync + 'static,
    R: Future<Output = Said> + Send + 'static,
{
    Arc::new(Doing(work))
}

/// What was done, in its order.
#[derive(Clone, Default)]
pub(crate) struct Done(Arc<Mutex<Vec<Job>>>);

impl Done {
    pub(crate) fn add(&self, job: &Job) {
        self.0.lock().push(job.clone());
    }

    pub(crate) fn all(&self) -> Vec<Job> {
        self.0.lock().clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }

    pub(crate) fn kinds(&self) -> Vec<String> {
        self.0.lock().iter().map(|job| job.kind.clone()).collect()
    }

    /// A handler that notes what it is given, and has done it.
    pub(crate) fn handler(&self) -> Arc<dyn Handler> {
        let done = self.clone();
        doing(move |job| {
            done.add(&job);
            async { Ok(None) }
        })
    }

    pub(crate) async fn reach(&self, count: usize) {
        eventually(&format!("{count} were done, not {:?}", self.kinds()), || async { self.len() >= count }).await;
    }
}

/// How many are at it at the same time, and how many were at the most.
#[derive(Default)]
pub(crate) struct AtOnce {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl AtOnce {
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let done = work.await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        done
    }

    pub(crate) fn now(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

pub(crate) fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

pub(crate) fn id(text: &str) -> JobId {
    JobId::new(text).unwrap()
}

pub(crate) fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

pub(crate) fn new(kind: &str) -> NewJob {
    NewJob::new(kind, raw("{}"))
}

pub(crate) fn named(name: &str) -> NewJob {
    NewJob { id: Some(id(name)), ..new(name) }
}

/// So many at the same time.
pub(crate) fn at_once(concurrency: usize) -> Working {
    Working { concurrency, ..Working::default() }
}

/// A lease that a test can wait for.
pub(crate) const SHORT: Duration = Duration::from_secs(2);

pub(crate) async fn found(store: &Store, queue: &QueueName, id: &JobId) -> Found {
    store.queues.find(queue, id).await.unwrap().unwrap_or_else(|| panic!("there is no {id}"))
}

pub(crate) async fn state_becomes(store: &Store, queue: &QueueName, id: &JobId, state: State) -> Found {
    eventually(&format!("{id} is {state:?}"), || async { found(store, queue, id).await.state == state }).await;
    found(store, queue, id).await
}

pub(crate) async fn listed(store: &Store, queue: &QueueName, state: State) -> Vec<String> {
    let all = store.queues.list(queue, state, Part { skip: 0, most: 1_000 }).await.unwrap();
    assert!(all.iter().all(|found| found.state == state), "{all:?}");
    all.into_iter().map(|found| found.job.kind).collect()
}

pub(crate) async fn counts(store: &Store, queue: &QueueName) -> Counts {
    let all = store.queues.survey().await.unwrap();
    all.into_iter().find(|standing| standing.queue == *queue).map(|standing| standing.counts).unwrap()
}

/// Ends a worker that has nothing to do any more.
pub(crate) async fn end(worker: Worker) {
    assert_eq!(worker.stop(Duration::from_secs(10)).await.handed_back, 0);
}

/// A worker that can be lost: in a runtime of its own, where a handler that blocks its thread keeps it from renewing its leases, too;
/// or among all others, if its store is opened once by each process.
pub(crate) enum Elsewhere {
    Apart { end: oneshot::Sender<()>, thread: thread::JoinHandle<()> },
    Here(Worker),
}

impl Elsewhere {
    pub(crate) async fn begin(
        backend: &Backend,
        queue: &QueueName,
        working: Working,
        handler: Arc<dyn Handler>,
    ) -> Self {
        if backend.once {
            return Self::Here(backend.open().await.jobs.work(queue, &working, handler).await.unwrap());
        }
        let (end, ended) = oneshot::channel();
        let (begun, ready) = oneshot::channel();
        let (open, queue) = (backend.open.clone(), queue.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let store = open().await;
                let worker = store.jobs.work(&queue, &working, handler).await.unwrap();
                begun.send(()).unwrap();
                ended.await.ok();
                // With the process nobody is left who could let go of anything.
                std::mem::forget(worker);
            });
            runtime.shutdown_background();
        });
        ready.await.unwrap();
        Self::Apart { end, thread }
    }

    /// Ends it without a word; returns when it is gone.
    pub(crate) async fn lose(self) {
        match self {
            Self::Apart { end, thread } => {
                end.send(()).ok();
                tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
            }
            Self::Here(worker) => drop(worker),
        }
    }
}
