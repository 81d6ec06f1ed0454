//! Telling users what they may read later, reading it, and deciding about it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::body::{Body, given};
use super::call::Call;
use super::contract::{OfNotification, OfUser, PartOfNotifications, WhichNotifications};
use super::problem::{Kind, Problem};
use super::state::ApiState;
use gateway_core::domain::{Refusal, UserId};
use gateway_core::service::{Form, KeyLimiter, NotificationId, Reading, Told as Notified, Wish};

/// Users that may be told something at once.
const MAX_USERS: usize = 1000;

/// What a user is to be told.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "message": "your order is on its way", "data": { "order": 7 }, "id": "order-7", "ttl": 86400, "collapse": "order-7"
}))]
pub(super) struct NewNotification {
    /// What it says: any JSON value, passed on as it was written.
    #[schema(value_type = serde_json::Value)]
    message: Box<RawValue>,
    /// What comes with it, likewise.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = serde_json::Value, required = false)]
    data: Option<Box<RawValue>>,
    /// By which it is kept once, however often it is sent, as long as it is kept; per name of a key and user.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 128)]
    id: Option<String>,
    /// For how long it is worth being told, in seconds; without, as long as any is kept.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = u64, required = false, minimum = 1, maximum = 315_360_000)]
    ttl: Option<u64>,
    /// It takes the place of an unread one with the same of these, per name of a key and user.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 128)]
    collapse: Option<String>,
}

/// What many users are to be told.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "users": ["alice", "bob"], "message": "we are back at 6", "id": "maintenance-7" }))]
pub(super) struct NewNotifications {
    /// Whom, each once.
    #[schema(min_items = 1, max_items = 1000)]
    users: Vec<String>,
    /// What it says: any JSON value, passed on as it was written.
    #[schema(value_type = serde_json::Value)]
    message: Box<RawValue>,
    /// What comes with it, likewise.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = serde_json::Value, required = false)]
    data: Option<Box<RawValue>>,
    /// By which it is kept once for each user, however often it is sent, as long as it is kept; per name of a key.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 128)]
    id: Option<String>,
    /// For how long it is worth being told, in seconds; without, as long as any is kept.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = u64, required = false, minimum = 1, maximum = 315_360_000)]
    ttl: Option<u64>,
    /// It takes the place of an unread one with the same of these, per name of a key and user.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 128)]
    collapse: Option<String>,
}

/// As what it is kept.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "user": "alice", "id": "6566f0a1c3d4e5f60718293a", "duplicate": false }))]
pub(super) struct KeptFor {
    /// For whom.
    user: String,
    /// As what it is known.
    #[schema(value_type = String, pattern = "^[0-9a-f]{24}$")]
    id: NotificationId,
    /// Whether it had been kept before, by the same `id`.
    duplicate: bool,
    /// The unread one in whose place it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    replaces: Option<NotificationId>,
}

/// As what it is kept for each user, in the order of the request.
#[derive(Serialize, ToSchema)]
pub(super) struct KeptForAll {
    /// One for each user.
    notifications: Vec<KeptFor>,
}

/// What a user was told.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "6566f0a1c3d4e5f60718293a", "receiverId": "alice", "message": "your order is on its way", "isRead": false,
    "timestamp": "2026-11-29T08:30:09.000Z"
}))]
pub(super) struct Notification {
    /// As what it is known.
    id: String,
    /// Who was told.
    receiver_id: String,
    /// Who told it, if it is a user.
    sender_id: Option<String>,
    /// What it says.
    message: serde_json::Value,
    /// What came with it.
    data: Option<serde_json::Value>,
    /// Whether it was read.
    is_read: bool,
    /// When it was told, in UTC.
    timestamp: String,
    /// When its time is over.
    expires_at: Option<String>,
}

