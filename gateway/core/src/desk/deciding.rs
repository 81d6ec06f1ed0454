//! What is seen of queues and their jobs, and decided about them.

use super::Desk;
use crate::domain::Refusal;
use crate::jobs::{Counts, Found, JobId, Outcome, Part, QueueName, State};

/// A queue, and how it stands.
#[derive(Clone, Debug)]
pub struct QueueStanding {
    /// Its name.
    pub name: QueueName,
    /// Whether it is one of the configuration.
    pub is_configured: bool,
    /// How many of its jobs this node does at the same time.
    pub concurrency: usize,
    /// Whether it is paused.
    pub is_paused: bool,
    /// How many jobs it has.
    pub counts: Counts,
}

/// A part of the jobs of a queue.
#[derive(Debug)]
pub struct Listed {
    /// In the order in which they are done, or the last that ended first.
    pub jobs: Vec<Found>,
    /// How many are passed over to read on, if there are more.
    pub next: Option<usize>,
}

/// What came of looking for a job by its id alone.
#[derive(Debug)]
pub enum Wanted {
    /// This one.
    Found(Box<Found>),
    /// No queue has one.
    Nowhere,
    /// Several queues have one: whoever asks has to say which is meant.
    InSeveral(Vec<QueueName>),
}

impl Desk {
    /// All queues: those of the configuration, and others that something was put into.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn standings(&self) -> Result<Vec<QueueStanding>, Refusal> {
        let known = self.survey().await.map_err(|error| self.unavailable(&error))?;
        let mut all: Vec<_> = known
            .into_iter()
            .map(|standing| {
                let configured = self.configured(standing.queue.as_str());
                QueueStanding {
                    is_configured: configured.is_some(),
                    concurrency: configured.map_or(0, |queue| queue.concurrency),
                    is_paused: standing.paused,
                    counts: standing.counts,
                    name: standing.queue,
                }
            })
            .collect();
        for queue in &self.configured {
            if !all.iter().any(|standing| standing.name == queue.name) {
                let (name, concurrency, counts) = (queue.name.clone(), queue.concurrency, Counts::default());
                all.push(QueueStanding { name, is_configured: true, concurrency, is_paused: false, counts });
            }
        }
        all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// A queue by its name, if there is one.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn queue(&self, name: &str) -> Result<Option<QueueName>, Refusal> {
        if let Some(queue) = self.configured(name) {
            return Ok(Some(queue.name.clone()));
        }
        let all = self.standings().await?;
        Ok(all.into_iter().map(|standing| standing.name).find(|known| known.as_str() == name))
    }

    /// A part of the jobs of a queue: those after `skip` others.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn list(
        &self,
        queue: &QueueName,
        state: State,
        skip: usize,
        limit: Option<usize>,
    ) -> Result<Listed, Refusal> {
        let most = limit.unwrap_or(usize::MAX).clamp(1, self.page());
        let listed = self.queues.list(queue, state, Part { skip, most: most + 1 }).await;
        let mut jobs = listed.map_err(|error| self.unavailable(&error))?;
        let next = (jobs.len() > most).then_some(skip + most);
        jobs.truncate(most);
        Ok(Listed { jobs, next })
    }

    /// One job of a queue.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn find(&self, queue: &QueueName, id: &JobId) -> Result<Option<Found>, Refusal> {
        self.queues.find(queue, id).await.map_err(|error| self.unavailable(&error))
    }

    /// One job, whose queue is not known.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn look_for(&self, id: &JobId) -> Result<Wanted, Refusal> {
        let mut found = Vec::new();
        for standing in self.standings().await? {
            found.extend(self.find(&standing.name, id).await?);
        }
        Ok(match found.len() {
            0 => Wanted::Nowhere,
            1 => Wanted::Found(Box::new(found.remove(0))),
            _ => Wanted::InSeveral(found.into_iter().map(|found| found.job.queue).collect()),
        })
    }

    /// Has a job done now, from its first attempt on.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn retry(&self, queue: &QueueName, id: &JobId) -> Result<Outcome, Refusal> {
        self.queues.retry(queue, id).await.map_err(|error| self.unavailable(&error))
    }

    /// Takes a job out of its queue.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn remove(&self, queue: &QueueName, id: &JobId) -> Result<Outcome, Refusal> {
        self.queues.remove(queue, id).await.map_err(|error| self.unavailable(&error))
    }

    /// Stops a queue on all nodes from beginning jobs, or lets it go on.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn pause(&self, queue: &QueueName, paused: bool) -> Result<(), Refusal> {
        self.queues.pause(queue, paused).await.map_err(|error| self.unavailable(&error))
    }
}
