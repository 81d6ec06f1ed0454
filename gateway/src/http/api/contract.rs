//! The contract: OpenAPI 3.1 from the code, and its page, whose files are in the binary.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, Ref, ResponseBuilder};
use utoipa::{IntoParams, Modify, OpenApi};
use utoipa_swagger_ui::Config;

use super::operations::ROOT;
use super::problem::{Kind, MEDIA_TYPE, Told, refusals, status_of};

/// The page runs its own files only, and talks to this origin only. Its styles have pictures in them, as data.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A room.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by the contract alone")]
pub(super) struct OfRoom {
    /// The room's name, percent-encoded: 1 to 255 bytes of UTF-8 without control characters.
    #[param(min_length = 1, max_length = 255, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$", example = "orders-7")]
    room: String,
}

/// An event of a room.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by the contract alone")]
pub(super) struct OfEvent {
    /// The room's name, percent-encoded: 1 to 255 bytes of UTF-8 without control characters.
    #[param(min_length = 1, max_length = 255, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$", example = "orders-7")]
    room: String,
    /// The event's offset.
    #[param(pattern = "^[0-9]{1,19}$", example = "1795345614052000")]
    offset: String,
}

/// A user.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by the contract alone")]
pub(super) struct OfUser {
    /// The user's id, percent-encoded: 1 to 255 bytes of UTF-8 without control characters.
    #[param(min_length = 1, max_length = 255, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$", example = "alice")]
    user: String,
}

/// A session.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by the contract alone")]
pub(super) struct OfSession {
    /// The session's id: 32 hexadecimal digits.
    #[param(pattern = "^[0-9a-fA-F]{32}$", example = "00112233445566778899aabbccddeeff")]
    session: String,
}

/// A notification.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by the contract alone")]
pub(super) struct OfNotification {
    /// The notification's id: 24 hexadecimal digits.
    #[param(pattern = "^[0-9a-f]{24}$", example = "6566f0a1c3d4e5f60718293a")]
    notification: String,
}

/// Which part of a user's notifications.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by the contract alone")]
pub(super) struct PartOfNotifications {
    /// Only those that are older than this: the `next` of the page before.
    #[param(pattern = "^[0-9a-f]{24}$")]
    after: Option<String>,
    /// How many at the most; `notifications.page` if that is fewer.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u32>,
    /// Whether only those that are unread.
    unread: Option<bool>,
}

/// Which notifications of a user: all, if neither is said.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by the contract alone")]
pub(super) struct WhichNotifications {
    /// This one. Not together with `upTo`.
    #[param(pattern = "^[0-9a-f]{24}$")]
    id: Option<String>,
    /// This one and all that are older.
    #[param(rename = "upTo", pattern = "^[0-9a-f]{24}$")]
    up_to: Option<String>,
}

/// A job.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by the contract alone")]
pub(super) struct OfJob {
    /// The job's id, percent-encoded.
    #[param(min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$", example = "invoice-7")]
    job: String,
}

/// In which queue.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by the contract alone")]
pub(super) struct InQueue {
    /// The job's queue; needed only if several have a job of this id.
    #[param(min_length = 1, max_length = 256)]
    queue: Option<String>,
}

/// A queue.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by the contract alone")]
pub(super) struct OfQueue {
    /// The queue's name, percent-encoded.
    #[param(min_length = 1, max_length = 256, example = "default")]
    queue: String,
}

/// Which part of a queue's jobs.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by the contract alone")]
pub(super) struct PartOfJobs {
    /// The queue; `default`, if it is not said.
    #[param(min_length = 1, max_length = 256)]
    queue: Option<String>,
    /// Their state; `waiting`, if it is not said.
    #[param(pattern = "^(waiting|delayed|active|completed|failed)$")]
    state: Option<String>,
    /// Where the page begins: the `next` of the page before.
    #[param(pattern = "^[0-9]{1,15}$")]
    after: Option<String>,
    /// How many at the most; `jobs.page` if that is fewer.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u32>,
}

/// A namespace.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by the contract alone")]
pub(super) struct InNamespace {
    /// The namespace, if it is not `/`.
    #[param(required = false, max_length = 128, pattern = r"^/[^\u0000-\u001f\u007f-\u009f]*$", example = "/")]
    namespace: Option<String>,
}

/// Which page.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by the contract alone")]
pub(super) struct Page {
    /// Where it begins: the `next` of the page before.
    after: Option<String>,
    /// How many at the most; `presence.page` if that is fewer.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u32>,
}