/// A part of what a user was told.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "notifications": [], "unread": 0 }))]
pub(super) struct Page {
    /// Newest first.
    #[schema(value_type = Vec<Notification>)]
    notifications: Vec<Box<RawValue>>,
    /// How many are unread, not only of these.
    unread: u64,
    /// The next page's `after`, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<NotificationId>,
}

/// What marking as read came to.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "read": 3, "unread": 0 }))]
pub(super) struct WereRead {
    /// How many were unread.
    read: u64,
    /// How many still are.
    unread: u64,
}

/// How many are gone.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "deleted": 3 }))]
pub(super) struct Cleared {
    /// How many there were.
    deleted: u64,
}

/// Tells a user something: kept until it is read, and longer, and heard at once by the sessions that the user has.
#[utoipa::path(
    post, path = "/api/v1/users/{user}/notifications", tag = "notifications",
    params(OfUser),
    request_body = NewNotification,
    responses(
        (status = 201, description = "It is kept.", body = KeptFor),
    ),
)]
pub(super) async fn notify(
    State(state): State<ApiState>,
    call: Call,
    Body(new): Body<NewNotification>,
) -> Result<Response, Problem> {
    reach(&state, &call)?;
    let NewNotification { message, data, id, ttl, collapse } = new;
    let what = What { message, data, id, ttl, collapse };
    let told = state.service().notify(&call.asker().key.name, vec![what.wish(call.user()?)]).await?;
    let kept = told.into_iter().next().map(kept_for).ok_or(Refusal::Unavailable)?;
    Ok((StatusCode::CREATED, Json(kept)).into_response())
}

/// Tells many users the same. Each counts as a request.
#[utoipa::path(
    post, path = "/api/v1/notifications", tag = "notifications",
    request_body = NewNotifications,
    responses(
        (status = 201, description = "It is kept for all of them.", body = KeptForAll),
    ),
)]
pub(super) async fn notify_many(
    State(state): State<ApiState>,
    Extension(limiter): Extension<Arc<KeyLimiter>>,
    call: Call,
    Body(new): Body<NewNotifications>,
) -> Result<Response, Problem> {
    reach(&state, &call)?;
    let NewNotifications { users: names, message, data, id, ttl, collapse } = new;
    if !(1..=MAX_USERS).contains(&names.len()) {
        return Err(Problem::new(Kind::BadBody, format!("users are 1 to {MAX_USERS}")).at("/users"));
    }
    let mut users: Vec<UserId> = Vec::with_capacity(names.len());
    let mut seen = std::collections::HashSet::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let bad = || Problem::new(Kind::BadBody, UserId::RULE).at(format!("/users/{index}"));
        let user = UserId::parse(name).ok_or_else(bad)?;
        if seen.insert(user.clone()) {
            users.push(user);
        }
    }
    if users.len() > 1 {
        // The request itself has counted as one.
        let taken = limiter.take(&call.asker().key.id, users.len() - 1);
        taken.map_err(|retry_after| Refusal::RateLimited { retry_after })?;
    }
    let what = What { message, data, id, ttl, collapse };
    let wishes = users.into_iter().map(|user| what.wish(user)).collect();
    let told = state.service().notify(&call.asker().key.name, wishes).await?;
    let kept = KeptForAll { notifications: told.into_iter().map(kept_for).collect() };
    Ok((StatusCode::CREATED, Json(kept)).into_response())
}

/// Reads what a user was told, newest first.
#[utoipa::path(
    get, path = "/api/v1/users/{user}/notifications", tag = "notifications",
    params(OfUser, PartOfNotifications),
    responses(
        (status = 200, description = "A part of it.", body = Page),
    ),
)]
pub(super) async fn notifications(State(state): State<ApiState>, call: Call) -> Result<Json<Page>, Problem> {
    reach(&state, &call)?;
    let (user, service) = (call.user()?, state.service());
    let after = call.notification_in("after")?;
    let limit = call.limit()?.unwrap_or(usize::MAX);
    let part = service.notifications(&user, after.as_ref(), call.flag("unread")?, limit).await?;
    let next = part.notifications.last().filter(|_| part.more).map(|last| last.new.id.clone());
    let forms = part.notifications.iter().map(|kept| {
        let form = serde_json::value::to_raw_value(&Form::of(kept, false));
        form.map_err(|_| Refusal::Unavailable)
    });
    let notifications = forms.collect::<Result<_, _>>()?;
    Ok(Json(Page { notifications, unread: service.unread_notifications(&user).await?, next }))
}

