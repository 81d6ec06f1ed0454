//! What the console asks and does over HTTP, on the admin listener: about all nodes, for operators and, as far as nothing
//! changes, for viewers.

mod api;
mod balance;
mod health;
mod nodes;
mod page;
mod rooms;
mod routes;
mod sessions;

pub(super) use page::page;

use axum::extract::{DefaultBodyLimit, Query};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::http::admin::AdminState;
use gateway_core::control::ControlError;
use gateway_core::domain::SessionId;

/// Sessions or rooms of a page, unless it is said, and at the most.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 500;
/// The largest request that is not for the HTTP API, in bytes: an event to try.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The routes; who may use them is the caller's to see to.
pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route("/console/api/nodes", get(nodes::list))
        .route("/console/api/nodes/{name}/drain", post(nodes::drain))
        .route("/console/api/nodes/{name}/resume", post(nodes::resume))
        .route("/console/api/balance", get(balance::show))
        .route("/console/api/balance/stop", post(balance::stop))
        .route("/console/api/balance/start", post(balance::start))
        .route("/console/api/sessions", get(sessions::list))
        .route("/console/api/sessions/{session}", get(sessions::show).delete(sessions::end))
        .route("/console/api/sessions/{session}/move", post(sessions::hand_over))
        .route("/console/api/rooms", get(rooms::list))
        .route("/console/api/rooms/{room}", get(rooms::show))
        .route("/console/api/routes", get(routes::list))
        .route("/console/api/routes/try", post(routes::rehearse))
        .route("/console/api/routes/reload", post(routes::reload))
        .route("/console/api/health", get(health::show))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .route("/console/api/v1/{*rest}", any(api::call))
}

/// Why something is not answered, or not done.
#[derive(Debug)]
struct Failed(StatusCode, String);

impl Failed {
    fn wrong(why: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, why.into())
    }

    fn unknown(what: &str) -> Self {
        Self(StatusCode::NOT_FOUND, format!("there is no such {what}, or no more"))
    }
}

impl From<ControlError> for Failed {
    fn from(error: ControlError) -> Self {
        tracing::warn!(%error, "the nodes could not be asked for an operator");
        Self(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

/// Which part of a list is wanted.
#[derive(Deserialize)]
struct Part {
    search: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

impl Part {
    fn limit(&self) -> Result<usize, Failed> {
        let limit = self.limit.unwrap_or(PAGE);
        let words = || Failed::wrong(format!("limit is a whole number from 1 to {LARGEST_PAGE}"));
        if (1..=LARGEST_PAGE).contains(&limit) { Ok(limit) } else { Err(words()) }
    }

    /// What nobody left empty.
    fn text(text: Option<String>) -> Option<String> {
        text.filter(|text| !text.is_empty())
    }
}

/// The query, or in words what is wrong with it.
type Asked<T> = Result<Query<T>, axum::extract::rejection::QueryRejection>;

fn asked<T>(query: Asked<T>) -> Result<T, Failed> {
    query.map(|Query(query)| query).map_err(|why| Failed::wrong(why.body_text()))
}

fn session(text: &str) -> Result<SessionId, Failed> {
    SessionId::parse(text).ok_or_else(|| Failed::wrong("a session's id has 32 hexadecimal digits"))
}
