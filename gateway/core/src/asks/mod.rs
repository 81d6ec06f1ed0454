//! Asks: questions of back ends to clients, on whichever nodes these are, and who answered what. Every node hears a question
//! over the bus, asks its own sessions, and tells at the end of the time, or before if all have answered.

mod wire;

pub use wire::{Reply, Whom};

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use self::wire::{Answers, Request};
use crate::bus::{Bus, Questioned, Questions};
use crate::config::{Asks as Settings, Config};
use crate::content::json;
use crate::domain::{Event, Refusal};
use crate::metrics::Metrics;
use crate::node::{self, Node, Session};
use crate::port::PortError;

/// How much longer than its clients a node has: its answer is on its way.
const GRACE: Duration = Duration::from_secs(1);
/// How many times more questions of all nodes one asks its clients at the same time than it may have itself.
const NODES: usize = 8;

/// The way from back ends to clients.
pub struct Asks {
    questions: Questions<Request>,
    node: Arc<Node>,
    settings: Settings,
    json_depth: usize,
    /// Questions of this node that are under way, and those that it asks its clients.
    own: Semaphore,
    here: Semaphore,
    metrics: Arc<Metrics>,
}

/// Who answered what.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was answered, in no order.
    pub replies: Vec<Reply>,
    /// How many clients were asked.
    pub asked: usize,
    /// How many of them did not answer in time, or left.
    pub silent: usize,
    /// How many answers were too large, or not readable.
    pub discarded: usize,
    /// How many clients were not asked, because there are more than are asked at once.
    pub unasked: usize,
    /// How many nodes did not answer: whom they have asked is not known.
    pub missing: usize,
}