/// Which part of a room's history. Without `after` and `before` it is the newest.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by the contract alone")]
pub(super) struct PartOfHistory {
    /// Only what came after this offset, the oldest first.
    #[param(pattern = "^[0-9]{1,19}$")]
    after: Option<String>,
    /// Only what came before this offset; without `after` the newest of it.
    #[param(pattern = "^[0-9]{1,19}$")]
    before: Option<String>,
    /// How many events at the most; `limits.history_page` if that is fewer.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u32>,
}

/// Where a stream begins.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by the contract alone")]
pub(super) struct FromOffset {
    /// Only what comes after this offset, as far as the log still has it; without, from now on. A `Last-Event-ID` counts instead.
    #[param(pattern = "^[0-9]{1,19}$")]
    after: Option<String>,
}

/// What the contract says beside the requests.
#[derive(OpenApi)]
#[openapi(
    info(title = "Realtime gateway: HTTP API", version = "1", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    tags(
        (name = "events", description = "What is said to clients, and what was."),
        (name = "presence", description = "Who is there."),
        (name = "questions", description = "What clients are asked, and what they answer."),
        (name = "sessions", description = "What is decided about users and their sessions."),
        (name = "notifications", description = "What users are told and may read later."),
        (name = "jobs", description = "What is done later or elsewhere."),
        (name = "deployment", description = "The nodes."),
    ),
    security(("key" = [])),
    components(schemas(Told<'static>)),
    modifiers(&Keys, &Problems),
)]
pub(super) struct Contract;

struct Keys;

impl Modify for Keys {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("gw_<id>_<secret>");
        let key = key.description(Some("A key that `gateway key` has made."));
        api.components.get_or_insert_default().add_security_scheme("key", SecurityScheme::Http(key.build()));
    }
}

struct Problems;

impl Modify for Problems {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        api.info.description = Some(format!(
            "For back ends in any language. Names in paths are percent-encoded, fields are camelCase, offsets are texts.\n\n\
             What is not done is answered with `application/problem+json` (RFC 9457) and a `code`:\n\n{}",
            codes()
        ));
    }
}

/// Says of every request what it is answered with if it is not done: the same for all.
pub(super) fn with_problems(api: &mut utoipa::openapi::OpenApi) {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    let problem = ResponseBuilder::new().description("It was not done.").content(MEDIA_TYPE, content).build();
    for item in api.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            operation.responses.responses.insert("default".to_owned(), problem.clone().into());
        }
    }
}

/// The contract as text, with what its types cannot say: which fields exclude each other.
///
/// # Panics
/// If it cannot be written: a mistake in the code.
pub(super) fn text(contract: &utoipa::openapi::OpenApi) -> String {
    let mut json = serde_json::to_value(contract).expect("the contract is plain structs");
    let never = |fields: &[&str]| json!({ "not": { "required": fields } });
    let kept_by_id =
        json!({ "not": { "required": ["id", "ephemeral"], "properties": { "ephemeral": { "const": true } } } });
    json["components"]["schemas"]["NewEvent"]["allOf"] = json!([never(&["args", "data"]), kept_by_id]);
    json["components"]["schemas"]["Revocation"]["oneOf"] = json!([
        { "required": ["token"], "allOf": [never(&["user"]), never(&["before"])] },
        { "required": ["user"], "allOf": [never(&["token"])] }
    ]);
    json.to_string()
}

/// The table of codes, as Markdown.
pub(super) fn codes() -> String {
    let own = Kind::ALL
        .iter()
        .map(|(code, status, words)| format!("| `{code}` | {} | {} |\n", status.as_u16(), words.trim()));
    let refused = refusals().into_iter().map(|refusal| {
        format!("| `{}` | {} | {} |\n", refusal.code(), status_of(&refusal).as_u16(), refusal.message())
    });
    own.chain(refused).fold("| code | status | |\n|---|---|---|\n".to_owned(), |table, line| table + &line)
}

/// A file of the page, by its path below `docs/`; nothing if there is none.
pub(super) fn page(path: &str) -> Option<Response> {
    if path.is_empty() {
        // So that the page finds its files.
        let headers = [(LOCATION, HeaderValue::from_static("/api/v1/docs/"))];
        return Some((StatusCode::PERMANENT_REDIRECT, headers).into_response());
    }
    // The page's initializer is a file of its own, so nothing has to be allowed inline.
    let config = Arc::new(Config::from(format!("{ROOT}/openapi.json")));
    let file = utoipa_swagger_ui::serve(path.trim_start_matches('/'), config).ok().flatten()?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(&file.content_type).ok()?);
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Some((headers, Body::from(file.bytes.into_owned())).into_response())
}
