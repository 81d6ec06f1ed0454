//! Where users get mail.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Body, given};
use super::call::Call;
use super::contract::OfUser;
use super::notifications::reach;
use super::problem::{Kind, Problem};
use super::state::ApiState;
use gateway_core::service::{Address, Contact};
use gateway_work::mail::check_address;

/// The longest name of a user, in bytes.
const MAX_NAME_BYTES: usize = 254;

/// Where a user gets mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "email": "alice@example.com", "name": "Alice" }))]
pub(super) struct NewContact {
    /// The address, without a name.
    #[schema(min_length = 3, max_length = 254)]
    email: String,
    /// How the user is addressed.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 254)]
    name: Option<String>,
    /// Whether the user wants mail; as it was, if it does not say.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool, required = false)]
    subscribed: Option<bool>,
}

/// What is known of where a user gets mail.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({ "email": "alice@example.com", "name": "Alice", "subscribed": true, "givenBy": "api" }))]
pub(super) struct KnownContact {
    /// The address.
    email: String,
    /// How the user is addressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Whether the user wants mail.
    subscribed: bool,
    /// Who gave the address: a back end, or the user's token.
    #[schema(value_type = String, pattern = "^(api|token)$")]
    given_by: &'static str,
}

impl From<Contact> for KnownContact {
    fn from(contact: Contact) -> Self {
        let Contact { address, by, wants, .. } = contact;
        Self { email: address.email, name: address.name, subscribed: wants, given_by: by.word() }
    }
}

/// Reads where a user gets mail.
#[utoipa::path(
    get, path = "/api/v1/users/{user}/contact", tag = "notifications",
    params(OfUser),
    responses(
        (status = 200, description = "It is there.", body = KnownContact),
    ),
)]
pub(super) async fn contact(State(state): State<ApiState>, call: Call) -> Result<Json<KnownContact>, Problem> {
    reach(&state, &call)?;
    let contact = state.service().contact(&call.user()?).await?;
    contact.map(|contact| Json(contact.into())).ok_or_else(none)
}

/// Keeps where a user gets mail. What a token says does not change it any more.
#[utoipa::path(
    put, path = "/api/v1/users/{user}/contact", tag = "notifications",
    params(OfUser),
    request_body = NewContact,
    responses(
        (status = 200, description = "It is kept.", body = KnownContact),
    ),
)]
pub(super) async fn put_contact(
    State(state): State<ApiState>,
    call: Call,
    Body(new): Body<NewContact>,
) -> Result<Json<KnownContact>, Problem> {
    reach(&state, &call)?;
    let NewContact { email, name, subscribed } = new;
    check_address(&email).map_err(|why| Problem::new(Kind::BadBody, why).at("/email"))?;
    if let Some(name) = &name
        && (name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control))
    {
        let why = format!("a name has 1 to {MAX_NAME_BYTES} bytes and no control characters");
        return Err(Problem::new(Kind::BadBody, why).at("/name"));
    }
    let user = call.user()?;
    state.service().put_contact(&user, &Address { email, name }, subscribed).await?;
    let contact = state.service().contact(&user).await?;
    contact.map(|contact| Json(contact.into())).ok_or_else(none)
}

/// Forgets where a user gets mail. That the user wants none stays known.
#[utoipa::path(
    delete, path = "/api/v1/users/{user}/contact", tag = "notifications",
    params(OfUser),
    responses(
        (status = 204, description = "It is forgotten."),
    ),
)]
pub(super) async fn delete_contact(State(state): State<ApiState>, call: Call) -> Result<StatusCode, Problem> {
    reach(&state, &call)?;
    if state.service().remove_contact(&call.user()?).await? { Ok(StatusCode::NO_CONTENT) } else { Err(none()) }
}

fn none() -> Problem {
    Problem::new(Kind::NoContact, "nobody has said where this user gets mail")
}
