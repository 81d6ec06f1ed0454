//! `job`: having something done later or elsewhere.

use std::borrow::Cow;
use std::fmt::{self, Formatter};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::kind::{After, Kind};
use super::speech;
use crate::desk::{Hand, Wish};
use crate::domain::{Refusal, SessionId};
use crate::jobs::{JobId, NewJob};
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::names::Lifecycle;
use crate::routes::reader::Reader;
use crate::routes::template::{Json, Template};

const NO_BINARY: &str = "a job has no binary in it";
const ID: &str = "the id of a job has 1 to 128 bytes";
const MAX_ID_BYTES: usize = 128;
const MOST_ATTEMPTS: u64 = 1_000;
const LONGEST_DELAY: Duration = Duration::from_secs(365 * 24 * 3600);

/// Have something done later or elsewhere.
#[derive(Debug)]
pub struct Job {
    /// In which queue.
    pub queue: String,
    /// What kind of work it is.
    pub kind: String,
    /// What it is about.
    pub data: Json,
    /// How long it waits at least.
    pub delay: Duration,
    /// How often it is tried at the most.
    pub attempts: Option<u32>,
    /// Lower comes first.
    pub priority: u32,
    /// A second one of the same id is not enqueued again.
    pub id: Option<Template>,
}

impl Kind for Job {
    const NAME: &'static str = "job";
    const ON: &'static [Lifecycle] = &Lifecycle::ALL;
    const AFTER: After = After::Delay;

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        let context = reader.context();
        let keys = &mut reader.keys;
        let queue = keys.text("queue").unwrap_or("default").to_owned();
        if !keys.has("kind") {
            keys.error("kind", "is missing; it is what is to be done, as \"http\"");
        }
        let kind = keys.text("kind").map(str::to_owned);
        if !keys.has("data") {
            // By default it would be what the client sent, and so the client would decide what is done.
            keys.error("data", "is missing; it says what the job is about, as { to = \"billing\", body = \"{arg}\" }");
        }
        let data = keys.json("data", &context);
        let delay = keys.duration("delay", Duration::ZERO, LONGEST_DELAY).unwrap_or_default();
        let attempts = keys.number("attempts", MOST_ATTEMPTS).and_then(|number| u32::try_from(number).ok());
        let priority = keys.number("priority", u64::from(NewJob::LAST)).and_then(|number| u32::try_from(number).ok());
        let id = keys.template("id", &context);
        Some(Self { queue, kind: kind?, data: data?, delay, attempts, priority: priority.unwrap_or(0), id })
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.data.templates().chain(&self.id)
    }

    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " {} in {}, data {}", self.kind, self.queue, self.data)?;
        if !self.delay.is_zero() {
            write!(f, ", delay {}", humantime::format_duration(self.delay))?;
        }
        if let Some(attempts) = self.attempts {
            write!(f, ", attempts {attempts}")?;
        }
        if self.priority > 0 {
            write!(f, ", priority {}", self.priority)?;
        }
        speech::show_id(f, self.id.as_ref())
    }

    async fn run(&self, run: &mut Run<'_>, _: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        if !run.attachments.is_empty() {
            return Err(Refusal::bad_request(NO_BINARY));
        }
        let id = self.id.as_ref().map(|id| id.optional(&run.scope)).transpose()?.flatten().map(Cow::into_owned);
        if id.as_ref().is_some_and(|id| id.is_empty() || id.len() > MAX_ID_BYTES) {
            return Err(Refusal::bad_request(ID));
        }
        let data = RawValue::from_string(self.data.render(&run.scope)?).map_err(|_| Refusal::bad_request("JSON"))?;
        let wish = Wish {
            delay: self.delay,
            attempts: self.attempts,
            priority: self.priority,
            id,
            ..Wish::new(&*self.queue, &*self.kind, data)
        };
        let enqueued = run.router.desk.hand_in(&hand(run), wish).await?;
        Ok(Some(Answer::new(&Enqueued { ok: true, id: &enqueued.id })))
    }
}

fn hand(run: &Run<'_>) -> Hand {
    match run.session {
        Some(session) => Hand::session(session),
        None => {
            let session = SessionId::parse(run.scope.session).unwrap_or_else(SessionId::random);
            Hand::gone(session, run.scope.identity.user.as_ref())
        }
    }
}

#[derive(Serialize)]
struct Enqueued<'a> {
    ok: bool,
    id: &'a JobId,
}
