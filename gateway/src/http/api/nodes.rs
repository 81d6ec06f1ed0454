//! The nodes of the deployment.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::Call;
use super::problem::Problem;
use super::state::ApiState;

/// The nodes of the deployment.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "nodes": [{ "node": "node-1", "sessions": 1200, "version": "0.1.0", "revision": "2335f7a", "hears": true }], "missing": 0
}))]
pub(super) struct Nodes {
    /// Those that have answered, by name.
    nodes: Vec<Node>,
    /// How many have not.
    missing: usize,
}

/// A node.
#[derive(Serialize, ToSchema)]
pub(super) struct Node {
    /// What it is called.
    node: String,
    /// How many sessions are connected to it.
    sessions: usize,
    /// The version of the program.
    version: String,
    /// The revision that it was built from.
    revision: String,
    /// Whether it hears the others.
    hears: bool,
}

/// Lists the nodes, as they say now that they are.
#[utoipa::path(
    get, path = "/api/v1/nodes", tag = "deployment",
    responses(
        (status = 200, description = "The nodes.", body = Nodes),
    ),
)]
pub(super) async fn nodes(State(state): State<ApiState>, _: Call) -> Result<Json<Nodes>, Problem> {
    let found = state.service().nodes().await?;
    let node = |(node, sessions, about): (String, usize, gateway_core::service::About)| Node {
        node,
        sessions,
        version: about.version,
        revision: about.revision,
        hears: about.hears,
    };
    let mut nodes: Vec<_> = found.nodes.into_iter().map(node).collect();
    nodes.sort_by(|one, other| one.node.cmp(&other.node));
    Ok(Json(Nodes { nodes, missing: found.missing }))
}
