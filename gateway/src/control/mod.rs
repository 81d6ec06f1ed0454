//! Control: what operators do to a user's sessions, on whichever nodes they are. Every node is asked over the bus and
//! answers for the sessions that are connected to it.

mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use self::wire::{Answer, Request, Wish};
use crate::bus::{Bus, BusError, BusMessage};
use crate::domain::UserId;
use crate::node::{CloseReason, Node, Session};

/// How long the nodes have to answer. They do in milliseconds; one that does not is stuck, or was cut off and Redis
/// does not know yet.
const PATIENCE: Duration = Duration::from_secs(1);
/// Messages that wait to be acted on. Beyond it they are lost, and who asked learns that an answer is missing.
const MESSAGES: usize = 256;
/// Answers to one question that wait to be counted: one of each node.
const ANSWERS: usize = 1024;

/// The way from one node to the sessions of all.
pub struct Control {
    bus: Arc<dyn Bus>,
    node: Arc<Node>,
    /// What this node is called.
    name: String,
    /// Where every node hears questions; answers go to `<questions>:<who asked>`.
    questions: String,
    /// Who this node is among those who ask: names of nodes need not differ.
    id: u64,
    asked: Mutex<Asked>,
}

/// The questions of this node that wait for answers.
#[derive(Default)]
struct Asked {
    last: u64,
    waiting: HashMap<u64, mpsc::Sender<Answer>>,
}

/// What the nodes said of a user's sessions.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// How many sessions the user has, or had until now, by the name of the node. Only nodes with any are in it.
    pub sessions: BTreeMap<String, usize>,
    /// How many nodes did not answer in time: what they have is not counted.
    pub missing: usize,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Control {
    /// Makes a node hear questions and answers, on channels that begin with `prefix`. [`Self::serve`] must be running
    /// for any of them to be heeded.
    ///
    /// # Errors
    /// The bus cannot be reached.
    pub async fn start(
        bus: Arc<dyn Bus>,
        node: Arc<Node>,
        name: &str,
        prefix: &str,
    ) -> Result<(Arc<Self>, Heard), BusError> {
        let id = rand::random();
        let questions = format!("{prefix}:control");
        let (sink, messages) = mpsc::channel(MESSAGES);
        bus.subscribe(&questions, sink.clone()).await?;
        bus.subscribe(&answers(&questions, id), sink).await?;
        let control = Self { bus, node, name: name.to_owned(), questions, id, asked: Mutex::default() };
        Ok((Arc::new(control), Heard(messages)))
    }

    /// Answers the questions of all nodes and takes the answers to this one's, for ever.
    pub async fn serve(self: Arc<Self>, mut heard: Heard) {
        while let Some(message) = heard.0.recv().await {
            // What a gap swallowed is a missing answer to whoever asked.
            let BusMessage::Message { channel, payload } = message else { continue };
            if channel == self.questions {
                if let Ok(request) = rmp_serde::from_slice(&payload) {
                    self.answer(request).await;
                }
            } else if let Ok(answer) = rmp_serde::from_slice::<Answer>(&payload) {
                let waiting = self.asked.lock().waiting.get(&answer.id).cloned();
                waiting.iter().for_each(|waiting| _ = waiting.try_send(answer.clone()));
            }
        }
    }

    /// How many sessions a user has on each node.
    ///
    /// # Errors
    /// The bus is away.
    pub async fn count_sessions(&self, user: &UserId) -> Result<Census, BusError> {
        self.ask(user, Wish::Count).await
    }

    /// Ends all sessions of a user for good, on all nodes: official clients do not come back by themselves, and nobody
    /// gets such a session back. Returns how many there were. Sessions without a connection at this moment are not among
    /// them.
    ///
    /// # Errors
    /// The bus is away; some may have ended all the same.
    pub async fn end_sessions(&self, user: &UserId) -> Result<Census, BusError> {
        self.ask(user, Wish::End).await
    }

    async fn ask(&self, user: &UserId, wish: Wish) -> Result<Census, BusError> {
        let deadline = Instant::now() + PATIENCE;
        // This node is there even if its subscriptions are just being made anew.
        let nodes = self.bus.subscribers(&self.questions).await?.max(1);
        let mut question = Question::new(self);
        let request = Request { from: self.id, id: question.id, user: user.clone(), wish };
        self.send(&self.questions, &request).await?;
        let (mut census, mut answered) = (Census::default(), 0);
        while answered < nodes
            && let Ok(Some(answer)) = timeout_at(deadline, question.answers.recv()).await
        {
            answered += 1;
            if answer.sessions > 0 {
                *census.sessions.entry(answer.node).or_default() += answer.sessions;
            }
        }
        census.missing = nodes - answered;
        Ok(census)
    }

    async fn answer(&self, request: Request) {
        let sessions = self.sessions_of(&request.user);
        if request.wish == Wish::End {
            sessions.iter().for_each(|session| session.close(CloseReason::Kicked));
        }
        let answer = Answer { id: request.id, node: self.name.clone(), sessions: sessions.len() };
        if let Err(error) = self.send(&answers(&self.questions, request.from), &answer).await {
            tracing::warn!(%error, "a question about sessions was not answered");
        }
    }

    /// By who they are now: some say so only after they have connected.
    fn sessions_of(&self, user: &UserId) -> Vec<Arc<Session>> {
        let all = self.node.roster().all();
        all.into_iter().filter(|session| session.identity().user.as_ref() == Some(user)).collect()
    }

    async fn send<T: Serialize + Sync>(&self, channel: &str, message: &T) -> Result<(), BusError> {
        let bytes = rmp_serde::to_vec_named(message).map_err(|error| BusError::new("encode", error))?;
        self.bus.publish(channel, bytes.into()).await
    }
}

/// Where the node that asked hears answers.
fn answers(questions: &str, from: u64) -> String {
    format!("{questions}:{from:016x}")
}

/// What a node hears on its channels.
#[derive(Debug)]
pub struct Heard(mpsc::Receiver<BusMessage>);

/// A question that waits for answers, until it is dropped.
struct Question<'a> {
    id: u64,
    answers: mpsc::Receiver<Answer>,
    control: &'a Control,
}

impl<'a> Question<'a> {
    fn new(control: &'a Control) -> Self {
        let (sender, answers) = mpsc::channel(ANSWERS);
        let mut asked = control.asked.lock();
        asked.last += 1;
        let id = asked.last;
        asked.waiting.insert(id, sender);
        Self { id, answers, control }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.control.asked.lock().waiting.remove(&self.id);
    }
}
