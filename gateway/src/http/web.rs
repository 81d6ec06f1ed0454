//! What browsers load: a page with a room to talk in, for trying the gateway out, and the official client.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::response::{Html, IntoResponse};
use axum::routing::get;

use super::client_script::client_script;

const PAGE: &str = include_str!("page.html");
/// The page is one file and talks to its own origin only.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self' ws: wss:";

/// Everything that is not Socket.IO.
pub fn web() -> Router {
    Router::new().route("/", get(page)).merge(client_script())
}

async fn page() -> impl IntoResponse {
    ([(CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, "no-cache")], Html(PAGE))
}
