//! Deciding about sessions, their rooms and their tokens, on all nodes.

use std::collections::BTreeMap;

use super::Service;
use crate::control::{Census, ControlError};
use crate::domain::{Refusal, RoomName, SessionId, UserId};
use crate::revocations::Subject;

pub use crate::control::{About, Listed};
pub use crate::revocations::Subject as Revoked;

/// What came of asking all nodes about somebody's sessions.
#[derive(Debug)]
pub struct Outcome {
    /// How many sessions it is about, by the name of the node. Only nodes with any are in it.
    pub nodes: BTreeMap<String, usize>,
    /// With how many it could not be done.
    pub failed: usize,
    /// How many nodes did not answer: what they have is not counted, and they may still do it.
    pub missing: usize,
    /// Which sessions they are, with the name of the node, if that was asked.
    pub listed: Vec<(String, Listed)>,
}

/// The nodes of a deployment.
#[derive(Debug)]
pub struct Nodes {
    /// Each with its name and the number of its sessions.
    pub nodes: Vec<(String, usize, About)>,
    /// How many did not answer.
    pub missing: usize,
}

impl From<Census> for Outcome {
    fn from(Census { sessions, missing, failed, listed }: Census) -> Self {
        Self { nodes: sessions, failed, missing, listed }
    }
}

impl Service {
    /// Where a user is connected.
    ///
    /// # Errors
    /// The other nodes cannot be asked.
    pub async fn sessions(&self, user: &UserId) -> Result<Outcome, Refusal> {
        self.behind.control.list_sessions(user).await.map(Outcome::from).map_err(|error| refused(&error.into()))
    }

    /// Ends a user's sessions for good, those that are away too.
    ///
    /// # Errors
    /// The store of sessions or the other nodes cannot be reached; some may have ended all the same.
    pub async fn end_user(&self, user: &UserId) -> Result<Outcome, Refusal> {
        self.behind.control.end_sessions(user).await.map(Outcome::from).map_err(|error| refused(&error))
    }

    /// The same for one session; nothing if all nodes have answered that there is none.
    ///
    /// # Errors
    /// As [`Self::end_user`].
    pub async fn end_session(&self, session: SessionId) -> Result<Option<Outcome>, Refusal> {
        let ended = self.behind.control.end_session(session).await.map_err(|error| refused(&error))?;
        Ok(match ended {
            (Census { missing: 0, .. }, false) => None,
            (census, _) => Some(census.into()),
        })
    }

    /// Puts a user's sessions of the room's namespace into a room, those that are connected now.
    ///
    /// # Errors
    /// The other nodes cannot be asked; some may be in it all the same.
    pub async fn put_user(&self, user: &UserId, room: &RoomName) -> Result<Outcome, Refusal> {
        self.behind.control.put_user(user, room).await.map(Outcome::from).map_err(|error| refused(&error))
    }

    /// Takes a user's sessions out of a room; those that are away come back without it.
    ///
    /// # Errors
    /// The log or the other nodes cannot be asked; some may be out of it all the same.
    pub async fn take_user_out(&self, user: &UserId, room: &RoomName) -> Result<Outcome, Refusal> {
        self.behind.control.take_user_out(user, room).await.map(Outcome::from).map_err(|error| refused(&error))
    }

    /// Takes tokens back, everywhere.
    ///
    /// # Errors
    /// It could not be remembered; then nothing is revoked for sure.
    pub async fn revoke(&self, subject: Subject) -> Result<(), Refusal> {
        // It is told where it fails.
        self.behind.revoked.revoke(subject).await.map_err(|_| Refusal::Unavailable)
    }

    /// The nodes that there are.
    ///
    /// # Errors
    /// They cannot be asked.
    pub async fn nodes(&self) -> Result<Nodes, Refusal> {
        let described = self.behind.control.describe_nodes().await;
        described.map(|(nodes, missing)| Nodes { nodes, missing }).map_err(|error| refused(&error.into()))
    }
}

fn refused(error: &ControlError) -> Refusal {
    tracing::warn!(%error, "the nodes could not be asked for a back end");
    Refusal::Unavailable
}
