//! The jobs of one process, gone when it ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::claims::{Claims, Fate, Next, Stirring, Token, Wish};
use super::shift::Shift;
use super::{
    Counts, Enqueued, Found, Handler, JobId, Jobs, Kept, NewJob, Outcome, Part, QueueName, Queues, Rate, Standing,
    State, Worker, Working, lost_too_often,
};
use crate::port::PortError;

/// Jobs in memory.
#[derive(Clone, Debug)]
pub struct MemoryJobs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    kept: Kept,
    queues: Mutex<BTreeMap<QueueName, Queue>>,
    stirring: Stirring,
}

#[derive(Debug, Default)]
struct Queue {
    paused: bool,
    /// Since when so many were begun.
    begun: Option<(Instant, u32)>,
    entries: HashMap<JobId, Entry>,
    /// Those that somebody does, by the claim.
    claimed: HashMap<Token, JobId>,
    /// Those that are due, in their order: by priority, and since when they are.
    waiting: BTreeSet<(u32, Instant, u64, JobId)>,
    /// Those that are not due yet, by when they are.
    delayed: BTreeSet<(Instant, u64, JobId)>,
    /// How many came so far.
    came: u64,
}

#[derive(Debug)]
struct Entry {
    found: Found,
    /// A number that grows from job to job.
    seq: u64,
    /// When it is, or was, due.
    due: Instant,
    /// Until when the claim on it holds.
    held_until: Instant,
    ended: Option<Instant>,
}

impl MemoryJobs {
    /// No jobs yet.
    #[must_use]
    pub fn new(kept: Kept) -> Self {
        Self(Arc::new(Shared { kept, queues: Mutex::default(), stirring: Stirring::default() }))
    }

    /// Does something to a queue that is there.
    fn with<T: Default>(&self, queue: &QueueName, work: impl FnOnce(&mut Queue) -> T) -> T {
        self.0.queues.lock().get_mut(queue).map(work).unwrap_or_default()
    }
}

impl Queue {
    /// Puts an entry where its time says that it belongs.
    fn shelve(&mut self, id: &JobId, now: Instant) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.due > now {
            entry.found.state = State::Delayed;
            self.delayed.insert((entry.due, entry.seq, id.clone()));
        } else {
            entry.found.state = State::Waiting;
            self.waiting.insert((entry.found.job.priority, entry.due, entry.seq, id.clone()));
        }
    }

    /// Takes it from there.
    fn unshelve(&mut self, id: &JobId) {
        let Some(entry) = self.entries.get(id) else { return };
        self.waiting.remove(&(entry.found.job.priority, entry.due, entry.seq, id.clone()));
        self.delayed.remove(&(entry.due, entry.seq, id.clone()));
    }

    /// Has what is due by now wait, and what was lost come back.
    fn catch_up(&mut self, now: Instant) {
        while let Some((.., id)) = self.delayed.first().filter(|(due, ..)| *due <= now).cloned() {
            self.delayed.pop_first();
            self.shelve(&id, now);
        }
        let is_over = |id: &JobId| self.entries.get(id).is_none_or(|entry| entry.held_until <= now);
        let lost: Vec<_> = self.claimed.extract_if(|_, id| is_over(id)).map(|(_, id)| id).collect();
        for id in lost {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.found.job.lost += 1;
            entry.found.job.attempt -= 1;
            if entry.found.job.lost >= Working::LOST {
                entry.end(State::Failed, now);
                entry.found.why = Some(lost_too_often());
            } else {
                self.shelve(&id, now);
            }
        }
    }

    /// How long nothing may be begun, by the rate.
    fn barred(&mut self, rate: Option<Rate>, now: Instant) -> Option<Duration> {
        let rate = rate?;
        let (since, count) = self.begun.filter(|(since, _)| now < *since + rate.per).unwrap_or((now, 0));
        self.begun = Some((since, count));
        (count >= rate.jobs).then(|| since + rate.per - now)
    }

    fn claim(&mut self, wish: Wish) -> Next {
        let now = Instant::now();
        self.catch_up(now);
        if self.paused {
            return Next::Nothing;
        }
        let Some((.., id)) = self.waiting.first().cloned() else {
            return self.delayed.first().map_or(Next::Nothing, |(due, ..)| Next::After(*due - now));
        };
        let Some(entry) = self.entries.get(&id) else { return Next::Nothing };
        if entry.found.job.lost > 0 && !wish.alone {
            return Next::Alone;
        }
        if let Some(time) = self.barred(wish.rate, now) {
            return Next::After(time);
        }
        if let Some((_, count)) = &mut self.begun {
            *count += 1;
        }
        self.waiting.pop_first();
        let Some(entry) = self.entries.get_mut(&id) else { return Next::Nothing };
        entry.held_until = now + wish.lease;
        self.claimed.insert(wish.token, id);
        entry.found.state = State::Active;
        entry.found.begun_at_ms = Some(now_ms());
        entry.found.job.attempt += 1;
        Next::Job(Box::new(entry.found.job.clone()))
    }

    fn settle(&mut self, token: Token, fate: &Fate) -> bool {
        let now = Instant::now();
        let Some(id) = self.claimed.remove(&token) else { return false };
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        match fate {
            Fate::Done(result) => {
                entry.end(State::Completed, now);
                entry.found.result.clone_from(result);
                entry.found.why = None;
            }
            Fate::Failed { why } => {
                entry.end(State::Failed, now);
                entry.found.why = Some(why.clone());
            }
            Fate::Again { why, after } => {
                entry.found.why = Some(why.clone());
                entry.due = later(now, *after);
                self.shelve(&id, now);
            }
            Fate::Back => {
                entry.found.job.attempt -= 1;
                self.shelve(&id, now);
            }
        }
        true
    }

    fn tidy(&mut self, kept: Kept) {
        let now = Instant::now();
        let done = self.entries.iter().filter(|(_, entry)| entry.found.state == State::Completed);
        let mut done: Vec<_> = done.map(|(id, entry)| (entry.ended.unwrap_or(now), id.clone())).collect();
        done.sort_unstable_by(|one, other| other.cmp(one));
        for (place, (ended, id)) in done.into_iter().enumerate() {
            if place >= kept.most || now - ended >= kept.time {
                self.entries.remove(&id);
            }
        }
    }
}

