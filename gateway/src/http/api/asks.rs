//! Asking clients something, and who answered what.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::body::{Body, given};
use super::call::Call;
use super::contract::{InNamespace, OfRoom, OfSession, OfUser};
use super::events::arguments;
use super::problem::{Kind, Problem};
use super::state::ApiState;
use gateway_core::service::{Answered, Reply, Saying, Whom};

/// How long clients have to answer unless it is said, in milliseconds.
const TIMEOUT_MS: u64 = 5_000;

/// What clients are asked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(example = json!({ "event": "which version", "args": [{ "of": "the app" }], "timeoutMs": 3000 }))]
pub(super) struct NewQuestion {
    /// The event's name, as of an event that is said.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")]
    event: String,
    /// What clients get as its arguments, before the function by which they answer.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Vec<serde_json::Value>, required = false, max_items = 32)]
    args: Option<Box<RawValue>>,
    /// The same for an event with one argument. Not together with `args`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = serde_json::Value, required = false)]
    data: Option<Box<RawValue>>,
    /// How long clients have to answer, in milliseconds; at most `asks.timeout`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = u64, required = false, minimum = 1)]
    timeout_ms: Option<u64>,
}

/// Who answered what.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "answers": [{ "session": "00112233445566778899aabbccddeeff", "user": "alice", "args": ["2.1.0"] }],
    "asked": 2, "silent": 1, "discarded": 0, "unasked": 0, "missing": 0
}))]
pub(super) struct Answers {
    /// What was answered, in no order.
    answers: Vec<Answer>,
    /// How many clients were asked.
    asked: usize,
    /// How many of them did not answer in time, or left.
    silent: usize,
    /// How many answers were too large (`asks.answer_bytes`, `asks.bytes`), or not readable for all.
    discarded: usize,
    /// How many clients were not asked, because a node asks `asks.sessions` at the most.
    unasked: usize,
    /// How many nodes did not answer: whom they have asked is not known.
    missing: usize,
}

/// What one client answered.
#[derive(Serialize, ToSchema)]
pub(super) struct Answer {
    /// Its session.
    session: String,
    /// Who that is; `null` if it is anonymous.
    user: Option<String>,
    /// What it answered with.
    #[schema(value_type = Vec<serde_json::Value>)]
    args: Box<RawValue>,
    /// Binary that this refers to by `{"_placeholder": true, "num": N}`, in base64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<String>,
}

/// Asks one session.
#[utoipa::path(
    post, path = "/api/v1/sessions/{session}/ask", tag = "questions",
    params(OfSession),
    request_body = NewQuestion,
    responses(
        (status = 200, description = "It was asked; what it answered, if it did.", body = Answers),
    ),
)]
pub(super) async fn ask_session(
    State(state): State<ApiState>,
    call: Call,
    Body(question): Body<NewQuestion>,
) -> Result<Json<Answers>, Problem> {
    call.must_reach_all()?;
    let Json(answers) = ask(&state, Whom::Session(call.session()?), &question).await?;
    if answers.asked == 0 && answers.missing == 0 {
        return Err(Problem::new(Kind::NotFound, "there is no such session that is connected"));
    }
    Ok(Json(answers))
}

/// Asks all sessions of a user, on all nodes.
#[utoipa::path(
    post, path = "/api/v1/users/{user}/ask", tag = "questions",
    params(OfUser, InNamespace),
    request_body = NewQuestion,
    responses(
        (status = 200, description = "The user's connected sessions were asked; what they answered.", body = Answers),
    ),
)]
pub(super) async fn ask_user(
    State(state): State<ApiState>,
    call: Call,
    Body(question): Body<NewQuestion>,
) -> Result<Json<Answers>, Problem> {
    call.must_reach_all()?;
    let whom = Whom::User { namespace: call.namespace().to_owned(), user: call.user()? };
    ask(&state, whom, &question).await
}

/// Asks all sessions in a room, on all nodes.
#[utoipa::path(
    post, path = "/api/v1/rooms/{room}/ask", tag = "questions",
    params(OfRoom, InNamespace),
    request_body = NewQuestion,
    responses(
        (status = 200, description = "The connected sessions in the room were asked; what they answered.", body = Answers),
    ),
)]
pub(super) async fn ask_room(
    State(state): State<ApiState>,
    call: Call,
    Body(question): Body<NewQuestion>,
) -> Result<Json<Answers>, Problem> {
    let room = call.room()?;
    ask(&state, Whom::Room(room), &question).await
}

async fn ask(state: &ApiState, whom: Whom, question: &NewQuestion) -> Result<Json<Answers>, Problem> {
    let service = state.service();
    let args = arguments(question.args.as_deref(), question.data.as_deref())?;
    let longest = service.longest_ask();
    let time = question.timeout_ms.map_or(longest.min(Duration::from_millis(TIMEOUT_MS)), Duration::from_millis);
    if time.is_zero() || time > longest {
        let words = format!("timeoutMs is 1 to {}, which is asks.timeout", longest.as_millis());
        return Err(Problem::new(Kind::BadBody, words).at("/timeoutMs"));
    }
    let saying = Saying { event: &question.event, args: &args, except: None, volatile: false };
    let Answered { replies, asked, silent, discarded, unasked, missing } = service.ask(whom, saying, time).await?;
    let answers = replies.into_iter().filter_map(answer).collect();
    Ok(Json(Answers { answers, asked, silent, discarded, unasked, missing }))
}

fn answer(Reply { session, user, args, attachments }: Reply) -> Option<Answer> {
    let args = RawValue::from_string(args).ok()?;
    let user = user.map(|user| user.as_str().to_owned());
    let attachments = attachments.iter().map(|bytes| STANDARD.encode(bytes)).collect();
    Some(Answer { session: session.to_string(), user, args, attachments })
}
