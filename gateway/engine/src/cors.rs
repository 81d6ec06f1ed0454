//! What browsers need to know before they let a page of another origin read an answer.

use bytes::Bytes;
use http::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, HeaderMap, HeaderValue,
    ORIGIN, VARY,
};

use crate::handler::Answer;

/// How long browsers may remember that they may ask, in seconds. None remembers longer than a day, and most two hours.
const REMEMBERED: HeaderValue = HeaderValue::from_static("7200");

/// A browser's question whether it may ask.
pub(crate) fn preflight(headers: &HeaderMap) -> Answer {
    let mut response = Response::new(Bytes::new());
    let answer = response.headers_mut();
    answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET,POST"));
    if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    answer.insert(ACCESS_CONTROL_MAX_AGE, REMEMBERED);
    response
}

/// The answer with the headers without which browsers keep it from the page that asked. Balancers keep polling on its
/// node by a cookie; with credentials there is no `*`, so the origin is named.
pub(crate) fn shared_with(mut answer: Answer, request: &HeaderMap) -> Answer {
    if let Some(origin) = request.get(ORIGIN) {
        let headers = answer.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(VARY, HeaderValue::from_static("origin"));
    }
    answer
}
