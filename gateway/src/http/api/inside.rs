//! The API from inside: operators ask it on the admin listener, in place of a back end's key.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use tokio::time::Instant;

use super::guard::Done;
use super::operations::is_open_to_viewers;
use super::{Api, EventStream, Problem, REQUEST_ID, Seen, readable, request_id};
use crate::audit::{Visitor, audit};
use gateway_core::auth::ApiKey;
use gateway_core::domain::Refusal;

impl Api {
    /// Answers a request of an operator, whose path is one of the API.
    pub(in crate::http) async fn answer_inside(&self, request: Request<Bytes>, visitor: Visitor) -> Response {
        let (started, id, mut seen) = (Instant::now(), request_id(request.headers()), Seen::default());
        let key = Arc::new(ApiKey::of_everything(visitor.role.word()));
        let from = visitor.peer.ip();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = match readable(&request) {
            Ok(()) => self.routed(request, key, Some(visitor), &id, from, &mut seen).await,
            Err(problem) => Err(problem),
        };
        let mut response = answer.unwrap_or_else(Problem::into_response);
        let done = response.extensions().get::<Done>().map(|done| done.0);
        if method == Method::GET && done.is_some_and(|name| !is_open_to_viewers(name)) {
            audit(visitor.by(), "read", &path, response.status());
        }
        self.tell(&mut response, &seen, &id, started);
        self.limit(response.headers_mut(), &seen);
        response.headers_mut().extend(HeaderValue::from_str(&id).ok().map(|id| (REQUEST_ID, id)));
        // What goes on for ever is its body here.
        match response.extensions_mut().remove::<EventStream>().and_then(|stream| stream.take()) {
            Some(pieces) => {
                use futures_util::StreamExt;
                let pieces = pieces.map(Ok::<_, std::convert::Infallible>);
                Response::from_parts(response.into_parts().0, Body::from_stream(pieces))
            }
            None => response,
        }
    }

    /// The answer to one whose body is too large, or did not come.
    pub(in crate::http) fn unread_inside(&self, status: StatusCode) -> Response {
        let problem = match status {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::from(Refusal::TooLarge { limit: self.body_bytes() }),
            _ => Problem::from(Refusal::bad_request("the body could not be read")),
        };
        problem.into_response()
    }
}
