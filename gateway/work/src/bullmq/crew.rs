//! A worker of BullMQ, and what its jobs are done by.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bullmq::options::RedisConnectionOptions;
use bullmq::{Error, Job as Theirs, RateLimiterOptions, Worker, WorkerOptions};
use gateway_core::jobs::{Again, Handler, Job, QueueName, Working, attempt, lost_too_often};
use gateway_core::redis::{Address, milliseconds};
use parking_lot::Mutex;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Shared, names, now_ms, shown};

/// How long what was handed back and what has ended may take to be written.
const SETTLING: Duration = Duration::from_secs(5);
/// How long what is done alone waits for the others to be gone.
const ALONE: Duration = Duration::from_millis(200);
/// How long an idle worker is waited for: it may be waiting for a job.
const LEAVING: Duration = Duration::from_millis(300);

/// A worker of BullMQ, over connections to one address.
pub(super) struct Crew {
    pub(super) worker: Arc<Worker>,
    hands: Arc<Hands>,
    pub(super) generation: u64,
    pub(super) address: Address,
}

/// What all jobs of a worker share.
struct Hands {
    all: Arc<Shared>,
    queue: QueueName,
    concurrency: usize,
    lease_ms: u64,
    handler: Arc<dyn Handler>,
    /// For as many as may run, whichever worker has begun them.
    slots: Arc<Semaphore>,
    worker: OnceCell<std::sync::Weak<Worker>>,
    at_work: Mutex<AtWork>,
    running: watch::Sender<usize>,
    order: watch::Sender<Order>,
    handed_back: AtomicUsize,
}

#[derive(Default)]
struct AtWork {
    running: usize,
    /// Whether what runs has lost its worker before: it may be what ends processes, and is alone.
    alone: bool,
}

/// What those at work are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// To work.
    Work,
    /// To take nothing more.
    End,
    /// To hand back what they have.
    HandBack,
    /// To drop what they have, as if they had never been.
    Abandon,
}

/// Somebody at work, until dropped.
struct Place<'a>(&'a Hands);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut at_work = self.0.at_work.lock();
        at_work.running -= 1;
        at_work.alone = false;
        self.0.running.send_replace(at_work.running);
    }
}

impl Crew {
    /// Begins to work.
    ///
    /// # Errors
    /// Redis is not there, or does not want it.
    pub(super) async fn begin(
        all: Arc<Shared>,
        (queue, working): (&QueueName, &Working),
        handler: Arc<dyn Handler>,
        slots: Arc<Semaphore>,
        (generation, address, connection): (u64, Address, RedisConnectionOptions),
    ) -> Result<Self, Error> {
        let options = options(&all, working, connection);
        let hands = Arc::new(Hands {
            all,
            queue: queue.clone(),
            concurrency: working.concurrency.max(1),
            lease_ms: milliseconds(working.lease),
            handler,
            slots,
            worker: OnceCell::new(),
            at_work: Mutex::default(),
            running: watch::Sender::new(0),
            order: watch::Sender::new(Order::Work),
            handed_back: AtomicUsize::new(0),
        });
        let doing = hands.clone();
        let process = move |job, _| {
            let hands = doing.clone();
            async move { hands.process(job).await }
        };
        let worker = Worker::with_options(&names::of_queue(queue), process, options).await?;
        let worker = Arc::new(worker);
        hands.worker.set(Arc::downgrade(&worker)).ok();
        worker.run().await?;
        Ok(Self { worker, hands, generation, address })
    }

    /// Tells those who wait for room that there is some: BullMQ may forget to.
    pub(super) fn nudge(&self) {
        let now = self.worker.concurrency();
        if now > 1 {
            self.worker.set_concurrency(now - 1);
            self.worker.set_concurrency(now);
        }
    }

    /// Takes nothing more, and waits for what runs.
    pub(super) async fn retire(&self) {
        self.end();
        let mut running = self.hands.running.subscribe();
        // Who would change it is here.
        running.wait_for(|running| *running == 0).await.ok();
    }

    /// Takes nothing more.
    pub(super) fn end(&self) {
        self.worker.pause();
        self.hands.order.send_if_modified(|order| {
            let works = *order == Order::Work;
            if works {
                *order = Order::End;
            }
            works
        });
    }

