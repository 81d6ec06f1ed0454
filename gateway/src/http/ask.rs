//! Asking other nodes over their admin listeners, past Redis.

use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use http::header::HOST;
use http::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use gateway_core::node::Ask;

/// Where a node tells whether it hears.
pub(super) const HEARING: &str = "/hearing";

/// How long another node has to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks over HTTP.
#[derive(Debug)]
pub struct AskOverHttp;

#[async_trait]
impl Ask for AskOverHttp {
    async fn hears(&self, address: &str, ground: &str) -> bool {
        tokio::time::timeout(PATIENCE, status(address, ground)).await.is_ok_and(|status| status == Some(StatusCode::OK))
    }
}

async fn status(address: &str, ground: &str) -> Option<StatusCode> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    // Its name has nothing that would need to be encoded.
    let request = Request::get(format!("{HEARING}?redis={ground}")).header(HOST, address).body(Body::empty()).ok()?;
    tokio::select! {
        answer = sender.send_request(request) => Some(answer.ok()?.status()),
        _ = connection => None,
    }
}
