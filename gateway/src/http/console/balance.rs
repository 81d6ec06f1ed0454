//! Balancing: how it stands, as this node sees it, and stopping and starting it on all nodes.

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use super::Failed;
use crate::audit::{Visitor, audit};
use crate::http::admin::AdminState;
use gateway_core::balance::Shown;

pub(super) async fn show(State(state): State<AdminState>) -> Json<Shown> {
    Json(state.balance.shown())
}

pub(super) async fn stop(
    State(state): State<AdminState>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Response, Failed> {
    order(&state, visitor, "stop")
}

pub(super) async fn start(
    State(state): State<AdminState>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Response, Failed> {
    order(&state, visitor, "start")
}

/// The others hear of it within a second, those that join later too.
fn order(state: &AdminState, visitor: Visitor, what: &'static str) -> Result<Response, Failed> {
    let is_off = state.balance.shown().state == "off";
    let outcome = if is_off { "failed: it is off" } else { "begun" };
    audit(visitor.by(), what, "balancing of all nodes", outcome);
    if is_off {
        let words = "balancing is off on this node: balance.enabled, or there is no Redis and so no other node";
        return Err(Failed(StatusCode::CONFLICT, words.into()));
    }
    if what == "stop" {
        state.balance.stop()
    } else {
        state.balance.start()
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "balance": what }))).into_response())
}
