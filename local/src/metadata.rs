//! The metadata server: access and identity tokens for the one service account there is
//! (<https://cloud.google.com/compute/docs/metadata/overview>).

use std::net::IpAddr;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::uri::{Authority, Uri};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::json;

use crate::access;
use crate::identity::Form;
use crate::keys::KeyError;
use crate::server::Services;
use crate::status::{self, ApiError};

const FLAVOR: &str = "metadata-flavor";

pub(crate) fn routes(services: &Services) -> Router<Services> {
    let account = |name: &str, leaf: &str| format!("/instance/service-accounts/{name}/{leaf}");
    let mut routes = Router::new().route("/project/project-id", get(project_id));
    for name in ["default", services.service_account.as_str()] {
        routes = routes
            .route(&account(name, "token"), get(token))
            .route(&account(name, "identity"), get(identity))
            .route(&account(name, "email"), get(email));
    }
    routes
        .fallback(|| async { plain(StatusCode::NOT_FOUND, "not found") })
        .layer(middleware::from_fn_with_state(services.clone(), guard))
}

/// A request that a browser or a proxy was tricked into sending lacks the header, or names the client it was sent
/// for, or was addressed by a name that an attacker's DNS points here.
async fn guard(State(services): State<Services>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let flavored = headers.get(FLAVOR).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"google"));
    let refusal = if !flavored {
        Some("Missing Metadata-Flavor: Google header.")
    } else if headers.contains_key("x-forwarded-for") {
        Some("A request with X-Forwarded-For is not answered.")
    } else if !knows_host(&services, headers) {
        Some("The request was sent to a host that is not this server.")
    } else {
        None
    };
    let mut response = match refusal {
        Some(reason) => plain(StatusCode::FORBIDDEN, reason),
        None => next.run(request).await,
    };
    response.headers_mut().insert(FLAVOR, HeaderValue::from_static("Google"));
    response
}

/// Addresses and the names of a metadata server are out of an attacker's reach; any other name may be DNS rebinding.
fn knows_host(services: &Services, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let Some(host) = host.and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    let public = services.issuer.name().parse::<Uri>().ok();
    name.parse::<IpAddr>().is_ok()
        || ["localhost", "metadata", "metadata.google.internal"].contains(&name)
        || public.and_then(|uri| uri.host().map(|host| host.eq_ignore_ascii_case(name))).unwrap_or(false)
}

async fn token(State(services): State<Services>) -> Result<Response, ApiError> {
    status::ok(&json!({
        "access_token": services.access.issue(&services.service_account)?,
        "expires_in": access::LIFETIME_SECONDS,
        "token_type": "Bearer",
    }))
}

#[derive(Deserialize)]
struct IdentityQuery {
    audience: Option<String>,
    format: Option<String>,
}

async fn identity(
    State(services): State<Services>,
    Query(query): Query<IdentityQuery>,
) -> Result<Response, ApiError> {
    let Some(audience) = query.audience.filter(|audience| !audience.is_empty()) else {
        return Ok(plain(StatusCode::BAD_REQUEST, "non-empty audience parameter required"));
    };
    let form = match query.format.as_deref() {
        None | Some("standard") => Form::Standard,
        Some("full") => Form::Full,
        Some(_) => {
            return Ok(plain(StatusCode::BAD_REQUEST, "format is 'standard' or 'full'"));
        }
    };
    let token = services.issuer.token(&audience, &services.service_account, form).await;
    Ok(plain(StatusCode::OK, token.map_err(|error: KeyError| ApiError::from(error))?))
}

async fn email(State(services): State<Services>) -> Response {
    plain(StatusCode::OK, services.service_account.clone())
}

async fn project_id(State(services): State<Services>) -> Response {
    plain(StatusCode::OK, services.project_id.clone())
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/text"));
    (status, headers, text.into()).into_response()
}
