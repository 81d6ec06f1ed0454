//! What a worker of ours does as long as it works: it has a worker of BullMQ, and another one where the primary is by then.

use std::sync::Arc;
use std::time::Duration;

use bullmq::worker::WorkerEvent;
use gateway_core::jobs::{Ended, Handler, QueueName, State, Working};
use gateway_core::port::{Port, PortError};
use gateway_core::recurring::Recurring;
use gateway_core::redis::{CommandError, milliseconds};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::crew::Crew;
use super::link::error_of;
use super::{Shared, names};

/// How long Redis is left alone when it is away.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a worker looks around.
const TICK: Duration = Duration::from_secs(5);
/// How many finished jobs are taken out at a time.
const TIDIED: u32 = 1_000;

/// A worker of ours.
pub(super) struct Duty {
    all: Arc<Shared>,
    queue: QueueName,
    working: Working,
    handler: Arc<dyn Handler>,
    slots: Arc<Semaphore>,
    trouble: Recurring,
}

/// Why a worker of BullMQ is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replaced {
    /// Its connections go where nothing can be written any more.
    Elsewhere,
    /// Connections were lost: the one that it waits on may be to nobody, which it would not notice.
    Doubtful,
}

impl Duty {
    pub(super) fn new(all: Arc<Shared>, queue: &QueueName, working: &Working, handler: Arc<dyn Handler>) -> Self {
        let slots = Arc::new(Semaphore::new(working.concurrency.max(1)));
        let trouble = Recurring::new("Redis cannot be asked for jobs");
        Self { all, queue: queue.clone(), working: *working, handler, slots, trouble }
    }

    pub(super) async fn work(self, mut stop: oneshot::Receiver<Duration>) -> Ended {
        // Those that were replaced, and end what they have begun.
        let mut retiring = JoinSet::new();
        loop {
            let crew = tokio::select! {
                within = &mut stop => return finish(None, retiring, within.unwrap_or_default()).await,
                crew = self.gather() => crew,
            };
            let replaced = tokio::select! {
                within = &mut stop => return finish(Some(crew), retiring, within.unwrap_or_default()).await,
                replaced = self.attend(&crew, &mut retiring) => replaced,
            };
            tracing::info!(queue = %self.queue, ?replaced, "the worker of a queue connects anew");
            match replaced {
                // What it did it cannot write any more, and others begin it when its leases are over.
                Replaced::Elsewhere => {
                    drop(crew);
                    // Those who know where the primary is may not have heard yet.
                    sleep(PAUSE).await;
                }
                Replaced::Doubtful => {
                    crew.end();
                    retiring.spawn(async move {
                        crew.retire().await;
                        crew
                    });
                }
            }
        }
    }

    /// A worker of BullMQ, as soon as Redis is there.
    async fn gather(&self) -> Crew {
        loop {
            match self.try_gather().await {
                Ok(crew) => return crew,
                Err(error) => self.trouble.note(|what| error.tell(what)),
            }
            sleep(PAUSE).await;
        }
    }

    async fn try_gather(&self) -> Result<Crew, PortError> {
        self.all.register(&self.queue).await?;
        let located =
            self.all.link.locate().await.map_err(|error| Port::Jobs.failed("work", CommandError::from(error)))?;
        let (generation, address) = (located.0, located.1.clone());
        let begin = Crew::begin(
            self.all.clone(),
            (&self.queue, &self.working),
            self.handler.clone(),
            self.slots.clone(),
            located,
        );
        match timeout(self.all.link.commands.timeout(), begin).await {
            Ok(Ok(crew)) => Ok(crew),
            Ok(Err(error)) => {
                self.all.link.judge(generation, &address, &error.to_string()).await;
                Err(error_of("work", error))
            }
            Err(_) => Err(Port::Jobs.not_now("work", "Redis did not answer in time")),
        }
    }

