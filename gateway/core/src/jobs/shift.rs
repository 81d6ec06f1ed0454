//! How a worker works on a store whose jobs are claimed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};

use super::claims::{Claims, Fate, Next, Token, Wish};
use super::handler::attempt;
use super::{Again, Ended, Failure, Handler, Job, QueueName, Worker, Working};

/// How long a store that fails is left alone.
const PAUSE: Duration = Duration::from_millis(500);

/// A worker's time at work.
pub(super) struct Shift {
    claims: Arc<dyn Claims>,
    handler: Arc<dyn Handler>,
    queue: QueueName,
    working: Working,
    running: JoinSet<Token>,
    /// By claim.
    held: HashMap<Token, Held>,
}

/// What runs by a claim.
struct Held {
    task: AbortHandle,
    alone: bool,
    /// Whether its handler has said what became of it.
    ended: Arc<AtomicBool>,
}

/// What a worker that has room waits for.
enum Wait {
    /// Until what runs has ended.
    Room,
    /// Until then, or until there may be something.
    Until(Instant),
}

impl Shift {
    pub(super) fn begin(
        claims: Arc<dyn Claims>,
        queue: &QueueName,
        working: &Working,
        handler: Arc<dyn Handler>,
    ) -> Worker {
        let shift = Self {
            claims,
            handler,
            queue: queue.clone(),
            working: *working,
            running: JoinSet::new(),
            held: HashMap::new(),
        };
        Worker::begin(|stop| shift.work(stop))
    }

    async fn work(mut self, mut stop: oneshot::Receiver<Duration>) -> Ended {
        let mut stirred = self.claims.stirring().of(&self.queue);
        let mut renewal = interval(self.working.lease / 3);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wait = self.fill(&mut stirred).await;
            let room = async {
                match wait {
                    Wait::Room => std::future::pending().await,
                    Wait::Until(then) => tokio::select! {
                        () = sleep_until(then) => {}
                        // The store lives as long as this does, so it does not go silent.
                        _ = stirred.changed() => {}
                    },
                }
            };
            tokio::select! {
                biased;
                // Whoever has the handle and drops it ends this task, so the sender is there.
                within = &mut stop => return self.finish(within.unwrap_or_default()).await,
                _ = renewal.tick() => self.renew().await,
                Some(ended) = self.running.join_next() => self.forget(ended.ok()),
                () = room => {}
            }
        }
    }

    /// Begins jobs until there is no room, or nothing to do.
    async fn fill(&mut self, stirred: &mut watch::Receiver<()>) -> Wait {
        loop {
            while let Some(ended) = self.running.try_join_next() {
                self.forget(ended.ok());
            }
            let runs_alone = self.held.values().any(|held| held.alone);
            if runs_alone || self.held.len() >= self.working.concurrency.max(1) {
                return Wait::Room;
            }
            stirred.borrow_and_update();
            let wish = Wish {
                token: Token::random(),
                lease: self.working.lease,
                rate: self.working.rate,
                alone: self.held.is_empty(),
            };
            // A worker elsewhere may be lost without anybody telling.
            let look_again = self.working.lease / 2;
            match self.claims.claim(&self.queue, wish).await {
                Ok(Next::Job(job)) => self.start(wish.token, *job),
                Ok(Next::Alone) => return Wait::Room,
                Ok(Next::After(time)) => return Wait::Until(Instant::now() + time.min(look_again)),
                Ok(Next::Nothing) => return Wait::Until(Instant::now() + look_again),
                Err(error) => {
                    error.tell("jobs cannot be claimed");
                    return Wait::Until(Instant::now() + PAUSE);
                }
            }
        }
    }

    fn start(&mut self, token: Token, job: Job) {
        let alone = job.lost > 0;
        let (claims, handler) = (self.claims.clone(), self.handler.clone());
        let ended = Arc::new(AtomicBool::new(false));
        let tell_ended = ended.clone();
        let task = self.running.spawn(async move {
            let fate = fate(&job, attempt(&*handler, &job).await);
            tell_ended.store(true, Ordering::Release);
            loop {
                match claims.settle(&job.queue, token, &fate).await {
                    Ok(true) => break,
                    Ok(false) => {
                        let (queue, id) = (&job.queue, &job.id);
                        tracing::warn!(%queue, %id, "a job was done after its lease was lost: it may be done twice");
                        break;
                    }
                    // As long as the claim is renewed nobody else does it.
                    Err(error) => error.tell("a job that has ended cannot be settled yet"),
                }
                tokio::time::sleep(PAUSE).await;
            }
            token
        });
        self.held.insert(token, Held { task, alone, ended });
    }

    fn forget(&mut self, ended: Option<Token>) {
        // What was ended from here was taken out there.
        if let Some(token) = ended {
            self.held.remove(&token);
        }
    }

    /// Renews all claims, and ends what lost its own: somebody else may have begun it.
    async fn renew(&mut self) {
        if !self.held.is_empty() {
            let tokens: Vec<_> = self.held.keys().copied().collect();
            match self.claims.renew(&tokens, self.working.lease).await {
                Ok(renewed) => {
                    for token in tokens.iter().filter(|token| !renewed.contains(token)) {
                        // What has ended is settled, and is no longer claimed for that reason; or it will hear of it.
                        let lost = self.held.get(token).filter(|held| !held.ended.load(Ordering::Acquire));
                        if let Some(held) = lost {
                            held.task.abort();
                            self.held.remove(token);
                            tracing::warn!(queue = %self.queue, "the lease of a job was lost while it ran: it comes again");
                        }
                    }
                }
                Err(error) => error.tell("the leases of jobs cannot be renewed"),
            }
        }
        if let Err(error) = self.claims.tidy(&self.queue).await {
            error.tell("jobs that are kept no longer cannot be taken out");
        }
    }

    /// Lets end what runs, for a time; hands back the rest.
    async fn finish(mut self, within: Duration) -> Ended {
        let deadline = Instant::now() + within;
        let mut renewal = interval(self.working.lease / 3);
        while !self.held.is_empty() {
            tokio::select! {
                ended = timeout_at(deadline, self.running.join_next()) => match ended {
                    Ok(Some(ended)) => self.forget(ended.ok()),
                    Ok(None) | Err(_) => break,
                },
                _ = renewal.tick() => self.renew().await,
            }
        }
        self.running.shutdown().await;
        let mut ended = Ended::default();
        for token in self.held.keys() {
            match self.claims.settle(&self.queue, *token, &Fate::Back).await {
                Ok(back) => ended.handed_back += usize::from(back),
                Err(error) => error.tell("a job cannot be handed back: it comes back when its lease is over"),
            }
        }
        ended
    }
}

/// What becomes of a job by what its handler says.
fn fate(job: &Job, said: Result<Option<Box<RawValue>>, Failure>) -> Fate {
    let failure = match said {
        Ok(result) => return Fate::Done(result),
        Err(failure) => failure,
    };
    let after = match failure.again {
        _ if job.attempt >= job.attempts => None,
        Again::Never => None,
        Again::ByBackoff => Some(job.backoff.after(job.attempt)),
        Again::After(time) => Some(time),
    };
    match after {
        Some(after) => Fate::Again { why: failure.why, after },
        None => Fate::Failed { why: failure.why },
    }
}
