//! Google's error body, `{"error":{"code":404,"message":"…","status":"NOT_FOUND"}}`
//! (<https://cloud.google.com/apis/design/errors>), and the one place where a failure becomes an answer.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::keys::KeyError;
use crate::store::StoreError;

/// A refusal as a client sees it: a canonical status and one plain sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    code: StatusCode,
    status: &'static str,
    message: String,
}

impl ApiError {
    pub(crate) fn unauthenticated() -> Self {
        let message = "Request had invalid authentication credentials. Expected an OAuth 2 access token.";
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", message)
    }

    pub(crate) fn precondition(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "FAILED_PRECONDITION", message)
    }

    pub(crate) fn not_found(resource: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("Resource not found (resource={resource})."))
    }

    pub(crate) fn exists(resource: &str) -> Self {
        let message = format!("Resource already exists in the project (resource={resource}).");
        Self::new(StatusCode::CONFLICT, "ALREADY_EXISTS", message)
    }

    pub(crate) fn unimplemented(what: &str) -> Self {
        let message = format!("The local service does not have {what}.");
        Self::new(StatusCode::NOT_IMPLEMENTED, "UNIMPLEMENTED", message)
    }

    pub(crate) fn unknown_method() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "There is no such method at this path.")
    }

    /// 503: the request was good and may be sent again.
    pub(crate) fn unavailable() -> Self {
        let message = "The service could not complete the request. Try again.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)
    }

    fn new(code: StatusCode, status: &'static str, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into() }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        log::error!("the store failed: {error}");
        Self::unavailable()
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        log::error!("no token could be issued: {error}");
        Self::unavailable()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({
            "error": { "code": self.code.as_u16(), "message": self.message, "status": self.status }
        });
        let mut response = (self.code, json_body(body.to_string().into_bytes())).into_response();
        if self.code == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"https://accounts.google.com/\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// A 200 with `value` as its JSON body.
pub(crate) fn ok(value: &impl Serialize) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(value).map_err(|error| {
        log::error!("an answer could not be written as JSON: {error}");
        ApiError::unavailable()
    })?;
    Ok(json_body(body))
}

pub(crate) fn json_body(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    let content_type = HeaderValue::from_static("application/json; charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
