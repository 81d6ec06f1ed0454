//! Problems: every request that is not done is answered as RFC 9457 has it, with a code of one table.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use utoipa::ToSchema;

use gateway_core::domain::Refusal;

/// The media type of problems.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";
/// Where the codes are explained: `#` and the code follow.
const EXPLAINED_AT: &str = "/api/v1/docs/";

/// Problems that are the API's own, with their status. What rooms and the log refuse has the codes of [`Refusal`].
macro_rules! problems {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $status:ident;)+) => {
        /// What can be wrong with a request, beside what the gateway refuses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kind { $($(#[doc = $doc])+ $name,)+ }

        impl Kind {
            /// All of them: code, status, and what it means.
            pub(super) const ALL: &[(&'static str, StatusCode, &'static str)] =
                &[$(($code, StatusCode::$status, concat!($($doc),+)),)+];

            fn code(self) -> &'static str {
                Self::ALL[self as usize].0
            }

            fn status(self) -> StatusCode {
                Self::ALL[self as usize].1
            }
        }
    };
}

problems! {
    /// There is no such path under `/api/v1`.
    UnknownPath = "unknown_path", NOT_FOUND;
    /// The path has other methods; `Allow` names them.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED;
    /// A `%` in the path or the query is not followed by two hexadecimal digits, or what it stands for is no UTF-8.
    BadEncoding = "bad_encoding", BAD_REQUEST;
    /// A parameter of the path or the query is not what it should be, is there twice, or is none of this request's.
    BadParameter = "bad_parameter", BAD_REQUEST;
    /// The body is not JSON.
    NotJson = "not_json", BAD_REQUEST;
    /// The body is JSON and not what the request takes; `errors` says where.
    BadBody = "bad_body", BAD_REQUEST;
    /// The body is not called `application/json`.
    WrongType = "wrong_type", UNSUPPORTED_MEDIA_TYPE;
    /// The body did not come in time.
    TooSlow = "too_slow", REQUEST_TIMEOUT;
    /// The request is not HTTP as it should be.
    BadRequest = "bad_http", BAD_REQUEST;
    /// The request has no key: `Authorization: Bearer gw_…`.
    KeyRequired = "key_required", UNAUTHORIZED;
    /// The key is none, or none any more.
    KeyUnknown = "key_unknown", UNAUTHORIZED;
    /// The key lacks the scope of this request.
    ScopeMissing = "scope_missing", FORBIDDEN;
    /// The key does not open this room or namespace, or reaches some rooms or namespaces only.
    OutOfReach = "out_of_reach", FORBIDDEN;
    /// A batch has read as much as it may.
    BatchFull = "batch_full", PAYLOAD_TOO_LARGE;
    /// There is no such session, connected or away, or no such event.
    NotFound = "not_found", NOT_FOUND;
    /// Nothing is archived: `archive.rooms` names no rooms.
    NoArchive = "no_archive", CONFLICT;
    /// The user has no such notification, or no more.
    NoNotification = "no_notification", NOT_FOUND;
    /// Nobody has said where the user gets mail.
    NoContact = "no_contact", NOT_FOUND;
    /// There is no such job, or no more.
    NoJob = "no_job", NOT_FOUND;
    /// There is no such queue: none of the configuration, and nothing was put into one of that name.
    NoQueue = "no_queue", NOT_FOUND;
    /// Somebody does the job just now, so it can neither be removed nor be begun anew.
    JobActive = "job_active", CONFLICT;
    /// A request with this `Idempotency-Key` is still under way.
    RepeatRunning = "repeat_running", CONFLICT;
    /// A request with this `Idempotency-Key` was done, and its answer was too large to be kept.
    AnswerNotKept = "answer_not_kept", GONE;
    /// Another request had this `Idempotency-Key`.
    RepeatDiffers = "repeat_differs", UNPROCESSABLE_ENTITY;
}

/// Why a request was not done.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) code: &'static str,
    pub(super) status: StatusCode,
    detail: String,
    retry_after: Option<Duration>,
    errors: Vec<Fault>,
}

/// One thing that is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Fault {
    /// Where it is: a JSON pointer (RFC 6901) into the body.
    pub(super) pointer: String,
    /// What is wrong.
    pub(super) detail: String,
}

