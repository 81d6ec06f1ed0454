//! The admin listener: probes, metrics, and what operators can do to sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::revocations;
use crate::auth::Revoked;
use crate::bus::BusError;
use crate::config::Secret;
use crate::control::{Census, Control};
use crate::domain::UserId;
use crate::http::ask::HEARING;
use crate::metrics::Metrics;
use crate::node::Node;

/// What the admin listener shows and does.
#[derive(Clone, Debug)]
pub struct AdminState {
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` says: whether new clients should be sent here.
    pub ready: Arc<AtomicBool>,
    /// What `/hearing` says, and what keeps a deaf node from being ready.
    pub node: Arc<Node>,
    /// What the session controls do.
    pub control: Arc<Control>,
    /// What revoking tokens changes.
    pub revoked: Arc<Revoked>,
    /// Who may use them. Empty: nobody, they do not exist.
    pub token: Secret,
}

/// The routes of the admin listener.
pub fn admin(state: AdminState) -> Router {
    let mut router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route(HEARING, get(hearing))
        .route("/metrics", get(metrics));
    if !state.token.is_empty() {
        let controls = Router::new()
            .route("/users/{user}/sockets", get(sockets).delete(disconnect))
            .merge(revocations::routes())
            .layer(middleware::from_fn_with_state(state.clone(), authorize));
        router = router.merge(controls);
    }
    router.with_state(state)
}

async fn ready(State(state): State<AdminState>) -> Response {
    if state.node.hearing().deaf() {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: this node hears nothing\n").into_response()
    } else if state.ready.load(Ordering::Acquire) {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: starting or draining\n").into_response()
    }
}

/// What other nodes ask that do not hear.
async fn hearing(State(state): State<AdminState>) -> Response {
    if state.node.hearing().hears() {
        "hears\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "hears nothing\n").into_response()
    }
}

async fn metrics(State(state): State<AdminState>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render())
}

async fn authorize(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    if given.is_some_and(|given| state.token.is(given)) {
        next.run(request).await
    } else {
        (StatusCode::UNAUTHORIZED, Json(json!({ "error": "send Authorization: Bearer with admin.token" })))
            .into_response()
    }
}

fn user(text: &str) -> Result<UserId, Box<Response>> {
    UserId::parse(text)
        .ok_or_else(|| Box::new((StatusCode::BAD_REQUEST, Json(json!({ "error": "not a user id" }))).into_response()))
}

async fn sockets(State(state): State<AdminState>, Path(name): Path<String>) -> Response {
    let user = match user(&name) {
        Ok(user) => user,
        Err(response) => return *response,
    };
    match state.control.count_sessions(&user).await {
        Ok(Census { sessions, missing }) => {
            let total: usize = sessions.values().sum();
            Json(json!({ "user": user, "sockets": total, "nodes": sessions, "missing": missing })).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

async fn disconnect(State(state): State<AdminState>, Path(name): Path<String>) -> Response {
    let user = match user(&name) {
        Ok(user) => user,
        Err(response) => return *response,
    };
    match state.control.end_sessions(&user).await {
        Ok(Census { missing: 0, .. }) => StatusCode::NO_CONTENT.into_response(),
        // Whoever did not say that it has done it may still do it.
        Ok(Census { missing, .. }) => (StatusCode::ACCEPTED, Json(json!({ "missing": missing }))).into_response(),
        Err(error) => unavailable(&error),
    }
}

fn unavailable(error: &BusError) -> Response {
    tracing::warn!(%error, "the nodes could not be asked");
    let words = format!("the other nodes could not be reached: {error}");
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": words }))).into_response()
}
