//! The nodes: how they stand, and handing over the clients of one.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::Failed;
use crate::audit::{Visitor, audit};
use crate::http::admin::AdminState;
use gateway_core::control::{ControlError, Ordered};

pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<Value>, Failed> {
    let (mut nodes, missing) = state.control.describe_nodes().await.map_err(ControlError::from)?;
    nodes.sort_by(|one, other| one.0.cmp(&other.0));
    let node = |(node, sessions, about): (String, usize, gateway_core::control::About)| {
        json!({
            "node": node,
            "sessions": sessions,
            "version": about.version,
            "revision": about.revision,
            "hears": about.hears,
            "ready": about.ready,
            "draining": about.draining,
        })
    };
    Ok(Json(json!({ "nodes": nodes.into_iter().map(node).collect::<Vec<_>>(), "missing": missing })))
}

pub(super) async fn drain(
    State(state): State<AdminState>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Result<Response, Failed> {
    let ordered = state.control.drain_node(&name).await;
    answer(visitor, "drain", &name, ordered)
}

pub(super) async fn resume(
    State(state): State<AdminState>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Result<Response, Failed> {
    let ordered = state.control.resume_node(&name).await;
    answer(visitor, "resume", &name, ordered)
}

fn answer(
    visitor: Visitor,
    what: &'static str,
    name: &str,
    ordered: Result<Ordered, ControlError>,
) -> Result<Response, Failed> {
    let outcome = match &ordered {
        Ok(Ordered::Heeded) => "begun".to_owned(),
        Ok(Ordered::Unknown) => "failed: no node that answers is called so".to_owned(),
        Ok(Ordered::Alone) => "failed: there is no other node".to_owned(),
        Err(error) => format!("failed: {error}"),
    };
    audit(visitor.by(), what, &format!("node {name}"), outcome);
    match ordered? {
        Ordered::Heeded => Ok((StatusCode::ACCEPTED, Json(json!({ "node": name }))).into_response()),
        Ordered::Unknown => Err(Failed(StatusCode::NOT_FOUND, "no node that answers is called so".into())),
        Ordered::Alone => {
            let words = "there is no other node that takes clients, so nobody could hand them over";
            Err(Failed(StatusCode::CONFLICT, words.into()))
        }
    }
}
