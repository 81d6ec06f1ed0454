//! Handing in: a job is looked at, counted for who wants it, and put into its queue if there is room.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{Desk, OURS, Queue, Unfit, ours};
use crate::domain::{Refusal, SessionId, UserId};
use crate::jobs::{Backoff, Enqueued, JobId, NewJob};
use crate::node::Session;
use crate::traces::{self, Kind};

/// The longest name of a kind, in bytes.
const MAX_KIND_BYTES: usize = 128;
/// More would be no persistence, but a job that nobody ends.
const MAX_ATTEMPTS: u32 = 1_000;
/// What is to be done later than in ten years is not for a queue.
const MAX_DELAY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The longest first pause, and the longest pause that stays the same.
const MAX_BACKOFF: Duration = Duration::from_secs(24 * 3600);

/// Who wants something done.
#[derive(Clone, Debug)]
pub struct Hand {
    by: &'static str,
    /// Whose ids are compared with each other; everybody's, if nothing is said.
    name: Option<String>,
    /// Whose allowance it takes.
    pays: Option<(Option<UserId>, IpAddr)>,
}

impl Hand {
    /// A back end: its ids are the deployment's.
    #[must_use]
    pub fn back_end() -> Self {
        Self { by: "api", name: None, pays: None }
    }

    /// A client, by an event.
    #[must_use]
    pub fn session(session: &Session) -> Self {
        // Where anybody can say to be anybody, a new name is no new allowance.
        let proved = session.identity().user.clone().filter(|_| session.has_token());
        Self { by: "event", name: Some(session.author()), pays: Some((proved, session.address)) }
    }

    /// A front end, over HTTP: somebody who is a user, or an address.
    #[must_use]
    pub fn over_http(user: Option<&UserId>, address: IpAddr) -> Self {
        let name = user.map_or_else(|| format!("a:{address}"), |user| format!("u:{}", user.as_str()));
        Self { by: "http", name: Some(name), pays: Some((user.cloned(), address)) }
    }

    /// Somebody whose session is gone.
    #[must_use]
    pub fn gone(session: SessionId, user: Option<&UserId>) -> Self {
        let name = user.map_or_else(|| format!("s:{session}"), |user| format!("u:{}", user.as_str()));
        Self { by: "event", name: Some(name), pays: None }
    }

