//! The HTTP API: back ends in any language say something to clients, read, and decide about sessions.
//!
//! It knows the service and nothing behind it. Every request is let in here, and answered by one function of a table.

mod asks;
mod batch;
mod body;
mod call;
mod contacts;
mod contract;
mod events;
mod guard;
mod inside;
mod jobs;
mod members;
mod moderation;
mod nodes;
mod notifications;
mod operations;
mod problem;
mod queues;
mod repeated;
mod revocations;
mod schedules;
mod sessions;
mod state;
mod stream;
mod traced;
mod validated;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, StatusCode};
use tokio::time::Instant;
use tower::ServiceExt;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::batch::Items;
use self::call::{Asker, decoded};
use self::contract::Contract;
use self::guard::{Done, Guard, guard};
use self::operations::{NOTHING_HERE, OTHER_METHODS, ROOT};
use self::problem::{Kind, Problem};
use self::state::ApiState;
pub use self::stream::EventStream;
use crate::audit::Visitor;
use gateway_core::auth::{ApiKey, ApiKeys, NoKey};
use gateway_core::config::Config;
use gateway_core::domain::Refusal;
use gateway_core::metrics::Metrics;
use gateway_core::repeats::Repeats;
use gateway_core::service::{Allowed, KeyLimiter, Service};
use gateway_core::traces::Traces;
use gateway_work::schedules::Schedules;

/// What a body may have beside the event in it, in bytes.
const ENVELOPE_BYTES: usize = 32 * 1024;
/// The largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// The longest id that a request may bring, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 128;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The API of one node.
#[derive(Debug)]
pub struct Api {
    keys: Arc<ApiKeys>,
    has_listener: bool,
    /// Of streams.
    heartbeat: Duration,
    /// Of pages of history that lie in the past.
    history_max_age: Duration,
    limiter: Arc<KeyLimiter>,
    /// The largest body of one event, and of a batch, in bytes.
    body_bytes: [usize; 2],
    /// What answers, once there is something to answer with.
    ready: ArcSwapOption<Ready>,
    metrics: Arc<Metrics>,
    traces: Traces,
}

#[derive(Debug)]
struct Ready {
    router: Router,
    /// What does the items of batches.
    items: Items,
    contract: Bytes,
}

/// What the end of a request is told of its beginning.
#[derive(Default)]
struct Seen {
    key: Option<Arc<ApiKey>>,
    allowed: Option<Allowed>,
}

impl Api {
    /// An API that answers nothing yet.
    #[must_use]
    pub fn new(config: &Config, keys: Arc<ApiKeys>, traces: Traces, metrics: Arc<Metrics>) -> Arc<Self> {
        let event = config.limits.message_bytes + ENVELOPE_BYTES;
        Arc::new(Self {
            keys,
            heartbeat: config.api.heartbeat,
            history_max_age: config.api.history_max_age,
            has_listener: config.api.address().is_some(),
            limiter: Arc::new(KeyLimiter::new(config.api.requests())),
            body_bytes: [event, config.limits.payload_bytes.max(event)],
            ready: ArcSwapOption::empty(),
            metrics,
            traces,
        })
    }

    /// Answers from now on; what may come again is in `repeats`.
    ///
    /// # Panics
    /// If the contract cannot be written: a mistake in the code.
    pub fn serve(&self, service: Service, schedules: Arc<Schedules>, repeats: Arc<dyn Repeats>) {
        let state = ApiState::new(service, schedules, self.heartbeat, self.history_max_age);
        let guarding = Guard::new(self.body_bytes, repeats, self.metrics.clone());
        let items = Items::new(state.clone(), guarding.clone(), self.limiter.clone());
        let (router, mut contract) = OpenApiRouter::with_openapi(Contract::openapi())
            .routes(routes!(events::publish, events::history))
            .routes(routes!(moderation::take_back))
            .routes(routes!(moderation::take_back_user))
            .routes(routes!(events::publish_to_user))
            .routes(routes!(events::publish_to_all))
            .routes(routes!(stream::stream))
            .routes(routes!(batch::batch))
            .routes(routes!(members::members))
            .routes(routes!(members::rooms))
            .routes(routes!(sessions::sessions, sessions::end_user))
            .routes(routes!(sessions::end_session))
            .routes(routes!(sessions::seat, sessions::unseat))
            .routes(routes!(revocations::revoke))
            .routes(routes!(nodes::nodes))
            .routes(routes!(schedules::schedules))
            .routes(routes!(asks::ask_session))
            .routes(routes!(asks::ask_user))
            .routes(routes!(asks::ask_room))
            .routes(routes!(notifications::notify, notifications::notifications, notifications::clear_notifications))
            .routes(routes!(notifications::notify_many))
            .routes(routes!(notifications::read_notifications))
            .routes(routes!(notifications::delete_notification))
            .routes(routes!(contacts::contact, contacts::put_contact, contacts::delete_contact))
            .routes(routes!(jobs::enqueue, jobs::jobs))
            .routes(routes!(jobs::job, jobs::remove_job))
            .routes(routes!(jobs::retry_job))
            .routes(routes!(queues::queues))
            .routes(routes!(queues::pause_queue))
            .routes(routes!(queues::resume_queue))
            .split_for_parts();
        let router = router
            .route_layer(from_fn_with_state(guarding, guard))
            .fallback(|| async { Problem::new(Kind::UnknownPath, NOTHING_HERE) })
            .method_not_allowed_fallback(|| async { Problem::new(Kind::MethodNotAllowed, OTHER_METHODS) })
            .with_state(state);
        contract::with_problems(&mut contract);
        let contract = contract::text(&contract).into();
        self.ready.store(Some(Arc::new(Ready { router, items, contract })));
    }

