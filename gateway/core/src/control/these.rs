//! These: what operators do to several sessions at once, those of a namespace, of a room, or one, on all nodes.

use std::sync::Arc;

use futures_util::StreamExt;

use super::roll::These;
use super::wire::{Answer, Request, Wish};
use super::{Control, ControlError, end};
use crate::domain::{Event, Refusal, RoomName, SessionId};
use crate::node::Session;
use crate::sessions::Whose;

/// Sessions that something is done to at the same time.
const CONCURRENCY: usize = 16;

/// With how many sessions something was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// With so many it was.
    pub sessions: usize,
    /// With so many it could not be.
    pub failed: usize,
    /// How many nodes did not answer.
    pub missing: usize,
}

impl Control {
    /// Puts sessions into a room of their namespace.
    ///
    /// # Errors
    /// The bus is away; some may be in it all the same.
    pub async fn put(&self, these: These, room: &RoomName) -> Result<Done, ControlError> {
        self.done(Request { room: Some(room.clone()), these: Some(these), ..Request::new(Wish::PutThese) }).await
    }

    /// Takes sessions out of a room.
    ///
    /// # Errors
    /// The bus is away; some may be out of it all the same.
    pub async fn take(&self, these: These, room: &RoomName) -> Result<Done, ControlError> {
        self.done(Request { room: Some(room.clone()), these: Some(these), ..Request::new(Wish::TakeTheseOut) }).await
    }

    /// Ends sessions for good: those that are connected, and the one that is named even if it is away.
    ///
    /// # Errors
    /// The store or the bus is away; some may have ended all the same.
    pub async fn end(&self, these: These) -> Result<Done, ControlError> {
        let forgotten = match these.filter.as_deref().and_then(SessionId::parse) {
            Some(session) => self.forget(&Whose::Session(session)).await,
            None => Ok(0),
        };
        let done = self.done(Request { these: Some(these), ..Request::new(Wish::EndThese) }).await?;
        forgotten.map(|_| done)
    }

    /// Says something to one session, or to those of a room or a namespace, without the log. Returns how many were told,
    /// where one was meant; otherwise none is counted.
    ///
    /// # Errors
    /// The bus is away.
    pub async fn say(&self, namespace: &str, filter: Option<&str>, event: &Event) -> Result<Done, ControlError> {
        let Some(filter) = filter else {
            self.signal(&RoomName::everybody(namespace), event).await?;
            return Ok(Done::default());
        };
        if SessionId::parse(filter).is_some() {
            let these = Some(These::of(namespace, Some(filter)));
            let request = Request { these, event: Some(event.encode()), ..Request::new(Wish::Tell) };
            return self.done(request).await;
        }
        if let Ok(room) = RoomName::parse_in(namespace, filter) {
            self.signal(&room, event).await?;
        }
        Ok(Done::default())
    }

    async fn signal(&self, room: &RoomName, event: &Event) -> Result<(), ControlError> {
        self.node.signal(room, event).await.map_err(|_| ControlError::Log)
    }

    async fn done(&self, request: Request) -> Result<Done, ControlError> {
        let census = self.census(request).await?;
        Ok(Done { sessions: census.sessions.values().sum(), failed: census.failed, missing: census.missing })
    }

    pub(super) async fn put_these(&self, these: &These, room: &RoomName) -> Answer {
        let one = |session: Arc<Session>| async move { self.node.put_in(&session, room).await.map(|()| true) };
        done(self.in_namespace_of(room, these).into_iter().map(one).collect()).await
    }

    pub(super) async fn take_these_out(&self, these: &These, room: &RoomName) -> Answer {
        let one = |session: Arc<Session>| async move { self.node.take_out_of(&session, room).await };
        done(self.in_namespace_of(room, these).into_iter().map(one).collect()).await
    }

    fn in_namespace_of(&self, room: &RoomName, these: &These) -> Vec<Arc<Session>> {
        let mut sessions = self.sessions_meant(these);
        sessions.retain(|session| room.namespace() == Some(&session.namespace));
        sessions
    }

    pub(super) async fn end_these(&self, these: &These) -> Answer {
        // First out of the store: who is closed before could come back in between.
        let one = |session: Arc<Session>| async move {
            self.node.forget(&Whose::Session(session.id)).await?;
            end(std::slice::from_ref(&session));
            Ok(true)
        };
        done(self.sessions_meant(these).into_iter().map(one).collect()).await
    }

    pub(super) fn tell_these(&self, these: &These, event: &[u8]) -> Answer {
        let Some(event) = Event::decode(event) else { return Answer::default() };
        let told = |session: &Arc<Session>| self.node.tell(session, &event);
        Answer {
            sessions: self.sessions_meant(these).iter().filter(|session| told(session)).count(),
            ..Answer::default()
        }
    }
}

async fn done(all: Vec<impl Future<Output = Result<bool, Refusal>>>) -> Answer {
    let done: Vec<_> = futures_util::stream::iter(all).buffer_unordered(CONCURRENCY).collect().await;
    let sessions = done.iter().filter(|done| matches!(done, Ok(true))).count();
    Answer { sessions, failed: done.iter().filter(|done| done.is_err()).count(), ..Answer::default() }
}
