//! Who is let in to what the admin listener shows and does: operators, and viewers as far as nothing changes.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER};
use http::{Method, StatusCode};
use serde_json::json;

use crate::audit::Visitor;
use gateway_core::auth::{NoOperator, OperatorRole, OperatorToken};

/// What is said to a viewer that wants to change something.
pub(super) const READ_ONLY: &str = "admin.viewer_token only looks: this needs admin.token";
const WRONG: &str = "send Authorization: Bearer with admin.token";
const TOO_MANY: &str = "wrong tokens came from this address, and the next ones have to wait for each other";

/// Why somebody is not.
pub(super) enum Turned {
    /// It has no token, or a wrong one.
    Away,
    /// It has to come later, in so many seconds.
    Later(u64),
    /// It may look only.
    ReadOnly,
}

/// Looks at who sends a request.
pub(super) async fn look(
    token: &OperatorToken,
    given: Option<&str>,
    method: &Method,
    peer: SocketAddr,
) -> Result<Visitor, Turned> {
    let let_in = token.check(given, peer.ip()).await.map_err(|why| match why {
        NoOperator::Wrong => Turned::Away,
        NoOperator::TooMany { retry_after } => Turned::Later(retry_after.as_secs().max(1)),
    })?;
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && let_in.role == OperatorRole::Viewer {
        return Err(Turned::ReadOnly);
    }
    Ok(Visitor { role: let_in.role, peer })
}

/// Lets a request through, or says in JSON why not.
pub(super) async fn authorize(
    State(token): State<Arc<OperatorToken>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let given = bearer(request.headers());
    match look(&token, given.as_deref(), request.method(), peer).await {
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        Err(why) => why.into_response(),
    }
}

impl IntoResponse for Turned {
    fn into_response(self) -> Response {
        let told = |status, words: &str| (status, Json(json!({ "error": words }))).into_response();
        match self {
            Self::Away => told(StatusCode::UNAUTHORIZED, WRONG),
            Self::ReadOnly => told(StatusCode::FORBIDDEN, READ_ONLY),
            Self::Later(seconds) => {
                let mut response = told(StatusCode::TOO_MANY_REQUESTS, TOO_MANY);
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
                response
            }
        }
    }
}

/// Programs, and scripts of the console, send it. What browsers send by themselves, a password, would come with requests of other
/// people's pages too.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, text) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_browser_sends_by_itself_is_heeded() {
        let bearer = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            bearer(&headers)
        };
        assert_eq!(bearer("Bearer a:b"), Some("a:b".into()));
        assert_eq!(bearer("bearer x"), Some("x".into()));
        for nothing in ["", "Bearer", "Basic OnJpZ2h0", "Digest x"] {
            assert_eq!(bearer(nothing), None, "{nothing}");
        }
    }
}
