//! Schedules: what is done by the clock. Every node enqueues each tick under the same id, so that it is done once however many
//! nodes there are, and none is missed while one of them lives.

mod plan;
mod tick;

pub use tick::Tick;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::to_raw_value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::plan::Plan;
use self::tick::Scheduled;
use gateway_core::config::{self, Missed, Schedule};
use gateway_core::domain::Refusal;
use gateway_core::jobs::{Backoff, Enqueued, JobId, Jobs, NewJob, QueueName, SCHEDULE};
use gateway_core::metrics::Metrics;
use gateway_core::port::PortError;
use gateway_core::recurring::Recurring;
use gateway_core::ticks::{APART_MS, Run, Ticks};

/// How late a tick may be: beyond that nobody was there, and it was missed.
const GRACE_MS: u64 = APART_MS;
/// Ticks of one schedule that are made up for at once: of the others somebody was too late.
const AT_ONCE: usize = 100;
/// The clock is looked at this often at least: it may be set, and a machine may sleep.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a failure the first attempt is made again, at first.
const BACKOFF: Duration = Duration::from_secs(5);

/// What tells the time, in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The clock of this machine.
#[must_use]
pub fn clock() -> Clock {
    Arc::new(plan::now_ms)
}

/// What schedules work with.
pub struct Around {
    /// Which queues there are, and who works on them.
    pub queues: config::Jobs,
    /// The name of the node.
    pub node: String,
    /// Where what is due is enqueued.
    pub jobs: Arc<dyn Jobs>,
    /// What was due, and what came of it.
    pub ticks: Arc<dyn Ticks>,
    /// What tells the time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl fmt::Debug for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Around")
    }
}

/// The schedules of a node.
pub struct Schedules {
    plans: watch::Sender<Vec<Arc<Plan>>>,
    queues: config::Jobs,
    node: String,
    jobs: Arc<dyn Jobs>,
    ticks: Arc<dyn Ticks>,
    clock: Clock,
    trouble: Recurring,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Schedules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedules").field("plans", &self.plans.borrow().len()).finish_non_exhaustive()
    }
}

/// A schedule, as operators see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// What was configured.
    pub schedule: Schedule,
    /// When it is due next, in milliseconds since 1970; nothing if never.
    pub next: Option<u64>,
    /// Its last runs, newest first.
    pub runs: Vec<Run>,
}

impl Schedules {
    /// Those of a configuration. [`Self::run`] begins with them.
    ///
    /// # Errors
    /// What is wrong with one, in words that name it.
    pub fn new(schedules: &[Schedule], around: Around) -> Result<Arc<Self>, String> {
        let Around { queues, node, jobs, ticks, clock, metrics } = around;
        let plans = watch::Sender::new(read(schedules)?);
        let trouble = Recurring::new("schedules cannot be enqueued");
        Ok(Arc::new(Self { plans, queues, node, jobs, ticks, clock, trouble, metrics }))
    }

