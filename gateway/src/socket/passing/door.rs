//! The door: other nodes come in by it that have requests for connections of this one.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Passing;
use super::proof::{Prover, Said, nonce};
use crate::socket::SocketServer;

/// Lets other nodes in.
#[derive(Debug)]
pub struct Door {
    passing: Arc<Passing>,
    server: SocketServer,
    places: Arc<Semaphore>,
}

/// What somebody is told who says that it is a node, and what it has to prove.
#[derive(Debug)]
pub struct Challenge {
    to: String,
    asked: String,
    /// What this node says that nobody can have foreseen.
    pub nonce: String,
    /// What proves that it is this node.
    pub proof: String,
    place: OwnedSemaphorePermit,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwelcome {
    /// It is looking for another node.
    OtherNode,
    /// There are too many.
    Full,
}

impl Door {
    pub(super) fn new(passing: Arc<Passing>, server: SocketServer) -> Self {
        let places = Arc::new(Semaphore::new(passing.places));
        Self { passing, server, places }
    }

    /// What somebody has to prove who is looking for a node, with what it said that nobody can have foreseen.
    ///
    /// # Errors
    /// It is wrong here.
    pub fn challenge(&self, to: &str, asked: &str) -> Result<Challenge, Unwelcome> {
        let metrics = &self.passing.metrics;
        if to != self.passing.tag.to_string() {
            metrics.passing_doors.with("other_node").increment(1);
            return Err(Unwelcome::OtherNode);
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            metrics.passing_doors.with("full").increment(1);
            return Err(Unwelcome::Full);
        };
        let (nodes, nonce) = (&self.passing.nodes, nonce());
        let said = Said { to, address: nodes.address(), asked, answered: &nonce };
        let proof = nodes.secrets.prove(Prover::Answerer, &said);
        Ok(Challenge { to: to.to_owned(), asked: asked.to_owned(), nonce, proof, place })
    }

    /// Whether that was proven.
    #[must_use]
    pub fn is_proven(&self, challenge: &Challenge, proof: &[u8]) -> bool {
        let Challenge { to, asked, nonce, .. } = challenge;
        let nodes = &self.passing.nodes;
        let said = Said { to, address: nodes.address(), asked, answered: nonce };
        let is_proven = nodes.secrets.is_proof(proof, Prover::Asker, &said);
        self.passing.metrics.passing_doors.with(if is_proven { "ok" } else { "unproven" }).increment(1);
        is_proven
    }

    /// Serves a node that has proven that it is one. `read` was read of it already.
    pub async fn serve(&self, challenge: Challenge, stream: TcpStream, read: Vec<u8>) {
        let taken = &self.passing.metrics.passing_taken;
        taken.increment(1.0);
        self.server.engine.serve_passed(stream, read, (challenge.place, Leave(self.passing.clone()))).await;
    }
}

/// Counts the connection until it is dropped: as that of a websocket it outlives whoever served it.
struct Leave(Arc<Passing>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.metrics.passing_taken.decrement(1.0);
    }
}