    /// Waits for what runs until then, hands back the rest, and leaves. Returns how many that were.
    pub(super) async fn finish(self, deadline: Instant) -> usize {
        if timeout_at(deadline, self.retire()).await.is_err() {
            self.hands.order.send_replace(Order::HandBack);
        }
        let settled = async {
            while self.worker.active_count().await > 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(SETTLING, settled).await.ok();
        self.worker.close(milliseconds(LEAVING)).await.ok();
        self.hands.handed_back.load(Ordering::Relaxed)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // After it has finished nobody hears this any more.
        self.hands.order.send_replace(Order::Abandon);
        self.worker.pause();
        if let Ok(runtime) = Handle::try_current() {
            let worker = self.worker.clone();
            // It would go on for ever by itself.
            runtime.spawn(async move { worker.close(milliseconds(LEAVING)).await.ok() });
        }
    }
}

fn options(all: &Shared, working: &Working, connection: RedisConnectionOptions) -> WorkerOptions {
    WorkerOptions {
        connection,
        prefix: all.link.prefix.clone(),
        // One until something is begun that has not lost its worker: what ends processes must not take others with it.
        concurrency: 1,
        lock_duration: milliseconds(working.lease).max(1),
        lock_renew_time: Some(milliseconds(working.lease / 3).max(1)),
        stalled_interval: milliseconds(working.lease * 2 / 5).max(1),
        // Those that are lost are counted by us: BullMQ would fail those beside them, too.
        max_stalled_count: u32::MAX,
        drain_delay: 5,
        autorun: false,
        run_retry_delay: 500,
        remove_on_complete: Some(all.keep()),
        limiter: working.rate.map(|rate| RateLimiterOptions {
            max: u64::from(rate.jobs.max(1)),
            duration: milliseconds(rate.per).max(1),
        }),
        ..WorkerOptions::default()
    }
}

/// The job goes back as it came: it does not count as an attempt.
const BACK: Error = Error::RateLimited { delay_ms: 0 };
/// Nothing is to be written of it.
const NOTHING: Error = Error::Delayed;

impl Hands {
    async fn process(self: Arc<Self>, theirs: Theirs) -> Result<Value, Error> {
        let mut order = self.order.subscribe();
        match *order.borrow_and_update() {
            Order::Work => {}
            Order::End | Order::HandBack => return Err(BACK),
            Order::Abandon => return Err(NOTHING),
        }
        // A process that stood still between taking a job and this moment has lost it: somebody else may have done it.
        if theirs.processed_on().is_some_and(|at| at.saturating_add(self.lease_ms) < now_ms()) {
            return Err(NOTHING);
        }
        let mut job = shown::job(&self.queue, &theirs, true);
        if job.lost >= Working::LOST {
            return Err(Error::Unrecoverable(lost_too_often()));
        }
        let place = self.enter(job.lost > 0);
        let worker = self.worker.get().and_then(std::sync::Weak::upgrade);
        // At one, BullMQ takes nothing until all that runs has ended, and then what was handed back.
        let concurrency = if job.lost > 0 || place.is_none() { 1 } else { self.concurrency };
        if let Some(worker) = worker.filter(|worker| worker.concurrency() != concurrency) {
            worker.set_concurrency(concurrency);
        }
        let Some(_place) = place else { return Err(BACK) };
        if self.all.traced {
            job.trace = self.all.trace_of(&self.key(&theirs)).await;
        }
        let done = async {
            // Those of a worker that was replaced may still be at it. The semaphore is never closed.
            let _slot = self.slots.acquire().await;
            if job.lost > 0 {
                // What was taken beside it is on its way back.
                sleep(ALONE).await;
            }
            attempt(&*self.handler, &job).await
        };
        let said = tokio::select! {
            said = done => said,
            // Who orders is there as long as this is.
            ordered = order.wait_for(|order| matches!(order, Order::HandBack | Order::Abandon)) => {
                let back = ordered.is_ok_and(|order| *order == Order::HandBack);
                self.handed_back.fetch_add(usize::from(back), Ordering::Relaxed);
                return Err(if back { BACK } else { NOTHING });
            }
        };
        match said {
            Ok(result) => Ok(value(result)),
            Err(failure) => Err(self.failed(&theirs, &job, failure.why, failure.again).await),
        }
    }

    /// Lets somebody work, unless one of them has to be alone.
    fn enter(&self, alone: bool) -> Option<Place<'_>> {
        let mut at_work = self.at_work.lock();
        if at_work.alone || (alone && at_work.running > 0) {
            return None;
        }
        at_work.alone = alone;
        at_work.running += 1;
        self.running.send_replace(at_work.running);
        Some(Place(self))
    }

    /// Has a job that has failed be tried again, or not.
    async fn failed(&self, theirs: &Theirs, job: &Job, why: String, again: Again) -> Error {
        match again {
            Again::Never => Error::Unrecoverable(why),
            // BullMQ moves it to those that have failed, with the reason.
            _ if job.attempt >= job.attempts => Error::ProcessingError(why),
            Again::ByBackoff => match self.note(theirs, &why, 0).await {
                false => NOTHING,
                true => Error::ProcessingError(why),
            },
            // BullMQ does not count that as an attempt.
            Again::After(delay) => match self.note(theirs, &why, 1).await {
                false => NOTHING,
                true => match theirs.move_to_delayed(now_ms().saturating_add(milliseconds(delay))).await {
                    Ok(()) => NOTHING,
                    Err(_) => Error::ProcessingError(why),
                },
            },
        }
    }

    fn key(&self, theirs: &Theirs) -> String {
        format!("{}:{}:{}", self.all.link.prefix, names::of_queue(&self.queue), theirs.id())
    }

    /// Notes why an attempt has failed. False if the job is somebody else's by now.
    async fn note(&self, theirs: &Theirs, why: &str, counts: u32) -> bool {
        let key = self.key(theirs);
        let noted: Result<u8, _> = self
            .all
            .link
            .commands
            .run(&self.all.note, |script| {
                script.key(&key).key(format!("{key}:lock"));
                script.arg(theirs.token().unwrap_or_default()).arg(why).arg(counts);
            })
            .await;
        // It is for people: without it the job goes on all the same.
        noted.map_or(true, |noted| noted == 1)
    }
}

fn value(result: Option<Box<RawValue>>) -> Value {
    result.and_then(|result| serde_json::from_str(result.get()).ok()).unwrap_or(Value::Null)
}
