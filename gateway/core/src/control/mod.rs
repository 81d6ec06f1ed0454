//! Control: what operators see of sessions and do to them, on whichever nodes they are. Every node is asked over the bus and
//! answers for the sessions that are connected to it; those that are away are in the store.

mod orders;
mod roll;
mod seats;
mod these;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;

pub use self::orders::{Ordered, Orders, Reloaded, Standing};
pub use self::roll::{Detail, Page, Refusal as RefusedEvent, Roll, RoomRow, Rooms, Row, Search, These};
pub use self::these::Done;
pub use self::wire::{About, Listed};
use self::wire::{Answer, Request, Wish};
use crate::bus::{Bus, Questioned, Questions};
use crate::domain::{SessionId, UserId};
use crate::metrics::{REVISION, VERSION};
use crate::node::{CloseReason, Node, Session};
use crate::port::PortError;
use crate::sessions::Whose;

/// How long the nodes have to answer. They do in milliseconds; one that does not is stuck, or was cut off and Redis
/// does not know yet.
const PATIENCE: Duration = Duration::from_secs(1);
/// Questions that are worked off at the same time: putting somebody into a room may take a while.
const CONCURRENCY: usize = 32;
/// Sessions of one user that a node lists at the most.
const LISTED: usize = 1000;

/// The way from one node to the sessions of all.
pub struct Control {
    questions: Questions<Request>,
    node: Arc<Node>,
    /// What this node is called.
    name: String,
    /// What heeds what is not about sessions.
    orders: OnceLock<Arc<dyn Orders>>,
}

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
    /// The nodes cannot be asked; who was away has ended, where the store could be reached.
    #[error("the other nodes could not be reached: {0}")]
    Bus(#[from] PortError),
    /// Who is connected has ended, and who is away in stores that can be reached.
    #[error(
        "a store of sessions cannot be reached: who is away may come back, so ask again; who was connected has ended"
    )]
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
    ) -> Result<(Arc<Self>, Questioned), PortError> {
        let (questions, questioned) = Questions::start(bus, format!("{prefix}:control")).await?;
        let (name, orders) = (name.to_owned(), OnceLock::new());
        Ok((Arc::new(Self { questions, node, name, orders }), questioned))
    }

    /// Answers the questions of all nodes and takes the answers to this one's, for ever.
    pub async fn serve(self: Arc<Self>, questioned: Questioned) {
        let control = self.clone();
        let answer = move |request: Option<Request>| {
            let control = control.clone();
            let answering = async move {
                let Some(request) = request else {
                    // Sessions may have been ended meanwhile. In the store they have, and that is looked at.
                    control.node.renew().await;
                    return None;
                };
                control.answer(request).await
            };
            answering.boxed()
        };
        self.questions.serve(questioned, CONCURRENCY, answer).await;
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
        let forgotten = self.forget(&Whose::User(user.clone())).await;
        let census = self.census(Request { user: Some(user.clone()), ..Request::new(Wish::End) }).await?;
        forgotten.map(|_| census)
    }

    /// The same for one session; returns as well whether there was such a one, connected or away.
    ///
    /// # Errors
    /// As [`Self::end_sessions`].
    pub async fn end_session(&self, session: SessionId) -> Result<(Census, bool), ControlError> {
        let forgotten = self.forget(&Whose::Session(session)).await;
        let census = self.census(Request { session: Some(session), ..Request::new(Wish::EndSession) }).await?;
        let found = forgotten? > 0 || !census.sessions.is_empty();
        Ok((census, found))
    }

    /// Before the nodes are asked: a session that is just coming back, and is on no roster yet, can then not be stored,
    /// and begins afresh. They are asked whatever comes of it: who is connected can be ended without a store.
    async fn forget(&self, whose: &Whose) -> Result<usize, ControlError> {
        self.node.forget(whose).await.map_err(|_| ControlError::Store)
    }

    /// What all nodes answer, and how many did not.
    async fn ask(&self, request: Request) -> Result<(Vec<Answer>, usize), PortError> {
        let mut answers = Vec::new();
        let missing = self.questions.ask(request, PATIENCE, |answer| answers.push(answer)).await?;
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

    async fn answer(&self, request: Request) -> Option<Answer> {
        Some(Answer { node: self.name.clone(), ..self.answer_to(request).await? })
    }

    /// What this node says; nothing to what nobody asks.
    async fn answer_to(&self, request: Request) -> Option<Answer> {
        if let Some(answer) = self.answer_for_operators(&request).await {
            return answer;
        }
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
            (Wish::Put, Some(user), _, Some(room)) => Some(self.put_sessions_of(&user, &room).await),
            (Wish::TakeOut, Some(user), _, Some(room)) => Some(self.take_out(&user, &room, upto?).await),
            (Wish::Describe, ..) => {
                let standing = self.orders.get().map(|orders| orders.standing()).unwrap_or_default();
                let about = About {
                    version: VERSION.to_owned(),
                    revision: REVISION.to_owned(),
                    hears: !self.node.hearing().deaf(),
                    ready: standing.ready,
                    draining: standing.draining,
                };
                Some(Answer { about: Some(about), ..of(self.node.roster().len()) })
            }
            _ => None,
        }
    }

    /// What this node says to what only operators ask; nothing if it is not that.
    async fn answer_for_operators(&self, request: &Request) -> Option<Option<Answer>> {
        let Request { wish, session, room, these, page, event, name, dry, .. } = request;
        Some(match wish {
            Wish::Roll => Some(self.list_these(these.as_ref()?, page.as_ref()?)),
            Wish::Show => Some(self.show((*session)?)),
            Wish::Move => Some(self.move_here((*session)?)),
            Wish::Rooms => Some(self.list_rooms(page.as_ref()?)),
            Wish::PutThese => Some(self.put_these(these.as_ref()?, room.as_ref()?).await),
            Wish::TakeTheseOut => Some(self.take_these_out(these.as_ref()?, room.as_ref()?).await),
            Wish::EndThese => Some(self.end_these(these.as_ref()?).await),
            Wish::Tell => Some(self.tell_these(these.as_ref()?, event.as_deref()?)),
            Wish::Drain | Wish::Resume => Some(self.obey(*wish, name.as_deref()?)),
            Wish::Reload => Some(self.reload_here(*dry).await),
            _ => return None,
        })
    }

    /// By who they are now: some say so only after they have connected.
    fn sessions_of(&self, user: &UserId) -> Vec<Arc<Session>> {
        self.sessions_where(|session| session.identity().user.as_ref() == Some(user))
    }

    fn sessions_where(&self, is_meant: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        self.node.roster().all().into_iter().filter(|session| is_meant(session)).collect()
    }
}

/// Ends sessions for good; returns how many.
fn end(sessions: &[Arc<Session>]) -> usize {
    sessions.iter().for_each(|session| session.close(CloseReason::Kicked));
    sessions.len()
}
