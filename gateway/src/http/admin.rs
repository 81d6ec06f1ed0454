//! The admin listener: probes, metrics, and what operators can do to sessions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::Router;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use serde_json::json;

use super::{hooks, revocations};
use crate::auth::{NoOperator, OperatorToken, Revoked};
use crate::control::{Census, Control, ControlError};
use crate::domain::{SessionId, UserId};
use crate::hooks::Hooks;
use crate::http::ask::HEARING;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::telemetry::{By, audit};

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
    /// What is listed of hooks, and decided about what was given up.
    pub hooks: Arc<Hooks>,
    /// Who may use them. If nobody, they do not exist.
    pub token: Arc<OperatorToken>,
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
            .route("/sessions/{session}", delete(end_session))
            .merge(revocations::routes())
            .merge(hooks::routes())
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

async fn authorize(
    State(state): State<AdminState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    match state.token.check(given, peer.ip()).await {
        Ok(()) => next.run(request).await,
        Err(NoOperator::Wrong) => {
            let words = "send Authorization: Bearer with admin.token";
            (StatusCode::UNAUTHORIZED, Json(json!({ "error": words }))).into_response()
        }
        Err(NoOperator::TooMany { retry_after }) => {
            let words = "wrong tokens came from this address, and the next ones have to wait for each other";
            let headers = [(RETRY_AFTER, retry_after.as_secs().max(1).to_string())];
            (StatusCode::TOO_MANY_REQUESTS, headers, Json(json!({ "error": words }))).into_response()
        }
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
        Ok(Census { sessions, missing, .. }) => {
            let total: usize = sessions.values().sum();
            Json(json!({ "user": user, "sockets": total, "nodes": sessions, "missing": missing })).into_response()
        }
        Err(error) => unavailable(&error.into()),
    }
}

async fn disconnect(
    State(state): State<AdminState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
) -> Response {
    let user = match user(&name) {
        Ok(user) => user,
        Err(response) => return *response,
    };
    let ended_them = state.control.end_sessions(&user).await;
    let outcome = match &ended_them {
        Ok(Census { sessions, missing, .. }) => {
            format!("{} sessions, {missing} nodes did not answer", sessions.values().sum::<usize>())
        }
        Err(error) => format!("failed: {error}"),
    };
    audit(By::Operator(peer), "end", &format!("user {}", user.as_str()), outcome);
    match ended_them {
        Ok(census) => ended(&census),
        Err(error) => unavailable(&error),
    }
}

async fn end_session(State(state): State<AdminState>, Path(id): Path<String>) -> Response {
    let Some(session) = SessionId::parse(&id) else {
        let words = "a session's id has 32 hexadecimal digits";
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": words }))).into_response();
    };
    match state.control.end_session(session).await {
        Ok((Census { missing: 0, .. }, false)) => {
            let words = "there is no such session, connected or away";
            (StatusCode::NOT_FOUND, Json(json!({ "error": words }))).into_response()
        }
        Ok((census, _)) => ended(&census),
        Err(error) => unavailable(&error),
    }
}

fn ended(census: &Census) -> Response {
    match census.missing {
        0 => StatusCode::NO_CONTENT.into_response(),
        // Whoever did not say that it has done it may still do it.
        missing => (StatusCode::ACCEPTED, Json(json!({ "missing": missing }))).into_response(),
    }
}

fn unavailable(error: &ControlError) -> Response {
    tracing::warn!(%error, "sessions could not be counted or ended");
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": error.to_string() }))).into_response()
}