    /// Looks after a worker of BullMQ until it is to be replaced.
    async fn attend(&self, crew: &Crew, retiring: &mut JoinSet<Crew>) -> Replaced {
        let mut generations = self.all.link.generations();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        let losses = self.all.link.commands.losses();
        let mut looked = Instant::now();
        loop {
            tokio::select! {
                // Read at once, or they would pile up.
                event = crew.worker.next_event() => match event {
                    Some(WorkerEvent::Error(words)) => {
                        self.trouble.note(|what| tracing::warn!(queue = %self.queue, error = %words, "{what}"));
                        if self.all.link.judge(crew.generation, &crew.address, &words).await {
                            return Replaced::Elsewhere;
                        }
                        // The generation may have ended before anybody knew where the next primary is.
                        if looked.elapsed() >= PAUSE {
                            if self.is_elsewhere(crew).await {
                                return Replaced::Elsewhere;
                            }
                            looked = Instant::now();
                        }
                    }
                    Some(WorkerEvent::Stalled { job_id }) => {
                        tracing::warn!(queue = %self.queue, id = job_id, "a job has lost its worker, and comes again");
                    }
                    Some(_) => {}
                    None => return Replaced::Elsewhere,
                },
                changed = generations.changed() => {
                    if changed.is_ok() && self.is_elsewhere(crew).await {
                        return Replaced::Elsewhere;
                    }
                }
                _ = tick.tick() => {
                    crew.nudge();
                    if self.is_elsewhere(crew).await {
                        return Replaced::Elsewhere;
                    }
                    let tidied = self.tidy().await;
                    match tidied {
                        // Only when Redis answers again is there something to connect to.
                        Ok(()) if self.all.link.commands.losses() != losses => return Replaced::Doubtful,
                        Ok(()) => {}
                        Err(error) => self.trouble.note(|what| error.tell(what)),
                    }
                }
                Some(retired) = retiring.join_next() => if let Ok(crew) = retired {
                    // Nothing runs any more, so there is nothing to wait for.
                    crew.finish(Instant::now()).await;
                },
            }
        }
    }

    /// Whether the primary is not where the worker's connections go.
    async fn is_elsewhere(&self, crew: &Crew) -> bool {
        self.all.link.locate().await.is_ok_and(|(_, address, _)| address != crew.address)
    }

    /// Takes out what is kept no longer: BullMQ does it only when another job of the queue ends.
    async fn tidy(&self) -> Result<(), PortError> {
        let mut oldest = redis::cmd("ZRANGE");
        let key = format!("{}:{}:completed", self.all.link.prefix, names::of_queue(&self.queue));
        oldest.arg(key).arg(0).arg(0).arg("WITHSCORES");
        let oldest: Result<Vec<(String, f64)>, _> = self.all.link.commands.query(&oldest).await;
        let oldest = oldest.map_err(|error| Port::Jobs.failed("tidy", error))?;
        let kept = milliseconds(self.all.kept.time);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
        let is_over = |ended: f64| ended + kept as f64 <= super::now_ms() as f64;
        if oldest.first().is_some_and(|(_, ended)| is_over(*ended)) {
            let state = State::Completed.word();
            self.all.ask("tidy", &self.queue, async |queue| queue.clean(kept, TIDIED, state).await).await?;
        }
        Ok(())
    }
}

/// Lets all end until the time is over.
async fn finish(crew: Option<Crew>, mut retiring: JoinSet<Crew>, within: Duration) -> Ended {
    let deadline = Instant::now() + within;
    if let Some(crew) = &crew {
        crew.end();
    }
    let mut ended = Ended::default();
    // Those that are replaced can only be let go of by ending the tasks that have them: their jobs are as lost.
    tokio::time::timeout_at(deadline, async { while retiring.join_next().await.is_some() {} }).await.ok();
    retiring.shutdown().await;
    if let Some(crew) = crew {
        ended.handed_back += crew.finish(deadline).await;
    }
    ended
}
