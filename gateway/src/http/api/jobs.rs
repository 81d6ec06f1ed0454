//! Having work done later or elsewhere, looking how it stands, and deciding about it.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::body::{Body, Object, given};
use super::call::Call;
use super::contract::{InQueue, OfJob, PartOfJobs};
use super::problem::{Kind, Problem};
use super::queues::known;
use super::state::ApiState;
use crate::http::times::iso;
use gateway_core::config::Scope;
use gateway_core::service::{
    Backoff, FoundJob, Hand, JobId, JobOutcome, JobState, JobWish, ListedJobs, NotTaken, QueueName, Wanted,
};

/// A job that is to be done.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(example = json!({
    "kind": "http", "data": { "to": "billing", "body": { "invoice": 7 } }, "delayMs": 60_000, "attempts": 5,
    "backoff": { "type": "exponential", "delayMs": 1000 }, "id": "invoice-7"
}))]
pub(super) struct NewJob {
    /// The queue that it is put into: one of the configuration.
    #[serde(default = "default_queue")]
    #[schema(required = false, default = "default", min_length = 1, max_length = 64)]
    queue: String,
    /// What kind of work it is.
    #[schema(min_length = 1, max_length = 128)]
    kind: String,
    /// What it is about: any JSON value, passed on as it was written. What its kind needs is in docs/jobs.md.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = serde_json::Value, required = false)]
    data: Option<Box<RawValue>>,
    /// How long it waits at least, in milliseconds.
    #[serde(default)]
    #[schema(required = false, maximum = 315_360_000_000_u64)]
    delay_ms: u64,
    /// How often it is tried in all; `jobs.attempts`, if it is not said.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 1000)]
    attempts: Option<u32>,
    /// How long it waits before it is tried again; `jobs.backoff`, twice as long each time, if it is not said.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Pause, required = false)]
    backoff: Option<Object<Pause>>,
    /// Lower comes first; 0 is before all others.
    #[serde(default)]
    #[schema(required = false, maximum = 2_097_152)]
    priority: u32,
    /// By which it is enqueued once, for as long as its queue has it. No colons, and not digits only.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 256, pattern = r"^[^:\u0000-\u001f\u007f-\u009f]*[^:0-9\u0000-\u001f\u007f-\u009f][^:\u0000-\u001f\u007f-\u009f]*$")]
    id: Option<String>,
}

fn default_queue() -> String {
    "default".to_owned()
}

/// How long a job that has failed waits.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(example = json!({ "type": "fixed", "delayMs": 5000 }))]
pub(super) struct Pause {
    /// Whether it stays the same, or is twice as long each time.
    #[serde(rename = "type")]
    kind: Growth,
    /// How long it is after the first attempt, in milliseconds.
    #[schema(maximum = 86_400_000)]
    delay_ms: u64,
}

/// How a pause changes.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum Growth {
    /// It stays the same.
    Fixed,
    /// It doubles.
    Exponential,
}

/// Where a job is to be found.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "id": "invoice-7", "queue": "default", "duplicate": false }))]
pub(super) struct Enqueued {
    /// Its id.
    #[schema(value_type = String)]
    id: JobId,
    /// Its queue.
    queue: String,
    /// Whether the queue had a job of this id already; then that one stays as it was.
    duplicate: bool,
}

