//! The service account's access token, from the metadata server.

use std::rc::Rc;

use crate::fetch::{FetchError, Fetched, Shared};
use crate::json::Json;
use crate::runtime::Runtime;
use crate::secret::Secret;
use crate::services::Services;

/// A token is not used in the last minute of its life, in seconds: it has to arrive, too.
const MARGIN_S: u64 = 60;

/// The path on Google's metadata server
/// (cloud.google.com/compute/docs/access/authenticate-workloads).
const PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// The root's access token: one fetch for all its streams.
#[derive(Clone)]
pub struct AccessTokens(Shared<Rc<Secret>>);

impl AccessTokens {
    /// Not fetched before it is first used.
    pub fn new(runtime: &Rc<Runtime>, services: &Rc<Services>) -> Self {
        let (fetching, services) = (runtime.clone(), services.clone());
        Self(Shared::new(
            runtime,
            "access token",
            Box::new(move || {
                let (runtime, services) = (fetching.clone(), services.clone());
                Box::pin(async move { fetch(&runtime, &services).await })
            }),
        ))
    }

    /// The token, waiting until `deadline` (ms since 1970) where it has to be fetched.
    pub async fn value(&self, deadline: u64) -> Result<Rc<Secret>, FetchError> {
        self.0.value(deadline).await
    }

    /// Whether the token is there; asked for where it is not.
    pub fn prefetch(&self) -> bool {
        self.0.prefetch()
    }

    /// A service answered 401: the next use fetches anew.
    pub fn forget(&self) {
        self.0.forget();
    }
}

async fn fetch(runtime: &Rc<Runtime>, services: &Services) -> Result<Fetched<Rc<Secret>>, FetchError> {
    let answer = runtime.call(services.metadata.metadata_get(PATH)).await;
    if !answer.is_success() {
        return Err(FetchError::Unavailable);
    }
    let json = Json::parse(&answer.body).map_err(|_| FetchError::Unavailable)?;
    let token = json.field("access_token").and_then(Json::str).ok_or(FetchError::Unavailable)?;
    let life_s = json.field("expires_in").and_then(Json::u64).ok_or(FetchError::Unavailable)?;
    // An error text must never travel as a token: RFC 6750, 2.1 says what a token looks like.
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() || !token.bytes().all(is_token) {
        return Err(FetchError::Unavailable);
    }
    let now = runtime.host().now_ms();
    let usable_ms = life_s.saturating_sub(MARGIN_S) * 1_000;
    Ok(Fetched {
        value: Rc::new(Secret::new(token.as_bytes().to_vec())),
        refresh_ms: now + usable_ms * 4 / 5,
        expires_ms: now + usable_ms,
    })
}
