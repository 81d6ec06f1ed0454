//! The HTTP API on the admin listener, with the operator in place of a key.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Extension, State};
use axum::response::Response;
use http::{Request, StatusCode, Uri};
use tokio::time::timeout;

use crate::audit::Visitor;
use crate::http::admin::AdminState;

/// What is added to the paths of the API.
const PREFIX: &str = "/console";
/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn call(
    State(state): State<AdminState>,
    Extension(visitor): Extension<Visitor>,
    request: Request<Body>,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let inside = path.strip_prefix(PREFIX).unwrap_or(path).parse::<Uri>();
    let body = timeout(PATIENCE, to_bytes(body, state.api.body_bytes())).await;
    match (inside, body) {
        (Ok(uri), Ok(Ok(body))) => {
            parts.uri = uri;
            // What the router of the listener made of the path is not what that of the API makes of it.
            parts.extensions.clear();
            state.api.answer_inside(Request::from_parts(parts, body), visitor).await
        }
        (Ok(_), Ok(Err(_))) => state.api.unread_inside(StatusCode::PAYLOAD_TOO_LARGE),
        _ => state.api.unread_inside(StatusCode::BAD_REQUEST),
    }
}
