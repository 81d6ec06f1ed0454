//! The dashboard of queues, on the admin listener: how they stand, their jobs, and what is decided about them. Plain pages from
//! the server, without a script.

mod pages;
mod schedules;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, DefaultBodyLimit, Form, Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue, REFERRER_POLICY,
    RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderName, StatusCode};
use maud::Markup;
use serde::Deserialize;

use self::pages::{Place, page};
use crate::audit::{By, Visitor, audit};
use crate::http::let_in::{Turned, look};
use gateway_core::auth::{OperatorRole, OperatorToken};
use gateway_core::desk::Desk;
use gateway_core::domain::Refusal;
use gateway_core::jobs::{JobId, Outcome, QueueName, State as JobState};
use gateway_work::schedules::Schedules;

/// Nothing runs in these pages, and nobody shows them in another.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The largest form, in bytes: names are short.
const MAX_BODY_BYTES: usize = 8 * 1024;

/// What the pages show and do.
#[derive(Clone, Debug)]
struct Dashboard {
    desk: Arc<Desk>,
    schedules: Arc<Schedules>,
    token: Arc<OperatorToken>,
    /// What forms of this node have in them: a page of somebody else that has a browser send one does not know it.
    mark: Arc<str>,
}

/// Why a page is not shown.
enum Trouble {
    /// The store of jobs is away.
    Refused(Refusal),
    /// There is no such queue, or no such job.
    Unknown(&'static str),
    /// What was asked for makes no sense.
    Wrong(String),
    /// It comes from somewhere else.
    Foreign,
    /// It cannot be done now.
    Active,
    /// It is not for who looks only.
    Viewer,
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let (status, words) = match self {
            Self::Refused(refusal) => (StatusCode::SERVICE_UNAVAILABLE, refusal.message()),
            Self::Unknown(what) => (StatusCode::NOT_FOUND, format!("There is no such {what}, or no more.")),
            Self::Wrong(why) => (StatusCode::BAD_REQUEST, why),
            Self::Foreign => {
                let words =
                    "This form was not made by this node since it started: go back, load the page anew, and try again.";
                (StatusCode::FORBIDDEN, words.to_owned())
            }
            Self::Active => (StatusCode::CONFLICT, "Somebody does this job just now.".to_owned()),
            Self::Viewer => {
                let words = "What jobs are about is not for viewers: you are signed in with admin.viewer_token. This needs admin.token.";
                (StatusCode::FORBIDDEN, words.to_owned())
            }
        };
        (status, html(pages::trouble(&words))).into_response()
    }
}

/// The pages, for those who know the token.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(
    desk: Arc<Desk>,
    schedules: Arc<Schedules>,
    token: Arc<OperatorToken>,
) -> Router<S> {
    let mark = format!("{:032x}", rand::random::<u128>()).into();
    let dashboard = Dashboard { desk, schedules, token, mark };
    Router::new()
        .route("/admin/queues", get(overview))
        .route("/admin/queues/jobs", get(list))
        .route("/admin/queues/job", get(job))
        .route("/admin/queues/schedules", get(all_schedules))
        .route("/admin/queues/pause", post(pause))
        .route("/admin/queues/resume", post(resume))
        .route("/admin/queues/retry", post(retry))
        .route("/admin/queues/remove", post(remove))
        .route("/admin/queues/style.css", get(style))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(dashboard.clone(), authorize))
        .with_state(dashboard)
}

/// Browsers send the token as a password, programs as a bearer does.
async fn authorize(
    State(dashboard): State<Dashboard>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let given = given(request.headers());
    match look(&dashboard.token, given.as_deref(), request.method(), peer).await {
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        Err(Turned::Away) => {
            let words = pages::trouble("Sign in with any name, and admin.token as the password.");
            let ask = [(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"gateway\", charset=\"UTF-8\""))];
            (StatusCode::UNAUTHORIZED, ask, html(words)).into_response()
        }
        Err(Turned::ReadOnly) => {
            let words = "You are signed in with admin.viewer_token, which only looks. This needs admin.token.";
            (StatusCode::FORBIDDEN, html(pages::trouble(words))).into_response()
        }
        Err(Turned::Later(seconds)) => {
            let words = "Wrong tokens came from this address, and the next ones have to wait for each other.";
            let wait = [(RETRY_AFTER, HeaderValue::from(seconds))];
            (StatusCode::TOO_MANY_REQUESTS, wait, html(pages::trouble(words))).into_response()
        }
    }
}