/// A job, and what became of it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "invoice-7", "queue": "default", "kind": "http", "state": "failed", "data": { "to": "billing", "body": null },
    "attempt": 5, "attempts": 5, "lost": 0, "priority": 0, "enqueuedAt": "2026-11-29T08:30:09.000Z",
    "endedAt": "2026-11-29T08:31:01.000Z", "why": "https://billing.example/jobs: it answers 500 Internal Server Error"
}))]
pub(super) struct Job {
    /// By what it is known in its queue.
    #[schema(value_type = String)]
    id: JobId,
    /// Where it is.
    #[schema(value_type = String)]
    queue: QueueName,
    /// What kind of work it is.
    kind: String,
    /// Where in its life it is: `waiting`, `delayed`, `active`, `completed` or `failed`.
    state: &'static str,
    /// What it is about.
    #[schema(value_type = serde_json::Value)]
    data: Box<RawValue>,
    /// How many attempts there were, the one that is under way included.
    attempt: u32,
    /// How many there are at the most.
    attempts: u32,
    /// How often a worker was lost that did it.
    lost: u32,
    /// Lower comes first.
    priority: u32,
    /// When it was enqueued, in UTC.
    enqueued_at: String,
    /// When it is due, if it has to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<String>,
    /// When it was last begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    begun_at: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// Why it failed the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// What came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    result: Option<Box<RawValue>>,
}

/// A part of the jobs of a queue.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "jobs": [], "next": "100" }))]
pub(super) struct Jobs {
    /// In the order in which they are done; of those that have ended, the last first.
    jobs: Vec<Job>,
    /// The next page's `after`, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Has something done later or elsewhere, at least once. A key needs the scope of what the job does, too: `publish` for a
/// job of the kind `publish`, `notify` for `notify`, `admin` for `upkeep`.
#[utoipa::path(
    post, path = "/api/v1/jobs", tag = "jobs",
    request_body = NewJob,
    responses(
        (status = 201, description = "It is in its queue.", body = Enqueued),
    ),
)]
pub(super) async fn enqueue(
    State(state): State<ApiState>,
    call: Call,
    Body(new): Body<NewJob>,
) -> Result<Response, Problem> {
    call.must_reach_all()?;
    let NewJob { queue, kind, data, delay_ms, attempts, backoff, priority, id } = new;
    if let Some(scope) = scope_of(&kind).filter(|scope| !call.asker().key.has(*scope)) {
        let words = format!("a job of the kind {kind:?} takes the scope {:?}, too", scope.name());
        return Err(Problem::new(Kind::ScopeMissing, words));
    }
    let wish = JobWish {
        delay: Duration::from_millis(delay_ms),
        attempts,
        backoff: backoff.map(|Object(Pause { kind, delay_ms })| match kind {
            Growth::Fixed => Backoff::Fixed(Duration::from_millis(delay_ms)),
            Growth::Exponential => Backoff::Exponential(Duration::from_millis(delay_ms)),
        }),
        priority,
        id,
        ..JobWish::new(&*queue, kind, data.unwrap_or_else(|| RawValue::NULL.to_owned()))
    };
    let enqueued = state.service().desk().hand_in(&Hand::back_end(), wish).await.map_err(not_taken)?;
    Ok((StatusCode::CREATED, Json(Enqueued { id: enqueued.id, queue, duplicate: enqueued.known })).into_response())
}

/// What a key needs for a kind beside the scope of jobs: a job is no way round the others.
fn scope_of(kind: &str) -> Option<Scope> {
    match kind {
        "publish" => Some(Scope::Publish),
        "notify" => Some(Scope::Notify),
        "upkeep" => Some(Scope::Admin),
        _ => None,
    }
}

fn not_taken(not_taken: NotTaken) -> Problem {
    match not_taken {
        NotTaken::Wrong(field, why) => Problem::new(Kind::BadBody, why).at(format!("/{field}")),
        NotTaken::Refused(refusal) => refusal.into(),
    }
}

/// Lists jobs of a queue, page by page: what comes next first, and of what has ended the last first. A job that changes its
/// state between two pages may be missed, or be there twice.
#[utoipa::path(
    get, path = "/api/v1/jobs", tag = "jobs",
    params(PartOfJobs),
    responses(
        (status = 200, description = "A part of them.", body = Jobs),
    ),
)]
pub(super) async fn jobs(State(state): State<ApiState>, call: Call) -> Result<Json<Jobs>, Problem> {
    call.must_reach_all()?;
    let skip = call.skipped()?;
    let (of, limit) = (call.state()?.unwrap_or(JobState::Waiting), call.limit()?);
    let queue = known(&state, call.queue_in().unwrap_or("default")).await?;
    let ListedJobs { jobs, next } = state.service().desk().list(&queue, of, skip, limit).await?;
    Ok(Json(Jobs { jobs: jobs.into_iter().map(Job::from).collect(), next: next.map(|next| next.to_string()) }))
}

