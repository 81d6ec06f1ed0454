//! Taking tokens back.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::body::{Body, given};
use super::call::Call;
use super::problem::{Kind, Problem};
use super::state::ApiState;
use gateway_core::domain::UserId;
use gateway_core::service::Revoked;

/// The longest `jti`, in bytes: no token that is looked at is much longer.
const MAX_ID_BYTES: usize = 8 * 1024;
/// How far ahead `before` may be, in seconds. Later times are milliseconds, or meant as a ban, which this is not.
const AHEAD: u64 = 24 * 3600;

/// Which tokens are taken back: one, or those of a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "user": "alice" }))]
pub(super) struct Revocation {
    /// The `jti` of one token. Not together with `user`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 8192)]
    token: Option<String>,
    /// The user whose tokens are taken back.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 255, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")]
    user: Option<String>,
    /// Only those that were issued before this time, in seconds since 1970; now, if it is not said. At most a day ahead.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = u64, required = false, minimum = 0)]
    before: Option<u64>,
}

/// Takes tokens back: sessions with them end within a second, on all nodes, and nobody comes in with them any more.
#[utoipa::path(
    post, path = "/api/v1/revocations", tag = "sessions",
    request_body = Revocation,
    responses(
        (status = 204, description = "They are taken back."),
    ),
)]
pub(super) async fn revoke(
    State(state): State<ApiState>,
    call: Call,
    Body(wish): Body<Revocation>,
) -> Result<StatusCode, Problem> {
    call.must_reach_all()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let subject = subject(wish, now)?;
    let whom = match &subject {
        Revoked::Token { token } => format!("token {token}"),
        Revoked::User { user, before } => format!("user {}, tokens from before {before}", user.as_str()),
    };
    let outcome = state.service().revoke(subject).await;
    call.audit("revoke", &whom, &outcome);
    outcome?;
    Ok(StatusCode::NO_CONTENT)
}

fn subject(wish: Revocation, now: u64) -> Result<Revoked, Problem> {
    let bad = |words: &str, pointer: &str| Problem::new(Kind::BadBody, words).at(pointer);
    match wish {
        Revocation { token: Some(token), user: None, before: None } => {
            if token.is_empty() || token.len() > MAX_ID_BYTES {
                return Err(bad("a token's id has 1 to 8192 bytes", "/token"));
            }
            Ok(Revoked::Token { token })
        }
        Revocation { token: None, user: Some(user), before } => {
            let user = UserId::parse(&user).ok_or_else(|| bad(UserId::RULE, "/user"))?;
            // Tokens are dated by the second. Those of this one were issued before this request, as far as can be told.
            let before = before.unwrap_or(now + 1);
            if before > now.saturating_add(AHEAD) {
                return Err(bad("before is more than a day ahead; it is in seconds since 1970", "/before"));
            }
            Ok(Revoked::User { user, before })
        }
        Revocation { token: Some(_), .. } => Err(bad("a token is taken back by its id alone", "/token")),
        Revocation { token: None, user: None, .. } => Err(bad("name a token or a user", "")),
    }
}
