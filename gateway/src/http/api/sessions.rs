//! Where users are connected, and what is decided about their sessions.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::Call;
use super::contract::{InNamespace, OfRoom, OfSession, OfUser};
use super::problem::{Kind, Problem};
use super::state::ApiState;
use gateway_core::service::Outcome;

/// Where a user is connected.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "user": "alice", "total": 1, "missing": 0,
    "sessions": [{
        "session": "00112233445566778899aabbccddeeff", "node": "node-1", "namespace": "/", "transport": "websocket",
        "address": "192.0.2.1"
    }]
}))]
pub(super) struct Sessions {
    /// Whose they are.
    user: String,
    /// How many are connected, also where not all are listed.
    total: usize,
    /// Those of each node, a thousand at the most.
    sessions: Vec<Session>,
    /// How many nodes did not answer: what they have is not here.
    missing: usize,
}

/// A session that is connected.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    /// Its id.
    session: String,
    /// The node that it is connected to.
    node: String,
    /// The namespace that it is in.
    namespace: String,
    /// `websocket` or `polling`, when it came.
    transport: String,
    /// Where its client is, as far as trusted proxies tell.
    address: String,
}

/// What came of asking all nodes about a user's sessions.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "sessions": 3, "nodes": { "node-1": 2, "node-2": 1 }, "failed": 0, "missing": 0 }))]
pub(super) struct Decided {
    /// With how many connected sessions it was done.
    sessions: usize,
    /// Of these, how many each node has. Only nodes with any are in it.
    nodes: BTreeMap<String, usize>,
    /// With how many it could not be done: they are in too many rooms, or something could not be reached.
    failed: usize,
    /// How many nodes did not answer. They may still do it.
    missing: usize,
}

fn decided(outcome: Outcome) -> Response {
    let Outcome { nodes, failed, missing, .. } = outcome;
    let status = if missing > 0 || failed > 0 { StatusCode::ACCEPTED } else { StatusCode::OK };
    (status, Json(Decided { sessions: nodes.values().sum(), nodes, failed, missing })).into_response()
}

/// Lists where a user is connected, on all nodes.
#[utoipa::path(
    get, path = "/api/v1/users/{user}/sessions", tag = "sessions",
    params(OfUser),
    responses(
        (status = 200, description = "The user's connected sessions.", body = Sessions),
    ),
)]
pub(super) async fn sessions(State(state): State<ApiState>, call: Call) -> Result<Json<Sessions>, Problem> {
    call.must_reach_all()?;
    let user = call.user()?;
    let Outcome { nodes, missing, listed, .. } = state.service().sessions(&user).await?;
    let session = |(node, listed): (String, gateway_core::service::Listed)| Session {
        session: listed.session.to_string(),
        node,
        namespace: listed.namespace,
        transport: listed.transport,
        address: listed.address,
    };
    let sessions = listed.into_iter().map(session).collect();
    Ok(Json(Sessions { user: user.as_str().to_owned(), total: nodes.values().sum(), sessions, missing }))
}

/// Ends all sessions of a user for good, on all nodes, those that are away too: official clients do not come back by
/// themselves. New sessions of the user are not kept out: take its tokens back for that.
#[utoipa::path(
    delete, path = "/api/v1/users/{user}/sessions", tag = "sessions",
    params(OfUser),
    responses(
        (status = 200, description = "They have ended; how many were connected.", body = Decided),
        (status = 202, description = "Not all nodes have answered.", body = Decided),
    ),
)]
pub(super) async fn end_user(State(state): State<ApiState>, call: Call) -> Result<Response, Problem> {
    call.must_reach_all()?;
    let user = call.user()?;
    let outcome = state.service().end_user(&user).await;
    call.audit("end", &format!("user {}", user.as_str()), &outcome);
    Ok(decided(outcome?))
}

/// Ends one session for good, connected or away.
#[utoipa::path(
    delete, path = "/api/v1/sessions/{session}", tag = "sessions",
    params(OfSession),
    responses(
        (status = 200, description = "It has ended; whether it was connected.", body = Decided),
        (status = 202, description = "Not all nodes have answered.", body = Decided),
    ),
)]
pub(super) async fn end_session(State(state): State<ApiState>, call: Call) -> Result<Response, Problem> {
    call.must_reach_all()?;
    let session = call.session()?;
    let outcome = state.service().end_session(session).await;
    call.audit("end", &format!("session {session}"), &outcome);
    let there_is_none = || Problem::new(Kind::NotFound, "there is no such session, connected or away");
    outcome?.map(decided).ok_or_else(there_is_none)
}

/// Puts the sessions of a user into a room: those of the namespace that are connected now, on all nodes. They stay in it when
/// they come back after a lost connection. Sessions that are away are not put in.
#[utoipa::path(
    put, path = "/api/v1/users/{user}/rooms/{room}", tag = "sessions",
    params(OfUser, OfRoom, InNamespace),
    responses(
        (status = 200, description = "They are in the room.", body = Decided),
        (status = 202, description = "Not all are, or not all nodes have answered.", body = Decided),
    ),
)]
pub(super) async fn seat(State(state): State<ApiState>, call: Call) -> Result<Response, Problem> {
    let (user, room) = (call.user()?, call.room()?);
    let outcome = state.service().put_user(&user, &room).await;
    call.audit("put in", &format!("user {}, room {}", user.as_str(), room.shown().unwrap_or_default()), &outcome);
    Ok(decided(outcome?))
}

/// Takes the sessions of a user out of a room, on all nodes. Those that are away come back without it. They may join it again
/// if routes and their tokens let them.
#[utoipa::path(
    delete, path = "/api/v1/users/{user}/rooms/{room}", tag = "sessions",
    params(OfUser, OfRoom, InNamespace),
    responses(
        (status = 200, description = "They are out of the room; how many connected ones were in it.", body = Decided),
        (status = 202, description = "Not all nodes have answered, or one could not store it.", body = Decided),
    ),
)]
pub(super) async fn unseat(State(state): State<ApiState>, call: Call) -> Result<Response, Problem> {
    let (user, room) = (call.user()?, call.room()?);
    let outcome = state.service().take_user_out(&user, &room).await;
    call.audit("take out", &format!("user {}, room {}", user.as_str(), room.shown().unwrap_or_default()), &outcome);
    Ok(decided(outcome?))
}