fn given(headers: &HeaderMap) -> Option<String> {
    let (scheme, text) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(text.to_owned());
    }
    let decoded = STANDARD.decode(text.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(password.to_owned())
}

fn html(markup: Markup) -> Response {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_FRAME_OPTIONS, "DENY"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    (headers, markup.into_string()).into_response()
}

async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("style.css")).into_response()
}

async fn overview(State(dashboard): State<Dashboard>) -> Result<Response, Trouble> {
    let queues = dashboard.desk.standings().await?;
    Ok(html(page("Queues", &[], pages::overview(&queues, &dashboard.mark))))
}

/// Runs of each schedule that are shown.
const RUNS: usize = 10;

async fn all_schedules(State(dashboard): State<Dashboard>) -> Result<Response, Trouble> {
    let listed = dashboard.schedules.list(RUNS).await.map_err(|error| {
        error.tell("runs of schedules cannot be listed");
        Refusal::Unavailable
    })?;
    Ok(html(page("Schedules", &[Place::Queues], schedules::table(&listed))))
}

/// Which part of which queue.
#[derive(Deserialize)]
struct Part {
    queue: String,
    state: JobState,
    #[serde(default)]
    after: usize,
}

async fn list(
    State(dashboard): State<Dashboard>,
    Extension(visitor): Extension<Visitor>,
    Query(part): Query<Part>,
) -> Result<Response, Trouble> {
    let Part { queue, state, after } = part;
    let queue = known(&dashboard, &queue).await?;
    // Why jobs failed says what they are about.
    may_read(visitor, &format!("{} jobs of {queue}", state.word()))?;
    let listed = dashboard.desk.list(&queue, state, after, None).await?;
    let title = format!("{queue}: {}", state.word());
    Ok(html(page(&title, &[Place::Queues], pages::list(&queue, state, &listed))))
}

/// Which job.
#[derive(Deserialize)]
struct Which {
    queue: String,
    id: String,
}

async fn job(
    State(dashboard): State<Dashboard>,
    Extension(visitor): Extension<Visitor>,
    Query(which): Query<Which>,
) -> Result<Response, Trouble> {
    let (queue, id) = meant(&dashboard, &which.queue, &which.id).await?;
    may_read(visitor, &format!("job {id} of {queue}"))?;
    let found = dashboard.desk.find(&queue, &id).await?.ok_or(Trouble::Unknown("job"))?;
    let places = [Place::Queues, Place::Jobs(&queue, found.state)];
    Ok(html(page(id.as_str(), &places, pages::job(&found, &dashboard.mark))))
}

/// Operators read what jobs are about, and it is noted that they did.
fn may_read(visitor: Visitor, subject: &str) -> Result<(), Trouble> {
    let (outcome, may) = match visitor.role {
        OperatorRole::Operator => ("done", Ok(())),
        OperatorRole::Viewer => ("refused", Err(Trouble::Viewer)),
    };
    audit(visitor.by(), "read", subject, outcome);
    may
}

/// What a form of these pages says.
#[derive(Deserialize)]
struct Wish {
    mark: String,
    queue: String,
    #[serde(default)]
    id: String,
}

async fn pause(
    dashboard: State<Dashboard>,
    peer: ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    wish: Form<Wish>,
) -> Result<Redirect, Trouble> {
    set_paused(&dashboard, peer.0, &headers, &wish, true).await
}

async fn resume(
    dashboard: State<Dashboard>,
    peer: ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    wish: Form<Wish>,
) -> Result<Redirect, Trouble> {
    set_paused(&dashboard, peer.0, &headers, &wish, false).await
}