/// A problem as clients read it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem, example = json!({
    "type": "/api/v1/docs/#rate_limited", "title": "Too Many Requests", "status": 429, "code": "rate_limited",
    "detail": "too fast; try again after the wait", "retryAfterMs": 200
}))]
pub(super) struct Told<'a> {
    /// Where the code is explained.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// The stable, machine-readable reason.
    code: &'static str,
    /// What happened and what to do about it, for people.
    detail: &'a str,
    /// How long to wait before the same request may succeed, in milliseconds, where waiting helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    /// What is wrong with the body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
}

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { code: kind.code(), status: kind.status(), detail: detail.into(), retry_after: None, errors: Vec::new() }
    }

    /// The same with the place in the body.
    pub(super) fn at(self, pointer: impl Into<String>) -> Self {
        let fault = Fault { pointer: pointer.into(), detail: self.detail.clone() };
        Self { errors: vec![fault], ..self }
    }

    /// Of which it is told how long to wait.
    pub(super) fn after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// The body.
    pub(super) fn text(&self) -> String {
        let title = self.status.canonical_reason().unwrap_or("Problem");
        // Rounded up: whoever waits exactly this long must not be a fraction too early.
        let ms = |wait: Duration| u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let told = Told {
            kind: format!("{EXPLAINED_AT}#{}", self.code),
            title,
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            retry_after_ms: self.retry_after.map(ms),
            errors: self.errors.clone(),
        };
        serde_json::to_string(&told).expect("problems are plain structs")
    }
}

/// What the gateway refuses to back ends.
pub(super) fn refusals() -> [Refusal; 8] {
    [
        Refusal::bad_request("an event's name is too long, its JSON nests too deeply, or the like"),
        Refusal::BadRoom,
        Refusal::TooLarge { limit: 65_536 },
        Refusal::RateLimited { retry_after: Duration::from_secs(1) },
        Refusal::Unavailable,
        Refusal::LogFull,
        Refusal::NoDatabase,
        Refusal::QueueFull,
    ]
}

/// The status of what the gateway refuses.
pub(super) fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::BadRequest(_) | Refusal::BadRoom => StatusCode::BAD_REQUEST,
        Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::RateLimited { .. }
        | Refusal::TooMuchKept { .. }
        | Refusal::TooManyNewRooms { .. }
        | Refusal::TooManyConnects
        | Refusal::TooManyConnections => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Overloaded
        | Refusal::Unavailable
        | Refusal::Capacity
        | Refusal::Busy
        | Refusal::Draining
        | Refusal::Elsewhere
        | Refusal::LogFull
        | Refusal::QueueFull => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::TokenRequired | Refusal::Unauthorized | Refusal::TokenExpired | Refusal::TokenRevoked => {
            StatusCode::UNAUTHORIZED
        }
        Refusal::NotAllowed | Refusal::NotInRoom | Refusal::ForbiddenOrigin => StatusCode::FORBIDDEN,
        Refusal::UnknownEvent => StatusCode::NOT_FOUND,
        Refusal::TooManyRooms { .. }
        | Refusal::TooManyNamespaces { .. }
        | Refusal::TooManySessions { .. }
        | Refusal::Taken
        | Refusal::RoomFull { .. } => StatusCode::CONFLICT,
        Refusal::NoDatabase => StatusCode::NOT_IMPLEMENTED,
        Refusal::Rejected(_) => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.code(),
            status: status_of(&refusal),
            detail: refusal.message(),
            retry_after: refusal.retry_after(),
            errors: Vec::new(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.text()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(wait) = self.retry_after {
            // Whole seconds, rounded up: the header knows no others.
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_millis().div_ceil(1000).max(1) as u64));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"gateway\""));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_where_and_when() {
        let problem = Problem::new(Kind::BadBody, "unknown field `x`").at("/except/rooms/0");
        assert_eq!(
            problem.text(),
            r##"{"type":"/api/v1/docs/#bad_body","title":"Bad Request","status":400,"code":"bad_body","detail":"unknown field `x`","errors":[{"pointer":"/except/rooms/0","detail":"unknown field `x`"}]}"##
        );
        let limited = Problem::from(Refusal::RateLimited { retry_after: Duration::from_micros(1_500) });
        assert!(limited.text().contains(r#""retryAfterMs":2"#));
        let response = limited.into_response();
        assert_eq!((response.status().as_u16(), &response.headers()[RETRY_AFTER]), (429, &HeaderValue::from(1)));
    }

    #[test]
    fn codes_are_said_once() {
        let mut codes: Vec<_> = Kind::ALL.iter().map(|(code, ..)| *code).chain(Refusal::CODES).collect();
        codes.sort_unstable();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count);
        assert_eq!(Kind::RepeatDiffers.code(), "repeat_differs");
    }
}
