//! Tokens of live sessions: renewed by their clients, or at their end.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Answer, Router};
use crate::auth::Identity;
use crate::content::json;
use crate::domain::{Frame, Refusal, RoomName};
use crate::node::{CloseReason, PUT, STANDING, Session};

const TAKES: &str = "auth:refresh takes {token}, a text";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Renewed {
    ok: bool,
    /// Milliseconds until the new token's time is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_ms: Option<u64>,
    /// Rooms in which the new token has no place.
    left: Vec<String>,
}

impl Router {
    /// Takes a session's new token, and takes the session out of rooms in which that has no place.
    pub(super) async fn refresh(
        self: &Arc<Self>,
        session: &Arc<Session>,
        args: &[&RawValue],
    ) -> Result<Answer, Refusal> {
        let token = args.first().and_then(|first| json::field(first, "token")).and_then(json::text);
        let token = token.ok_or(Refusal::bad_request(TAKES))?;
        if !session.has_token() {
            return Err(Refusal::NotAllowed);
        }
        let identity = self.tokens.identify(Some(&token)).await?;
        if identity.user != session.identity().user {
            return Err(Refusal::NotAllowed);
        }
        let expires_in_ms = identity.expires_in().map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        let lost = self.rooms_without_place(session, &identity);
        session.identify(identity);
        let mut left = Vec::new();
        let mut stored = Ok(());
        for room in lost {
            // It is out of the room even if that cannot be stored; then it would be refused when it comes back.
            let (departures, saved) = self.node.leave(session, &room).await;
            stored = stored.and(saved);
            self.heed(departures).await;
            left.extend(room.shown().map(str::to_owned));
        }
        // It may have been revoked while the session still had the old one.
        if self.tokens.revoked().covers(&session.identity()) {
            session.close(CloseReason::Revoked);
            return Err(Refusal::TokenRevoked);
        }
        stored?;
        Ok(Answer::new(&Renewed { ok: true, expires_in_ms, left }))
    }

    fn rooms_without_place(&self, session: &Session, identity: &Identity) -> Vec<RoomName> {
        let table = self.table();
        let namespace = table.namespace(&session.namespace);
        let stays = session.stays().into_iter();
        let lost = stays.filter(|(room, via)| {
            let admitted = namespace.and_then(|namespace| namespace.admits_back(via, identity, room));
            // Back ends put sessions into rooms whatever tokens say.
            **via != *STANDING && **via != *PUT && admitted.is_none()
        });
        lost.map(|(room, _)| room).collect()
    }

    /// Ends the connections of sessions whose tokens' time is over; to be called every second. Their clients come back
    /// by themselves, with a new token if they have one.
    pub fn end_expired(&self) {
        self.end(&Refusal::TokenExpired, CloseReason::Expired, |identity| {
            identity.expires_in().is_some_and(|left| left.is_zero())
        });
    }

    /// Ends the connections of sessions whose tokens were revoked; to be called when there are new revocations.
    pub fn end_revoked(&self) {
        self.end(&Refusal::TokenRevoked, CloseReason::Revoked, |identity| self.tokens.revoked().covers(identity));
    }

    fn end(&self, why: &Refusal, reason: CloseReason, is_over: impl Fn(&Identity) -> bool) {
        for session in self.node.roster().all() {
            if is_over(&session.identity()) && session.ends() {
                session.notify(Frame::notice("refused", &self.worded(why), None));
                session.close(reason);
            }
        }
    }
}
