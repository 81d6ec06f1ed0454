//! Where other nodes come in that have requests for connections of this one: a path of the admin listener, whose connections
//! become theirs once they have proven that they are nodes of this deployment.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::BoxFuture;
use http::StatusCode;
use http::header::{CONNECTION, HeaderMap, UPGRADE};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::serving::raw;

/// How long who comes in has to prove that it may.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lets other nodes in.
pub trait PassingDoor: Send + Sync + 'static {
    /// What somebody is answered who wants in, and what becomes of the connection after that.
    fn open(&self, request: &HeaderMap) -> (Response, Option<Box<dyn Newcomer>>);
}

/// Somebody who wants in.
pub trait Newcomer: Send + Sync {
    /// How long its proof is, with the end of its line.
    fn proof_length(&self) -> usize;

    /// Whether it may come in.
    fn is_proven(&self, proof: &[u8]) -> bool;

    /// Serves it.
    fn serve(self: Box<Self>, stream: TcpStream, read: Vec<u8>) -> BoxFuture<'static, ()>;
}

/// A door and who runs what comes in by it.
#[derive(Clone)]
struct Hall {
    door: Arc<dyn PassingDoor>,
    protocol: &'static str,
    tasks: TaskTracker,
}

/// The routes of a door: at `path`, for whoever wants to speak `protocol`.
pub fn passing(path: &str, protocol: &'static str, door: Arc<dyn PassingDoor>, tasks: TaskTracker) -> Router {
    Router::new().route(path, get(enter)).with_state(Hall { door, protocol, tasks })
}

async fn enter(State(hall): State<Hall>, mut request: Request) -> Response {
    let speaks = |value: &http::HeaderValue| value.as_bytes() == hall.protocol.as_bytes();
    if !request.headers().get(UPGRADE).is_some_and(speaks) {
        return (StatusCode::UPGRADE_REQUIRED, "Only other nodes come in here.\n").into_response();
    }
    let (mut response, newcomer) = hall.door.open(request.headers());
    let Some(newcomer) = newcomer else { return response };
    response.headers_mut().insert(CONNECTION, http::HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, http::HeaderValue::from_static(hall.protocol));
    let upgrade = hyper::upgrade::on(&mut request);
    hall.tasks.spawn(async move {
        let proven = async {
            let mut stream = TokioIo::new(upgrade.await.ok()?);
            let mut proof = vec![0; newcomer.proof_length()];
            stream.read_exact(&mut proof).await.ok()?;
            newcomer.is_proven(proof.trim_ascii_end()).then_some(stream.into_inner())
        };
        let Ok(Some(upgraded)) = timeout(PATIENCE, proven).await else { return };
        // From here on it is nobody's of the admin listener, and has bounds of its own.
        if let Some((stream, read)) = raw(upgraded) {
            newcomer.serve(stream, read).await;
        }
    });
    response
}
