//! Taking back what was said.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::Call;
use super::contract::{InNamespace, OfEvent, OfUser};
use super::problem::{Kind, Problem};
use super::state::ApiState;
use gateway_core::domain::Offset;

/// An event that was taken back.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "offset": "1795345614052000" }))]
pub(super) struct TakenBack {
    /// The place of the event `gateway:deleted` by which the room's members are told.
    #[schema(value_type = String, pattern = "^[0-9]{1,20}$")]
    offset: Offset,
}

/// What a user said and is gone.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "messages": 12 }))]
pub(super) struct Messages {
    /// How many events were taken back. Fewer than there were, if the same was asked before.
    messages: u64,
}

/// Takes an event of a room back. Nobody reads it any more, neither in the log nor in the archive, and members are told by
/// `gateway:deleted` with `{room, offset}`.
#[utoipa::path(
    delete, path = "/api/v1/rooms/{room}/events/{offset}", tag = "events",
    params(OfEvent, InNamespace),
    responses(
        (status = 200, description = "It is taken back.", body = TakenBack),
    ),
)]
pub(super) async fn take_back(State(state): State<ApiState>, call: Call) -> Result<Json<TakenBack>, Problem> {
    let (room, offset) = (call.room()?, call.event()?);
    let outcome = state.service().take_back(&room, offset).await;
    call.audit("take back", &format!("room {}, event {offset}", room.shown().unwrap_or_default()), &outcome);
    let there_is_none = || Problem::new(Kind::NotFound, "there is no such event in the room, or not any more");
    Ok(Json(TakenBack { offset: outcome?.ok_or_else(there_is_none)? }))
}

/// Takes back all that a user said in rooms that are archived, as far as it was said with the user's token. What is still in the
/// log goes from there as well, and members are told of each. If it fails in the middle, ask again.
#[utoipa::path(
    delete, path = "/api/v1/users/{user}/messages", tag = "events",
    params(OfUser),
    responses(
        (status = 200, description = "They are taken back.", body = Messages),
    ),
)]
pub(super) async fn take_back_user(State(state): State<ApiState>, call: Call) -> Result<Json<Messages>, Problem> {
    call.must_reach_all()?;
    let user = call.user()?;
    let outcome = state.service().take_back_user(&user).await;
    call.audit("take back messages", &format!("user {}", user.as_str()), &outcome);
    let there_is_none = || Problem::new(Kind::NoArchive, "nothing is archived here, so it is not known who said what");
    let done = outcome?.ok_or_else(there_is_none)?;
    Ok(Json(Messages { messages: done.messages }))
}