impl Entry {
    fn end(&mut self, state: State, now: Instant) {
        self.found.state = state;
        self.found.ended_at_ms = Some(now_ms());
        self.ended = Some(now);
    }

    fn as_found(&self) -> Found {
        let mut found = self.found.clone();
        if found.state == State::Delayed {
            let left = self.due.saturating_duration_since(Instant::now());
            found.due_at_ms = Some(now_ms() + u64::try_from(left.as_millis()).unwrap_or(u64::MAX / 2));
        }
        found
    }
}

#[async_trait]
impl Claims for MemoryJobs {
    async fn claim(&self, queue: &QueueName, wish: Wish) -> Result<Next, PortError> {
        Ok(self.0.queues.lock().get_mut(queue).map_or(Next::Nothing, |queue| queue.claim(wish)))
    }

    async fn renew(&self, tokens: &[Token], lease: Duration) -> Result<Vec<Token>, PortError> {
        let until = Instant::now() + lease;
        let mut renewed = Vec::new();
        for queue in self.0.queues.lock().values_mut() {
            for token in tokens {
                let entry = queue.claimed.get(token).and_then(|id| queue.entries.get_mut(id));
                if let Some(entry) = entry {
                    entry.held_until = until;
                    renewed.push(*token);
                }
            }
        }
        Ok(renewed)
    }

    async fn settle(&self, queue: &QueueName, token: Token, fate: &Fate) -> Result<bool, PortError> {
        let settled = self.with(queue, |queue| queue.settle(token, fate));
        if matches!(fate, Fate::Again { .. } | Fate::Back) {
            self.0.stirring.stir(queue);
        }
        Ok(settled)
    }

    async fn tidy(&self, queue: &QueueName) -> Result<(), PortError> {
        self.with(queue, |queue| queue.tidy(self.0.kept));
        Ok(())
    }

    fn stirring(&self) -> &Stirring {
        &self.0.stirring
    }
}

