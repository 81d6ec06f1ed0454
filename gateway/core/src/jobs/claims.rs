//! What a store that has no workers of its own does for those who work on it: jobs are claimed, renewed and settled.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::{Job, QueueName, Rate};
use crate::port::PortError;

/// A store whose jobs are claimed. A claim holds for the time of its lease after it was made or renewed, and as long as
/// nobody else has claimed the job since.
#[async_trait]
pub(super) trait Claims: Send + Sync + 'static {
    /// Claims the next job that is due. It counts as an attempt from now on. What others have lost is due again.
    async fn claim(&self, queue: &QueueName, wish: Wish) -> Result<Next, PortError>;

    /// Has claims hold for another lease; returns those that do.
    async fn renew(&self, tokens: &[Token], lease: Duration) -> Result<Vec<Token>, PortError>;

    /// Ends a claim with what became of the job. False if it does not hold any more; then nothing changes.
    async fn settle(&self, queue: &QueueName, token: Token, fate: &Fate) -> Result<bool, PortError>;

    /// Takes out what is kept no longer.
    async fn tidy(&self, queue: &QueueName) -> Result<(), PortError>;

    /// Tells whoever waits for jobs of a queue that there may be one.
    fn stirring(&self) -> &Stirring;
}

/// What tells one claim from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Token(pub(super) i64);

impl Token {
    pub(super) fn random() -> Self {
        Self(rand::random())
    }
}

/// What somebody who claims wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// By which the claim is known.
    pub(super) token: Token,
    /// For how long it holds.
    pub(super) lease: Duration,
    /// How many jobs of the queue may be begun, on all nodes.
    pub(super) rate: Option<Rate>,
    /// Whether nothing else runs there: what has lost its worker is done alone.
    pub(super) alone: bool,
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Next {
    /// This, by the claim.
    Job(Box<Job>),
    /// Something that is to be done alone: it is claimed when nothing else runs.
    Alone,
    /// Nothing before this time is over.
    After(Duration),
    /// Nothing.
    Nothing,
}

/// What becomes of a job.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// It was done.
    Done(Option<Box<RawValue>>),
    /// It has failed, and is tried again after a time.
    Again {
        /// Why.
        why: String,
        /// How long it waits.
        after: Duration,
    },
    /// It has failed for good.
    Failed {
        /// Why.
        why: String,
    },
    /// It was not finished, which is not its fault.
    Back,
}

/// Whether there may be something to do, by queue.
#[derive(Debug, Default)]
pub(super) struct Stirring(Mutex<HashMap<QueueName, watch::Sender<()>>>);

impl Stirring {
    /// There may be.
    pub(super) fn stir(&self, queue: &QueueName) {
        // Without anybody who works on it there is nobody to tell.
        if let Some(sender) = self.0.lock().get(queue) {
            sender.send_replace(());
        }
    }

    /// Changes whenever there may be.
    pub(super) fn of(&self, queue: &QueueName) -> watch::Receiver<()> {
        self.0.lock().entry(queue.clone()).or_default().subscribe()
    }
}

/// Who was away for longer than its lease changes nothing any more: a test for every store.
#[cfg(test)]
pub(super) async fn who_was_away_changes_nothing(jobs: &dyn super::Jobs, claims: &dyn Claims) {
    use super::{JobId, NewJob};
    let queue = QueueName::new("late").unwrap();
    let id = Some(JobId::new("a").unwrap());
    jobs.enqueue(&queue, &NewJob { id, ..NewJob::new("x", RawValue::NULL.to_owned()) }).await.unwrap();
    let short = Duration::from_millis(1);
    let wish = |lease| Wish { token: Token::random(), lease, rate: None, alone: true };
    let (first, second) = (wish(short), wish(Duration::from_secs(600)));
    let Next::Job(job) = claims.claim(&queue, first).await.unwrap() else { panic!("it is due") };
    assert_eq!((job.attempt, job.lost), (1, 0));
    tokio::time::sleep(short * 20).await;
    assert!(matches!(claims.claim(&queue, Wish { alone: false, ..second }).await.unwrap(), Next::Alone));
    let Next::Job(job) = claims.claim(&queue, second).await.unwrap() else { panic!("it came back") };
    assert_eq!((job.attempt, job.lost), (1, 1));
    assert_eq!(claims.renew(&[first.token, second.token], second.lease).await.unwrap(), [second.token]);
    let again = Fate::Again { why: "late".into(), after: Duration::ZERO };
    for late in [Fate::Done(None), Fate::Failed { why: "late".into() }, again, Fate::Back] {
        assert!(!claims.settle(&queue, first.token, &late).await.unwrap(), "{late:?}");
        assert!(matches!(claims.claim(&queue, wish(short)).await.unwrap(), Next::Nothing), "{late:?}");
    }
    assert!(claims.settle(&queue, second.token, &Fate::Done(None)).await.unwrap());
    assert!(!claims.settle(&queue, second.token, &Fate::Done(None)).await.unwrap(), "once");
}
