//! Batches: many requests in one, each with its own answer. Those for one room are done in their order, others beside them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::future::join_all;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::body::{Body, Object, read};
use super::call::{Asker, Call, PathParams, decoded};
use super::guard::Guard;
use super::operations::{NOTHING_HERE, Operation, ROOT};
use super::problem::{Kind, Problem};
use super::repeated::may_pass;
use super::state::ApiState;
use super::traced::Asked;
use super::{
    below_root, contacts, events, jobs, members, moderation, nodes, notifications, queues, revocations, schedules,
    sessions,
};
use gateway_core::config::BATCH_ITEMS;
use gateway_core::domain::Refusal;
use gateway_core::service::KeyLimiter;

/// What the answers of a batch may weigh before nothing more is read for it, in bytes.
const READ_BYTES: usize = 4 * 1024 * 1024;
/// Requests of a batch that read at the same time.
const READERS: usize = 4;
/// The largest answer of one item, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// What does the items of batches: past the router, which would cost more than most of them. Cloning gives another handle of
/// the same.
#[derive(Clone)]
pub(super) struct Items {
    state: ApiState,
    guard: Guard,
    limiter: Arc<KeyLimiter>,
}

impl std::fmt::Debug for Items {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}

impl Items {
    pub(super) fn new(state: ApiState, guard: Guard, limiter: Arc<KeyLimiter>) -> Self {
        Self { state, guard, limiter }
    }

    /// Does an operation.
    async fn run(&self, operation: &Operation, call: Call, body: &[u8]) -> Result<Response, Problem> {
        let state = State(self.state.clone());
        match operation.name {
            "publish" => events::publish(state, call, Body(read(body)?)).await,
            "publish_to_user" => events::publish_to_user(state, call, Body(read(body)?)).await,
            "publish_to_all" => {
                let limiter = Extension(self.limiter.clone());
                events::publish_to_all(state, limiter, call, Body(read(body)?)).await
            }
            "history" => events::history(state, call, HeaderMap::new()).await,
            "members" => members::members(state, call).await.map(IntoResponse::into_response),
            "rooms" => members::rooms(state, call).await.map(IntoResponse::into_response),
            "sessions" => sessions::sessions(state, call).await.map(IntoResponse::into_response),
            "end_user" => sessions::end_user(state, call).await,
            "end_session" => sessions::end_session(state, call).await,
            "seat" => sessions::seat(state, call).await,
            "unseat" => sessions::unseat(state, call).await,
            "revoke" => revocations::revoke(state, call, Body(read(body)?)).await.map(IntoResponse::into_response),
            "take_back" => moderation::take_back(state, call).await.map(IntoResponse::into_response),
            "take_back_user" => moderation::take_back_user(state, call).await.map(IntoResponse::into_response),
            "notify" => notifications::notify(state, call, Body(read(body)?)).await,
            "notify_many" => {
                let limiter = Extension(self.limiter.clone());
                notifications::notify_many(state, limiter, call, Body(read(body)?)).await
            }
            "notifications" => notifications::notifications(state, call).await.map(IntoResponse::into_response),
            "read_notifications" => {
                notifications::read_notifications(state, call).await.map(IntoResponse::into_response)
            }
            "delete_notification" => {
                notifications::delete_notification(state, call).await.map(IntoResponse::into_response)
            }
            "clear_notifications" => {
                notifications::clear_notifications(state, call).await.map(IntoResponse::into_response)
            }
            "contact" => contacts::contact(state, call).await.map(IntoResponse::into_response),
            "put_contact" => {
                contacts::put_contact(state, call, Body(read(body)?)).await.map(IntoResponse::into_response)
            }
            "delete_contact" => contacts::delete_contact(state, call).await.map(IntoResponse::into_response),
            "enqueue" => jobs::enqueue(state, call, Body(read(body)?)).await,
            "jobs" => jobs::jobs(state, call).await.map(IntoResponse::into_response),
            "job" => jobs::job(state, call).await.map(IntoResponse::into_response),
            "remove_job" => jobs::remove_job(state, call).await.map(IntoResponse::into_response),
            "retry_job" => jobs::retry_job(state, call).await.map(IntoResponse::into_response),
            "queues" => queues::queues(state, call).await.map(IntoResponse::into_response),
            "pause_queue" => queues::pause_queue(state, call).await.map(IntoResponse::into_response),
            "resume_queue" => queues::resume_queue(state, call).await.map(IntoResponse::into_response),
            "schedules" => schedules::schedules(state, call).await.map(IntoResponse::into_response),
            "nodes" => nodes::nodes(state, call).await.map(IntoResponse::into_response),
            _ => Err(Problem::new(Kind::UnknownPath, NOTHING_HERE)),
        }
    }
}

