//! Hooks, on the admin listener: how they stand, and what becomes of what was given up.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::admin::AdminState;
use crate::audit::{By, audit};
use gateway_core::outbox::Decision;
use gateway_core::port::PortError;
use gateway_work::hooks::Unknown;

/// The largest request, in bytes: about as many ids as are kept.
const MAX_BODY_BYTES: usize = 128 * 1024;
/// What a body should be.
const EXPECTED: &str = r#"send {"ids": ["<id>", …]}, or nothing for all"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    ids: Vec<String>,
}

/// The routes; who may use them is the caller's to see to.
pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route("/hooks", get(list))
        .route("/hooks/{name}/retry", post(retry))
        .route("/hooks/{name}/drop", post(forget))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

async fn list(State(state): State<AdminState>) -> Response {
    match state.hooks.list().await {
        Ok(hooks) => Json(json!({ "hooks": hooks })).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn retry(state: State<AdminState>, peer: ConnectInfo<SocketAddr>, name: Path<String>, body: Bytes) -> Response {
    decide(state, peer, name, &body, Decision::Again).await
}

async fn forget(state: State<AdminState>, peer: ConnectInfo<SocketAddr>, name: Path<String>, body: Bytes) -> Response {
    decide(state, peer, name, &body, Decision::Drop).await
}

async fn decide(
    State(state): State<AdminState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    body: &[u8],
    decision: Decision,
) -> Response {
    let ids = match ids(body) {
        Ok(ids) => ids,
        Err(why) => return (StatusCode::BAD_REQUEST, Json(json!({ "error": why }))).into_response(),
    };
    let decided = state.hooks.decide(&name, ids.as_deref(), decision).await;
    let what = if decision == Decision::Again { "retry" } else { "drop" };
    let outcome = match &decided {
        Ok(Ok(events)) => format!("{events} events"),
        Ok(Err(Unknown)) => "failed: there is no such hook".to_owned(),
        Err(error) => format!("failed: {error}"),
    };
    audit(By::Operator(peer), what, &format!("given up of hook {name}"), outcome);
    match decided {
        Ok(Ok(events)) => Json(json!({ "events": events })).into_response(),
        Ok(Err(Unknown)) => {
            let words = "there is no such hook, and nothing waits for one";
            (StatusCode::NOT_FOUND, Json(json!({ "error": words }))).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

/// Which are meant; nothing for all.
fn ids(body: &[u8]) -> Result<Option<Vec<String>>, String> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let wish: Wish = serde_json::from_slice(body).map_err(|error| format!("{error}; {EXPECTED}"))?;
    Ok(Some(wish.ids))
}

fn unavailable(error: &PortError) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": error.to_string() }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_are_meant() {
        assert_eq!(ids(b" "), Ok(None));
        assert_eq!(ids(br#"{"ids":["publish:1"]}"#), Ok(Some(vec!["publish:1".into()])));
        for bad in ["[]", "{}", r#"{"ids":1}"#, r#"{"ids":[],"all":true}"#, "x"] {
            assert!(ids(bad.as_bytes()).unwrap_err().ends_with(EXPECTED), "{bad}");
        }
    }
}
