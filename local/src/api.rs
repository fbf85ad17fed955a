//! The REST API under `/v1`: who may call it, how a path names a resource and a method, and which service answers.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use percent_encoding::percent_decode_str;

use crate::server::Services;
use crate::status::ApiError;

/// 10 MB of messages in base64 within JSON, and room for their attributes.
const MAX_BODY_BYTES: usize = 20_000_000;

/// A call: `PUT /v1/projects/p/topics/t`, or with a custom method, `POST /v1/projects/p/topics/t:publish`.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// What stands between the slashes after `/v1`, decoded.
    pub(crate) segments: Vec<String>,
    /// What follows the last colon.
    pub(crate) verb: Option<String>,
    pub(crate) query: String,
    pub(crate) body: Bytes,
}

pub(crate) async fn serve(State(services): State<Services>, request: Request) -> Response {
    answer(&services, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(services: &Services, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().strip_prefix("/v1/").ok_or_else(ApiError::unknown_method)?;
    services.access.check(&parts.headers)?;
    let (segments, verb) = resource(path)?;
    let call = Call {
        method: parts.method,
        segments,
        verb,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: read(body).await?,
    };
    match call.segments.get(2).map(String::as_str) {
        Some("secrets") => services.secrets.answer(&call).await,
        _ => services.pubsub.answer(call).await,
    }
}

/// Segments are split before they are decoded, so that an encoded slash stays inside its segment.
fn resource(path: &str) -> Result<(Vec<String>, Option<String>), ApiError> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8().map(String::from);
    let decoded: Result<Vec<String>, _> = path.split('/').map(decode).collect();
    let mut segments = decoded.map_err(|_| ApiError::invalid("The path is not valid UTF-8."))?;
    let verb = segments.last_mut().and_then(|last| {
        let (name, verb) = last.rsplit_once(':').map(|(name, verb)| (name.to_owned(), verb.to_owned()))?;
        *last = name;
        Some(verb)
    });
    Ok((segments, verb))
}

async fn read(body: Body) -> Result<Bytes, ApiError> {
    let read = to_bytes(body, MAX_BODY_BYTES).await;
    read.map_err(|_| {
        ApiError::invalid(format!("The request body could not be read, or exceeds {MAX_BODY_BYTES} bytes."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_colon_separates_the_method_and_encoded_slashes_separate_nothing() {
        let (segments, verb) = resource("projects/p/topics/t:publish").unwrap();
        assert_eq!(segments, ["projects", "p", "topics", "t"]);
        assert_eq!(verb.as_deref(), Some("publish"));
        let (segments, verb) = resource("projects/p/secrets/..%2F..%2Fetc/versions/1%3Aaccess").unwrap();
        assert_eq!(segments, ["projects", "p", "secrets", "../../etc", "versions", "1"]);
        assert_eq!(verb.as_deref(), Some("access"));
        assert!(resource("projects/%FF").is_err());
    }
}
