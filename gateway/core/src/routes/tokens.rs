//! Tokens of live sessions: renewed by their clients, or at their end.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::names::Lifecycle;
use super::{Answer, Router};
use crate::auth::{Admitted, Brought, Candidate, Identity, Occasion};
use crate::content::json;
use crate::domain::{Frame, Refusal, RoomName};
use crate::node::{CloseReason, GIVEN, PUT, STANDING, Session};

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
        let brought = Brought::default();
        let candidate = Candidate {
            occasion: Occasion::Refresh,
            namespace: &session.namespace,
            address: session.address,
            token: Some(&token),
            auth: RawValue::NULL,
            brought: &brought,
        };
        let Admitted { identity, rooms, .. } = self.entry.admit(&candidate).await.map_err(|denied| denied.refusal)?;
        if identity.user != session.identity().user {
            return Err(Refusal::NotAllowed);
        }
        let expires_in_ms = identity.expires_in().map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        let lost = self.rooms_without_place(session, &identity, &rooms);
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
        stored = stored.and(self.give(session, &rooms).await);
        // It may have been revoked while the session still had the old one.
        if self.tokens().revoked().covers(&session.identity()) {
            session.close(CloseReason::Revoked);
            return Err(Refusal::TokenRevoked);
        }
        stored?;
        Ok(Answer::new(&Renewed { ok: true, expires_in_ms, left }))
    }

    /// Puts a session into rooms that a back end gives to it, for as long as it does.
    async fn give(self: &Arc<Self>, session: &Arc<Session>, rooms: &[RoomName]) -> Result<(), Refusal> {
        let table = self.table();
        let new: Vec<_> = rooms.iter().filter(|room| !session.is_in(room)).collect();
        let Some(namespace) = table.namespace(&session.namespace).filter(|_| !new.is_empty()) else { return Ok(()) };
        let identity = session.identity();
        let seats = new.into_iter().map(|room| (room.clone(), namespace.given_seat(&identity, room))).collect();
        let firsts = self.node.give(session, seats).await?;
        let saved = self.node.save(session).await;
        for (room, turn) in firsts {
            self.happen(session, Lifecycle::Join, Some(room), Some(turn)).await;
        }
        saved.map(drop)
    }

    fn rooms_without_place(&self, session: &Session, identity: &Identity, given: &[RoomName]) -> Vec<RoomName> {
        let table = self.table();
        let namespace = table.namespace(&session.namespace);
        let stays = session.stays().into_iter();
        let lost = stays.filter(|(room, via)| {
            if **via == *GIVEN {
                return !given.contains(room);
            }
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
        self.end(&Refusal::TokenRevoked, CloseReason::Revoked, |identity| self.tokens().revoked().covers(identity));
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
