//! Where nodes that pass on requests meet the admin listener by which they come in. Neither side knows the other.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use http::StatusCode;
use http::header::HeaderMap;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use crate::http::{self as edge, Newcomer, PassingDoor};
use crate::socket::passing::{Challenge, Door, NONCE, PATH, PROOF, PROOF_LENGTH, PROTOCOL, TO, Unwelcome};

/// What the admin listener has for other nodes.
pub(super) fn routes(door: Door, tasks: TaskTracker) -> axum::Router {
    edge::passing(PATH, PROTOCOL, Arc::new(Hall(Arc::new(door))), tasks)
}

struct Hall(Arc<Door>);

struct Guest {
    door: Arc<Door>,
    challenge: Challenge,
}

impl PassingDoor for Hall {
    fn open(&self, request: &HeaderMap) -> (Response, Option<Box<dyn Newcomer>>) {
        let said = |name| request.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match self.0.challenge(said(TO), said(NONCE)) {
            Ok(challenge) => {
                let said = [(NONCE, challenge.nonce.clone()), (PROOF, challenge.proof.clone())];
                let guest = Guest { door: self.0.clone(), challenge };
                ((StatusCode::SWITCHING_PROTOCOLS, said).into_response(), Some(Box::new(guest)))
            }
            Err(Unwelcome::OtherNode) => {
                ((StatusCode::MISDIRECTED_REQUEST, "This is not that node.\n").into_response(), None)
            }
            Err(Unwelcome::Full) => {
                let words = "Too many connections of other nodes: see passing.connections.\n";
                ((StatusCode::SERVICE_UNAVAILABLE, words).into_response(), None)
            }
        }
    }
}

impl Newcomer for Guest {
    fn proof_length(&self) -> usize {
        PROOF_LENGTH + 1
    }

    fn is_proven(&self, proof: &[u8]) -> bool {
        self.door.is_proven(&self.challenge, proof)
    }

    fn serve(self: Box<Self>, stream: TcpStream, read: Vec<u8>) -> BoxFuture<'static, ()> {
        let Self { door, challenge } = *self;
        Box::pin(async move { door.serve(challenge, stream, read).await })
    }
}
