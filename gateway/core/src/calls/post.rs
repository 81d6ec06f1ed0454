//! Posting: one attempt to hand something to a back end, of which nothing is wanted but that it takes it.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use tokio::time::timeout;

use super::attempt::{JSON, chain, moved, retry_after};
use super::breaker::Verdict;
use super::{Asker, Caller, Endpoint, seen};
use crate::traces;

/// What is read of an answer, so that its connection can be used again. A longer one costs the connection.
const ANSWER_BYTES: usize = 16_384;

/// A back end did not take what was posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untaken {
    /// Why.
    pub why: Why,
    /// For logs and operators: nothing of what was sent, nothing secret.
    pub reason: String,
    /// When the back end wants to be asked again.
    pub retry_after: Option<Duration>,
    /// With what it answered, if it did.
    pub status: Option<StatusCode>,
}

/// Why a back end did not take something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It refused it: a 4xx. Asking again would not change that.
    Refused,
    /// It said "not now" (408, 425, 429).
    Postponed,
    /// It is elsewhere, and whoever configured it has to say where.
    Redirected,
    /// It did not answer in time.
    TimedOut,
    /// It could not be reached, broke off, or answered with a 5xx or nonsense.
    Failed,
    /// It was not asked: it failed too often before.
    Open,
}

impl Why {
    /// One of `metrics::HOOK_RESULTS`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Postponed => "postponed",
            Self::Redirected => "redirected",
            Self::TimedOut => "timeout",
            Self::Failed => "failed",
            Self::Open => "open",
        }
    }
}

impl Untaken {
    fn new(why: Why, reason: impl Into<String>) -> Self {
        Self { why, reason: reason.into(), retry_after: None, status: None }
    }
}

impl Caller {
    /// Posts `body`, which must be JSON, once, with `headers` beside those of the endpoint; any 2xx means that it was taken,
    /// whatever the answer says. The endpoint's timeout holds, its attempts do not. The breaker is the one that calls to the
    /// same back end have. Dropping the future closes the connection.
    ///
    /// # Errors
    /// See [`Untaken`].
    pub async fn post(
        &self,
        endpoint: &Endpoint,
        asker: &Asker,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(), Untaken> {
        self.post_and_hear(endpoint, asker, headers, body).await.map(drop)
    }

    /// The same for whom it matters what the back end says: the answer's body, or nothing of one that is larger than 16 KiB or
    /// broke off.
    ///
    /// # Errors
    /// See [`Untaken`].
    pub async fn post_and_hear(
        &self,
        endpoint: &Endpoint,
        asker: &Asker,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Vec<u8>, Untaken> {
        let back_end = self.back_end(endpoint);
        let Some(permit) = back_end.circuit.permit(endpoint.breaker, asker) else {
            return Err(Untaken::new(Why::Open, "it failed too often in a row and is left alone for a while"));
        };
        let span = seen::request(endpoint, 1);
        let posted = timeout(endpoint.timeout, span.within(self.post_now(endpoint, headers, body))).await;
        let posted = posted
            .unwrap_or_else(|_| Err(Untaken::new(Why::TimedOut, format!("no answer within {:?}", endpoint.timeout))));
        let status = posted.as_ref().map_or_else(|untaken| untaken.status, |response| Some(response.status()));
        seen::ended(span, status, posted.as_ref().err().map(|untaken| untaken.why.as_str()));
        let verdict = match posted.as_ref().map_err(|untaken| untaken.why) {
            Ok(_) | Err(Why::Refused | Why::Postponed) => Verdict::Works,
            Err(_) => Verdict::Fails,
        };
        self.report(endpoint, asker, permit.settle(verdict));
        let response = posted?;
        // It has taken it; how the rest of its answer goes is of no interest.
        Ok(timeout(endpoint.timeout, drain(response)).await.ok().flatten().unwrap_or_default())
    }

    async fn post_now(&self, endpoint: &Endpoint, headers: HeaderMap, body: Bytes) -> Result<Response, Untaken> {
        let mut first = HeaderMap::from_iter([(CONTENT_TYPE, JSON)]);
        traces::current().iter().for_each(|trace| trace.add_to(&mut first));
        let request = self.client.post(endpoint.url.clone()).headers(first);
        let request = request.headers(endpoint.headers.clone()).headers(headers).body(body);
        let response = request.send().await.map_err(|error| Untaken::new(Why::Failed, chain(error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let why = match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => Why::Postponed,
            status if status.is_client_error() => Why::Refused,
            status if status.is_redirection() => Why::Redirected,
            _ => Why::Failed,
        };
        let reason = if why == Why::Redirected { moved(&response) } else { format!("it answers {status}") };
        let retry_after = retry_after(response.headers());
        // What is wrong stands in the status; its words may hold what must not be shown.
        drain(response).await;
        Err(Untaken { why, reason, retry_after, status: Some(status) })
    }
}

/// Reads an answer; nothing if it is too large, or breaks off.
async fn drain(mut response: Response) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if read.len() + chunk.len() > ANSWER_BYTES {
            return None;
        }
        read.extend_from_slice(&chunk);
    }
    Some(read)
}
