//! Naming: what a session says that it is called, a user without a token or a name that nobody else has.

use std::sync::Arc;

use super::{Node, Seen, Session, Sight};
use crate::auth::Identity;
use crate::domain::{Refusal, RoomName, UserId};

impl Node {
    /// Notes that a session without a token is somebody's from now on, and hears what is sent to that user. It must not
    /// be counted as somebody else yet.
    ///
    /// # Errors
    /// It has a token, is in a room where members are counted or holds a name, or the log or the store of sessions cannot
    /// be reached.
    pub async fn identify(&self, session: &Arc<Session>, user: UserId) -> Result<(), Refusal> {
        if session.has_token() {
            return Err(Refusal::NotAllowed);
        }
        let everybody = RoomName::everybody(&session.namespace);
        let before = session.identity();
        if before.user.as_ref() != Some(&user) && session.seats().iter().any(|seat| *seat != everybody) {
            return Err(Refusal::bad_request("a client says who it is before it joins rooms that count their members"));
        }
        self.quarter(session).rooms.settle(session, &[RoomName::personal(&session.namespace, &user)]).await?;
        if let Some(other) = before.user.as_ref().filter(|before| **before != user) {
            self.quarter(session).rooms.leave(session, &RoomName::personal(&session.namespace, other));
        }
        let (id, namespace) = (session.id, session.namespace.clone());
        self.sights.tell_move(|| Some(Sight { session: id, namespace, what: Seen::Named(user.clone()) }));
        session.identify(Identity { user: Some(user), ..Identity::default() });
        self.quarter(session).comebacks.save(session).await.map(|_| ())
    }

    /// Has a session hold a name if nobody else in the cluster holds one that looks like it: no other user, and no other
    /// anonymous session. It lets go of the one that it claimed by the same event before.
    ///
    /// # Errors
    /// [`Refusal::Taken`], or the store of presence or of sessions cannot be reached.
    pub async fn claim_name(&self, session: &Arc<Session>, via: &Arc<str>, name: &str) -> Result<(), Refusal> {
        let _taking = session.take_seat();
        self.quarter(session).attendance.claim_name(session, via, name).await?;
        self.quarter(session).comebacks.save(session).await.map(|_| ())
    }
}
