//! Batches: many requests in one, each with its own answer. Those for one room are done in their order, others beside them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body as HttpBody;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use futures_util::future::join_all;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Uri};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tower::ServiceExt;
use utoipa::ToSchema;

use super::body::{Body, Object};
use super::call::{Asker, Call, decoded};
use super::operations::ROOT;
use super::problem::{Kind, Problem, Told};
use crate::config::BATCH_ITEMS;
use crate::domain::Refusal;
use crate::service::KeyLimiter;

/// What the answers of a batch may weigh before nothing more is read for it, in bytes.
const READ_BYTES: usize = 4 * 1024 * 1024;
/// Requests of a batch that read at the same time.
const READERS: usize = 4;
/// The largest answer of one item, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Where the items of a batch go, and what they count for.
#[derive(Clone, Debug)]
pub(super) struct Items {
    pub(super) router: Router,
    pub(super) limiter: Arc<KeyLimiter>,
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
#[derive(Serialize, ToSchema)]
pub(super) struct ItemResult {
    /// Its status.
    status: u16,
    /// Its body; `null` if it has none.
    #[schema(value_type = Option<serde_json::Value>)]
    body: Option<Box<RawValue>>,
}

/// Does many requests at once. Those for one room are done in their order, others beside them; each has its own answer, and
/// what is refused holds up nothing.
#[utoipa::path(
    post, path = "/api/v1/batch", operation_id = "batch", tag = "events",
    request_body = Batch,
    responses(
        (status = 200, description = "The answers, in the order of the requests.", body = Results),
        (status = "default", description = "None of it was done.", body = Told<'static>, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn batch(
    Extension(items): Extension<Items>,
    Extension(asker): Extension<Arc<Asker>>,
    _: Call,
    Body(batch): Body<Batch>,
) -> Result<Json<Results>, Problem> {
    let count = batch.items.len();
    if !(1..=BATCH_ITEMS).contains(&count) {
        return Err(Problem::new(Kind::BadBody, format!("a batch has 1 to {BATCH_ITEMS} items")).at("/items"));
    }
    // The request itself has counted as one.
    if count > 1 {
        items.limiter.take(&asker.key.id, count - 1).map_err(|retry_after| Refusal::RateLimited { retry_after })?;
    }
    let mut lanes: HashMap<String, Vec<(usize, Item)>> = HashMap::new();
    for (index, Object(item)) in batch.items.into_iter().enumerate() {
        lanes.entry(lane(&item.path)).or_default().push((index, item));
    }
    let run = Run { items, asker, read: AtomicUsize::new(0), readers: Semaphore::new(READERS) };
    let lanes = lanes.into_values().map(|lane| run.one_after_the_other(lane));
    let mut done: Vec<_> = join_all(lanes).await.into_iter().flatten().collect();
    done.sort_unstable_by_key(|(index, _)| *index);
    Ok(Json(Results { items: done.into_iter().map(|(_, result)| result).collect() }))
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

    async fn ask(&self, item: Item) -> Result<Response, Problem> {
        let Item { method, path, body } = item;
        let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
        let method = methods.into_iter().find(|known| known.as_str() == method);
        let method = method
            .ok_or_else(|| Problem::new(Kind::MethodNotAllowed, "the method of an item is GET, POST, PUT or DELETE"))?;
        decoded(&path)?;
        let uri = path.parse::<Uri>().ok().filter(|_| path.starts_with('/'));
        let uri = uri.ok_or_else(|| Problem::new(Kind::BadEncoding, "the path of an item is one, percent-encoded"))?;
        if uri.path() == "/api/v1/batch" {
            return Err(Problem::new(Kind::UnknownPath, "there are no batches in batches"));
        }
        if ["/ask", "/stream"].iter().any(|end| uri.path().ends_with(end)) {
            // What comes after it would wait.
            return Err(Problem::new(
                Kind::UnknownPath,
                "questions and streams are requests of their own, not in batches",
            ));
        }
        let _reader = if method == Method::GET {
            let reader = self.readers.acquire().await.ok();
            if self.read.load(Ordering::Relaxed) > READ_BYTES {
                let words = format!("a batch reads no more once its answers have {READ_BYTES} bytes");
                return Err(Problem::new(Kind::BatchFull, words));
            }
            reader
        } else {
            None
        };
        let mut request = Request::new(match body {
            Some(body) => HttpBody::from(String::from(Box::<str>::from(body))),
            None => HttpBody::empty(),
        });
        (*request.method_mut(), *request.uri_mut()) = (method, uri);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.extensions_mut().insert(self.asker.clone());
        request.extensions_mut().insert(self.items.limiter.clone());
        let Ok(response) = self.items.router.clone().oneshot(request).await;
        Ok(response)
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
