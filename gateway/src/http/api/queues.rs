//! The queues: how they stand, and whether they begin jobs.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::Call;
use super::contract::OfQueue;
use super::problem::{Kind, Problem};
use super::state::ApiState;
use gateway_core::service::{QueueName, QueueStanding};

/// The queues.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "queues": [{
    "name": "default", "paused": false, "concurrency": 8, "waiting": 12, "delayed": 3, "active": 8, "completed": 512, "failed": 1
}] }))]
pub(super) struct Queues {
    /// By name.
    queues: Vec<Queue>,
}

/// A queue, and how many jobs it has of each state.
#[derive(Serialize, ToSchema)]
pub(super) struct Queue {
    /// Its name.
    #[schema(value_type = String)]
    name: QueueName,
    /// Whether it begins no jobs.
    paused: bool,
    /// How many of its jobs the node that answers does at the same time.
    concurrency: usize,
    /// Jobs that are due.
    waiting: u64,
    /// Jobs that are not due yet.
    delayed: u64,
    /// Jobs that somebody does.
    active: u64,
    /// Jobs that were done, and are kept.
    completed: u64,
    /// Jobs that were given up.
    failed: u64,
}

/// Lists the queues, with how many jobs they have of each state.
#[utoipa::path(
    get, path = "/api/v1/queues", tag = "jobs",
    responses(
        (status = 200, description = "The queues.", body = Queues),
    ),
)]
pub(super) async fn queues(State(state): State<ApiState>, call: Call) -> Result<Json<Queues>, Problem> {
    call.must_reach_all()?;
    let all = state.service().desk().standings().await?;
    Ok(Json(Queues { queues: all.into_iter().map(Queue::from).collect() }))
}

/// Has a queue begin no jobs any more, on all nodes. What runs goes on, and what comes waits.
#[utoipa::path(
    post, path = "/api/v1/queues/{queue}/pause", tag = "jobs",
    params(OfQueue),
    responses(
        (status = 204, description = "It is paused."),
    ),
)]
pub(super) async fn pause_queue(State(state): State<ApiState>, call: Call) -> Result<StatusCode, Problem> {
    pause(&state, &call, true).await
}

/// Has a queue go on that was paused.
#[utoipa::path(
    post, path = "/api/v1/queues/{queue}/resume", tag = "jobs",
    params(OfQueue),
    responses(
        (status = 204, description = "It goes on."),
    ),
)]
pub(super) async fn resume_queue(State(state): State<ApiState>, call: Call) -> Result<StatusCode, Problem> {
    pause(&state, &call, false).await
}

async fn pause(state: &ApiState, call: &Call, paused: bool) -> Result<StatusCode, Problem> {
    call.must_reach_all()?;
    let queue = known(state, call.queue()).await?;
    let done = state.service().desk().pause(&queue, paused).await;
    call.audit(if paused { "pause" } else { "resume" }, &format!("queue {queue}"), &done);
    done?;
    Ok(StatusCode::NO_CONTENT)
}

/// A queue by its name.
pub(super) async fn known(state: &ApiState, name: &str) -> Result<QueueName, Problem> {
    let queue = state.service().desk().queue(name).await?;
    queue.ok_or_else(|| Problem::new(Kind::NoQueue, format!("there is no queue {name:?}; see /api/v1/queues")))
}

impl From<QueueStanding> for Queue {
    fn from(standing: QueueStanding) -> Self {
        let QueueStanding { name, concurrency, is_paused, counts, .. } = standing;
        Self {
            name,
            paused: is_paused,
            concurrency,
            waiting: counts.waiting,
            delayed: counts.delayed,
            active: counts.active,
            completed: counts.completed,
            failed: counts.failed,
        }
    }
}
