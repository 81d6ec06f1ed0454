//! Seats that back ends give: all sessions of a user are put into a room, or taken out of it, on all nodes.

use std::sync::Arc;

use futures_util::StreamExt;

use super::wire::{Answer, Request, Wish};
use super::{Census, Control, ControlError};
use crate::domain::{Offset, Refusal, RoomName, UserId};
use crate::node::Session;

/// Sessions that are put somewhere at the same time.
const CONCURRENCY: usize = 16;

impl Control {
    /// Puts a user's sessions of the room's namespace into a room: those that are connected now. Returns how many are in it.
    ///
    /// # Errors
    /// The bus is away; some may be in it all the same.
    pub async fn put_user(&self, user: &UserId, room: &RoomName) -> Result<Census, ControlError> {
        let request = Request { user: Some(user.clone()), room: Some(room.clone()), ..Request::new(Wish::Put) };
        Ok(self.census(request).await?)
    }

    /// Takes a user's sessions out of a room; those that are away come back without it. Returns how many of those that are
    /// connected were in it.
    ///
    /// # Errors
    /// The log or the bus is away; some may be out of it all the same.
    pub async fn take_user_out(&self, user: &UserId, room: &RoomName) -> Result<Census, ControlError> {
        let upto = self.node.position(room).await.map_err(|_| ControlError::Log)?;
        let (user, room, upto) = (Some(user.clone()), Some(room.clone()), Some(upto));
        Ok(self.census(Request { user, room, upto, ..Request::new(Wish::TakeOut) }).await?)
    }

    pub(super) async fn put_sessions_of(&self, user: &UserId, room: &RoomName) -> Answer {
        self.each(user, room, true).await
    }

    pub(super) async fn take_out(&self, user: &UserId, room: &RoomName, upto: Offset) -> Answer {
        // First: who is just going is away when its turn comes.
        self.node.note_removal(user, room, upto);
        self.each(user, room, false).await
    }

    async fn each(&self, user: &UserId, room: &RoomName, is_put: bool) -> Answer {
        let in_namespace = |session: &Arc<Session>| room.namespace() == Some(&session.namespace);
        let sessions = self.sessions_of(user).into_iter().filter(in_namespace);
        let one = |session: Arc<Session>| async move {
            if is_put {
                self.node.put_in(&session, room).await.map(|()| true)
            } else {
                self.node.take_out_of(&session, room).await
            }
        };
        let all: Vec<_> = sessions.map(one).collect();
        let done: Vec<Result<bool, Refusal>> =
            futures_util::stream::iter(all).buffer_unordered(CONCURRENCY).collect().await;
        let sessions = done.iter().filter(|done| matches!(done, Ok(true))).count();
        Answer { sessions, failed: done.iter().filter(|done| done.is_err()).count(), ..Answer::default() }
    }
}