/// Marks as read what a user was told: all, one, or all up to one. All sessions of the user hear that.
#[utoipa::path(
    put, path = "/api/v1/users/{user}/notifications/read", tag = "notifications",
    params(OfUser, WhichNotifications),
    responses(
        (status = 200, description = "They are read.", body = WereRead),
    ),
)]
pub(super) async fn read_notifications(State(state): State<ApiState>, call: Call) -> Result<Json<WereRead>, Problem> {
    reach(&state, &call)?;
    let user = call.user()?;
    let (id, up_to) = (call.notification_in("id")?, call.notification_in("upTo")?);
    let which = match (&id, &up_to) {
        (Some(id), None) => Reading::One(id),
        (None, Some(id)) => Reading::UpTo(id),
        (None, None) => Reading::All,
        (Some(_), Some(_)) => {
            return Err(Problem::new(
                Kind::BadParameter,
                "id is for one, upTo for it and all that are older; not both",
            ));
        }
    };
    let marking = state.service().read_notifications(&user, which).await?;
    Ok(Json(WereRead { read: marking.read, unread: marking.unread }))
}

/// Takes back what a user was told. All sessions of the user hear that.
#[utoipa::path(
    delete, path = "/api/v1/users/{user}/notifications/{notification}",
    tag = "notifications", params(OfUser, OfNotification),
    responses(
        (status = 204, description = "It is gone."),
    ),
)]
pub(super) async fn delete_notification(State(state): State<ApiState>, call: Call) -> Result<StatusCode, Problem> {
    reach(&state, &call)?;
    let user = call.user()?;
    if state.service().delete_notification(&user, &call.notification()?).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::new(Kind::NoNotification, "the user has no such notification, or no more"))
}

/// Takes back all that a user was told, as when the user's data are to be erased. All sessions of the user hear that.
#[utoipa::path(
    delete, path = "/api/v1/users/{user}/notifications", tag = "notifications",
    params(OfUser),
    responses(
        (status = 200, description = "They are gone.", body = Cleared),
    ),
)]
pub(super) async fn clear_notifications(State(state): State<ApiState>, call: Call) -> Result<Json<Cleared>, Problem> {
    reach(&state, &call)?;
    let deleted = state.service().clear_notifications(&call.user()?).await?;
    Ok(Json(Cleared { deleted }))
}

/// What is told, to whomever.
struct What {
    message: Box<RawValue>,
    data: Option<Box<RawValue>>,
    id: Option<String>,
    ttl: Option<u64>,
    collapse: Option<String>,
}

impl What {
    fn wish(&self, receiver: UserId) -> Wish {
        Wish {
            receiver,
            message: self.message.get().to_owned(),
            data: self.data.as_ref().map(|data| data.get().to_owned()),
            ttl: self.ttl.map(Duration::from_secs),
            id: self.id.clone(),
            collapse: self.collapse.clone(),
        }
    }
}

fn kept_for(Notified { new, kept }: Notified) -> KeptFor {
    KeptFor { user: new.receiver.as_str().to_owned(), id: kept.id, duplicate: kept.duplicate, replaces: kept.replaces }
}

/// A key that opens some rooms, or not the namespace in which users hear of it, reaches none of this.
pub(super) fn reach(state: &ApiState, call: &Call) -> Result<(), Problem> {
    call.must_reach_notifications(state.service().namespace_of_notifications())
}