/// Requests, up to a hundred.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "items": [{ "method": "POST", "path": "/api/v1/rooms/orders-7/events", "body": { "event": "paid", "data": 7 } }]
}))]
pub(super) struct Batch {
    /// In the order in which those for one room are done.
    #[schema(value_type = Vec<Item>, min_items = 1, max_items = 100)]
    items: Vec<Object<Item>>,
}

/// One request of a batch.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Item {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    method: String,
    /// The path with its query, percent-encoded as in a request of its own.
    path: String,
    /// The body, if the request has one.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    body: Option<Box<RawValue>>,
}

/// What became of the requests, in their order.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "items": [{ "status": 201, "body": { "offset": "1795345614052000", "duplicate": false } }] }))]
pub(super) struct Results {
    /// One for each request.
    items: Vec<ItemResult>,
}

/// The answer to one request of a batch.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct ItemResult {
    /// Its status.
    status: u16,
    /// Its body; `null` if it has none.
    #[schema(value_type = Option<serde_json::Value>)]
    body: Option<Box<RawValue>>,
}

/// What of a batch is done for good, where some of it may pass: nothing for what is to be done when the batch comes again. What only
/// reads is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Settled(Vec<Option<ItemResult>>);

/// Does many requests at once. Those for one room are done in their order, others beside them; each has its own answer, and
/// what is refused holds up nothing.
#[utoipa::path(
    post, path = "/api/v1/batch", tag = "events",
    request_body = Batch,
    responses(
        (status = 200, description = "The answers, in the order of the requests.", body = Results),
    ),
)]
pub(super) async fn batch(
    Extension(items): Extension<Items>,
    Extension(asker): Extension<Arc<Asker>>,
    before: Option<Extension<Settled>>,
    _: Call,
    Body(batch): Body<Batch>,
) -> Result<Response, Problem> {
    let count = batch.items.len();
    if !(1..=BATCH_ITEMS).contains(&count) {
        return Err(Problem::new(Kind::BadBody, format!("a batch has 1 to {BATCH_ITEMS} items")).at("/items"));
    }
    let mut before = before.map_or_else(Vec::new, |Extension(Settled(before))| before);
    before.resize_with(count, || None);
    let reads: Vec<_> = batch.items.iter().map(|Object(item)| item.method == Method::GET.as_str()).collect();
    let mut lanes: HashMap<String, Vec<(usize, Item)>> = HashMap::new();
    let (mut left, mut done) = (0, Vec::with_capacity(count));
    for (index, (Object(item), before)) in batch.items.into_iter().zip(before).enumerate() {
        match before {
            Some(result) => done.push((index, result)),
            None => {
                left += 1;
                lanes.entry(lane(&item.path)).or_default().push((index, item));
            }
        }
    }
    // The request itself has counted as one.
    if left > 1 {
        items.limiter.take(&asker.key.id, left - 1).map_err(|retry_after| Refusal::RateLimited { retry_after })?;
    }
    let run = Run { items, asker, read: AtomicUsize::new(0), readers: Semaphore::new(READERS) };
    let lanes = lanes.into_values().map(|lane| run.one_after_the_other(lane));
    done.extend(join_all(lanes).await.into_iter().flatten());
    done.sort_unstable_by_key(|(index, _)| *index);
    let items: Vec<_> = done.into_iter().map(|(_, result)| result).collect();
    let passes = |item: &ItemResult| StatusCode::from_u16(item.status).is_ok_and(may_pass);
    let settled = items.iter().any(passes).then(|| {
        let settled = items.iter().zip(&reads);
        Settled(settled.map(|(item, reads)| (!reads && !passes(item)).then(|| item.clone())).collect())
    });
    Ok((settled.map(Extension), Json(Results { items })).into_response())
}

