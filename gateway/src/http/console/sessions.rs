//! Sessions: which there are, one of them, and ending it or having its client come back.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Extension, Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, Failed, Part, asked, session};
use crate::audit::{Visitor, audit};
use crate::http::admin::AdminState;
use gateway_core::control::{Detail, Row, Search, These};
use gateway_core::domain::{SessionId, UserId};
use gateway_core::revocations::Subject;

pub(super) async fn list(State(state): State<AdminState>, part: Asked<Part>) -> Result<Json<Value>, Failed> {
    let part = asked(part)?;
    let limit = part.limit()?;
    let these = These { search: part.search.as_deref().and_then(Search::read), ..These::default() };
    let roll = state.control.roll(these, Part::text(part.after), limit).await?;
    Ok(Json(json!({
        "sessions": rows(&roll.sessions),
        "next": roll.next,
        "total": roll.total,
        "missing": roll.missing,
    })))
}

pub(super) async fn show(State(state): State<AdminState>, Path(id): Path<String>) -> Result<Json<Value>, Failed> {
    let (found, missing) = state.control.show_session(session(&id)?).await?;
    let Detail { row: it, roles, rooms, refusals } = found.ok_or_else(|| Failed::unknown("session"))?;
    let mut shown = row(&it);
    let rooms: Vec<_> = rooms.iter().map(|(room, via)| json!({ "room": room, "via": via })).collect();
    shown["roomsTotal"] = json!(it.rooms);
    shown["rooms"] = json!(rooms);
    shown["roles"] = json!(roles);
    shown["refusals"] = json!(refusals);
    shown["missing"] = json!(missing);
    Ok(Json(shown))
}

#[derive(Deserialize)]
pub(super) struct How {
    #[serde(default)]
    revoke: bool,
}

pub(super) async fn end(
    State(state): State<AdminState>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    how: Asked<How>,
) -> Result<Json<Value>, Failed> {
    let (id, How { revoke }) = (session(&id)?, asked(how)?);
    // Whose it is, is known only while it is connected.
    let user = if revoke { user_of(&state, id).await? } else { None };
    let ended = state.control.end_session(id).await;
    let outcome = match &ended {
        Ok((census, true)) => format!("ended, {} nodes did not answer", census.missing),
        Ok((_, false)) => "there is none".to_owned(),
        Err(error) => format!("failed: {error}"),
    };
    audit(visitor.by(), "end", &format!("session {id}"), outcome);
    let (census, found) = ended?;
    if !found && census.missing == 0 {
        return Err(Failed::unknown("session"));
    }
    let sessions: usize = census.sessions.values().sum();
    // Whoever came back meanwhile with the same token is ended by this.
    let revoked = match user {
        Some(user) => Some(revoke_tokens(&state, visitor, user).await?),
        None => None,
    };
    Ok(Json(json!({ "sessions": sessions, "missing": census.missing, "revoked": revoked })))
}

/// Whose a session is, if it is connected and somebody's.
async fn user_of(state: &AdminState, id: SessionId) -> Result<Option<UserId>, Failed> {
    let (found, _) = state.control.show_session(id).await?;
    Ok(found.and_then(|detail| detail.row.user).and_then(|user| UserId::parse(&user)))
}

/// Takes the tokens of a user back; returns who that is.
async fn revoke_tokens(state: &AdminState, visitor: Visitor, user: UserId) -> Result<String, Failed> {
    // Tokens are dated by the second. Those of this one were issued before this request, as far as can be told.
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() + 1;
    let whom = format!("user {}, tokens from before {before}", user.as_str());
    let name = user.as_str().to_owned();
    let revoked = state.revoked.revoke(Subject::User { user, before }).await;
    let outcome = revoked.as_ref().map_or_else(|error| format!("failed: {error}"), |()| "done".to_owned());
    audit(visitor.by(), "revoke", &whom, outcome);
    revoked.map_err(|error| Failed(http::StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    Ok(name)
}

pub(super) async fn hand_over(
    State(state): State<AdminState>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failed> {
    let id = session(&id)?;
    let moved = state.control.move_session(id).await;
    let outcome = match &moved {
        Ok(census) => format!("{} sessions", census.sessions.values().sum::<usize>()),
        Err(error) => format!("failed: {error}"),
    };
    audit(visitor.by(), "move", &format!("session {id}"), outcome);
    let census = moved?;
    let sessions: usize = census.sessions.values().sum();
    if sessions == 0 && census.missing == 0 {
        return Err(Failed::unknown("session"));
    }
    Ok(Json(json!({ "sessions": sessions, "missing": census.missing })))
}

/// Sessions as lists have them.
pub(super) fn rows(rows: &[Row]) -> Vec<Value> {
    rows.iter().map(row).collect()
}

fn row(row: &Row) -> Value {
    json!({
        "id": row.id.to_string(),
        "node": row.node,
        "namespace": row.namespace,
        "user": row.user,
        "address": row.address,
        "transport": row.transport,
        "since": row.since,
        "rooms": row.rooms,
        "queue": { "packets": row.queue.packets, "bytes": row.queue.bytes },
        "refused": row.refused,
    })
}
