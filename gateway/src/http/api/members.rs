//! Who is in a room, and which rooms have somebody.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::Call;
use super::contract::{InNamespace, OfRoom, Page};
use super::problem::Problem;
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
    get, path = "/api/v1/rooms/{room}/members", tag = "presence",
    params(OfRoom, InNamespace, Page),
    responses(
        (status = 200, description = "Some of the members.", body = Members),
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

/// Some of the rooms that have somebody.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "rooms": [{ "room": "orders-7", "members": 2 }], "next": "orders-7" }))]
pub(super) struct Rooms {
    /// In the order of their bytes. Only those that the key opens.
    rooms: Vec<Room>,
    /// The next page's `after`, if there is one. A page may have fewer rooms than it might, also none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A room that has somebody.
#[derive(Serialize, ToSchema)]
pub(super) struct Room {
    /// Its name.
    room: String,
    /// How many members it has.
    members: u64,
}

/// Lists the rooms of a namespace that have somebody, on all nodes, as far as members are counted.
#[utoipa::path(
    get, path = "/api/v1/rooms", tag = "presence",
    params(InNamespace, Page),
    responses(
        (status = 200, description = "Some of the rooms.", body = Rooms),
    ),
)]
pub(super) async fn rooms(State(state): State<ApiState>, call: Call) -> Result<Json<Rooms>, Problem> {
    let limit = call.limit()?.unwrap_or(usize::MAX);
    let page = state.service().rooms(call.namespace(), call.after(), limit).await?;
    let opened = page.rooms.iter().filter_map(|busy| {
        let room = busy.room.shown().filter(|room| call.asker().key.opens_room(room))?;
        Some(Room { room: room.to_owned(), members: busy.members })
    });
    let next = page.next.as_ref().and_then(|next| next.shown()).map(str::to_owned);
    Ok(Json(Rooms { rooms: opened.collect(), next }))
}
