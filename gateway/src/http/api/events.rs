//! Saying something to rooms, users and everybody, and reading what was said.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::body::{Body, Object, given};
use super::call::Call;
use super::contract::{InNamespace, OfRoom, OfUser, PartOfHistory};
use super::problem::{Kind, Problem};
use super::state::ApiState;
use super::validated::Validated;
use gateway_core::domain::{Event, Excepted, Offset, Refusal, RoomName, SessionId, UserId};
use gateway_core::service::{Bounded, KeyLimiter, Said, Saying, Service};

/// Rooms in which an event may be said at once.
const MAX_ROOMS: usize = 20;
/// Rooms, users and sessions that an event may leave out, in all.
const MAX_EXCEPTED: usize = 100;

/// An event for clients.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "event": "invoice", "args": [{ "number": 7, "total": "12.50" }], "id": "invoice-7" }))]
pub(super) struct NewEvent {
    /// Its name. Not one of `connect`, `connect_error`, `disconnect`, `disconnecting`, `newListener`, `removeListener`,
    /// `refused`, nor one that begins with `gateway:`.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")]
    event: String,
    /// What clients get as its arguments. Passed on as it was written.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Vec<serde_json::Value>, required = false, max_items = 32)]
    args: Option<Box<RawValue>>,
    /// The same for an event with one argument. Not together with `args`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = serde_json::Value, required = false)]
    data: Option<Box<RawValue>>,
    /// By which it is kept once, however often it is sent within `log.dedupe_window`, per name of a key and room.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 128)]
    id: Option<String>,
    /// Who in the room does not hear it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Exception, required = false)]
    except: Option<Object<Exception>>,
    /// Not for one room or user: all who are in one of these rooms, each session once.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Vec<String>, required = false, min_items = 1, max_items = 20)]
    rooms: Option<Vec<String>>,
    /// Whether what is `ephemeral` is dropped for clients that have something waiting, instead of waiting behind it.
    #[serde(default)]
    volatile: bool,
    /// Whether it is not kept: who is away does not hear of it, and there is no offset.
    #[serde(default)]
    ephemeral: bool,
}

/// Who does not hear an event, although it is in the room: up to a hundred in all.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "rooms": ["muted"], "users": ["alice"], "sessions": [] }))]
pub(super) struct Exception {
    /// Whoever is in one of these rooms of the same namespace when the event comes to it.
    #[serde(default)]
    #[schema(required = false, max_items = 100)]
    rooms: Vec<String>,
    /// All sessions of these users.
    #[serde(default)]
    #[schema(required = false, max_items = 100)]
    users: Vec<String>,
    /// These sessions, by their ids.
    #[serde(default)]
    #[schema(required = false, max_items = 100)]
    sessions: Vec<String>,
}

/// Where an event was kept.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "offset": "1795345614052000", "duplicate": false }))]
pub(super) struct Kept {
    /// Its place.
    #[schema(value_type = String, pattern = "^[0-9]{1,20}$")]
    offset: Offset,
    /// Whether it had been kept before, by the same `id`; the place is that of the first time.
    duplicate: bool,
    /// The same for each room, if there were several; then the place above is the last of these, and it is a duplicate if all
    /// are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    rooms: Vec<KeptIn>,
}

/// Where an event was kept in one of several rooms.
#[derive(Serialize, ToSchema)]
pub(super) struct KeptIn {
    /// The room.
    room: String,
    /// Its place there.
    #[schema(value_type = String, pattern = "^[0-9]{1,20}$")]
    offset: Offset,
    /// Whether it had been kept there before.
    duplicate: bool,
}

/// A part of what a room said.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "events": [{ "offset": "1795345614052000", "event": "invoice", "args": [{ "number": 7 }], "at": 1_795_345_614_052_u64 }],
    "more": false, "readTo": "1795345614052000"
}))]
pub(super) struct Events {
    /// Oldest first.
    events: Vec<Entry>,
    /// Whether there are further events in the direction of reading.
    more: bool,
    /// Only with `after`: whether the log still has everything since then. If not, some of it is gone, or may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
    /// Where reading goes on: the next `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    read_to: Option<Offset>,
}

/// An event at its place.
#[derive(Serialize, ToSchema)]
pub(super) struct Entry {
    /// Its place.
    #[schema(value_type = String)]
    offset: Offset,
    /// Its name.
    event: String,
    /// Its arguments.
    #[schema(value_type = Vec<serde_json::Value>)]
    args: Box<RawValue>,
    /// When the gateway took it, in milliseconds since 1970.
    at: u64,
    /// Binary that the arguments refer to by `{"_placeholder": true, "num": N}`, in base64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<String>,
}