#[async_trait]
impl Jobs for MemoryJobs {
    async fn enqueue(&self, queue: &QueueName, job: &NewJob) -> Result<Enqueued, PortError> {
        let now = Instant::now();
        let id = job.id.clone().unwrap_or_else(JobId::random);
        {
            let mut queues = self.0.queues.lock();
            let place = queues.entry(queue.clone()).or_default();
            if place.entries.contains_key(&id) {
                return Ok(Enqueued { id, known: true });
            }
            place.came += 1;
            let found = Found {
                job: job.at(queue, &id, now_ms()),
                state: State::Waiting,
                due_at_ms: None,
                begun_at_ms: None,
                ended_at_ms: None,
                why: None,
                result: None,
            };
            let due = later(now, job.delay);
            let entry = Entry { found, seq: place.came, due, held_until: now, ended: None };
            place.entries.insert(id.clone(), entry);
            place.shelve(&id, now);
        }
        self.0.stirring.stir(queue);
        Ok(Enqueued { id, known: false })
    }

    async fn work(&self, queue: &QueueName, working: &Working, handler: Arc<dyn Handler>) -> Result<Worker, PortError> {
        self.0.queues.lock().entry(queue.clone()).or_default();
        Ok(Shift::begin(Arc::new(self.clone()), queue, working, handler))
    }
}

#[async_trait]
impl Queues for MemoryJobs {
    async fn survey(&self) -> Result<Vec<Standing>, PortError> {
        let queues = self.0.queues.lock();
        let stand = |(name, queue): (&QueueName, &Queue)| {
            let mut counts = Counts::default();
            for entry in queue.entries.values() {
                *counts.of_mut(entry.found.state) += 1;
            }
            Standing { queue: name.clone(), paused: queue.paused, counts }
        };
        Ok(queues.iter().map(stand).collect())
    }

    async fn list(&self, queue: &QueueName, state: State, part: Part) -> Result<Vec<Found>, PortError> {
        Ok(self.with(queue, |queue| {
            let mut all: Vec<_> = queue.entries.values().filter(|entry| entry.found.state == state).collect();
            match state {
                State::Waiting => all.sort_by_key(|entry| (entry.found.job.priority, entry.due, entry.seq)),
                State::Delayed => all.sort_by_key(|entry| (entry.due, entry.seq)),
                State::Active => all.sort_by_key(|entry| entry.seq),
                State::Completed | State::Failed => {
                    all.sort_by_key(|entry| std::cmp::Reverse((entry.ended, entry.seq)));
                }
            }
            all.into_iter().skip(part.skip).take(part.most).map(Entry::as_found).collect()
        }))
    }

    async fn find(&self, queue: &QueueName, id: &JobId) -> Result<Option<Found>, PortError> {
        Ok(self.with(queue, |queue| queue.entries.get(id).map(Entry::as_found)))
    }

    async fn retry(&self, queue: &QueueName, id: &JobId) -> Result<Outcome, PortError> {
        let outcome = self.with(queue, |queue| {
            let now = Instant::now();
            let Some(entry) = queue.entries.get_mut(id) else { return Some(Outcome::Unknown) };
            match entry.found.state {
                State::Active => return Some(Outcome::Active),
                State::Waiting => return Some(Outcome::Done),
                State::Delayed => queue.unshelve(id),
                State::Completed | State::Failed => {}
            }
            if let Some(entry) = queue.entries.get_mut(id) {
                if entry.ended.take().is_some() {
                    entry.found.ended_at_ms = None;
                    entry.found.result = None;
                    (entry.found.job.attempt, entry.found.job.lost) = (0, 0);
                }
                entry.due = now;
            }
            queue.shelve(id, now);
            Some(Outcome::Done)
        });
        self.0.stirring.stir(queue);
        Ok(outcome.unwrap_or(Outcome::Unknown))
    }

    async fn remove(&self, queue: &QueueName, id: &JobId) -> Result<Outcome, PortError> {
        let outcome = self.with(queue, |queue| {
            let state = queue.entries.get(id)?.found.state;
            if state == State::Active {
                return Some(Outcome::Active);
            }
            queue.unshelve(id);
            queue.entries.remove(id);
            Some(Outcome::Done)
        });
        Ok(outcome.unwrap_or(Outcome::Unknown))
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<(), PortError> {
        self.0.queues.lock().entry(queue.clone()).or_default().paused = paused;
        self.0.stirring.stir(queue);
        Ok(())
    }
}

/// What is never is in a hundred years.
fn later(now: Instant, delay: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    now + delay.min(NEVER)
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_was_away_changes_nothing() {
        let store = MemoryJobs::new(Kept { time: Duration::from_secs(60), most: 10 });
        crate::jobs::claims::who_was_away_changes_nothing(&store, &store).await;
    }
}