/// What has to be done in order: what is about one room, or else about one user, or else the same path.
fn lane(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let segments: Vec<_> = path.strip_prefix(ROOT).unwrap_or(path).split('/').skip(1).collect();
    let name = |segment: &str| decoded(segment).map_or_else(|_| segment.to_owned(), |name| name.into_owned());
    match segments.as_slice() {
        ["rooms", room, ..] | ["users", _, "rooms", room] => format!("room {}", name(room)),
        ["users", user, ..] => format!("user {}", name(user)),
        _ => format!("path {path}"),
    }
}

struct Run {
    items: Items,
    asker: Arc<Asker>,
    /// What was read so far, in bytes.
    read: AtomicUsize,
    readers: Semaphore,
}

impl Run {
    async fn one_after_the_other(&self, lane: Vec<(usize, Item)>) -> Vec<(usize, ItemResult)> {
        let mut done = Vec::with_capacity(lane.len());
        for (index, item) in lane {
            done.push((index, self.one(item).await));
        }
        done
    }

    async fn one(&self, item: Item) -> ItemResult {
        let response = self.ask(item).await.unwrap_or_else(Problem::into_response);
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), MAX_ANSWER_BYTES).await.unwrap_or_default();
        self.read.fetch_add(body.len(), Ordering::Relaxed);
        let text = String::from_utf8(body.into()).unwrap_or_default();
        ItemResult { status, body: RawValue::from_string(text).ok() }
    }

    /// The answer to an item. What is none of the operations is not counted as one.
    async fn ask(&self, item: Item) -> Result<Response, Problem> {
        let Item { method, path, body } = item;
        let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
        let method = methods.into_iter().find(|known| known.as_str() == method);
        let method = method
            .ok_or_else(|| Problem::new(Kind::MethodNotAllowed, "the method of an item is GET, POST, PUT or DELETE"))?;
        decoded(&path)?;
        let target = path.parse::<PathAndQuery>().ok().filter(|_| path.starts_with('/'));
        let target =
            target.ok_or_else(|| Problem::new(Kind::BadEncoding, "the path of an item is one, percent-encoded"))?;
        let below = below_root(target.path()).ok_or_else(|| Problem::new(Kind::UnknownPath, NOTHING_HERE))?;
        let (operation, params) = Operation::at(&method, below)?;
        if operation.is_batch() {
            return Err(Problem::new(Kind::UnknownPath, "there are no batches in batches"));
        }
        if operation.takes_its_time() {
            let words = "questions and streams are requests of their own, not in batches";
            return Err(Problem::new(Kind::UnknownPath, words));
        }
        let asked = Asked::item(&method);
        let response = asked.within(self.done(operation, params, &target, body.as_deref())).await;
        let response = response.unwrap_or_else(Problem::into_response);
        asked.end_as(Some(operation), response.status());
        self.items.guard.count(operation, response.status());
        Ok(response)
    }

    async fn done(
        &self,
        operation: &'static Operation,
        params: PathParams,
        target: &PathAndQuery,
        body: Option<&RawValue>,
    ) -> Result<Response, Problem> {
        let _reader = if operation.is_write() {
            None
        } else {
            let reader = self.readers.acquire().await.ok();
            if self.read.load(Ordering::Relaxed) > READ_BYTES {
                let words = format!("a batch reads no more once its answers have {READ_BYTES} bytes");
                return Err(Problem::new(Kind::BatchFull, words));
            }
            reader
        };
        let body = body.map_or(&[][..], |body| body.get().as_bytes());
        let query = target.query().unwrap_or_default();
        let call = self.items.guard.call(operation, self.asker.clone(), params, query, body.len() as u64)?;
        self.items.run(operation, call, body).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_one_room_is_in_one_lane() {
        let same = ["/api/v1/rooms/a/events", "/api/v1/rooms/%61/events?namespace=/", "/api/v1/users/u/rooms/a"];
        assert!(same.iter().all(|path| lane(path) == "room a"));
        assert_eq!(lane("/api/v1/users/%75/events"), lane("/api/v1/users/u/sessions"));
        let others = ["/api/v1/rooms/b/events", "/api/v1/users/a/events", "/api/v1/events", "/api/v1/rooms", "", "%"];
        let mut lanes: Vec<_> = others.iter().map(|path| lane(path)).collect();
        lanes.push("room a".into());
        lanes.sort_unstable();
        lanes.dedup();
        assert_eq!(lanes.len(), others.len() + 1);
    }
}