/// Says something to a room: kept, or `ephemeral`.
#[utoipa::path(
    post, path = "/api/v1/rooms/{room}/events", tag = "events",
    params(OfRoom, InNamespace),
    request_body = NewEvent,
    responses(
        (status = 201, description = "It is kept, and clients hear it.", body = Kept),
        (status = 204, description = "It was `ephemeral`, and is on its way."),
    ),
)]
pub(super) async fn publish(
    State(state): State<ApiState>,
    call: Call,
    Body(said): Body<NewEvent>,
) -> Result<Response, Problem> {
    let room = call.room()?;
    say(&state, &call, &room, said).await
}

/// Says something to all sessions of a user.
#[utoipa::path(
    post, path = "/api/v1/users/{user}/events", tag = "events",
    params(OfUser, InNamespace),
    request_body = NewEvent,
    responses(
        (status = 201, description = "It is kept, and the user's sessions hear it.", body = Kept),
        (status = 204, description = "It was `ephemeral`, and is on its way."),
    ),
)]
pub(super) async fn publish_to_user(
    State(state): State<ApiState>,
    call: Call,
    Body(said): Body<NewEvent>,
) -> Result<Response, Problem> {
    call.must_reach_all()?;
    let room = RoomName::personal(call.namespace(), &call.user()?);
    say(&state, &call, &room, said).await
}

/// Says something to everybody in a namespace, or to all who are in one of several `rooms`, each session once. A request that
/// fails in the middle has said it in the first of the rooms; with an `id` it may be made again.
#[utoipa::path(
    post, path = "/api/v1/events", tag = "events",
    params(InNamespace),
    request_body = NewEvent,
    responses(
        (status = 201, description = "It is kept, and everybody hears it.", body = Kept),
        (status = 204, description = "It was `ephemeral`, and is on its way."),
    ),
)]
pub(super) async fn publish_to_all(
    State(state): State<ApiState>,
    Extension(limiter): Extension<Arc<KeyLimiter>>,
    call: Call,
    Body(mut said): Body<NewEvent>,
) -> Result<Response, Problem> {
    let Some(names) = said.rooms.take() else {
        call.must_reach_all()?;
        return say(&state, &call, &RoomName::everybody(call.namespace()), said).await;
    };
    let mut rooms: Vec<(String, RoomName)> = Vec::with_capacity(names.len());
    for (index, name) in names.into_iter().enumerate() {
        let room = RoomName::parse_in(call.namespace(), &name);
        let bad = |refusal: Refusal| Problem::new(Kind::BadBody, refusal.message()).at(format!("/rooms/{index}"));
        let room = room.map_err(bad)?;
        call.opened(&name)?;
        if !rooms.iter().any(|(_, known)| *known == room) {
            rooms.push((name, room));
        }
    }
    if rooms.is_empty() || rooms.len() > MAX_ROOMS {
        return Err(Problem::new(Kind::BadBody, format!("rooms are 1 to {MAX_ROOMS}")).at("/rooms"));
    }
    if rooms.len() > 1 {
        // The request itself has counted as one.
        let taken = limiter.take(&call.asker().key.id, rooms.len() - 1);
        taken.map_err(|retry_after| Refusal::RateLimited { retry_after })?;
    }
    spread(&state, &call, rooms, &said).await
}

/// Says something in several rooms, one after the other: in each it leaves out who is in one of those before.
async fn spread(
    state: &ApiState,
    call: &Call,
    rooms: Vec<(String, RoomName)>,
    said: &NewEvent,
) -> Result<Response, Problem> {
    let mut except = excepted(call, said.except.as_ref().map(|Object(except)| except))?.unwrap_or_default();
    let (args, service) = (arguments(said.args.as_deref(), said.data.as_deref())?, state.service());
    let mut kept: Vec<KeptIn> = Vec::with_capacity(rooms.len());
    for (number, (name, room)) in rooms.into_iter().enumerate() {
        let leaves_out = number > 0 || said.except.is_some();
        let saying = Saying {
            event: &said.event,
            args: &args,
            except: leaves_out.then_some(&except),
            volatile: said.is_volatile()?,
        };
        if let Some(Kept { offset, duplicate, .. }) = say_to(service, call, &room, saying, said).await? {
            kept.push(KeptIn { room: name, offset, duplicate });
        }
        except.rooms.push(room);
    }
    let duplicate = kept.iter().all(|kept| kept.duplicate);
    let Some(offset) = kept.last().map(|kept| kept.offset) else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    Ok((StatusCode::CREATED, Json(Kept { offset, duplicate, rooms: kept })).into_response())
}

/// The arguments of an event: a list.
pub(super) fn arguments(args: Option<&RawValue>, data: Option<&RawValue>) -> Result<String, Problem> {
    match (args, data) {
        (Some(_), Some(_)) => {
            Err(Problem::new(Kind::BadBody, "an event has args, or data as its one argument").at("/data"))
        }
        (Some(args), None) if !args.get().starts_with('[') => {
            Err(Problem::new(Kind::BadBody, "args is a list").at("/args"))
        }
        (Some(args), None) => Ok(args.get().into()),
        (None, Some(data)) => Ok(format!("[{}]", data.get())),
        (None, None) => Ok("[]".to_owned()),
    }
}

