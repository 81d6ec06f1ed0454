//! Answers that are kept: in the memory of this node, and for all nodes where they share a store. One asks for all.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use super::{Asker, Caller, Endpoint};
use crate::answers::{Answers, Recalled, Times};
use crate::caching::{Kept, Learned, Source};
use crate::domain::Refusal;
use crate::metrics::Metrics;
use crate::port::PortError;

/// How often it is looked whether another node has its answer.
const LOOK: Duration = Duration::from_millis(50);
/// How much longer than its call a node has the turn: what it learned is on its way.
const GRACE: Duration = Duration::from_secs(1);
/// How long an answer is given to those who would wait, after its time: a part of that, and at the most this.
const OLD_PART: u32 = 2;
const LONGEST_OLD: Duration = Duration::from_secs(30);
/// How long this node uses what is a little old before it looks for something newer.
const OLD_KEPT: Duration = Duration::from_secs(1);

/// By what an answer is found again: the hash of all that was asked, and of who asked.
pub type Name = [u8; 32];

/// What is kept under which name, and for how long at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// The name.
    pub name: Name,
    /// The time. It is a little less by chance, so that what was asked together is not asked together again.
    pub time: Duration,
}

/// What this node keeps, and where it finds what others have learned.
pub(super) struct KeptAnswers {
    here: Kept<Name, Arc<RawValue>>,
    shared: Option<Arc<dyn Answers>>,
}

impl KeptAnswers {
    pub(super) fn new(bytes: u64, metrics: Arc<Metrics>) -> Self {
        let weigh = |name: &Name, answer: &Arc<RawValue>| name.len() + answer.get().len();
        Self { here: Kept::new("calls", bytes, weigh, metrics), shared: None }
    }

    pub(super) fn shared_by(self, shared: Arc<dyn Answers>) -> Self {
        Self { shared: Some(shared), ..self }
    }

    pub(super) async fn upkeep(&self) {
        self.here.upkeep().await;
    }
}

impl Caller {
    /// What is kept of an earlier answer to the same; or it is asked for, as [`Self::call`] does, by one for all who want to
    /// know it at the same time. What is no answer is not kept.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn recall_or_call(
        &self,
        keeping: Keeping,
        endpoint: &Endpoint,
        asker: &Asker,
        key: &str,
        body: String,
    ) -> Result<Arc<RawValue>, Refusal> {
        // It is large, and most often not needed.
        let call = Box::pin(async { self.call(endpoint, asker, key, body).await.map(Arc::from) });
        let learn = async {
            let keep = keeping.time.mul_f64(rand::random_range(0.8..=1.0));
            match &self.kept.shared {
                Some(shared) => {
                    let turn =
                        Turn { shared: &**shared, name: name(keeping.name), number: rand::random(), caller: self };
                    turn.learn(keep, endpoint.budget() + GRACE, call).await
                }
                None => Ok(Learned { value: call.await?, keep, source: Source::Asked }),
            }
        };
        let answer = self.kept.here.get_or_learn(keeping.name, learn).await;
        answer.map_err(|refusal| (*refusal).clone())
    }
}

/// One wish to know something that nodes share.
struct Turn<'a> {
    shared: &'a dyn Answers,
    name: String,
    number: u64,
    caller: &'a Caller,
}

impl Turn<'_> {
    /// Looks for what others have learned, waits while one of them asks, or asks.
    async fn learn(
        &self,
        keep: Duration,
        lease: Duration,
        call: impl Future<Output = Result<Arc<RawValue>, Refusal>> + Send,
    ) -> Result<Learned<Arc<RawValue>>, Refusal> {
        let deadline = Instant::now() + lease;
        loop {
            let recalled = self.shared.recall(&self.name, self.number, lease).await;
            let (text, keep, source) = match recalled.map_err(|error| self.failed(&error)) {
                Ok(Recalled::Good(text, left)) => (text, left, Source::Shared),
                Ok(Recalled::Old(text)) => (text, OLD_KEPT.min(keep), Source::Old),
                Ok(Recalled::Asked) if Instant::now() < deadline => {
                    sleep(LOOK).await;
                    continue;
                }
                Ok(Recalled::Yours) => return self.ask(keep, call).await,
                // Without the store, and when the one that asks takes too long, each asks for itself.
                Ok(Recalled::Asked) | Err(()) => {
                    return Ok(Learned { value: call.await?, keep, source: Source::Asked });
                }
            };
            // What is none is not what a node has kept.
            let Ok(value) = RawValue::from_string(text) else {
                return Ok(Learned { value: call.await?, keep, source: Source::Asked });
            };
            return Ok(Learned { value: value.into(), keep, source });
        }
    }

    async fn ask(
        &self,
        keep: Duration,
        call: impl Future<Output = Result<Arc<RawValue>, Refusal>> + Send,
    ) -> Result<Learned<Arc<RawValue>>, Refusal> {
        let answer = call.await;
        let told = match &answer {
            Ok(answer) => {
                let times = Times { good: keep, old: (keep / OLD_PART).min(LONGEST_OLD) };
                self.shared.keep(&self.name, self.number, answer.get(), times).await
            }
            Err(_) => self.shared.give_up(&self.name, self.number).await,
        };
        told.unwrap_or_else(|error| self.failed(&error));
        Ok(Learned { value: answer?, keep, source: Source::Asked })
    }

    fn failed(&self, error: &PortError) {
        self.caller.metrics.answer_errors.with(error.operation).increment(1);
        self.caller.store_failures.note(|what| error.tell(what));
    }
}

fn name(name: Name) -> String {
    name.iter().map(|byte| format!("{byte:02x}")).collect()
}
