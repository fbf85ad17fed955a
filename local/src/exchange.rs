//! The token endpoint: an identity token for an assertion that a service account's key has signed (RFC 7523, 2.1;
//! <https://developers.google.com/identity/protocols/oauth2/service-account>).

use std::collections::HashSet;
use std::io;
use std::path::Path;

use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use jwt_simple::prelude::*;
use serde_json::{Value, json};

use crate::identity::Form as TokenForm;
use crate::server::Services;
use crate::status::{self, ApiError};

/// Where it is, below the public base; a key's `token_uri` names it.
pub(crate) const PATH: &str = "/token";

/// The key whose assertions are exchanged, as the console hands it out. Read on each call; without it nothing is.
const KEY_FILE: &str = "service-account-key.json";

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Google takes assertions of an hour at most.
const LONGEST_SECONDS: u64 = 3_600;

#[derive(Deserialize)]
pub(crate) struct Request {
    grant_type: String,
    assertion: String,
}

#[derive(Serialize, Deserialize)]
struct Target {
    target_audience: String,
}

pub(crate) async fn exchange(
    State(services): State<Services>,
    Form(request): Form<Request>,
) -> Result<Response, ApiError> {
    if request.grant_type != GRANT {
        return Ok(refusal("unsupported_grant_type", "Only JWT bearer assertions are exchanged."));
    }
    let endpoint = format!("{}{PATH}", services.issuer.name());
    let path = services.state_dir.join(KEY_FILE);
    let checked = tokio::task::spawn_blocking(move || check(&path, &request.assertion, &endpoint)).await;
    match checked.map_err(io::Error::other).map_err(crate::keys::KeyError::from)? {
        Ok((email, audience)) => {
            let token = services.issuer.token(&audience, &email, TokenForm::Full).await?;
            status::ok(&json!({ "id_token": token }))
        }
        Err(reason) => Ok(refusal("invalid_grant", &reason)),
    }
}

/// Whose assertion it is, and for whom the token shall be.
fn check(path: &Path, assertion: &str, endpoint: &str) -> Result<(String, String), String> {
    let file = std::fs::read(path).map_err(|_| "There is no service account's key here.".to_owned())?;
    let file: Value = serde_json::from_slice(&file).map_err(|_| "The key file is not JSON.".to_owned())?;
    let text = |name: &str| file.get(name).and_then(Value::as_str).unwrap_or_default();
    let key =
        RS256KeyPair::from_pem(text("private_key")).map_err(|_| "The key file has no RSA key.".to_owned())?;
    let email = text("client_email");
    let options = VerificationOptions {
        allowed_issuers: Some(HashSet::from([email.to_owned()])),
        allowed_audiences: Some(HashSet::from([endpoint.to_owned()])),
        max_validity: Some(Duration::from_secs(LONGEST_SECONDS)),
        ..Default::default()
    };
    let claims = key.public_key().verify_token::<Target>(assertion, Some(options));
    let claims = claims.map_err(|error| format!("The assertion is not valid: {error}"))?;
    Ok((email.to_owned(), claims.custom.target_audience))
}

/// An error as token endpoints answer it (RFC 6749, 5.2).
fn refusal(error: &str, description: &str) -> Response {
    let body = json!({"error": error, "error_description": description});
    (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