async fn say(state: &ApiState, call: &Call, room: &RoomName, said: NewEvent) -> Result<Response, Problem> {
    let service = state.service();
    let args = arguments(said.args.as_deref(), said.data.as_deref())?;
    if said.rooms.is_some() {
        return Err(Problem::new(Kind::BadBody, "several rooms are for POST /api/v1/events").at("/rooms"));
    }
    let except = excepted(call, said.except.as_ref().map(|Object(except)| except))?;
    let volatile = said.is_volatile()?;
    let saying = Saying { event: &said.event, args: &args, except: except.as_ref(), volatile };
    Ok(match say_to(service, call, room, saying, &said).await? {
        Some(kept) => (StatusCode::CREATED, Json(kept)).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

impl NewEvent {
    fn is_volatile(&self) -> Result<bool, Problem> {
        if self.volatile && !self.ephemeral {
            return Err(Problem::new(Kind::BadBody, "only what is ephemeral can be volatile").at("/volatile"));
        }
        Ok(self.volatile)
    }
}

/// Says something in one room; where it was kept, if it was to be.
async fn say_to(
    service: &Service,
    call: &Call,
    room: &RoomName,
    saying: Saying<'_>,
    said: &NewEvent,
) -> Result<Option<Kept>, Problem> {
    let event = service.event(saying)?;
    if said.ephemeral {
        if said.id.is_some() {
            let words = "what is ephemeral is not kept, so there is nothing that an id could be compared with";
            return Err(Problem::new(Kind::BadBody, words).at("/id"));
        }
        service.signal(room, &event).await?;
        return Ok(None);
    }
    let kept = service.publish(room, &event, &call.asker().key.name, said.id.as_deref()).await?;
    Ok(Some(Kept { offset: kept.position.offset, duplicate: kept.duplicate, rooms: Vec::new() }))
}

/// Whom an exception means. Names that could be nobody's are mistakes.
fn excepted(call: &Call, except: Option<&Exception>) -> Result<Option<Excepted>, Problem> {
    let Some(Exception { rooms, users, sessions }) = except else { return Ok(None) };
    if rooms.len() + users.len() + sessions.len() > MAX_EXCEPTED {
        let words = format!("an event is for all but {MAX_EXCEPTED} at the most");
        return Err(Problem::new(Kind::BadBody, words).at("/except"));
    }
    let bad = |what: &str, index: usize, words: &str| {
        Problem::new(Kind::BadBody, words).at(format!("/except/{what}/{index}"))
    };
    let mut these = Excepted::default();
    for (index, room) in rooms.iter().enumerate() {
        let room = RoomName::parse_in(call.namespace(), room);
        these.rooms.push(room.map_err(|refusal| bad("rooms", index, &refusal.message()))?);
    }
    for (index, user) in users.iter().enumerate() {
        let user = UserId::parse(user).ok_or_else(|| bad("users", index, UserId::RULE))?;
        these.rooms.push(RoomName::personal(call.namespace(), &user));
    }
    for (index, session) in sessions.iter().enumerate() {
        let session = SessionId::parse(session);
        these.sessions.push(session.ok_or_else(|| bad("sessions", index, "a session's id has 32 hexadecimal digits"))?);
    }
    Ok(Some(these))
}

/// Reads what the log has of a room: the newest events, those before an offset, or those after one. Each page has an `ETag`:
/// whoever sends it as `If-None-Match` is answered with 304 while the page is the same.
#[utoipa::path(
    get, path = "/api/v1/rooms/{room}/events", tag = "events",
    params(OfRoom, InNamespace, PartOfHistory),
    responses(
        (status = 200, description = "Events, oldest first.", body = Events),
        (status = 304, description = "The page is the one that `If-None-Match` names."),
    ),
)]
pub(super) async fn history(
    State(state): State<ApiState>,
    call: Call,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = call.room()?;
    let part = Bounded { after: call.offset("after")?, before: call.offset("before")?, limit: call.limit()? };
    let history = state.service().history(&room, part).await?;
    let max_age = if history.is_past { state.history_max_age() } else { Duration::ZERO };
    let events = history.events.into_iter().filter_map(entry).collect();
    let page = Events { events, more: history.more, complete: history.complete, read_to: history.read_to };
    Ok(Validated::new(&page, max_age).answer(&headers))
}

fn entry(Said { offset, event }: Said) -> Option<Entry> {
    let args = RawValue::from_string(event.args_at(offset).into_owned()).ok()?;
    let Event { name, attachments, at_ms, .. } = event;
    let attachments = attachments.iter().map(|bytes: &Bytes| STANDARD.encode(bytes)).collect();
    Some(Entry { offset, event: name, args, at: at_ms, attachments })
}
