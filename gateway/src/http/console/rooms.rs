//! Rooms: which have members, and one of them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::sessions::rows;
use super::{Asked, Failed, PAGE, Part, asked};
use crate::http::admin::AdminState;
use gateway_core::control::{RoomRow, These};
use gateway_core::domain::RoomName;

pub(super) async fn list(State(state): State<AdminState>, part: Asked<Part>) -> Result<Json<Value>, Failed> {
    let part = asked(part)?;
    let limit = part.limit()?;
    let found = state.control.rooms(Part::text(part.search), Part::text(part.after), limit).await?;
    let room = |row: &RoomRow| {
        json!({
            "room": row.room.shown(),
            "namespace": row.room.namespace(),
            "members": row.members,
            "nodes": row.nodes,
        })
    };
    let rooms: Vec<_> = found.rooms.iter().map(room).collect();
    Ok(Json(json!({ "rooms": rooms, "next": found.next, "missing": found.missing })))
}

#[derive(Deserialize)]
pub(super) struct Where {
    namespace: Option<String>,
}

pub(super) async fn show(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    place: Asked<Where>,
) -> Result<Json<Value>, Failed> {
    let namespace = asked(place)?.namespace.unwrap_or_else(|| "/".to_owned());
    let room = RoomName::parse_in(&namespace, &name).map_err(|refusal| Failed::wrong(refusal.message()))?;
    // The id of a session is no room, whatever it looks like.
    let these = These::in_room(&namespace, &name);
    let roll = state.control.roll(these.clone(), None, PAGE).await?;
    let mut nodes: BTreeMap<String, usize> = BTreeMap::new();
    for (node, members) in state.control.count(these).await? {
        *nodes.entry(node).or_default() += members;
    }
    let nodes: Vec<_> = nodes.iter().map(|(node, members)| json!({ "node": node, "members": members })).collect();
    let log = state.node.log_reaches(&room).await.ok();
    let log = log.map(|(head, from)| json!({ "first": from.to_string(), "last": head.to_string() }));
    Ok(Json(json!({
        "room": name,
        "namespace": namespace,
        "members": roll.total,
        "nodes": nodes,
        "log": log,
        "sessions": rows(&roll.sessions),
        "missing": roll.missing,
    })))
}