/// Looks at one job.
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}", tag = "jobs",
    params(OfJob, InQueue),
    responses(
        (status = 200, description = "The job.", body = Job),
    ),
)]
pub(super) async fn job(State(state): State<ApiState>, call: Call) -> Result<Json<Job>, Problem> {
    call.must_reach_all()?;
    Ok(Json(meant(&state, &call).await?.into()))
}

/// Takes a job out of its queue, whatever became of it. One that somebody does just now stays.
#[utoipa::path(
    delete, path = "/api/v1/jobs/{job}", tag = "jobs",
    params(OfJob, InQueue),
    responses(
        (status = 204, description = "It is gone."),
    ),
)]
pub(super) async fn remove_job(State(state): State<ApiState>, call: Call) -> Result<StatusCode, Problem> {
    call.must_reach_all()?;
    let FoundJob { job, .. } = meant(&state, &call).await?;
    let removed = state.service().desk().remove(&job.queue, &job.id).await;
    call.audit("remove", &format!("job {} of {}", job.id, job.queue), &removed);
    decided(removed?)
}

/// Has a job done now: one that has ended begins anew, with all its attempts; one that waits for its time waits no longer.
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/retry", tag = "jobs",
    params(OfJob, InQueue),
    responses(
        (status = 204, description = "It waits to be done."),
    ),
)]
pub(super) async fn retry_job(State(state): State<ApiState>, call: Call) -> Result<StatusCode, Problem> {
    call.must_reach_all()?;
    let FoundJob { job, .. } = meant(&state, &call).await?;
    let retried = state.service().desk().retry(&job.queue, &job.id).await;
    call.audit("retry", &format!("job {} of {}", job.id, job.queue), &retried);
    decided(retried?)
}

/// The job that is meant.
async fn meant(state: &ApiState, call: &Call) -> Result<FoundJob, Problem> {
    let (id, desk) = (call.job()?, state.service().desk());
    let no_job = || Problem::new(Kind::NoJob, "there is no such job, or no more");
    if let Some(name) = call.queue_in() {
        let queue = known(state, name).await?;
        return desk.find(&queue, &id).await?.ok_or_else(no_job);
    }
    match desk.look_for(&id).await? {
        Wanted::Found(found) => Ok(*found),
        Wanted::Nowhere => Err(no_job()),
        Wanted::InSeveral(queues) => {
            let queues: Vec<_> = queues.iter().map(QueueName::as_str).collect();
            let words = format!("several queues have a job of this id; say which by queue=: {}", queues.join(", "));
            Err(Problem::new(Kind::BadParameter, words))
        }
    }
}

fn decided(outcome: JobOutcome) -> Result<StatusCode, Problem> {
    match outcome {
        JobOutcome::Done => Ok(StatusCode::NO_CONTENT),
        JobOutcome::Unknown => Err(Problem::new(Kind::NoJob, "there is no such job, or no more")),
        JobOutcome::Active => Err(Problem::new(Kind::JobActive, "somebody does the job just now")),
    }
}

impl From<FoundJob> for Job {
    fn from(found: FoundJob) -> Self {
        let FoundJob { job, state, due_at_ms, begun_at_ms, ended_at_ms, why, result } = found;
        Self {
            state: state.word(),
            enqueued_at: iso(job.enqueued_at_ms),
            due_at: due_at_ms.map(iso),
            begun_at: begun_at_ms.map(iso),
            ended_at: ended_at_ms.map(iso),
            why,
            result,
            id: job.id,
            queue: job.queue,
            kind: job.kind,
            data: job.data,
            attempt: job.attempt,
            attempts: job.attempts,
            lost: job.lost,
            priority: job.priority,
        }
    }
}
