//! What an access token is, said to whoever has it: for services that let in by Google access tokens
//! (<https://developers.google.com/identity/openid-connect/openid-connect#validatinganidtoken>).

use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use crate::clock;
use crate::identity::account_number;
use crate::server::Services;
use crate::status::{self, ApiError, json_body};

/// Where it is, below the public base.
pub(crate) const PATH: &str = "/tokeninfo";

#[derive(Deserialize)]
pub(crate) struct Request {
    access_token: String,
}

/// All values are texts, as Google's are. A service account's token is for the account itself.
pub(crate) async fn tokeninfo(
    State(services): State<Services>,
    Form(request): Form<Request>,
) -> Result<Response, ApiError> {
    let Some((account, ends)) = services.access.holder(&request.access_token) else {
        let refusal = json_body(json!({"error_description": "Invalid Value"}).to_string().into_bytes());
        return Ok((StatusCode::BAD_REQUEST, refusal).into_response());
    };
    let number = account_number(&account);
    let now = u64::try_from(clock::now() / 1_000).unwrap_or_default();
    status::ok(&json!({
        "azp": number,
        "aud": number,
        "sub": number,
        "scope": "openid https://www.googleapis.com/auth/cloud-platform https://www.googleapis.com/auth/userinfo.email",
        "exp": ends.to_string(),
        "expires_in": ends.saturating_sub(now).to_string(),
        "email": account,
        "email_verified": "true",
        "access_type": "online",
    }))
}
