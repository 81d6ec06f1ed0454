//! What traces say of requests of back ends: which operation it was and what came of it, and nothing that was in it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::{Method, Request, StatusCode};

use super::guard::Done;
use super::operations::{Operation, ROOT};
use super::problem::Problem;
use super::{Api, Seen};
use crate::audit::Visitor;
use gateway_core::auth::ApiKey;
use gateway_core::traces::{Kind, Span, Trace, Traces, span};

impl Api {
    /// Has the request of somebody who was let in answered. It goes on with the trace that a back end brings; what a browser
    /// brings is anybody's.
    pub(super) async fn routed(
        &self,
        request: Request<Bytes>,
        key: Arc<ApiKey>,
        visitor: Option<Visitor>,
        id: &str,
        from: IpAddr,
        seen: &mut Seen,
    ) -> Result<Response, Problem> {
        let brought = visitor.is_none().then(|| Trace::of_headers(request.headers())).flatten();
        let asked = Asked::begin(&self.traces, brought, request.method(), id);
        let answered = asked.within(self.admitted(request, key, visitor, id, from, seen)).await;
        asked.end(&answered);
        answered
    }
}

/// A request under way.
pub(super) struct Asked {
    span: Span,
    method: Method,
}

impl Asked {
    /// One that begins here, or goes on with a trace.
    pub(super) fn begin(traces: &Traces, brought: Option<Trace>, method: &Method, id: &str) -> Self {
        let mut span = traces.begin(brought, Kind::Server, "request");
        if span.is_recorded() {
            span.say("gateway.request_id", id.to_owned());
        }
        Self { span, method: method.clone() }
    }

    /// An item of a batch, as a part of its request.
    pub(super) fn item(method: &Method) -> Self {
        Self { span: span(Kind::Internal, "item"), method: method.clone() }
    }

    pub(super) fn within<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        self.span.within(work)
    }

    /// It was answered: by which operation stands with the answer.
    pub(super) fn end(self, answered: &Result<Response, Problem>) {
        let done = answered.as_ref().ok().and_then(|response| response.extensions().get::<Done>());
        let operation = done.and_then(|Done(name)| Operation::named(name));
        let status = answered.as_ref().map_or_else(|problem| problem.status, Response::status);
        self.end_as(operation, status);
    }

    /// It was answered by an operation, with a status.
    pub(super) fn end_as(self, operation: Option<&'static Operation>, status: StatusCode) {
        let Self { mut span, method } = self;
        if !span.is_recorded() {
            return;
        }
        // Others are anybody's words.
        let known =
            [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS];
        let method = known.into_iter().find(|known| *known == method);
        let (shown, said) = method.as_ref().map_or(("HTTP", "_OTHER"), |method| (method.as_str(), method.as_str()));
        span.rename(|| match operation {
            Some(operation) => format!("{shown} {ROOT}{}", operation.path()),
            None => shown.to_owned(),
        });
        span.say("http.request.method", said.to_owned());
        if let Some(operation) = operation {
            span.say("http.route", format!("{ROOT}{}", operation.path()));
            span.say("gateway.operation", operation.name);
        }
        span.say("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            span.fail(status.as_str().to_owned());
        }
    }
}
