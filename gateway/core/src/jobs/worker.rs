//! A worker as whoever began it sees it: how it works, and how it ends.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

/// How a worker works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Working {
    /// How many jobs it does at the same time: one at least.
    pub concurrency: usize,
    /// How many jobs of the queue are begun at the most, on all nodes together.
    pub rate: Option<Rate>,
    /// For how long a job is this worker's without a word from it. It is renewed in time; a worker that is lost is missed after
    /// this time, and its jobs come back after half as long again, about.
    pub lease: Duration,
}

impl Working {
    /// How often a job may lose its worker before it counts as what ends workers.
    pub const LOST: u32 = 3;

    /// A lease that suits processes on a network: jobs of one that was lost come back after about seven seconds.
    pub const LEASE: Duration = Duration::from_secs(5);
}

/// Why a job has failed that has lost its worker too often.
#[must_use]
pub fn lost_too_often() -> String {
    format!("its worker was lost {} times while it did this job: the job may be what ends it", Working::LOST)
}

impl Default for Working {
    /// One at a time, as fast as it can.
    fn default() -> Self {
        Self { concurrency: 1, rate: None, lease: Self::LEASE }
    }
}

/// So many in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub jobs: u32,
    /// In which time.
    pub per: Duration,
}

/// Somebody who works on a queue. Dropped, it ends at once, and its jobs come back as those of one that was lost.
#[derive(Debug)]
pub struct Worker {
    stop: oneshot::Sender<Duration>,
    work: AbortOnDropHandle<Ended>,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// How many jobs still ran when its time was over: they wait again, and it does not count as an attempt.
    pub handed_back: usize,
}

impl Worker {
    /// A worker that is a task. It is told when to stop, and how long its jobs may still take then; it ends soon after.
    pub fn begin<W>(work: impl FnOnce(oneshot::Receiver<Duration>) -> W) -> Self
    where
        W: Future<Output = Ended> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        Self { stop, work: AbortOnDropHandle::new(tokio::spawn(work(stopped))) }
    }

    /// Takes no more jobs, lets those end that run, for the time `within` at the most, and hands back the others.
    pub async fn stop(self, within: Duration) -> Ended {
        // Whoever has ended already hears nothing, and has nothing to hand back.
        self.stop.send(within).ok();
        self.work.await.unwrap_or_default()
    }

    /// Waits until it ends without having been told to, which is a mistake in it: nobody works any more.
    pub async fn failed(&mut self) -> String {
        match (&mut self.work).await {
            Ok(_) => "it has ended by itself".into(),
            Err(error) => error.to_string(),
        }
    }
}