async fn set_paused(
    dashboard: &Dashboard,
    peer: SocketAddr,
    headers: &HeaderMap,
    wish: &Wish,
    paused: bool,
) -> Result<Redirect, Trouble> {
    own(dashboard, headers, wish)?;
    let queue = known(dashboard, &wish.queue).await?;
    let done = dashboard.desk.pause(&queue, paused).await;
    let outcome = done.as_ref().map_or_else(|refusal| format!("failed: {refusal}"), |()| "done".to_owned());
    audit(By::Operator(peer), if paused { "pause" } else { "resume" }, &format!("queue {queue}"), outcome);
    done?;
    Ok(Redirect::to("/admin/queues"))
}

async fn retry(
    dashboard: State<Dashboard>,
    peer: ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    wish: Form<Wish>,
) -> Result<Redirect, Trouble> {
    own(&dashboard, &headers, &wish)?;
    let (queue, id) = meant(&dashboard, &wish.queue, &wish.id).await?;
    let done = dashboard.desk.retry(&queue, &id).await;
    decided("retry", peer.0, &queue, &id, done)?;
    Ok(Redirect::to(&pages::job_path(&queue, &id)))
}

async fn remove(
    dashboard: State<Dashboard>,
    peer: ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    wish: Form<Wish>,
) -> Result<Redirect, Trouble> {
    own(&dashboard, &headers, &wish)?;
    let (queue, id) = meant(&dashboard, &wish.queue, &wish.id).await?;
    let done = dashboard.desk.remove(&queue, &id).await;
    decided("remove", peer.0, &queue, &id, done)?;
    Ok(Redirect::to("/admin/queues"))
}

/// Browsers send what they know of somebody with any page's forms: those of these pages have a mark.
fn own(dashboard: &Dashboard, headers: &HeaderMap, wish: &Wish) -> Result<(), Trouble> {
    let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
    let is_near = site.is_none_or(|site| [&b"same-origin"[..], b"none"].contains(&site));
    if is_near && *wish.mark == *dashboard.mark { Ok(()) } else { Err(Trouble::Foreign) }
}

async fn known(dashboard: &Dashboard, name: &str) -> Result<QueueName, Trouble> {
    dashboard.desk.queue(name).await?.ok_or(Trouble::Unknown("queue"))
}

async fn meant(dashboard: &Dashboard, queue: &str, id: &str) -> Result<(QueueName, JobId), Trouble> {
    let id = JobId::known(id).map_err(|bad| Trouble::Wrong(bad.to_string()))?;
    Ok((known(dashboard, queue).await?, id))
}

fn decided(
    what: &'static str,
    peer: SocketAddr,
    queue: &QueueName,
    id: &JobId,
    done: Result<Outcome, Refusal>,
) -> Result<(), Trouble> {
    let outcome = match &done {
        Ok(Outcome::Done) => "done".to_owned(),
        Ok(Outcome::Unknown) => "failed: there is no such job".to_owned(),
        Ok(Outcome::Active) => "failed: somebody does it just now".to_owned(),
        Err(refusal) => format!("failed: {refusal}"),
    };
    audit(By::Operator(peer), what, &format!("job {id} of {queue}"), outcome);
    match done? {
        Outcome::Done => Ok(()),
        Outcome::Unknown => Err(Trouble::Unknown("job")),
        Outcome::Active => Err(Trouble::Active),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_as_a_password_or_as_a_bearer_has_it() {
        let given = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            given(&headers)
        };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(given("Bearer a:b"), Some("a:b".into()));
        assert_eq!(given(&basic("operator:r\u{e4}t:sel")), Some("r\u{e4}t:sel".into()));
        assert_eq!(given(&basic(":right")), Some("right".into()));
        for nothing in ["", "Basic", "Basic !!", &basic("right"), "Digest x"] {
            assert_eq!(given(nothing), None, "{nothing}");
        }
    }
}
