//! Answers as front ends read them: JSON, with what kept something from being done as `message`, and for pages of other origins.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LINK, ORIGIN, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use serde::Serialize;

use gateway_core::domain::{Refusal, Worded};

/// How long browsers may remember that they may ask, in seconds.
const REMEMBERED: HeaderValue = HeaderValue::from_static("7200");
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METHODS: HeaderValue = HeaderValue::from_static("GET,POST,PUT,PATCH,DELETE");
/// What pages of other origins may read beside the body.
const EXPOSED: HeaderValue = HeaderValue::from_static("Link,Retry-After");

/// An answer without what goes with all of them.
#[derive(Debug)]
pub(super) struct Answered {
    status: StatusCode,
    media_type: HeaderValue,
    body: Vec<u8>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Why something was not done.
#[derive(Debug)]
pub(super) struct Denial {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after_ms: Option<u64>,
    allow: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    message: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Answered {
    pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("answers are plain structs");
        Self { status, media_type: JSON, body, headers: Vec::new() }
    }

    /// The same in words that are read as they are.
    pub(super) fn in_words(self, words: &str) -> Self {
        Self { media_type: TEXT, body: words.as_bytes().to_owned(), ..self }
    }

    /// The same with where the next page is.
    pub(super) fn with_next(mut self, target: &str) -> Self {
        let link = HeaderValue::from_str(&format!("<{target}>; rel=\"next\""));
        self.headers.extend(link.ok().map(|link| (LINK, link)));
        self
    }

    pub(super) fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.media_type);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.extend(self.headers);
        response
    }
}

impl Denial {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after_ms: None, allow: None }
    }

    /// A refusal, in the deployment's words.
    pub(super) fn of(worded: &Worded<'_>) -> Self {
        // Rounded up: whoever waits exactly this long must not be a fraction too early.
        let ms = |wait: std::time::Duration| u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let (refusal, message) = (worded.refusal, worded.message.clone());
        let retry_after_ms = refusal.retry_after().map(ms);
        Self { status: status_of(refusal), code: refusal.code(), message, retry_after_ms, allow: None }
    }

    /// The path has other methods.
    pub(super) fn method(allow: &'static str) -> Self {
        let denial = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path has other methods");
        Self { allow: Some(allow), ..denial }
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Denial> for Answered {
    fn from(denial: Denial) -> Self {
        let Denial { status, code, message, retry_after_ms, allow } = denial;
        let mut answered = Self::json(status, &Told { message: &message, code, retry_after_ms });
        // Whole seconds, rounded up: the header knows no others.
        let seconds = retry_after_ms.map(|ms| HeaderValue::from(ms.div_ceil(1000).max(1)));
        answered.headers.extend(seconds.map(|seconds| (RETRY_AFTER, seconds)));
        answered.headers.extend(allow.map(|allow| (ALLOW, HeaderValue::from_static(allow))));
        if status == StatusCode::UNAUTHORIZED {
            answered.headers.push((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"gateway\"")));
        }
        answered
    }
}

fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::BadRequest(_) => StatusCode::BAD_REQUEST,
        Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
        Refusal::TokenRequired | Refusal::Unauthorized | Refusal::TokenExpired | Refusal::TokenRevoked => {
            StatusCode::UNAUTHORIZED
        }
        Refusal::NotAllowed | Refusal::ForbiddenOrigin | Refusal::Rejected(_) => StatusCode::FORBIDDEN,
        Refusal::NoDatabase => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// A browser's question whether it may ask.
pub(super) fn preflight(request: &HeaderMap) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, REMEMBERED);
    response
}

/// The answer with the headers without which browsers keep it from a page of another origin, which was let in before.
pub(super) fn shared_with(mut response: Response<Bytes>, request: &HeaderMap) -> Response<Bytes> {
    let headers = response.headers_mut();
    if let Some(origin) = request.get(ORIGIN) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    response
}
