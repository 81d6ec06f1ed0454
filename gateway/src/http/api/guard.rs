//! The guard: what every operation asks of a request before it is done, of items of a batch too.

use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::call::{Asker, Call, PathParams};
use super::operations::{Operation, is_open_to_viewers};
use super::problem::{Kind, Problem};
use super::repeated::{KEY, Once};
use crate::http::let_in::READ_ONLY;
use gateway_core::domain::Refusal;
use gateway_core::metrics::Metrics;
use gateway_core::repeats::Repeats;

/// What the guard knows. Cloning gives another handle of the same.
#[derive(Clone)]
pub(super) struct Guard {
    /// The largest body of one event, and of a batch, in bytes.
    body_bytes: [usize; 2],
    repeats: Arc<dyn Repeats>,
    metrics: Arc<Metrics>,
}

/// Which operation a response is of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done(pub(super) &'static str);

/// Lets a request through to its operation.
pub(super) async fn guard(
    State(guard): State<Guard>,
    matched: MatchedPath,
    path: RawPathParams,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(operation) = Operation::find(request.method(), matched.as_str()) else {
        // It is answered by what the path does not have.
        return next.run(request).await;
    };
    let mut response = match guard.admit(operation, &path, &mut request) {
        Ok(()) if operation.is_write() && request.headers().contains_key(KEY) => {
            Once { repeats: &*guard.repeats, metrics: &guard.metrics }.run(request, next).await
        }
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    guard.count(operation, response.status());
    response.extensions_mut().insert(Done(operation.name));
    response
}

/// Counts an answer.
pub(super) fn count(metrics: &Metrics, operation: &str, status: StatusCode) {
    let class = match status.as_u16() {
        500.. => "5xx",
        400..500 => "4xx",
        _ => "2xx",
    };
    metrics.api_requests.with(operation, class).increment(1);
}

impl Guard {
    pub(super) fn new(body_bytes: [usize; 2], repeats: Arc<dyn Repeats>, metrics: Arc<Metrics>) -> Self {
        Self { body_bytes, repeats, metrics }
    }

    fn admit(&self, operation: &'static Operation, path: &RawPathParams, request: &mut Request) -> Result<(), Problem> {
        let asker = request.extensions().get::<Arc<Asker>>().cloned();
        let asker = asker.ok_or_else(|| Problem::new(Kind::KeyRequired, "send a key"))?;
        let path = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let (query, bytes) = (request.uri().query().unwrap_or_default(), request.body().size_hint().lower());
        let call = self.call(operation, asker, path, query, bytes)?;
        request.extensions_mut().insert(call);
        Ok(())
    }

    /// A request with a body of so many bytes as the call of an operation.
    ///
    /// # Errors
    /// It may not be made, or not so.
    pub(super) fn call(
        &self,
        operation: &'static Operation,
        asker: Arc<Asker>,
        path: PathParams,
        query: &str,
        bytes: u64,
    ) -> Result<Call, Problem> {
        if !operation.is_batch() && !asker.key.has(operation.scope) {
            let words = format!("the key does not have the scope {:?}", operation.scope.name());
            return Err(Problem::new(Kind::ScopeMissing, words));
        }
        if asker.is_viewer() && !is_open_to_viewers(operation.name) {
            return Err(Problem::new(Kind::OutOfReach, READ_ONLY));
        }
        let limit = self.body_bytes[usize::from(operation.is_batch())];
        if bytes > limit as u64 {
            return Err(Refusal::TooLarge { limit }.into());
        }
        Call::new(asker, operation, path, query)
    }

    /// Counts the answer to an operation.
    pub(super) fn count(&self, operation: &Operation, status: StatusCode) {
        count(&self.metrics, operation.name, status);
    }
}
