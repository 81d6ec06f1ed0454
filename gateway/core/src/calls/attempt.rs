//! One attempt to ask a back end: a request, and what its answer means.

use std::error::Error;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use reqwest::{Client, Response};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::endpoint::shown;
use super::{Ask, IDEMPOTENCY_KEY};
use crate::calls::breaker::Verdict;
use crate::traces;

const REQUEST_ID: &str = "x-request-id";
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What is read of an answer that says no: the message, not a page around it.
const REFUSAL_BYTES: usize = 16_384;
/// The longest message of a back end that is passed on, in characters.
const MESSAGE_CHARS: usize = 200;
const REFUSED: &str = "the back end refused";

/// Why an attempt brought no answer that can be passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// For logs: nothing of what was sent, nothing secret.
    pub(super) reason: String,
    /// When the back end wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It said no. Asking again would not change it.
    Rejected(Rejection),
    /// It said "not now" (408, 425, 429).
    Postponed,
    /// It did not answer in time.
    TimedOut,
    /// It could not be reached, or made no sense.
    Failed,
    /// It is elsewhere. Asking again would not change it.
    Moved,
}

/// A no (4xx).
#[derive(Debug, PartialEq, Eq)]
pub struct Rejection {
    /// With which status.
    pub status: StatusCode,
    /// What came with it, unless it is larger than 16 KiB.
    pub body: Vec<u8>,
}

impl Rejection {
    /// What the client reads: the back end's own words, if they are fit for it.
    #[must_use]
    pub fn words(&self) -> String {
        #[derive(Deserialize)]
        struct Words {
            message: String,
        }
        let words = serde_json::from_slice::<Words>(&self.body).map(|words| words.message);
        fit(words.unwrap_or_default())
    }
}

/// A back end's words, or the usual ones if they are not fit for being shown: one line of at most 200 characters.
#[must_use]
pub fn fit(words: String) -> String {
    let is_fit =
        !words.trim().is_empty() && words.chars().count() <= MESSAGE_CHARS && !words.chars().any(char::is_control);
    if is_fit { words } else { REFUSED.to_owned() }
}

impl Failure {
    fn new(kind: Kind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), retry_after: None }
    }

    pub(super) fn timed_out(timeout: Duration) -> Self {
        Self::new(Kind::TimedOut, format!("no whole answer within {timeout:?}"))
    }

    /// Whether another attempt may bring something else.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.kind, Kind::Postponed | Kind::TimedOut | Kind::Failed)
    }

    /// Who answers with a 4xx works. If "not now" to one client counted, that client could keep all others from
    /// being served.
    pub(super) fn verdict(&self) -> Verdict {
        match self.kind {
            Kind::Rejected(_) | Kind::Postponed => Verdict::Works,
            Kind::TimedOut | Kind::Failed | Kind::Moved => Verdict::Fails,
        }
    }
}

/// Asks once, and notes the status of the answer as soon as there is one. Takes as long as it takes; dropping it closes the
/// connection.
pub(super) async fn attempt(
    client: &Client,
    ask: &Ask<'_>,
    most_bytes: usize,
    answered: &mut Option<StatusCode>,
) -> Result<Box<RawValue>, Failure> {
    let endpoint = ask.endpoint;
    let mut headers = HeaderMap::new();
    traces::current().iter().for_each(|trace| trace.add_to(&mut headers));
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(ACCEPT, JSON);
    let request = client.post(endpoint.url.clone()).headers(headers).headers(endpoint.headers.clone());
    let request = request.header(IDEMPOTENCY_KEY, ask.key.clone()).header(REQUEST_ID, ask.id.clone());
    let mut response =
        request.body(ask.body.clone()).send().await.map_err(|error| Failure::new(Kind::Failed, chain(error)))?;
    let status = response.status();
    *answered = Some(status);
    if status.is_success() {
        return answer(response, most_bytes).await;
    }
    let retry_after = retry_after(response.headers());
    let reason = format!("it answers {status}");
    if status.is_redirection() {
        return Err(Failure::new(Kind::Moved, moved(&response)));
    }
    let kind = match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => Kind::Postponed,
        status if status.is_client_error() => {
            let body = read(&mut response, REFUSAL_BYTES).await.ok().flatten().unwrap_or_default();
            Kind::Rejected(Rejection { status, body })
        }
        _ => Kind::Failed,
    };
    Err(Failure { kind, reason, retry_after })
}

async fn answer(mut response: Response, most_bytes: usize) -> Result<Box<RawValue>, Failure> {
    let failed = |reason: String| Failure::new(Kind::Failed, reason);
    let encoding = response.headers().get(CONTENT_ENCODING);
    if let Some(encoding) = encoding.filter(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(failed(format!("its answer is encoded ({encoding:?}), which was not asked for")));
    }
    let body = match read(&mut response, most_bytes).await {
        Ok(Some(body)) => body,
        Ok(None) => return Err(failed(format!("its answer has more than {most_bytes} bytes"))),
        Err(error) => return Err(failed(format!("its answer broke off: {}", chain(error)))),
    };
    if body.trim_ascii().is_empty() {
        return Ok(RawValue::NULL.to_owned());
    }
    // The error's text may repeat what was answered; where it is says enough.
    serde_json::from_slice(&body)
        .map_err(|error| failed(format!("its answer is not JSON (line {}, column {})", error.line(), error.column())))
}

/// The body as it came, or nothing if it is larger than `most_bytes`.
async fn read(response: &mut Response, most_bytes: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    // Nothing is set aside for what was only announced.
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most_bytes {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

pub(super) fn moved(response: &Response) -> String {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| response.url().join(location).ok());
    let target = target.map_or_else(|| "nowhere in particular".to_owned(), |url| shown(&url));
    format!("it answers {} and points to {target}: redirects are not followed, name the real URL", response.status())
}

/// `Retry-After`: seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// The error and what caused it, without the URL, which may carry credentials.
pub(super) fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, ": {error}").ok();
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(text: &'static str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
        retry_after(&headers)
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        assert_eq!(waits("7"), Some(Duration::from_secs(7)));
        assert_eq!(waits("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO), "it is over");
        let far = waits("Tue, 31 Dec 2999 23:59:59 GMT").unwrap();
        assert!(far > Duration::from_secs(86_400), "{far:?}");
        for other in ["", "-1", "soon", "1.5"] {
            assert_eq!(waits(other), None, "{other}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