    /// An id as the queue has it. Nobody may take those of others, or learn by them what there is.
    fn id(&self, id: String) -> String {
        match &self.name {
            None => id,
            Some(name) => {
                let digest = Sha256::digest(format!("{}:{name}:{id}", name.len()));
                let digits: String = digest.iter().take(20).map(|byte| format!("{byte:02x}")).collect();
                format!("e{digits}")
            }
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Wish {
    /// In which queue.
    pub queue: String,
    /// What kind of work it is.
    pub kind: String,
    /// What it is about.
    pub data: Box<RawValue>,
    /// How long it waits at least.
    pub delay: Duration,
    /// How often it is tried at the most; `jobs.attempts`, if it does not say.
    pub attempts: Option<u32>,
    /// How long it waits before it is tried again; `jobs.backoff`, twice as long each time, if it does not say.
    pub backoff: Option<Backoff>,
    /// Lower comes first.
    pub priority: u32,
    /// By which it is known again, as long as the queue has it.
    pub id: Option<String>,
}

impl Wish {
    /// One for as soon as may be, of which nothing else is said.
    #[must_use]
    pub fn new(queue: impl Into<String>, kind: impl Into<String>, data: Box<RawValue>) -> Self {
        let (delay, attempts, backoff, priority, id) = (Duration::ZERO, None, None, 0, None);
        Self { queue: queue.into(), kind: kind.into(), data, delay, attempts, backoff, priority, id }
    }
}

/// Why a job is in no queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// Something of it is not what it should be: what of it, and what is wrong.
    Wrong(&'static str, String),
    /// It could be, but not now, or not for this one.
    Refused(Refusal),
}

impl From<Refusal> for NotTaken {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<NotTaken> for Refusal {
    fn from(not_taken: NotTaken) -> Self {
        match not_taken {
            NotTaken::Wrong(field, why) => Self::bad_request(format!("{field}: {why}")),
            NotTaken::Refused(refusal) => refusal,
        }
    }
}

impl Desk {
    /// Puts a job into its queue. Whoever has no answer may hand it in again with its id.
    ///
    /// # Errors
    /// It cannot be done, it is too much, or the store cannot be reached.
    pub async fn hand_in(&self, hand: &Hand, wish: Wish) -> Result<Enqueued, NotTaken> {
        let mut span = traces::span(Kind::Producer, "enqueue");
        // Names of queues that are not configured are anybody's words.
        if let Some(queue) = self.configured(&wish.queue).filter(|_| span.is_recorded()) {
            span.rename(|| format!("enqueue {}", queue.name.as_str()));
            span.say("messaging.destination.name", queue.name.as_str().to_owned());
        }
        let taken = span.within(self.take(hand, wish)).await;
        match &taken {
            Ok(enqueued) if span.is_recorded() => span.say("messaging.message.id", enqueued.id.as_str().to_owned()),
            Ok(_) => {}
            Err(NotTaken::Wrong(field, _)) => span.say("gateway.refusal", *field),
            Err(NotTaken::Refused(refusal)) => span.say("gateway.refusal", refusal.code()),
        }
        let result = match &taken {
            Ok(Enqueued { known: true, .. }) => "known",
            Ok(_) => "new",
            Err(_) => "refused",
        };
        self.metrics.jobs_enqueued.with(hand.by, result).increment(1);
        taken
    }

    async fn take(&self, hand: &Hand, wish: Wish) -> Result<Enqueued, NotTaken> {
        let queue = self.configured(&wish.queue).ok_or_else(|| self.no_queue(&wish.queue))?;
        let job = self.job(queue, hand, wish)?;
        if let Some((user, address)) = &hand.pays
            && let Some(decided) = self.limiter.take(user.as_ref(), *address)
        {
            let decision = if decided.is_ok() { "allow" } else { "deny" };
            self.metrics.rate_limit_decisions.with("job_sender", decision).increment(1);
            decided?;
        }
        if !self.has_room(&queue.name).await? {
            return Err(Refusal::QueueFull.into());
        }
        let enqueued = self.jobs.enqueue(&queue.name, &job).await.map_err(|error| self.unavailable(&error))?;
        if !enqueued.known {
            self.note_one_more(&queue.name);
        }
        Ok(enqueued)
    }

    fn no_queue(&self, name: &str) -> NotTaken {
        let known: Vec<_> = self.configured.iter().map(|queue| queue.name.as_str()).collect();
        NotTaken::Wrong("queue", format!("there is no queue {name:?}; there are: {}", known.join(", ")))
    }

    fn job(&self, queue: &Queue, hand: &Hand, wish: Wish) -> Result<NewJob, NotTaken> {
        let Wish { queue: _, kind, data, delay, attempts, backoff, priority, id } = wish;
        let wrong = |field, why: String| Err(NotTaken::Wrong(field, why));
        if kind.is_empty() || kind.len() > MAX_KIND_BYTES || kind.chars().any(char::is_control) {
            return wrong("kind", format!("a kind has 1 to {MAX_KIND_BYTES} bytes and no control characters"));
        }
        self.bounds.check_text(data.get(), data.get().len()).map_err(|refusal| match refusal {
            Refusal::BadRequest(why) => NotTaken::Wrong("data", why.into_owned()),
            other => other.into(),
        })?;
        if queue.is_ours {
            if OURS.contains(&kind.as_str()) {
                return wrong("kind", ours(&kind));
            }
            self.kinds.check(&kind, &data).map_err(|unfit| match unfit {
                Unfit::Kind(why) => NotTaken::Wrong("kind", why),
                Unfit::Data(why) => NotTaken::Wrong("data", why),
            })?;
        }
        if delay > MAX_DELAY {
            return wrong("delayMs", "a job is for the next ten years".into());
        }
        let attempts = attempts.unwrap_or(self.settings.attempts);
        if !(1..=MAX_ATTEMPTS).contains(&attempts) {
            return wrong("attempts", format!("attempts are 1 to {MAX_ATTEMPTS}"));
        }
        let backoff = backoff.unwrap_or(Backoff::Exponential(self.settings.backoff));
        let (Backoff::Fixed(pause) | Backoff::Exponential(pause)) = backoff;
        if pause > MAX_BACKOFF {
            return wrong("backoff", "a pause between attempts is a day at the most".into());
        }
        if priority > NewJob::LAST {
            return wrong("priority", format!("priorities are 0 to {}", NewJob::LAST));
        }
        let id = match id {
            // So that who tries again because an answer was lost may do so.
            None => JobId::random(),
            Some(id) => JobId::new(hand.id(id)).map_err(|bad| NotTaken::Wrong("id", bad.to_string()))?,
        };
        Ok(NewJob { id: Some(id), kind, data, delay, attempts, backoff, priority, trace: traces::current() })
    }
}