    /// Looks whether schedules can be read.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn check(schedules: &[Schedule]) -> Result<(), String> {
        read(schedules).map(drop)
    }

    /// Goes on with other schedules. What was enqueued is done.
    ///
    /// # Errors
    /// What is wrong with one; then nothing changes.
    pub fn replace(&self, schedules: &[Schedule]) -> Result<(), String> {
        let plans = read(schedules)?;
        self.plans.send_replace(plans);
        Ok(())
    }

    /// The schedules with their last runs, so many of each at the most.
    ///
    /// # Errors
    /// The store of runs cannot be asked.
    pub async fn list(&self, runs: usize) -> Result<Vec<Listed>, PortError> {
        let plans = self.plans.borrow().clone();
        let now = (self.clock)();
        let mut listed = Vec::with_capacity(plans.len());
        for plan in plans {
            let runs = self.ticks.runs(&plan.schedule.name, runs).await?;
            listed.push(Listed { schedule: plan.schedule.clone(), next: plan.next(now), runs });
        }
        Ok(listed)
    }

    /// Has a schedule's work done now, beside its ticks; nothing if there is no schedule of this name.
    ///
    /// # Errors
    /// The queue cannot be asked.
    pub async fn trigger(&self, name: &str) -> Result<Option<Enqueued>, Refusal> {
        let plan = self.plans.borrow().iter().find(|plan| plan.schedule.name == name).cloned();
        let Some(plan) = plan else { return Ok(None) };
        let enqueued = self.enqueue(&plan, (self.clock)(), JobId::random(), false).await;
        enqueued.map(Some).map_err(|error| {
            self.trouble.note(|what| error.tell(what));
            Refusal::Unavailable
        })
    }

    /// The names of the schedules there are.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.plans.borrow().iter().map(|plan| plan.schedule.name.clone()).collect()
    }

    /// Enqueues what is due, for ever.
    pub async fn run(self: Arc<Self>) {
        let mut changes = self.plans.subscribe();
        let mut hands: Vec<Hand> = Vec::new();
        loop {
            let plans = changes.borrow_and_update().clone();
            let now = (self.clock)();
            hands = plans
                .into_iter()
                .map(|plan| {
                    let known = hands.iter().find(|hand| hand.plan.key == plan.key);
                    // What was before it was there is not its concern.
                    known.map_or_else(
                        || Hand::new(plan.clone(), now),
                        |hand| Hand { plan: plan.clone(), ..hand.clone() },
                    )
                })
                .collect();
            let changed = async {
                loop {
                    for hand in &mut hands {
                        self.turn(hand).await;
                    }
                    sleep(self.pause(&hands)).await;
                }
            };
            tokio::select! {
                () = changed => {}
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// How long nothing is due.
    fn pause(&self, hands: &[Hand]) -> Duration {
        let now = (self.clock)();
        let next = hands.iter().filter_map(|hand| hand.next).min();
        next.map_or(LOOK, |next| Duration::from_millis(next.saturating_sub(now).max(5))).min(LOOK)
    }

    /// Enqueues what of one schedule is due, and remembers what was.
    async fn turn(&self, hand: &mut Hand) {
        let now = (self.clock)();
        // A clock that was set back by more than a moment begins anew there. What ran is known, and does not run again.
        if now + GRACE_MS < hand.done {
            hand.done = now;
            hand.next = hand.plan.next(now);
        }
        if hand.is_known && hand.next.is_none_or(|next| next > now) {
            return;
        }
        match self.try_turn(hand, now).await {
            Ok(()) => {
                hand.done = now;
                hand.is_known = true;
                hand.next = hand.plan.next(now);
            }
            Err(error) => {
                self.metrics.schedule_ticks.with("failed").increment(1);
                self.trouble.note(|what| error.tell(what));
                // In a while: what is away is not back at once.
                hand.next = Some(now + 1_000);
            }
        }
    }

    async fn try_turn(&self, hand: &Hand, now: u64) -> Result<(), PortError> {
        let plan = &hand.plan;
        let schedule = &plan.schedule;
        let since = hand.done.max(now.saturating_sub(GRACE_MS));
        let mut due = plan.between(since, now, AT_ONCE);
        // What was missed: nobody was there, or the queue was away for too long.
        let was_away = !hand.is_known || hand.done < since;
        if was_away && let Some(previous) = plan.previous(now) {
            let last = self.ticks.last(&plan.key, previous).await?;
            if last < previous && !due.contains(&previous) {
                match schedule.missed {
                    Missed::Once => due.insert(0, previous),
                    // Somebody else may be at it just now.
                    Missed::Skip if previous + GRACE_MS > now => {}
                    Missed::Skip => {
                        self.metrics.schedule_ticks.with("missed").increment(1);
                        tracing::warn!(schedule = schedule.name, tick = %shown(previous), "a tick was missed, and is left out");
                        // It is said once.
                        self.ticks.pass(&plan.key, previous).await?;
                    }
                }
            }
        }
        for tick in due {
            let id = JobId::new(format!("{SCHEDULE}-{}-{tick}", schedule.name))
                .map_err(|error| gateway_core::port::Port::Jobs.broken("enqueue", error))?;
            let known = if self.queues.is_ours(&schedule.queue) {
                self.enqueue(plan, tick, id, true).await?.known
            } else {
                self.hand_over(plan, tick, id).await?
            };
            self.metrics.schedule_ticks.with(if known { "known" } else { "enqueued" }).increment(1);
        }
        Ok(())
    }

    /// Enqueues a tick for others, who do not say when they begin with it: with that it has ended here. True if it was known.
    async fn hand_over(&self, plan: &Plan, tick: u64, id: JobId) -> Result<bool, PortError> {
        let name = &plan.schedule.name;
        if !self.ticks.begin(name, tick).await? {
            return Ok(true);
        }
        let (begun, since) = ((self.clock)(), Instant::now());
        let enqueued = self.enqueue(plan, tick, id, true).await?;
        if !enqueued.known {
            let took = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            let (schedule, node) = (name.clone(), self.node.clone());
            self.ticks
                .note(name, &Run { schedule, tick, node, begun, took, attempt: 1, failed: None, last: true })
                .await?;
        }
        self.ticks.pass(&plan.key, tick).await?;
        Ok(enqueued.known)
    }

    async fn enqueue(&self, plan: &Plan, tick: u64, id: JobId, is_tick: bool) -> Result<Enqueued, PortError> {
        let Schedule { name, kind, queue, attempts, data, .. } = &plan.schedule;
        let broken = |error: &dyn fmt::Display| gateway_core::port::Port::Jobs.broken("enqueue", error.to_string());
        let mut data = to_raw_value(data).map_err(|error| broken(&error))?;
        let mut kind = kind.clone();
        // Others have it as it was configured.
        if self.queues.is_ours(queue) {
            let plan = is_tick.then(|| plan.key.clone());
            let scheduled = Scheduled { schedule: name.clone(), plan, tick, kind, data };
            data = to_raw_value(&scheduled).map_err(|error| broken(&error))?;
            kind = SCHEDULE.to_owned();
        }
        let queue = QueueName::new(queue.clone()).map_err(|error| broken(&error))?;
        let (attempts, backoff) = (*attempts, Backoff::Exponential(BACKOFF));
        let job = NewJob { id: Some(id), attempts, backoff, ..NewJob::new(kind, data) };
        self.jobs.enqueue(&queue, &job).await
    }
}

/// How far one schedule is on this node.
#[derive(Clone, Debug)]
struct Hand {
    plan: Arc<Plan>,
    /// Up to when everything was enqueued, or was not to be.
    done: u64,
    next: Option<u64>,
    /// Whether it was looked what was before this node was there.
    is_known: bool,
}

impl Hand {
    fn new(plan: Arc<Plan>, now: u64) -> Self {
        let next = plan.next(now);
        Self { plan, done: now, next, is_known: false }
    }
}

fn read(schedules: &[Schedule]) -> Result<Vec<Arc<Plan>>, String> {
    schedules.iter().map(|schedule| Plan::read(schedule).map(Arc::new)).collect()
}

/// A time for people.
pub(crate) fn shown(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(String::new, |at| at.to_string())
}
