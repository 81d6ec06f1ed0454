//! The schedules: when each is due, and how its last runs went.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::Call;
use super::problem::Problem;
use super::state::ApiState;
use crate::http::times::iso;
use gateway_core::domain::Refusal;
use gateway_core::ticks::Run;
use gateway_work::schedules::Listed;

/// Runs of each that are listed.
const RUNS: usize = 10;

/// The schedules.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "schedules": [{
    "name": "report", "cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin", "kind": "mail", "queue": "mail",
    "next": "2026-11-27T08:00:00.000Z", "runs": [{
        "tick": "2026-11-26T08:00:00.000Z", "node": "gateway-1", "begunAt": "2026-11-26T08:00:00.007Z", "tookMs": 42,
        "attempt": 1, "last": true
    }]
}] }))]
pub(super) struct All {
    /// In the order of the configuration.
    schedules: Vec<Scheduled>,
}

/// One schedule.
#[derive(Serialize, ToSchema)]
pub(super) struct Scheduled {
    /// Its name.
    name: String,
    /// When it is due, as cron has it.
    cron: String,
    /// Where the clock hangs that it goes by.
    timezone: String,
    /// What is done.
    kind: String,
    /// In which queue.
    queue: String,
    /// When it is due next, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Its last runs, newest first.
    runs: Vec<Attempt>,
}

/// An attempt to do what a schedule has done.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attempt {
    /// For which moment, in UTC.
    tick: String,
    /// On which node.
    node: String,
    /// When it began, in UTC.
    begun_at: String,
    /// How long it took, in milliseconds.
    took_ms: u64,
    /// Which attempt it was, from 1.
    attempt: u32,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
    /// Whether there is no further attempt.
    last: bool,
}

impl From<Run> for Attempt {
    fn from(run: Run) -> Self {
        let Run { schedule: _, tick, node, begun, took, attempt, failed, last } = run;
        Self { tick: iso(tick), node, begun_at: iso(begun), took_ms: took, attempt, failed, last }
    }
}

impl From<Listed> for Scheduled {
    fn from(listed: Listed) -> Self {
        let Listed { schedule, next, runs } = listed;
        Self {
            name: schedule.name,
            cron: schedule.cron,
            timezone: schedule.timezone,
            kind: schedule.kind,
            queue: schedule.queue,
            next: next.map(iso),
            runs: runs.into_iter().map(Attempt::from).collect(),
        }
    }
}

/// Lists the schedules, with when each is due and how its last runs went.
#[utoipa::path(
    get, path = "/api/v1/schedules", tag = "jobs",
    responses(
        (status = 200, description = "The schedules.", body = All),
    ),
)]
pub(super) async fn schedules(State(state): State<ApiState>, call: Call) -> Result<Json<All>, Problem> {
    call.must_reach_all()?;
    let listed = state.schedules().list(RUNS).await.map_err(|error| {
        error.tell("runs of schedules cannot be listed");
        Refusal::Unavailable
    })?;
    Ok(Json(All { schedules: listed.into_iter().map(Scheduled::from).collect() }))
}