impl std::fmt::Debug for Asks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asks").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Asks {
    /// Makes a node hear questions and answers. [`Self::serve`] must be running for any of them to be heeded.
    ///
    /// # Errors
    /// The bus cannot be reached.
    pub async fn start(
        config: &Config,
        bus: Arc<dyn Bus>,
        node: Arc<Node>,
        metrics: Arc<Metrics>,
    ) -> Result<(Arc<Self>, Questioned), PortError> {
        let (questions, questioned) = Questions::start(bus, format!("{}:ask", config.redis.prefix)).await?;
        let settings = config.asks.clone();
        let in_flight = settings.in_flight.min(Semaphore::MAX_PERMITS / NODES);
        let asks = Self {
            questions,
            node,
            json_depth: config.limits.json_depth,
            own: Semaphore::new(in_flight),
            here: Semaphore::new(in_flight * NODES),
            settings,
            metrics,
        };
        Ok((Arc::new(asks), questioned))
    }

    /// Asks this node's clients what other nodes want to know, and takes the answers to its own questions, for ever.
    pub async fn serve(self: Arc<Self>, questioned: Questioned) {
        let asks = self.clone();
        let answer = move |request: Option<Request>| {
            let asks = asks.clone();
            // What was missed is over when it could be asked.
            async move { asks.ask_here(request?).await }.boxed()
        };
        self.questions.serve(questioned, usize::MAX, answer).await;
    }

    /// The longest time that clients may be given.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.settings.timeout
    }

    /// Asks clients, wherever they are, and gives them `time`. Whom the question reaches twice is asked once.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`]: as many questions are under way as may be; [`Refusal::Unavailable`]: the other nodes cannot
    /// be asked.
    pub async fn ask(&self, whom: Whom, event: &Event, time: Duration) -> Result<Outcome, Refusal> {
        let count = |result: &str| self.metrics.asks.with(result).increment(1);
        let Ok(_turn) = self.own.try_acquire() else {
            count("overloaded");
            return Err(Refusal::RateLimited { retry_after: GRACE });
        };
        let asked = self.ask_nodes(whom, event, time.min(self.settings.timeout)).await;
        let outcome = asked.map_err(|error| {
            error.tell("clients could not be asked");
            count("unavailable");
            Refusal::Unavailable
        })?;
        let is_whole = outcome.missing + outcome.silent + outcome.discarded + outcome.unasked == 0;
        count(if is_whole { "whole" } else { "partial" });
        Ok(outcome)
    }

    async fn ask_nodes(&self, whom: Whom, event: &Event, time: Duration) -> Result<Outcome, PortError> {
        let timeout_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let request = Request { from: 0, id: 0, whom, event: event.encode().into(), timeout_ms };
        let (mut outcome, mut left) = (Outcome::default(), self.settings.bytes);
        let missing = self.questions.ask(request, time + GRACE, |answers| outcome.add(answers, &mut left)).await?;
        Ok(Outcome { missing, ..outcome })
    }

    /// Asks the clients of this node. If it cannot, who asks learns that this node is missing.
    async fn ask_here(&self, request: Request) -> Option<Answers> {
        let _turn = self.here.try_acquire().ok()?;
        let event = Event::decode(&request.event)?;
        let time = Duration::from_millis(request.timeout_ms).min(self.settings.timeout);
        let deadline = Instant::now() + time;
        let mut sessions = self.sessions(&request.whom);
        let asked = sessions.len().min(self.settings.sessions);
        let mut answers = Answers { unasked: sessions.len() - asked, ..Answers::default() };
        sessions.truncate(asked);
        let (largest, most) = (self.settings.answer_bytes, self.settings.bytes);
        if let Some(mut question) = self.node.ask(&sessions, &event, largest, most) {
            answers.asked = question.asked();
            while let Ok(Some(reply)) = timeout_at(deadline, question.next()).await {
                match self.readable(reply) {
                    Some(reply) => answers.replies.push(reply),
                    None => answers.discarded += 1,
                }
            }
        }
        let count = |result, number: usize| self.metrics.ask_answers.with(result).increment(number as u64);
        count("taken", answers.replies.len());
        count("discarded", answers.discarded);
        count("silent", answers.asked.saturating_sub(answers.replies.len() + answers.discarded));
        count("unasked", answers.unasked);
        Some(answers)
    }

    fn sessions(&self, whom: &Whom) -> Vec<Arc<Session>> {
        match whom {
            Whom::Room(room) => self.matching(|session| session.is_in(room)),
            Whom::Session(id) => self.matching(|session| session.id == *id),
            Whom::User { namespace, user } => self.matching(|session| {
                *session.namespace == **namespace && session.identity().user.as_ref() == Some(user)
            }),
        }
    }

    fn matching(&self, is_meant: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        self.node.roster().all().into_iter().filter(|session| is_meant(session)).collect()
    }

    /// An answer that others can read.
    fn readable(&self, reply: node::Reply) -> Option<Reply> {
        let (args, attachments) = reply.said?;
        let is_list = args.starts_with('[') && serde_json::from_str::<&RawValue>(&args).is_ok();
        let is_fine = is_list
            && json::check_readable(&args, self.json_depth).is_ok()
            && json::placeholders_fit(&args, attachments.len());
        let user = reply.session.identity().user.clone();
        is_fine.then(|| Reply { session: reply.session.id, user, args, attachments })
    }
}

impl Outcome {
    /// Adds what one node says, as far as `left` bytes go.
    fn add(&mut self, answers: Answers, left: &mut usize) {
        let Answers { asked, unasked, discarded, replies, .. } = answers;
        self.asked += asked;
        self.unasked += unasked;
        self.discarded += discarded;
        self.silent += asked.saturating_sub(replies.len() + discarded);
        for reply in replies {
            match left.checked_sub(reply.size()) {
                Some(rest) => {
                    *left = rest;
                    self.replies.push(reply);
                }
                None => self.discarded += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::SessionId;

    #[test]
    fn what_nodes_say_is_added_up_as_far_as_there_is_room() {
        let reply = |args: &str| Reply {
            session: SessionId::random(),
            user: None,
            args: args.into(),
            attachments: vec![Bytes::from_static(b"12")],
        };
        let (mut outcome, mut left) = (Outcome::default(), 12);
        let replies = vec![reply("[1]"), reply("[22222]")];
        outcome.add(Answers { asked: 4, unasked: 1, discarded: 1, replies, ..Answers::default() }, &mut left);
        outcome.add(Answers { asked: 1, replies: vec![reply("[3]")], ..Answers::default() }, &mut left);
        assert_eq!((outcome.asked, outcome.unasked, outcome.silent), (5, 1, 1));
        assert_eq!((outcome.replies.len(), outcome.discarded, left), (2, 2, 2), "5 and 5 bytes, not 9");
    }
}
