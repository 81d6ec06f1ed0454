//! The admin listener: probes, metrics, and what operators can do to sessions.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::Router;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use serde::Deserialize;
use serde_json::json;

use super::let_in::authorize;
use super::{Api, console, hooks, queues, revocations};
use crate::audit::{By, audit};
use crate::http::ask::HEARING;
use gateway_core::auth::{OperatorToken, Revoked};
use gateway_core::balance::Balance;
use gateway_core::config;
use gateway_core::control::{Census, Control, ControlError};
use gateway_core::desk::Desk;
use gateway_core::domain::{SessionId, UserId};
use gateway_core::metrics::Metrics;
use gateway_core::node::Node;
use gateway_core::routes;
use gateway_work::hooks::Hooks;
use gateway_work::schedules::Schedules;

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
    /// How balancing stands, and what stops it.
    pub balance: Arc<Balance>,
    /// What revoking tokens changes.
    pub revoked: Arc<Revoked>,
    /// What is listed of hooks, and decided about what was given up.
    pub hooks: Arc<Hooks>,
    /// What is listed of queues, and decided about jobs.
    pub desk: Arc<Desk>,
    /// What is listed of schedules.
    pub schedules: Arc<Schedules>,
    /// What is shown of routes, and tried.
    pub router: Arc<routes::Router>,
    /// What is called by the console, with the operator in place of a key.
    pub api: Arc<Api>,
    /// What this node is called.
    pub name: String,
    /// The profile and the file that routes are read from.
    pub files: (String, Option<PathBuf>),
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
            .merge(console::routes())
            .layer(middleware::from_fn_with_state(state.token.clone(), authorize));
        router = router.merge(controls).merge(console::page()).merge(queues::routes(
            state.desk.clone(),
            state.schedules.clone(),
            state.token.clone(),
        ));
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
async fn hearing(State(state): State<AdminState>, Query(of): Query<OfRedis>) -> Response {
    match state.node.hearing().hears(of.redis.as_deref().unwrap_or(config::Redis::MAIN)) {
        Some(true) => "hears\n".into_response(),
        Some(false) => (StatusCode::SERVICE_UNAVAILABLE, "hears nothing\n").into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such Redis here\n").into_response(),
    }
}

/// Which Redis is meant: the main one, if none is named.
#[derive(Deserialize)]
struct OfRedis {
    redis: Option<String>,
}

async fn metrics(State(state): State<AdminState>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render())
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

async fn end_session(
    State(state): State<AdminState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
) -> Response {
    let Some(session) = SessionId::parse(&id) else {
        let words = "a session's id has 32 hexadecimal digits";
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": words }))).into_response();
    };
    let ended_it = state.control.end_session(session).await;
    let outcome = match &ended_it {
        Ok((Census { missing, .. }, found)) => {
            format!("{}, {missing} nodes did not answer", if *found { "ended" } else { "there is none" })
        }
        Err(error) => format!("failed: {error}"),
    };
    audit(By::Operator(peer), "end", &format!("session {session}"), outcome);
    match ended_it {
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
