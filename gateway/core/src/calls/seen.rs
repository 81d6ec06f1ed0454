//! What traces say of a request to a back end: where it went and what came of it, and nothing that is in it.

use http::StatusCode;

use super::{Caller, Endpoint};
use crate::traces::{self, Kind, Span, Traces};

impl Caller {
    /// The same, for whoever asks by itself and not as a part of something: such traces begin there.
    #[must_use]
    pub fn traced(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// What begins traces, and goes on with those of what was kept.
    #[must_use]
    pub fn traces(&self) -> &Traces {
        &self.traces
    }
}

/// A request to a back end, as a part of what is being done.
pub(super) fn request(endpoint: &Endpoint, number: u32) -> Span {
    let mut span = traces::span(Kind::Client, endpoint.purpose.span());
    if span.is_recorded() {
        span.say("http.request.method", "POST");
        // Paths may be secrets, as those of webhooks are.
        span.say("server.address", endpoint.url.host_str().unwrap_or_default().to_owned());
        span.say("server.port", endpoint.url.port_or_known_default().unwrap_or_default());
        if number > 1 {
            span.say("http.request.resend_count", number - 1);
        }
    }
    span
}

/// How it ended: with which status, or why without one.
pub(super) fn ended(mut span: Span, status: Option<StatusCode>, failed: Option<&'static str>) {
    if let Some(status) = status {
        span.say("http.response.status_code", status.as_u16());
    }
    match (status, failed) {
        (Some(status), Some(_)) if !status.is_success() => span.fail(status.as_str().to_owned()),
        (_, Some(why)) => span.fail(why),
        (_, None) => {}
    }
}