    /// Whether a request is for it; `is_side` if it came in by the listener that it has for itself.
    #[must_use]
    pub fn is_for(&self, request: &Parts, is_side: bool) -> bool {
        is_side || (!self.has_listener && below_root(request.uri.path()).is_some() && !self.keys.is_empty())
    }

    /// Whether a request has a key.
    #[must_use]
    pub fn is_known(&self, request: &Parts) -> bool {
        bearer(&request.headers).is_some_and(|text| self.keys.find(text).is_some())
    }

    /// The largest body of any request, in bytes.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.body_bytes[1]
    }

    /// The answer to a request that was refused before it was looked at.
    #[must_use]
    pub fn refused(&self, request: &Parts, refusal: &Refusal) -> Response<Bytes> {
        self.metrics.api_requests.with("unknown", "4xx").increment(1);
        whole(Problem::from(refusal.clone()).into_response(), &request_id(&request.headers))
    }

    /// The answer to a request whose body could not be read, where the server says what with a status.
    #[must_use]
    pub fn unread(&self, request: &Parts, status: StatusCode) -> Response<Bytes> {
        let problem = match status {
            StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge { limit: self.body_bytes() }.into(),
            StatusCode::REQUEST_TIMEOUT => Problem::new(Kind::TooSlow, "the body did not come in time"),
            StatusCode::SERVICE_UNAVAILABLE => Refusal::Unavailable.into(),
            _ => Problem::new(Kind::BadRequest, "the request is not HTTP/1.1 as RFC 9112 has it"),
        };
        let class = if problem.status.is_server_error() { "5xx" } else { "4xx" };
        self.metrics.api_requests.with("unknown", class).increment(1);
        whole(problem.into_response(), &request_id(&request.headers))
    }

    /// Answers a request of a client at an address.
    pub async fn answer(self: Arc<Self>, request: Request<Bytes>, from: IpAddr) -> Response<Bytes> {
        let started = Instant::now();
        let id = request_id(request.headers());
        let mut seen = Seen::default();
        let response = self.respond(request, &id, from, &mut seen).await;
        let mut response = response.unwrap_or_else(Problem::into_response);
        self.tell(&mut response, &seen, &id, started);
        self.limit(response.headers_mut(), &seen);
        to_bytes(response, &id).await
    }

    async fn respond(
        &self,
        request: Request<Bytes>,
        id: &str,
        from: IpAddr,
        seen: &mut Seen,
    ) -> Result<Response, Problem> {
        let unknown = || Problem::new(Kind::UnknownPath, NOTHING_HERE);
        readable(&request)?;
        let path = request.uri().path();
        let rest = below_root(path).filter(|_| !self.keys.is_empty()).ok_or_else(unknown)?;
        if let Some(answer) = self.public(request.method(), rest) {
            return answer;
        }
        let Some(text) = bearer(request.headers()) else {
            self.metrics.api_refused.with("no_key").increment(1);
            return Err(Problem::new(Kind::KeyRequired, "send a key: Authorization: Bearer gw_…"));
        };
        let Some(key) = self.keys.find(text) else {
            let words = "the key is none, or none any more";
            return Err(match self.keys.slow_down(from).await {
                NoKey::Wrong => Problem::new(Kind::KeyUnknown, words),
                NoKey::TooMany { retry_after } => Refusal::RateLimited { retry_after }.into(),
            });
        };
        self.routed(request, key, None, id, from, seen).await
    }

    /// Has the request of somebody who was let in answered, at the pace of the key.
    async fn admitted(
        &self,
        request: Request<Bytes>,
        key: Arc<ApiKey>,
        visitor: Option<Visitor>,
        id: &str,
        from: IpAddr,
        seen: &mut Seen,
    ) -> Result<Response, Problem> {
        let is_batch = request.uri().path() == "/api/v1/batch";
        seen.key = Some(key.clone());
        let taken = self.limiter.take(&key.id, 1);
        let decision = if taken.is_ok() { "allow" } else { "deny" };
        self.metrics.rate_limit_decisions.with("key_requests", decision).increment(1);
        let limited = |retry_after| Problem::from(Refusal::RateLimited { retry_after });
        // Of who is refused nothing is left.
        seen.allowed = taken.map_err(|wait| {
            seen.allowed = Some(Allowed { left: 0, full_in: wait.as_secs() + 1 });
            limited(wait)
        })?;
        let ready = self.ready.load_full().ok_or(Refusal::Unavailable)?;
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(self.limiter.clone());
        parts.extensions.insert(Arc::new(Asker { key, request: id.to_owned(), from, visitor }));
        if is_batch {
            parts.extensions.insert(ready.items.clone());
        }
        let request = Request::from_parts(parts, Body::from(body));
        let Ok(response) = ready.router.clone().oneshot(request).await;
        Ok(response)
    }

    /// What needs no key: what the API is.
    fn public(&self, method: &Method, rest: &str) -> Option<Result<Response, Problem>> {
        let page = rest.strip_prefix("/docs").filter(|rest| rest.is_empty() || rest.starts_with('/'));
        if rest != "/openapi.json" && page.is_none() {
            return None;
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            let problem = Problem::new(Kind::MethodNotAllowed, OTHER_METHODS);
            let mut response = problem.into_response();
            response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static("GET,HEAD"));
            return Some(Ok(response));
        }
        let (name, response) = match page {
            Some(path) => ("docs", contract::page(path)),
            None => {
                let Some(ready) = self.ready.load_full() else { return Some(Err(Refusal::Unavailable.into())) };
                let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
                ("contract", Some((json, ready.contract.clone()).into_response()))
            }
        };
        let mut response = response?;
        response.extensions_mut().insert(Done(name));
        Some(Ok(response))
    }

    /// Counts a request, and leaves a line. What merely says or reads something leaves none at `info` if it was done: there
    /// may be ten thousand in a second.
    fn tell(&self, response: &mut Response, seen: &Seen, id: &str, started: Instant) {
        let took = started.elapsed();
        let status = response.status();
        let done = response.extensions().get::<Done>().copied();
        let Done(operation) = done.unwrap_or(Done("unknown"));
        self.metrics.api_duration.record(took.as_secs_f64());
        // What the guard has let through it has counted.
        if done.is_none() || matches!(operation, "docs" | "contract") {
            guard::count(&self.metrics, operation, status);
        }
        let (key, name) = seen.key.as_ref().map_or(("", ""), |key| (&*key.id, &*key.name));
        let (status, ms) = (status.as_u16(), took.as_secs_f64() * 1000.0);
        let is_told = status >= 400 || operations::is_control(operation);
        if is_told {
            tracing::info!(operation, status, key, name, request = id, ms, "a back end asked");
        } else {
            tracing::debug!(operation, status, key, name, request = id, ms, "a back end asked");
        }
    }

    /// Says how much a key may still ask, as draft-ietf-httpapi-ratelimit-headers has it.
    fn limit(&self, headers: &mut HeaderMap, seen: &Seen) {
        let (Some(Allowed { left, full_in }), Some((burst, window))) = (seen.allowed, self.limiter.policy()) else {
            return;
        };
        let policy = format!("\"key\";q={burst};w={window}");
        let limit = format!("\"key\";r={left};t={full_in}");
        for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, limit)] {
            headers.extend(HeaderValue::from_str(&value).ok().map(|value| (name, value)));
        }
    }
}

