//! Control: what operators do to a user's sessions, on whichever nodes they are. Every node is asked over the bus and
//! answers for the sessions that are connected to it; those that are away are in the store.

mod seats;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;

pub use self::wire::{About, Listed};
use self::wire::{Answer, Request, Wish};
use crate::bus::{Bus, BusMessage};
use crate::domain::{SessionId, UserId};
use crate::metrics::{REVISION, VERSION};
use crate::node::{CloseReason, Node, Session};
use crate::port::{Port, PortError};
use crate::sessions::Whose;

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

/// Questions that are worked off at the same time: putting somebody into a room may take a while.
const CONCURRENCY: usize = 32;
/// Sessions of one user that a node lists at the most.
const LISTED: usize = 1000;

/// What the nodes said of a user's sessions.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// How many sessions the user has, or had until now, by the name of the node. Only nodes with any are in it.
    pub sessions: BTreeMap<String, usize>,
    /// How many nodes did not answer in time: what they have is not counted.
    pub missing: usize,
    /// With how many it could not be done.
    pub failed: usize,
    /// Which ones they are, with the name of the node, if that was asked.
    pub listed: Vec<(String, Listed)>,
}

/// Why a user's sessions could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The nodes cannot be asked; what was away has ended.
    #[error("the other nodes could not be reached: {0}")]
    Bus(#[from] PortError),
    /// Nothing was done.
    #[error("the store of sessions cannot be reached: nothing was ended")]
    Store,
    /// Nothing was done.
    #[error("the log cannot be reached: nothing was done")]
    Log,
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
    ) -> Result<(Arc<Self>, Heard), PortError> {
        let id = rand::random();
        let questions = format!("{prefix}:control");
        let (sink, messages) = mpsc::channel(MESSAGES);
        bus.subscribe(&questions, sink.clone()).await?;
        bus.subscribe(&answers(&questions, id), sink).await?;
        let control = Self { bus, node, name: name.to_owned(), questions, id, asked: Mutex::default() };
        Ok((Arc::new(control), Heard(messages)))
    }

    /// Answers the questions of all nodes and takes the answers to this one's, for ever.
    pub async fn serve(self: Arc<Self>, heard: Heard) {
        let heed = |message| {
            let control = self.clone();
            async move {
                // What a gap swallowed is a missing answer to whoever asked.
                let BusMessage::Message { channel, payload } = message else { return };
                if channel == control.questions {
                    if let Ok(request) = rmp_serde::from_slice(&payload) {
                        control.answer(request).await;
                    }
                } else if let Ok(answer) = rmp_serde::from_slice::<Answer>(&payload) {
                    let waiting = control.asked.lock().waiting.get(&answer.id).cloned();
                    waiting.iter().for_each(|waiting| _ = waiting.try_send(answer.clone()));
                }
            }
        };
        ReceiverStream::new(heard.0).for_each_concurrent(CONCURRENCY, heed).await;
    }

    /// How many sessions a user has on each node.
    ///
    /// # Errors
    /// The bus is away.
    pub async fn count_sessions(&self, user: &UserId) -> Result<Census, PortError> {
        self.census(Request { user: Some(user.clone()), ..Request::new(Wish::Count) }).await
    }

    /// Which sessions a user has, on all nodes; of each node at most a thousand.
    ///
    /// # Errors
    /// The bus is away.
    pub async fn list_sessions(&self, user: &UserId) -> Result<Census, PortError> {
        self.census(Request { user: Some(user.clone()), ..Request::new(Wish::List) }).await
    }

    /// What each node says of itself, by its name, and how many did not answer.
    ///
    /// # Errors
    /// The bus is away.
    pub async fn describe_nodes(&self) -> Result<(Vec<(String, usize, About)>, usize), PortError> {
        let (answers, missing) = self.ask(Request::new(Wish::Describe)).await?;
        let about = answers.into_iter().filter_map(|answer| Some((answer.node, answer.sessions, answer.about?)));
        Ok((about.collect(), missing))
    }

    /// Ends all sessions of a user for good, on all nodes: official clients do not come back by themselves, and nobody
    /// gets such a session back, whether or not it has a connection at this moment. Returns how many had one.
    ///
    /// # Errors
    /// The store or the bus is away; some may have ended all the same.
    pub async fn end_sessions(&self, user: &UserId) -> Result<Census, ControlError> {
        self.forget(&Whose::User(user.clone())).await?;
        Ok(self.census(Request { user: Some(user.clone()), ..Request::new(Wish::End) }).await?)
    }

    /// The same for one session; returns as well whether there was such a one, connected or away.
    ///
    /// # Errors
    /// As [`Self::end_sessions`].
    pub async fn end_session(&self, session: SessionId) -> Result<(Census, bool), ControlError> {
        let forgotten = self.forget(&Whose::Session(session)).await?;
        let census = self.census(Request { session: Some(session), ..Request::new(Wish::EndSession) }).await?;
        let found = forgotten > 0 || !census.sessions.is_empty();
        Ok((census, found))
    }

    /// Before the nodes are asked: a session that is just coming back, and is on no roster yet, can then not be stored,
    /// and begins afresh.
    async fn forget(&self, whose: &Whose) -> Result<usize, ControlError> {
        self.node.forget(whose).await.map_err(|_| ControlError::Store)
    }

    /// What all nodes answer, and how many did not.
    async fn ask(&self, request: Request) -> Result<(Vec<Answer>, usize), PortError> {
        let deadline = Instant::now() + PATIENCE;
        // This node is there even if its subscriptions are just being made anew.
        let nodes = self.bus.subscribers(&self.questions).await?.max(1);
        let mut question = Question::new(self);
        self.send(&self.questions, &Request { from: self.id, id: question.id, ..request }).await?;
        let mut answers = Vec::new();
        while answers.len() < nodes
            && let Ok(Some(answer)) = timeout_at(deadline, question.answers.recv()).await
        {
            answers.push(answer);
        }
        let missing = nodes - answers.len();
        Ok((answers, missing))
    }

    async fn census(&self, request: Request) -> Result<Census, PortError> {
        let (answers, missing) = self.ask(request).await?;
        let mut census = Census { missing, ..Census::default() };
        for answer in answers {
            census.failed += answer.failed;
            if answer.sessions > 0 {
                *census.sessions.entry(answer.node.clone()).or_default() += answer.sessions;
            }
            census.listed.extend(answer.listed.into_iter().map(|listed| (answer.node.clone(), listed)));
        }
        Ok(census)
    }

    async fn answer(&self, request: Request) {
        let (id, from) = (request.id, request.from);
        let Some(answer) = self.answer_to(request).await else { return };
        let answer = Answer { id, node: self.name.clone(), ..answer };
        if let Err(error) = self.send(&answers(&self.questions, from), &answer).await {
            error.tell("a question about sessions was not answered");
        }
    }

    /// What this node says; nothing to what nobody asks.
    async fn answer_to(&self, request: Request) -> Option<Answer> {
        let Request { wish, user, session, room, upto, .. } = request;
        let of = |sessions: usize| Answer { sessions, ..Answer::default() };
        match (wish, user, session, room) {
            (Wish::Count, Some(user), ..) => Some(of(self.sessions_of(&user).len())),
            (Wish::End, Some(user), ..) => Some(of(end(&self.sessions_of(&user)))),
            (Wish::EndSession, _, Some(id), _) => Some(of(end(&self.sessions_where(|session| session.id == id)))),
            (Wish::List, Some(user), ..) => {
                let sessions = self.sessions_of(&user);
                let listed = sessions.iter().take(LISTED).map(|session| Listed {
                    session: session.id,
                    namespace: session.namespace.to_string(),
                    transport: session.transport.to_owned(),
                    address: session.address.to_string(),
                });
                Some(Answer { listed: listed.collect(), ..of(sessions.len()) })
            }
            (Wish::Put, Some(user), _, Some(room)) => Some(self.put(&user, &room).await),
            (Wish::TakeOut, Some(user), _, Some(room)) => Some(self.take_out(&user, &room, upto?).await),
            (Wish::Describe, ..) => {
                let about = About {
                    version: VERSION.to_owned(),
                    revision: REVISION.to_owned(),
                    hears: !self.node.hearing().deaf(),
                };
                Some(Answer { about: Some(about), ..of(self.node.roster().len()) })
            }
            _ => None,
        }
    }

    /// By who they are now: some say so only after they have connected.
    fn sessions_of(&self, user: &UserId) -> Vec<Arc<Session>> {
        self.sessions_where(|session| session.identity().user.as_ref() == Some(user))
    }

    fn sessions_where(&self, is_meant: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        self.node.roster().all().into_iter().filter(|session| is_meant(session)).collect()
    }

    async fn send<T: Serialize + Sync>(&self, channel: &str, message: &T) -> Result<(), PortError> {
        let bytes = rmp_serde::to_vec_named(message).map_err(|error| Port::Bus.broken("encode", error))?;
        self.bus.publish(channel, bytes.into()).await
    }
}

/// Ends sessions for good; returns how many.
fn end(sessions: &[Arc<Session>]) -> usize {
    sessions.iter().for_each(|session| session.close(CloseReason::Kicked));
    sessions.len()
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
