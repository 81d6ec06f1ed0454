//! Revoking tokens, on the admin listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::admin::AdminState;
use crate::audit::{By, audit};
use gateway_core::auth::Revoked;
use gateway_core::domain::UserId;
use gateway_core::revocations::Subject;

/// How many revocations are listed.
const LISTED: usize = 1000;
/// The longest `jti`, in bytes: no token that is looked at is much longer.
const MAX_ID_BYTES: usize = 8 * 1024;
/// The largest request, in bytes.
const MAX_BODY_BYTES: usize = 2 * MAX_ID_BYTES;
/// How far ahead `before` may be, in seconds. Later times are milliseconds, or meant as a ban, which this is not.
const AHEAD: u64 = 24 * 3600;
/// What a body should be.
const EXPECTED: &str = r#"send {"token": "<jti>"}, or {"user": "<id>"} with "before" in seconds since 1970 if not now"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    token: Option<String>,
    user: Option<String>,
    before: Option<u64>,
}

/// The routes; who may use them is the caller's to see to.
pub(super) fn routes() -> Router<AdminState> {
    Router::new().route("/revocations", get(list).post(revoke)).layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

async fn list(State(state): State<AdminState>) -> Response {
    let revoked: &Arc<Revoked> = &state.revoked;
    let (revocations, total) = revoked.list(LISTED);
    Json(json!({ "revocations": revocations, "total": total })).into_response()
}

async fn revoke(State(state): State<AdminState>, ConnectInfo(peer): ConnectInfo<SocketAddr>, body: Bytes) -> Response {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let subject = match subject(&body, now) {
        Ok(subject) => subject,
        Err(why) => return (StatusCode::BAD_REQUEST, Json(json!({ "error": why }))).into_response(),
    };
    let whom = match &subject {
        Subject::Token { token } => format!("token {token}"),
        Subject::User { user, before } => format!("user {}, tokens from before {before}", user.as_str()),
    };
    let revoked = state.revoked.revoke(subject).await;
    let outcome = revoked.as_ref().map_or_else(|error| format!("failed: {error}"), |()| "done".to_owned());
    audit(By::Operator(peer), "revoke", &whom, outcome);
    match revoked {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": error.to_string() }))).into_response(),
    }
}

/// Reads what is to be revoked, or says what is wrong.
fn subject(body: &[u8], now: u64) -> Result<Subject, String> {
    let wish: Wish = serde_json::from_slice(body).map_err(|error| format!("{error}; {EXPECTED}"))?;
    match wish {
        Wish { token: Some(token), user: None, before: None } => {
            if token.is_empty() || token.len() > MAX_ID_BYTES {
                return Err(format!("token is a jti of 1 to {MAX_ID_BYTES} bytes; {EXPECTED}"));
            }
            Ok(Subject::Token { token })
        }
        Wish { token: None, user: Some(user), before } => {
            let user = UserId::parse(&user).ok_or_else(|| format!("user is not a user id; {EXPECTED}"))?;
            // Tokens are dated by the second. Those of this one were issued before this request, as far as can be told.
            let before = before.unwrap_or(now + 1);
            if before > now.saturating_add(AHEAD) {
                return Err(format!("before is more than a day ahead; it is in seconds since 1970; {EXPECTED}"));
            }
            Ok(Subject::User { user, before })
        }
        Wish { token: Some(_), .. } => Err(format!("a token is revoked by its id alone; {EXPECTED}")),
        Wish { token: None, user: None, .. } => Err(EXPECTED.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_revoked() {
        let alice = UserId::parse("alice").unwrap();
        let cases = [
            (r#"{"token":"t1"}"#, Subject::Token { token: "t1".into() }),
            (r#"{"user":"alice"}"#, Subject::User { user: alice.clone(), before: 1_001 }),
            (r#"{"user":"alice","before":7}"#, Subject::User { user: alice.clone(), before: 7 }),
            (r#"{"user":"alice","before":87400}"#, Subject::User { user: alice, before: 87_400 }),
        ];
        for (body, expected) in cases {
            assert_eq!(subject(body.as_bytes(), 1_000), Ok(expected), "{body}");
        }
    }

    #[test]
    fn what_cannot_be_revoked_is_said_in_words() {
        let long = format!(r#"{{"token":"{}"}}"#, "x".repeat(MAX_ID_BYTES + 1));
        for (body, word) in [
            ("", "EOF"),
            ("[]", "token"),
            ("{}", "send"),
            ("\u{0}", "expected value"),
            (r#"{"token":"t","user":"alice"}"#, "alone"),
            (r#"{"token":"t","before":7}"#, "alone"),
            (r#"{"token":""}"#, "1 to"),
            (&long, "1 to"),
            (r#"{"user":""}"#, "not a user id"),
            (r#"{"user":"a\n"}"#, "not a user id"),
            (r#"{"user":"alice","before":-1}"#, "invalid value"),
            (r#"{"user":"alice","before":"now"}"#, "invalid type"),
            (r#"{"user":"alice","before":87401}"#, "a day ahead"),
            (r#"{"user":"alice","untli":1}"#, "unknown field"),
        ] {
            let why = subject(body.as_bytes(), 1_000).unwrap_err();
            assert!(why.contains(word) && why.contains("send {"), "{body}: {why}");
        }
    }
}