/// Whether what is percent-encoded in a request stands for something.
fn readable(request: &Request<Bytes>) -> Result<(), Problem> {
    decoded(request.uri().path())?;
    decoded(request.uri().query().unwrap_or_default()).map(drop)
}

/// What of a path lies below that of the API.
fn below_root(path: &str) -> Option<&str> {
    path.strip_prefix(ROOT).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, text) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
}

/// The id that a request brings, or a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let fits =
        |id: &&str| (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    given.filter(fits).map_or_else(|| format!("{:016x}", rand::random::<u64>()), str::to_owned)
}

async fn to_bytes(response: Response, id: &str) -> Response<Bytes> {
    let (parts, body) = response.into_parts();
    match axum::body::to_bytes(body, MAX_ANSWER_BYTES).await {
        Ok(body) => whole_with(Response::from_parts(parts, body), id),
        Err(_) => whole(Problem::from(Refusal::Unavailable).into_response(), id),
    }
}

/// An answer whose body is there already.
fn whole(response: Response, id: &str) -> Response<Bytes> {
    use futures_util::FutureExt;
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, MAX_ANSWER_BYTES).now_or_never().and_then(Result::ok).unwrap_or_default();
    whole_with(Response::from_parts(parts, body), id)
}

fn whole_with(mut response: Response<Bytes>, id: &str) -> Response<Bytes> {
    response.headers_mut().extend(HeaderValue::from_str(id).ok().map(|id| (REQUEST_ID, id)));
    response
}
