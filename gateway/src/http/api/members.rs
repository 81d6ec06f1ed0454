//! Who is in a room.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::Call;
use super::contract::{InNamespace, OfRoom, Page};
use super::problem::{Problem, Told};
use super::state::ApiState;

/// A page of a room's members.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "count": 2,
    "members": [{ "member": "u:alice", "user": "alice", "since": 1_795_345_614_052_u64 }],
    "next": "u:alice"
}))]
pub(super) struct Members {
    /// How many there are, not only here.
    count: u64,
    /// In the order of their bytes.
    members: Vec<Listed>,
    /// The next page's `after`, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Somebody in a room.
#[derive(Serialize, ToSchema)]
pub(super) struct Listed {
    /// The same for all sessions of a user; an anonymous session is its own member.
    member: String,
    /// The user, if it is one.
    user: Option<String>,
    /// When the first of its sessions came, in milliseconds since 1970.
    since: u64,
}

/// Lists who is in a room, on all nodes. Members are counted where a route's join says so (`presence`, `capacity`), and where
/// a back end put somebody in.
#[utoipa::path(
    get, path = "/api/v1/rooms/{room}/members", operation_id = "members", tag = "presence",
    params(OfRoom, InNamespace, Page),
    responses(
        (status = 200, description = "Some of the members.", body = Members),
        (status = "default", description = "It was not done.", body = Told<'static>, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn members(State(state): State<ApiState>, call: Call) -> Result<Json<Members>, Problem> {
    let room = call.room()?;
    let page = state.service().members(&room, call.after(), call.limit()?.unwrap_or(usize::MAX)).await?;
    let listed = page.members.into_iter().map(|member| Listed {
        member: member.member,
        user: member.user.map(|user| user.as_str().to_owned()),
        since: member.since_ms,
    });
    Ok(Json(Members { count: page.count, members: listed.collect(), next: page.next }))
}
